"""One step with and without the linear part of the labels (Fig. A.2)."""

from __future__ import annotations

import xarray as xr

from regimes.fit.grids import by_setting
from regimes.studies.giant_step import theory
from regimes.studies.giant_step.plane import (
    collected,
    common,
    concentration,
    gradient_cosine,
    in_plane_angle,
)
from regimes.studies.giant_step.second_stage import second_stage

GRID = ["dimension", "batch_exponent", "seed"]
LABELS = {"removed": "one_step_preprocessed", "raw": "one_step_unpreprocessed"}


def analyse(experiments: dict[str, xr.Dataset]) -> xr.Dataset:
    """Errors over batch exponents, with the official leak of test statistics off and on, and R.

    Parameters
    ----------
    experiments
        ``one_step_preprocessed`` and ``one_step_unpreprocessed``.
    """
    parts = {label: _errors(experiments[name]) for label, name in LABELS.items()}
    both = xr.concat(parts.values(), dim="labels", join="outer").assign_coords(labels=list(parts))
    target = str(common(experiments["one_step_preprocessed"], "target"))
    return collected(
        {
            "error": (
                both["test_error"],
                "test error after one step; labels raw or with their linear part removed",
            ),
            "error_leak": (
                both["test_error_leak"].sel(labels="removed", drop=True),
                "as error, linear part removed by its value on the test set (official notebook)",
            ),
            "error_frozen": (both["frozen"], "test error of frozen features"),
            "concentration": (
                both["concentration"],
                "concentration R of the in-plane angles of the first gradients, all neurons",
            ),
            "linear_floor": (
                xr.DataArray(float(theory.linear_floor(target))),
                "error floor of linear predictors",
            ),
        }
    )


def _errors(data: xr.Dataset) -> xr.Dataset:
    errors = second_stage(data, ["test_error", "test_error_leak"]).isel(ridge=0, drop=True)
    last = errors.sel(step=1, drop=True)
    last["frozen"] = errors["test_error"].sel(step=0, drop=True)
    cosine = gradient_cosine(data).sel(step=1, drop=True)
    last["concentration"] = ("run", concentration(in_plane_angle(cosine)).values)
    return by_setting(last, GRID)
