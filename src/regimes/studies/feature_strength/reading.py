"""What the modules of claims share: ranges of measured numbers and slopes over gamma.

A claim names cells: feature strengths, and for some of them multiples, widths or batch sizes. Seeds
are averaged cell by cell, and a seed may be missing from a cell. A cell without any value makes
the number unknown (NaN), for means, extremes and spreads alike: leaving it out could make a result
look better than it is, for instance where a feature strength never left its plateau.
"""

from __future__ import annotations

import math

import xarray as xr

from regimes.fit.power_laws import fit_power_law
from regimes.studies.feature_strength.edges import GAMMA

POSITIVE = (0.0, math.inf)
SHARE = (0.0, 1.0)
FEWEST = 3  # feature strengths behind a slope


def mean_of_cells(values: xr.DataArray) -> float:
    """Mean over cells of the mean over seeds; NaN if a cell is missing."""
    return float(values.mean("seed").mean(skipna=False))


def largest_cell(values: xr.DataArray) -> float:
    """Largest mean over seeds; NaN if a cell is missing."""
    return float(values.mean("seed").max(skipna=False))


def range_of_cells(values: xr.DataArray) -> float:
    """Largest minus smallest mean over seeds; NaN if a cell is missing or there is only one."""
    mean = values.mean("seed")
    # The spread of a single value would be a perfect, empty result.
    return float(mean.max(skipna=False) - mean.min(skipna=False)) if mean.size > 1 else math.nan


def slopes(mean: xr.DataArray) -> xr.DataArray:
    """Exponents of gamma, fitted over all feature strengths that were selected.

    NaN unless at least two thirds of the feature strengths are known and at least `FEWEST` of
    them; where a grid holds fewer than that in the window (two, for Hessians in the lazy
    regime), all of them must be known.

    Parameters
    ----------
    mean
        log10 of a quantity, averaged over seeds, over ``log10_gamma`` and other dimensions.
    """
    planned = mean.sizes[GAMMA]
    if not planned:
        return mean.sum(GAMMA) * math.nan
    fit = fit_power_law(mean, GAMMA, float(mean[GAMMA].min()), float(mean[GAMMA].max()))
    enough = (fit["points"] >= min(FEWEST, planned)) & (3 * fit["points"] >= 2 * planned)
    return fit["slope"].where(enough)
