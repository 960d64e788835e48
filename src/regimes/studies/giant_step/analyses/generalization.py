"""Test error after one step against frozen features (Fig. 3)."""

from __future__ import annotations

import numpy as np
import xarray as xr

from regimes.fit.grids import by_setting
from regimes.studies.giant_step import theory
from regimes.studies.giant_step.plane import collected, common, per_target
from regimes.studies.giant_step.second_stage import second_stage

GRID = ["target", "width", "batch_factor", "seed"]


def analyse(experiments: dict[str, xr.Dataset]) -> xr.Dataset:
    """Errors with and without the step, of the surrogate, and the error floors.

    Parameters
    ----------
    experiments
        ``one_step_generalization`` and ``one_step_he2_report``.
    """
    data = experiments["one_step_generalization"]
    errors = second_stage(data, ["test_error", "test_error_surrogate"])
    trained = errors.isel(run=np.flatnonzero(data["steps"].values == 1))
    frozen = errors.isel(run=np.flatnonzero(data["steps"].values == 0))
    trained, frozen = by_setting(trained, GRID), by_setting(frozen, GRID)
    report = second_stage(experiments["one_step_he2_report"], ["test_error"])
    report = by_setting(report.isel(ridge=0, drop=True), ["seed"])
    targets = trained["target"].values
    return collected(
        {
            "error_step": (
                trained["test_error"].sel(step=1, drop=True),
                "test error after one step",
            ),
            "error_frozen": (
                frozen["test_error"].sel(step=0, drop=True),
                "test error of frozen features, p distinct rows",
            ),
            "error_frozen_pairs": (
                trained["test_error"].sel(step=0, drop=True),
                "test error of frozen features, p/2 distinct rows of the symmetric start",
            ),
            "error_surrogate": (
                trained["test_error_surrogate"].sel(step=1, drop=True),
                "test error of the conditional Gaussian surrogate after one step",
            ),
            "linear_floor": (
                per_target(targets, theory.linear_floor),
                "error floor of linear predictors",
            ),
            "one_step_floor": (
                per_target(targets, theory.one_step_floor),
                "error floor after one step",
            ),
            "error_report": (
                report["test_error"],
                "test error on z^2 - 1 before and after one step, setting of the secondary report",
            ),
            "dimension": (xr.DataArray(float(common(data, "dimension"))), "input dimension d"),
        }
    )
