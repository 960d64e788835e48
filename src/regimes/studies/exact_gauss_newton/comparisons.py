"""What claims share: numbers of several cases compared seed by seed.

All take and give arrays over ``seed`` (and ``epoch``, for curves), with NaN where a number is
unknown, for instance because the run diverged. A comparison covers the seeds that all cases were
run with; it is unknown for a seed where one of its numbers is.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import xarray as xr

from regimes.claims import Measure
from regimes.studies.exact_gauss_newton.reading import (
    at_epoch,
    common_end,
    over_seeds,
    pick,
    together,
)

ANY = (-math.inf, math.inf)
POSITIVE = (0.0, math.inf)
SHARE = (0.0, 1.0)
GN, OTHERS = "gn", ("adam", "sgd")

Select = Callable[[xr.Dataset], xr.DataArray]


def seed_mean(analysis: str, select: Select, allowed: tuple[float, float] = POSITIVE) -> Measure:
    """Mean over seeds of what is selected seed by seed; unknown if a seed is."""
    return Measure(analysis, select, over_seeds, allowed)


def median(values: xr.DataArray) -> float:
    """Median over seeds, infinite where it is; NaN if a seed is unknown or there is none."""
    entries = np.ravel(values.values.astype(float))
    return float(np.median(entries)) if entries.size else math.nan


def curve(data: xr.Dataset, variable: str, optimizer: str, /, **settings) -> xr.DataArray:
    """Curve (seed, epoch) of the one case of an optimizer with these settings."""
    return pick(data[variable], optimizer=optimizer, **settings)


def smaller(*values: xr.DataArray) -> xr.DataArray:
    """Smallest of several numbers."""
    data = together(**{f"case_{i}": v for i, v in enumerate(values)})
    return data.to_dataarray("case").min("case", skipna=False)


def larger(*values: xr.DataArray) -> xr.DataArray:
    """Largest of several numbers."""
    return -smaller(*(-v for v in values))


def ratio(above: xr.DataArray, below: xr.DataArray) -> xr.DataArray:
    """Quotient of two numbers."""
    data = together(above=above, below=below)
    return data["above"] / data["below"]


def difference(first: xr.DataArray, second: xr.DataArray) -> xr.DataArray:
    """First minus second."""
    data = together(first=first, second=second)
    return data["first"] - data["second"]


def final_ratio(above: xr.DataArray, below: xr.DataArray) -> xr.DataArray:
    """Quotient of two curves after the last epoch that both cases reach."""
    end = common_end(above, below)
    return ratio(at_epoch(above, end), at_epoch(below, end))


def over_decrease(part: xr.DataArray, whole: xr.DataArray) -> xr.DataArray:
    """Quotient of a decrease and one that it is measured by.

    Returns
    -------
    xr.DataArray
        Infinite where the decrease below is not one, but zero or a rise: the quotient would change
        its sign and read like a small one. NaN where a number is unknown.
    """
    data = together(part=part, whole=whole)
    quotient = data["part"] / data["whole"].where(data["whole"] > 0)
    rises = data["part"].notnull() & (data["whole"] <= 0)
    return quotient.where(~rises, np.inf)
