"""Catapults: overshoot of the loss and sharpness after it, per multiple of the critical rate."""

from __future__ import annotations

import numpy as np
import xarray as xr

from regimes.fit.grids import by_setting
from regimes.studies.feature_strength.trajectories import at_last_step, described, online_loss

GRID = ["loss", "log10_gamma", "multiple", "seed"]
OVERSHOOT = 10.0  # the loss counts as catapulted above this multiple of its initial value


def catapult_variables(data: xr.Dataset) -> xr.Dataset:
    """Catapult statistics of an experiment with learning rates ``m`` times 2/(N lambda_0).

    Parameters
    ----------
    data
        Runs with the sharpness rule, whose ``eta_factor`` is m; sharpness at the first and the
        last step.

    Returns
    -------
    xr.Dataset
        Over (loss, log10_gamma, multiple, seed): variables as described in their ``long_name``.
    """
    runs = data.assign_coords(multiple=data["eta_factor"])
    loss = online_loss(runs)
    initial = runs["initial_loss"]
    over = loss > OVERSHOOT * initial
    first = loss["step"].astype(float).where(over).min("step")
    edge = runs["sharpness"] * runs["width"] * runs["eta"] / 2
    part = xr.Dataset(
        {
            "relative_loss": (loss / initial).astype(np.float32),
            "peak": (runs["peak_loss"] / initial).where(~(runs["diverged_at"] >= 0)),
            "first_overshoot": first.where(over.any("step"), np.inf),
            "sharpness_start": edge.isel(sharpness_step=0, drop=True),
            "sharpness_end": at_last_step(edge, runs["steps"], "sharpness_step"),
            "relative_final_loss": runs["final_train_loss"] / initial,
            "diverges": (runs["diverged_at"] >= 0).astype(float),
            "diverged_at": runs["diverged_at"].where(runs["diverged_at"] >= 0).astype(float),
        }
    )
    dense = by_setting(part, GRID)
    dense["largest_multiple"] = largest_surviving(dense["diverges"])
    texts = {
        "relative_loss": "online loss divided by its initial value",
        "peak": "largest online loss of the run divided by the initial one, NaN if it diverged",
        "first_overshoot": f"first step with online loss above {OVERSHOOT:g} times the initial one,"
        " infinite if there is none",
        "sharpness_start": "lambda_1 N eta / 2 at the first step (the multiple m, measured)",
        "sharpness_end": "lambda_1 N eta / 2 at the last step, NaN if the run diverged",
        "relative_final_loss": "mean online loss over the last tenth divided by the initial one",
        "diverges": "1 if the run diverged, 0 if not",
        "diverged_at": "step of divergence, NaN if there is none",
        "largest_multiple": "largest multiple m below the smallest one that diverged",
    }
    return described({name: (dense[name], text) for name, text in texts.items()})


def largest_surviving(diverges: xr.DataArray) -> xr.DataArray:
    """Largest multiple of the critical rate below the smallest one that diverges.

    A run above a divergent one counts as divergent (specification, section 2.5): there only dead
    networks are left with a finite loss.

    Parameters
    ----------
    diverges
        1 or 0 over ``multiple`` (increasing) and others, NaN where nothing was run.

    Returns
    -------
    xr.DataArray
        NaN where nothing was run or every run diverged.
    """
    gone = diverges.fillna(0).cumsum("multiple") > 0
    return diverges["multiple"].where(diverges.notnull() & ~gone).max("multiple")
