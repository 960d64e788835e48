"""Identities of the Gauss-Newton update on toys, inverses of trained networks, network sizes."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import xarray as xr

from regimes.fit.grids import by_setting
from regimes.store import described, long_names
from regimes.studies.exact_gauss_newton import theory
from regimes.studies.exact_gauss_newton.reading import (
    RAN,
    cases,
    final,
    on_grid,
    pick,
)

TRAINED = "mini_batch_hard"
TEXTS = {
    "activation": "activation of the toy networks",
    "seed": "seed of the draw",
    "trained_seed": "seed of the trained network",
    "output_slope": "slope of ln output_difference on ln alpha",
    "inversion_error": "|inverse(forward(x)) - x| / |x| after the last epoch of GN training",
    "ran": RAN,
    "counted": "trainable parameters, counted from the shapes",
    "formula": "trainable parameters 2 L (h d' + h)",
    "inputs": "input dimension d of the counted network",
}


def analyse(experiments: Mapping[str, xr.Dataset]) -> xr.Dataset:
    """Residuals and norms of updates, their agreement to first order, and exact inverses.

    Parameters
    ----------
    experiments
        ``right_inverse_toy``, ``gn_architecture_counts`` and, if there are trained runs,
        ``mini_batch_hard``.

    Returns
    -------
    xr.Dataset
        Over (activation, seed): ``residual``, ``residual_uncorrected``, ``norm_ratio``,
        ``output_slope``; ``block_error`` also over ``block``, ``output_difference`` over ``alpha``.
        Coordinate ``ran`` (activation, seed), 1 where a toy was run. ``inversion_error``
        (trained_seed) of all seeds that were run, NaN without trained runs; ``counted`` and
        ``formula`` over ``inputs``.
    """
    toys = on_grid(experiments["right_inverse_toy"], ["activation", "seed"])
    result = toys.assign(output_slope=_slope(toys["output_difference"]))
    trained = {name: experiments[name] for name in (TRAINED,) if name in experiments}
    error = pick(cases(trained, ["inversion_error"])["inversion_error"], TRAINED, optimizer="gn")
    error = final(error).reset_coords(drop=True).rename(seed="trained_seed")
    parts = [result, error.to_dataset(name="inversion_error"), _sizes(experiments)]
    found = xr.merge(parts, join="exact")
    return described(found, long_names(found) | TEXTS)


def _slope(values: xr.DataArray) -> xr.DataArray:
    """Least-squares slope against alpha on logarithmic scales, over all other dimensions."""
    x = np.log(values["alpha"]) - np.log(values["alpha"]).mean()
    return (x * np.log(values)).sum("alpha", skipna=False) / (x**2).sum()


def _sizes(experiments: Mapping[str, xr.Dataset]) -> xr.Dataset:
    """Counted and predicted numbers of parameters over ``inputs``."""
    runs = experiments["gn_architecture_counts"]
    settings = zip(*(runs[name].values for name in ("inputs", "blocks", "width")), strict=True)
    formula = [
        theory.parameter_count(int(d), int(blocks), None if np.isnan(width) else int(width))
        for d, blocks, width in settings
    ]
    counted = runs["parameters"].to_dataset(name="counted").assign(formula=("run", formula))
    return by_setting(counted, ["inputs"])
