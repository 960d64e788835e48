"""Three decoupled modes: losses, half-times against gradient flow (Fig. A9)."""

from __future__ import annotations

import numpy as np
import xarray as xr

from regimes.fit.grids import by_setting
from regimes.studies.feature_strength import theory
from regimes.studies.feature_strength.toy_boundaries import described

TEXTS = {
    "total_loss": "sum over modes of (f - target)^2 / 2",
    "mode_error": "squared error (f - target)^2 of a mode",
    "eta": "learning rate eta",
    "target": "target of the mode",
    "half_step": "first step at which the squared error of the mode has halved",
    "half_step_theory": "step at which the squared error has halved under gradient flow",
    "half_tau": "half-time of the squared error in units of gamma/eta",
    "step": "number of updates",
    "mode": "mode, in the order of the targets",
}


def analyse(experiments: dict[str, xr.Dataset]) -> xr.Dataset:
    """Losses over steps and the steps at which the squared error of each mode has halved.

    Parameters
    ----------
    experiments
        ``toy_staircase``.

    Returns
    -------
    xr.Dataset
        Over ``log10_gamma``: ``total_loss`` (step), ``mode_error`` (step, mode), ``eta``;
        ``half_step``, ``half_step_theory`` (mode) and ``half_tau`` (mode), half-times in units of
        gamma/eta; ``target`` (mode).
    """
    runs = experiments["toy_staircase"]
    grid = by_setting(runs, ["log10_gamma"])
    error = grid["mode_error"]
    target = grid["target"].isel(log10_gamma=0, drop=True)
    depth = int(np.unique(runs["depth"].values).item())
    half = half_step(error)
    gamma = 10.0 ** grid["log10_gamma"]
    ideal = [
        theory.staircase_half_steps(float(g), depth, target.values, float(eta))
        for g, eta in zip(gamma.values, grid["eta"].values, strict=True)
    ]
    result = xr.Dataset(
        {
            "total_loss": grid["total_loss"],
            "mode_error": error,
            "eta": grid["eta"],
            "target": target,
            "half_step": half,
            "half_step_theory": (("log10_gamma", "mode"), np.array(ideal)),
            "half_tau": half * grid["eta"] / gamma,
        }
    )
    return described(result, TEXTS)


def half_step(error: xr.DataArray) -> xr.DataArray:
    """First step at which a squared error is at most half of its start; NaN if never."""
    halved = error <= error.isel(step=0, drop=True) / 2
    return error["step"].where(halved).min("step").drop_vars("step", errors="ignore")
