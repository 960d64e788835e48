"""What claims share: cells of settings, seed means, extremes, comparisons.

Seeds are averaged cell by cell. A cell without any value makes the number unknown (NaN): leaving
it out could make a result look better than it is.

Three things can be furthest from 1. `furthest_value`: of some numbers, one. `furthest_cell`: of
settings, by their seed means; that setting is found on all seeds and then kept, so that leaving
out a seed does not jump from one setting to another. `furthest_run`: of single runs, looked for
anew in the seeds that are left.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr
from scipy import stats

POSITIVE = (0.0, math.inf)
SHARE = (0.0, 1.0)
CORRELATION = (-1.0, 1.0)
NEAR = 1e-6  # settings are compared up to rounding


def cells(values: xr.DataArray) -> xr.DataArray:
    """Drop seeds without any value (the jackknife would count them) and give cells one dimension.

    Returns
    -------
    xr.DataArray
        (cell, seed)
    """
    others = [dim for dim in values.dims if dim != "seed"]
    values = values.dropna("seed", how="all")
    if not others:
        return values.expand_dims("cell")
    plain = values.transpose(*others, "seed")
    count = math.prod(plain.sizes[name] for name in others)
    flat = plain.values.reshape(count, plain.sizes["seed"])
    return xr.DataArray(flat, dims=("cell", "seed"), coords={"seed": values["seed"].values})


def seed_means(values: xr.DataArray) -> np.ndarray:
    """Mean over seeds of each cell; NaN for a cell without any."""
    known = values.notnull()
    count = known.sum("seed")
    return np.ravel((values.fillna(0).sum("seed") / count.where(count > 0)).values)


def mean_of_cells(values: xr.DataArray) -> float:
    """Mean over cells of the mean over seeds; NaN if a cell is missing or there is none."""
    return float(np.mean(seed_means(values))) if values.size else math.nan


def largest_cell(values: xr.DataArray) -> float:
    """Largest mean over seeds; NaN if a cell is missing."""
    return float(np.max(seed_means(values))) if values.size else math.nan


def smallest_cell(values: xr.DataArray) -> float:
    """Smallest mean over seeds; NaN if a cell is missing."""
    return float(np.min(seed_means(values))) if values.size else math.nan


def range_of_cells(values: xr.DataArray) -> float:
    """Largest minus smallest mean over seeds; NaN if a cell is missing or fewer than two exist."""
    means = seed_means(values)
    return float(means.max() - means.min()) if means.size > 1 else math.nan


def furthest_value(values: xr.DataArray | Sequence[float], goal: float = 1.0) -> float:
    """Entry furthest from a goal; NaN if there is none or one of them is unknown."""
    found = np.ravel(np.asarray(values, dtype=float))
    known = found.size and np.isfinite(found).all()
    return float(found[np.argmax(np.abs(found - goal))]) if known else math.nan


def furthest_run(values: xr.DataArray) -> float:
    """Value of the single run that is furthest from 1; NaN if a cell has no run at all.

    Parameters
    ----------
    values
        (cell, seed), NaN where a cell has fewer seeds than others.
    """
    if np.isnan(seed_means(values)).any():
        return math.nan
    return furthest_value(values.values[values.notnull().values])


def furthest_cell(values: xr.DataArray) -> xr.DataArray:
    """The cell whose mean over seeds is furthest from 1; NaN throughout if a cell is missing."""
    flat = cells(values)
    if not flat.size:
        return flat
    means = seed_means(flat)
    if np.isnan(means).any():
        return xr.full_like(flat.isel(cell=[0]), np.nan)
    return flat.isel(cell=[int(np.abs(means - 1).argmax())])


def one(values: xr.DataArray, **settings: float) -> xr.DataArray:
    """Values at given settings up to rounding; NaN throughout where they were not run."""
    for name, wanted in settings.items():
        axis = values[name].values.astype(float)
        found = np.flatnonzero(np.abs(axis - wanted) <= NEAR * max(abs(wanted), 1e-300))
        if found.size:
            values = values.isel({name: int(found[0])}, drop=True)
        else:
            values = xr.full_like(values.isel({name: 0}, drop=True), np.nan)
    return values


def spearman(values: xr.DataArray, dim: str) -> float:
    """Rank correlation of seed means with a setting; NaN if one is missing."""
    means = seed_means(values.transpose(dim, "seed"))
    if means.size < 3 or np.isnan(means).any():
        return math.nan
    return float(stats.spearmanr(values[dim].values, means).statistic)


def log_slope(values: xr.DataArray, against: np.ndarray) -> float:
    """Least-squares slope of ln(seed means) on ln(against); NaN if one is missing.

    Parameters
    ----------
    values
        (setting, seed)
    against
        Positive numbers (setting,).
    """
    means = seed_means(values)
    if means.size < 2 or not (means > 0).all():
        return math.nan
    return float(np.polyfit(np.log(against), np.log(means), 1)[0])


def at_log(values: xr.DataArray, dim: str, wanted: float, beyond: float = 0.02) -> xr.DataArray:
    """Values interpolated linearly in ln(coordinate); NaN beyond the ends by more than a share.

    Parameters
    ----------
    values
        Over ``dim``, with a positive increasing coordinate, and others.
    wanted
        Coordinate at which the value is wanted.
    beyond
        Relative distance from an end within which its value is taken.
    """
    axis = values[dim].values.astype(float)
    if not axis[0] * (1 - beyond) <= wanted <= axis[-1] * (1 + beyond) or len(axis) < 2:
        return xr.full_like(values.isel({dim: 0}, drop=True), np.nan)
    left = int(np.clip(np.searchsorted(axis, wanted, "right") - 1, 0, len(axis) - 2))
    width = math.log(axis[left + 1] / axis[left])
    weight = float(np.clip(math.log(wanted / axis[left]) / width, 0, 1))
    near, far = (values.isel({dim: left + i}, drop=True) for i in (0, 1))
    # At a grid point itself the neighbour need not be known.
    return near if weight == 0 else far if weight == 1 else (1 - weight) * near + weight * far


def ordered_share(values: xr.DataArray, signs: Mapping[str, int]) -> float:
    """Share of pairs of settings that differ in one factor and whose values have the given order.

    Parameters
    ----------
    values
        Over the factors and ``seed``.
    signs
        Factor to +1 where the value should rise with it, -1 where it should fall.

    Returns
    -------
    float
        NaN if the value of a setting is missing, or without pairs; ties are out of order.
    """
    factors = list(signs)
    mean = values.transpose(*factors, "seed")
    mean = seed_means(mean).reshape([values.sizes[name] for name in factors])
    if np.isnan(mean).any():
        return math.nan
    right, total = 0, 0
    for axis, name in enumerate(factors):
        line = np.moveaxis(mean, axis, 0)
        low, high = np.triu_indices(line.shape[0], 1)
        change = signs[name] * (line[high] - line[low])
        right, total = right + int((change > 0).sum()), total + change.size
    return right / total if total else math.nan


def reference_errors(
    values: xr.DataArray, dim: str, reference: Mapping[float, float]
) -> list[xr.DataArray]:
    """Value minus reference at listed settings, interpolated in ln(setting), each over seed."""
    return [at_log(values, dim, at) - expected for at, expected in reference.items()]


def stacked(parts: Sequence[xr.DataArray]) -> xr.DataArray:
    """Cells (cell, seed) of several arrays over seed, seeds without any value dropped."""
    return xr.concat(parts, "cell", join="outer").dropna("seed", how="all")
