"""How the claims on the theory are read off: exponents, exact rewritings, the kernel limit."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import xarray as xr

from regimes.claims import Measure
from regimes.fit.estimators import loglog_slope

RIDGE = 1e-4  # the one value that the list of claims names
WIDTHS = (256, 1024, 4096)
POSITIVE = (0.0, math.inf)

Select = Callable[[xr.Dataset], xr.DataArray]


def at(values: xr.DataArray, **settings: float) -> xr.DataArray:
    """Values at given numbers, equal up to rounding; NaN throughout where they were not run."""
    for name, wanted in settings.items():
        found = np.flatnonzero(np.isclose(values[name], wanted, rtol=1e-9, atol=0))
        one = values.isel({name: int(found[0]) if found.size else 0}, drop=True)
        values = one if found.size else xr.full_like(one, np.nan, dtype=float)
    return values


def _largest(values: xr.DataArray) -> float:
    """Largest absolute value; NaN, unlike that of xarray, if one is."""
    return float(np.max(np.abs(values.values))) if values.size else math.nan


def _ran(values: xr.DataArray) -> xr.DataArray:
    """Values of the seeds that were run at all: a grid holds NaN where a seed has no run."""
    return values.dropna("seed", how="all")


def _mean(values: xr.DataArray) -> float:
    """Mean over seeds; NaN if one is, or if there is none."""
    entries = np.ravel(values.values)
    return float(entries.mean()) if entries.size else math.nan


def _exact(analysis: str, select: Select, statistic: Callable = _largest) -> Measure:
    return Measure(analysis, select, statistic, exact=True)


def _seed_mean(select: Select, allowed: tuple[float, float] = POSITIVE) -> Measure:
    return Measure("nngp_one_step", lambda data: _ran(select(data)), _mean, allowed)


# --- Exponents ------------------------------------------------------------------------------------


def _formula(data: xr.Dataset) -> xr.DataArray:
    """Exponents left over by the formula, and differences of the code from it."""
    return xr.concat([data["leftover"], data["coded_difference"]], "check")


def largest_rate(data: xr.Dataset, optimizer: str) -> xr.DataArray:
    """Largest |c| over the layers in muP."""
    return abs(data["rates"].sel(optimizer=optimizer, parameterization="mup", drop=True)).max()


EXPONENTS = {
    "so_table1_formula": _exact("exponents", _formula),
    "so_table1_kfac_vs_shampoo": _exact(
        "exponents",
        lambda data: largest_rate(data, "shampoo") - largest_rate(data, "kfac"),
        float,
    ),
    "so_table1_exact_rewritings": _exact("exponents", lambda data: data["rewriting_error"]),
    "so_tableA1_rows": _exact("exponents", lambda data: data["differing"], float),
}


# --- Kernel limit ---------------------------------------------------------------------------------


def gap_slopes(data: xr.Dataset) -> xr.DataArray:
    """Slope of log gap on log width, seed by seed; NaN unless all widths are known."""
    gap = xr.concat([at(data["nngp_gap"], width=width, ridge=RIDGE) for width in WIDTHS], "width")
    gap = gap.assign_coords(width=list(WIDTHS)).transpose("seed", "width")
    slopes = [loglog_slope(one, "width") if bool(one.notnull().all()) else math.nan for one in gap]
    return xr.DataArray(slopes, coords={"seed": gap["seed"].values}, dims="seed")


NNGP = {
    "so_supp_nngp_identity": _exact("nngp_one_step", lambda data: data["kernel_gap"]),
    "so_supp_nngp_gap_exponent": _seed_mean(gap_slopes, (-math.inf, math.inf)),
    "so_supp_nngp_gap_level": _seed_mean(
        lambda data: at(data["nngp_gap"], width=4096, ridge=RIDGE)
    ),
    "so_supp_nngp_recursion": _exact("nngp_one_step", lambda data: data["recursion_ratio"], _mean),
    "so_supp_nngp_hidden_frozen": _exact("nngp_one_step", lambda data: data["hidden_change"]),
    "so_supp_nngp_only_kfac_fits": _seed_mean(
        lambda data: at(data["residual_ratio"], width=1024, ridge=RIDGE)
    ),
}

THEORY: dict[str, Measure] = EXPONENTS | NNGP
