"""Test error against batch exponent for zero to six steps (Fig. A.1, top)."""

from __future__ import annotations

import numpy as np
import pandas as pd
import xarray as xr

from regimes.fit.grids import by_setting
from regimes.studies.giant_step import theory
from regimes.studies.giant_step.plane import collected, common, per_target
from regimes.studies.giant_step.second_stage import second_stage

# Up to this exponent the staircase target is drawn at the larger learning rate: over several
# steps that rate overshoots at larger batches (section 7, point 2).
LARGE_RATE_UP_TO = 1.5
PLATEAU_DRAWS = 8


def analyse(experiments: dict[str, xr.Dataset]) -> xr.Dataset:
    """Errors of both targets, all learning rates, floors and the frozen-feature plateau.

    Parameters
    ----------
    experiments
        ``error_vs_batch_he124``, ``error_vs_batch_minus`` and ``constant_lr_divergence``.
    """
    he124 = _errors(experiments["error_vs_batch_he124"], ["batch_exponent", "seed"])
    minus = _errors(
        experiments["error_vs_batch_minus"], ["learning_rate_factor", "batch_exponent", "seed"]
    )
    factor = _drawn_factor(minus)
    chosen = minus.sel(learning_rate_factor=factor).drop_vars("learning_rate_factor")
    names = ["he124", "minus"]
    error = xr.concat([he124, chosen], dim="target", join="outer").assign_coords(target=names)
    constant = _errors(experiments["constant_lr_divergence"], ["batch_exponent", "seed"])
    constant = constant.rename(batch_exponent="constant_exponent")
    data = experiments["error_vs_batch_he124"]
    d, p = common(data, "dimension"), common(data, "width")

    return collected(
        {
            "error": (
                error,
                "test error after so many steps, step 0 are frozen features; minus at drawn_factor",
            ),
            "error_minus": (minus, "test error of target minus at each learning-rate factor"),
            "drawn_factor": (factor, "learning-rate factor of target minus in error"),
            "error_constant": (
                constant,
                "test error of he124 at a constant learning rate, last finite value once diverged",
            ),
            "batch_size": (_batch_size(experiments), "samples per step n"),
            "linear_floor": (
                per_target(names, theory.linear_floor),
                "error floor of linear predictors",
            ),
            "variance": (per_target(names, theory.variance), "variance of the target"),
            "frozen_plateau": (
                per_target(
                    names, lambda name: theory.frozen_feature_plateau(name, d, p, PLATEAU_DRAWS, 0)
                ),
                "error of frozen features at a large batch by theory, averaged over W",
            ),
            "dimension": (xr.DataArray(float(d)), "input dimension d"),
            "width": (xr.DataArray(float(p)), "number of neurons p"),
        }
    )


def _errors(data: xr.Dataset, names: list[str]) -> xr.DataArray:
    """Test errors over settings and steps; a diverged run keeps its last finite error."""
    errors = second_stage(data, ["test_error"]).isel(ridge=0, drop=True)
    dense = by_setting(errors, names)["test_error"].transpose(..., "step")
    filled = pd.DataFrame(dense.values.reshape(-1, dense.sizes["step"])).ffill(axis=1)
    return dense.copy(data=filled.to_numpy().reshape(dense.shape))


def _drawn_factor(minus: xr.DataArray) -> xr.DataArray:
    """Learning-rate factor of the drawn curve at each exponent, among those that were run."""
    run = minus.notnull().any(["seed", "step"])
    factors = []
    for exponent in minus["batch_exponent"].values:
        there = run.sel(batch_exponent=exponent)
        available = minus["learning_rate_factor"].values[there.values]
        factors.append(available.max() if exponent <= LARGE_RATE_UP_TO else available.min())
    coords = {"batch_exponent": minus["batch_exponent"].values}
    return xr.DataArray(np.array(factors), dims="batch_exponent", coords=coords)


def _batch_size(experiments: dict[str, xr.Dataset]) -> xr.DataArray:
    sizes: dict[float, float] = {}
    for name in ("error_vs_batch_he124", "error_vs_batch_minus"):
        data = experiments[name]
        sizes |= dict(zip(data["batch_exponent"].values, data["batch_size"].values, strict=True))
    exponents = sorted(sizes)
    values = np.array([sizes[x] for x in exponents], dtype=float)
    return xr.DataArray(values, dims="batch_exponent", coords={"batch_exponent": exponents})
