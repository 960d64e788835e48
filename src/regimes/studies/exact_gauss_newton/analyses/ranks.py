"""Singular values and ranks of the first features at initialization (sections 2.1, 7)."""

from __future__ import annotations

from collections.abc import Mapping

import xarray as xr

from regimes.store import described, long_names
from regimes.studies.exact_gauss_newton import theory
from regimes.studies.exact_gauss_newton.reading import RAN, on_grid

TEXTS = {
    "data": "inputs of the features",
    "activation": "activation of the features",
    "seed": "seed of the draw",
    "relative_value": "singular values over the largest",
    "excess_rank": "rank minus h + 1, the largest rank of linear features",
    "rtol": "singular values below rtol times the largest do not count",
    "ran": RAN,
    "samples": "number of samples n",
}


def analyse(experiments: Mapping[str, xr.Dataset]) -> xr.Dataset:
    """Singular values of [phi(x2), 1] over the largest, and how many of them count.

    Parameters
    ----------
    experiments
        ``feature_rank``.

    Returns
    -------
    xr.Dataset
        Over (data, activation, seed): ``relative_value`` (also over index), ``rank``,
        ``half_inputs``, ``excess_rank``, ``rtol``, ``samples``; NaN for pairs of data and
        activation that were not computed, where the coordinate ``ran`` is 0.
    """
    runs = experiments["feature_rank"].reset_coords(["rtol", "samples"])
    wanted = ["singular_value", "rank", "half_inputs", "rtol", "samples"]
    found = on_grid(runs[wanted], ["data", "activation", "seed"])
    values = found["singular_value"]
    largest = theory.linear_feature_rank(2 * found["half_inputs"])
    result = found.drop_vars("singular_value").assign(
        relative_value=values / values.isel(index=0, drop=True),
        excess_rank=found["rank"] - largest,
    )
    return described(result, long_names(result) | TEXTS)
