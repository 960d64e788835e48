"""Dynamics of ultra-rich networks in the rescaled time tau = eta t / gamma (Fig. A5)."""

from __future__ import annotations

import numpy as np
import xarray as xr

from regimes.fit.collapse import collapse_score
from regimes.fit.grids import by_setting
from regimes.studies.feature_strength.plateaus import FRACTION, plateau_end
from regimes.studies.feature_strength.trajectories import (
    at_step,
    described,
    online_loss,
    smooth,
    smoothing,
)

GRID = ["rule", "log10_gamma", "width", "seed"]
EARLY_STEP = 50  # the common step at which early outputs are compared (section 6.3)
# The end of the plateau is defined by the loss, when f is of order one whatever gamma, so that
# gamma |f| cannot coincide any more. Up to half of that time f is small.
EARLY_SHARE = 0.5
TIMES = ["raw", "rescaled"]


def analyse(experiments: dict[str, xr.Dataset]) -> xr.Dataset:
    """Losses and outputs in raw and rescaled time and how well each collapses over gamma.

    Parameters
    ----------
    experiments
        ``rich_consistency``.
    """
    data = experiments["rich_consistency"]
    data = data.assign_coords(rule=data["eta_rule"])
    loss = online_loss(data)
    end = plateau_end(loss, data["initial_loss"], half=smoothing(loss))
    # One step of each run in units of tau = eta t / gamma.
    rate = data["eta"] / data["gamma"]
    output = data["mean_output"] * data["gamma"]
    part = xr.Dataset(
        {
            "relative_loss": (smooth(loss) / data["initial_loss"]).astype(np.float32),
            "scaled_output": output,
            "rate": rate,
            "plateau_end": end,
            "plateau_end_rescaled": rate * end,
            "early_output": at_step(output, "output_step", EARLY_STEP),
            "diverges": (data["diverged_at"] >= 0).astype(float),
        }
    )
    dense = by_setting(part, GRID)
    for name in ("plateau_end", "plateau_end_rescaled"):
        dense[f"{name}_ratio"] = dense[name].max("log10_gamma") / dense[name].min("log10_gamma")
    dense["loss_score"] = _scores(dense["relative_loss"], dense["rate"], "step")
    early = dense["output_step"] <= EARLY_SHARE * dense["plateau_end"]
    early = np.log10(dense["scaled_output"].where(early & (dense["scaled_output"] > 0)))
    dense["output_score"] = _scores(early, dense["rate"], "output_step")
    texts = {
        "relative_loss": "online loss, smoothed, divided by its initial value",
        "scaled_output": "gamma times the mean |f| over fixed points and classes",
        "rate": "rescaled time tau = eta t / gamma of one step",
        "plateau_end": f"first step with smoothed online loss below {FRACTION} of the initial one",
        "plateau_end_rescaled": "tau at the end of the plateau",
        "plateau_end_ratio": "largest over smallest end of the plateau in steps, over gamma",
        "plateau_end_rescaled_ratio": "largest over smallest end of the plateau in tau, over gamma",
        "early_output": f"gamma times the mean |f| at step {EARLY_STEP}, interpolated",
        "diverges": "1 if the run diverged, 0 if not",
        "loss_score": "collapse score over gamma of the loss: rms spread between curves over rms "
        "variation of their mean along log time",
        "output_score": "collapse score over gamma of log10(gamma mean |f|) up to "
        f"{EARLY_SHARE:g} times each run's end of the plateau",
    }
    return described({name: (dense[name], text) for name, text in texts.items()})


def _scores(values: xr.DataArray, rate: xr.DataArray, dim: str) -> xr.DataArray:
    """Collapse over gamma against the raw step and against tau."""
    step = values[dim].astype(float)
    axes = {"raw": step, "rescaled": rate * step}
    scores = [collapse_score(values, axes[name], "log10_gamma", dim) for name in TIMES]
    return xr.concat(scores, dim="time").assign_coords(time=TIMES)
