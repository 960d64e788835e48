"""Conditional Gaussian surrogate against the real network (section 2.8)."""

from __future__ import annotations

import xarray as xr

from regimes.fit.grids import by_setting
from regimes.studies.giant_step.plane import collected, common
from regimes.studies.giant_step.second_stage import second_stage


def analyse(experiments: dict[str, xr.Dataset]) -> xr.Dataset:
    """Errors of the real and of the surrogate features over second-stage batch sizes.

    Parameters
    ----------
    experiments
        ``surrogate_check``; step 0 are the frozen features of the symmetric start.
    """
    data = experiments["surrogate_check"]
    errors = second_stage(data, ["test_error", "test_error_surrogate"])
    errors = by_setting(errors, ["target", "seed"])
    return collected(
        {
            "error": (errors["test_error"], "test error of ridge regression on real features"),
            "error_surrogate": (
                errors["test_error_surrogate"],
                "test error of ridge regression on surrogate features",
            ),
            "dimension": (xr.DataArray(float(common(data, "dimension"))), "input dimension d"),
            "width": (xr.DataArray(float(common(data, "width"))), "number of neurons p"),
        }
    )
