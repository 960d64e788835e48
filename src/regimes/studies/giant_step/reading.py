"""Small helpers to state claims: what the giant-step measures share."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import xarray as xr

from regimes.claims import Measure

COSINE = (-1.0, 1.0)
SHARE = (0.0, 1.0)
POSITIVE = (0.0, float("inf"))


def own_seeds(select: Callable) -> Callable:
    """Drop seeds that only other variables of an analysis have; the jackknife would count them."""

    def selected(data):
        values = select(data)
        return values.dropna("seed", how="all") if "seed" in values.dims else values

    return selected


def seed_mean(
    analysis: str | tuple[str, ...],
    select: Callable[[xr.Dataset], xr.DataArray],
    values: tuple[float, float] = POSITIVE,
) -> Measure:
    """Measure that is the plain mean over seeds (and over what else the selection holds)."""
    return Measure(analysis, own_seeds(select), lambda v: float(v.mean("seed").mean()), values)


def of_mean(
    analysis: str | tuple[str, ...],
    select: Callable[[xr.Dataset], xr.DataArray],
    statistic: Callable[[xr.DataArray], xr.DataArray | float],
    values: tuple[float, float] = POSITIVE,
) -> Measure:
    """Measure that is a statistic of the mean over seeds."""
    return Measure(analysis, own_seeds(select), lambda v: float(statistic(v.mean("seed"))), values)


def closed_form(
    select: Callable[[xr.Dataset], xr.DataArray],
    statistic: Callable[[xr.DataArray], xr.DataArray | float],
) -> Measure:
    """Measure on the constants of the theory, without seeds."""
    return Measure("theory_constants", select, lambda v: float(statistic(v)), exact=True)


def largest_dimension(values: xr.DataArray) -> xr.DataArray:
    """Pick the runs at the largest input dimension of the scale."""
    return values.isel(dimension=-1, drop=True)


def nearest(values: xr.DataArray, **coordinates) -> xr.DataArray:
    """Values at the measured coordinates nearest to the given ones."""
    known = values
    for name in coordinates:
        known = known.dropna(name, how="all")
    return known.sel(coordinates, method="nearest")


def between(values: xr.DataArray, **limits: tuple[float, float]) -> xr.DataArray:
    """Values with coordinates in closed intervals, such as ``step=(1, 6)``."""
    return values.sel({name: slice(low, high) for name, (low, high) in limits.items()})


def table(dims: tuple[str, ...], coords: dict, values) -> xr.DataArray:
    """Make reference numbers a labelled array."""
    return xr.DataArray(np.asarray(values, dtype=float), dims=dims, coords=coords)


def like(values: xr.DataArray, reference: xr.DataArray) -> xr.DataArray:
    """Values at the coordinates of a table of reference numbers."""
    return values.sel({name: reference[name].values for name in reference.dims})


def quotient(first: dict, second: dict) -> Callable[[xr.DataArray], xr.DataArray]:
    """Quotient of two entries of the seed mean, each given by its labels."""
    return lambda mean: mean.sel(first) / mean.sel(second)


def largest_size(values: xr.DataArray) -> xr.DataArray:
    """Largest absolute value."""
    return abs(values).max()
