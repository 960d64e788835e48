"""Staircase losses at large feature strength, MLP and where it is run CNN (Fig. A9)."""

from __future__ import annotations

import numpy as np
import xarray as xr

from regimes.fit.grids import by_setting
from regimes.studies.feature_strength import theory
from regimes.studies.feature_strength.trajectories import described

BAND = (0.078, 0.082)  # losses that count as lying on the second plateau
WINDOW = (250, 650)  # steps well inside the second plateau


def analyse(experiments: dict[str, xr.Dataset]) -> xr.Dataset:
    """Test losses over steps, and level and length of the second plateau.

    Parameters
    ----------
    experiments
        ``staircase_mlp``, and ``staircase_cnn`` at the scales where it is run.
    """
    mlp = by_setting(experiments["staircase_mlp"][["test_loss"]], ["log10_gamma", "seed"])
    loss = mlp["test_loss"]
    variables = {
        "test_loss": (loss, "test loss of the MLP on hierarchical labels"),
        "plateau_level": (
            _median(_between_steps(loss, *WINDOW), "each_step"),
            "median test loss over steps {} to {}".format(*WINDOW),
        ),
        "plateau_steps": (
            plateau_steps(loss),
            "steps with test loss in {} to {}, interpolated between test steps".format(*BAND),
        ),
        "exact_level": (
            xr.DataArray(theory.superclass_plateau()),
            "loss of the predictor that knows only the super-class",
        ),
    }
    cnn = experiments.get("staircase_cnn")
    if cnn is not None and cnn.sizes["run"]:
        dense = by_setting(cnn[["test_loss"]], ["log10_gamma", "seed"])
        names = {"log10_gamma": "log10_gamma_cnn", "seed": "seed", "test_step": "test_step_cnn"}
        text = "test loss of the CNN"
        variables["test_loss_cnn"] = (dense["test_loss"].rename(names), text)
    return described(variables)


def _median(values: xr.DataArray, dim: str) -> xr.DataArray:
    """Median of what is known, NaN without warnings where nothing is."""
    known = values.notnull().any(dim)
    return values.fillna(0).where(values.notnull() | ~known).median(dim).where(known)


def plateau_steps(loss: xr.DataArray, band: tuple[float, float] = BAND) -> xr.DataArray:
    """Number of steps at which a test loss lies in a band; NaN where nothing is known.

    Parameters
    ----------
    loss
        Over ``test_step``, whose coordinate counts updates, and any other dimensions; linear
        between the test steps.
    """
    each = _between_steps(loss, 0, int(loss["test_step"].max()))
    inside = ((each >= band[0]) & (each <= band[1])).sum("each_step").astype(float)
    return inside.where(each.notnull().any("each_step"))


def _between_steps(loss: xr.DataArray, low: int, high: int) -> xr.DataArray:
    """Test loss at every step of a closed range, linear between test steps, NaN beyond them."""
    each = np.arange(low, high + 1, dtype=float)
    steps = loss["test_step"].values.astype(float)

    def line(values: np.ndarray) -> np.ndarray:
        known = np.isfinite(values)
        if not known.any():
            return np.full(each.size, np.nan)
        return np.interp(each, steps[known], values[known], left=np.nan, right=np.nan)

    return xr.apply_ufunc(
        line,
        loss.astype(float),
        input_core_dims=[["test_step"]],
        output_core_dims=[["each_step"]],
        vectorize=True,
    )
