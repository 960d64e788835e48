"""How claims on a zero output layer are read (Figs. 3 and distances to the kernel, table 2).

An accuracy of a run that failed (`transfer.failed`) is unknown, and with it every number that it
enters. A setting at which all runs of both output layers failed compares nothing and is left out.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import xarray as xr

from regimes.claims import Measure
from regimes.studies.second_order_mup.transfer import mean_or_unknown, near, one, ratio_of_means
from regimes.studies.second_order_mup.zero_init import (
    best_reference,
    main_case,
    matching,
    nearest_distance,
)

POSITIVE = (0.0, math.inf)
SHARE = (0.0, 1.0)
POINTS = 100.0  # percentage points of an accuracy


def _started(data: xr.Dataset, values: xr.DataArray, cases: list[int]) -> xr.DataArray:
    """Values of some cases over the batch sizes and seeds that they were run with."""
    ran = data["ran"].isel(case=cases) > 0
    batches = ran.any(("case", "output_exponent", "seed")).values
    seeds = ran.any(("case", "output_exponent", "batch_size")).values
    chosen = {"batch_size": np.flatnonzero(batches), "seed": np.flatnonzero(seeds)}
    return values.isel(case=cases, **chosen)


def _gap(data: xr.Dataset, cases: list[int], other: float) -> xr.DataArray:
    """Test accuracy of b_L = 1 minus another in points, (case, batch_size, seed)."""
    values = _started(data, data["final_test_accuracy"], cases)
    return POINTS * (one(values, output_exponent=1.0) - one(values, output_exponent=other))


def _comparable_gaps(data: xr.Dataset) -> xr.DataArray:
    """Gaps of K-FAC between muP and zero size, (cell, seed), where not all runs failed."""
    cases = matching(data, "kfac")
    dims = ("case", "batch_size", "seed")
    gap = _gap(data, cases, 64.0).transpose(*dims)
    failed = _started(data, data["failed"], cases)
    both = one(failed, output_exponent=1.0) * one(failed, output_exponent=64.0)
    lost = (both.transpose(*dims).values == 1).all(axis=-1)
    return xr.DataArray(gap.values[~lost], {"seed": gap["seed"]}, ("cell", "seed"))


def _batch(values: xr.DataArray, full: bool) -> xr.DataArray:
    """Entry of the full or the smallest batch; NaN without a full or without a smaller one."""
    is_full = values["full"].values > 0
    found = np.flatnonzero(is_full if full else ~is_full)
    if found.size:
        return values.isel(batch_size=int(found[0]), drop=True)
    return values.sum("batch_size", min_count=1) * np.nan


def _cells(values: xr.DataArray) -> np.ndarray:
    """Mean over seeds of each cell; NaN if a seed is unknown."""
    return np.ravel(values.mean("seed", skipna=False).values)


def _smallest(values: xr.DataArray) -> float:
    """Smallest mean over seeds; NaN if one is unknown or there is none."""
    return float(np.min(_cells(values))) if values.size else math.nan


def _largest_size(values: xr.DataArray) -> float:
    """Largest absolute mean over seeds; NaN if one is unknown or there is none."""
    return float(np.max(np.abs(_cells(values)))) if values.size else math.nan


def _above_standard(data: xr.Dataset) -> xr.DataArray:
    """Accuracy gap between muP and standard size for batches of 32 and all samples."""
    gap = _gap(data, main_case(data), 0.5)
    ends = [one(gap.drop_vars("full"), batch_size=32), _batch(gap, full=True)]
    return xr.concat([each.reset_coords(drop=True) for each in ends], "batch")


def _best_everywhere(data: xr.Dataset) -> xr.DataArray:
    """Test accuracies of K-FAC over output sizes, batch sizes and seeds."""
    return _started(data, data["final_test_accuracy"], main_case(data))


def _share_best(values: xr.DataArray) -> float:
    """Share of batch sizes at which b_L = 1 has a higher mean accuracy than both others."""
    plain = values.transpose("output_exponent", ..., "seed")
    mean = plain.values.mean(axis=-1) if values.size else np.array(np.nan)
    if np.isnan(mean).any():
        return math.nan
    is_mup = near(values["output_exponent"].values, 1.0)
    return float((mean[is_mup] > mean[~is_mup].max(axis=0)).mean())


def _gap_growth(data: xr.Dataset) -> xr.DataArray:
    """Gap between muP and zero size at full batch minus that at the smallest, absolute damping."""
    gap = _gap(data, matching(data, "kfac", "absolute"), 64.0)
    return _batch(gap, full=True) - _batch(gap, full=False)


def _near_kernel(data: xr.Dataset) -> xr.DataArray:
    """Accuracy from a zero output layer minus the best of kernel ridge regression, full batch."""
    reached = _started(data, data["final_test_accuracy"] - best_reference(data), main_case(data))
    return POINTS * _batch(one(reached, output_exponent=64.0), full=True)


def _by_batch(values: Callable[[xr.Dataset], xr.DataArray], smallest: float | None = None):
    """Smallest (or a given) batch and full batch, K-FAC with absolute damping, zero output."""

    def select(data: xr.Dataset) -> xr.Dataset:
        found = _started(data, values(data), matching(data, "kfac", "absolute"))
        found = one(found, output_exponent=64.0)
        above = _batch(found, full=False)
        if smallest is not None:
            above = one(found.drop_vars("full"), batch_size=smallest)
        both = {"above": above, "below": _batch(found, full=True)}
        return xr.Dataset({name: each.reset_coords(drop=True) for name, each in both.items()})

    return select


ZERO_INIT: dict[str, Measure] = {
    "so_fig3_zero_init_near_nngp": Measure(
        "zero_init", _near_kernel, mean_or_unknown, (-POINTS, POINTS)
    ),
    "so_table2_kfac_mup_above_sp": Measure(
        "zero_init", _above_standard, _smallest, (-POINTS, POINTS)
    ),
    "so_table2_kfac_mup_best": Measure(
        "zero_init", _best_everywhere, _share_best, SHARE, interval="bootstrap"
    ),
    "so_table2_kfac_mup_not_below_zero": Measure(
        "zero_init", _comparable_gaps, _smallest, (-POINTS, POINTS)
    ),
    "so_table2_kfac_gap_grows_with_batch": Measure(
        "zero_init", _gap_growth, mean_or_unknown, (-2 * POINTS, 2 * POINTS)
    ),
    "so_table2_sgd_no_gap": Measure(
        "zero_init",
        lambda data: _gap(data, matching(data, "sgd"), 64.0),
        _largest_size,
        (0.0, POINTS),
    ),
    "so_table2_shampoo_no_gap": Measure(
        "zero_init",
        lambda data: _batch(_gap(data, matching(data, "shampoo"), 64.0), full=True),
        _largest_size,
        (0.0, POINTS),
    ),
    "so_supp_nngp_feature_change_batch": Measure(
        "zero_init", _by_batch(lambda data: data["feature_change"], 32), ratio_of_means, POSITIVE
    ),
    "so_supp_nngp_distance_batch": Measure(
        "zero_init", _by_batch(nearest_distance), ratio_of_means, POSITIVE
    ),
}
