"""How claims on wide word and image models are read off: losses, accuracies, learning rates."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import xarray as xr

from regimes.claims import Measure
from regimes.studies.second_order_mup.accuracies import differences
from regimes.studies.second_order_mup.analyses.accuracy_by_width import PUBLISHED_SP
from regimes.studies.second_order_mup.analyses.lr_robustness import share_above
from regimes.studies.second_order_mup.analyses.wider import (
    share_ordered,
    smallest_gain,
    widest_over_best,
)
from regimes.studies.second_order_mup.transfer import mean_or_unknown, near

SHARE = (0.0, 1.0)
POSITIVE = (0.0, math.inf)
POINTS = (-100.0, 100.0)
WORDS = ("cbow_shampoo", "cbow_kfac")
IMAGES = ("image_kfac",)
GROWING = ("vgg19_shampoo", "resnet18_kfac")


def smallest(dim: str, rule: Callable[[xr.DataArray], float]) -> Callable[[xr.DataArray], float]:
    """Statistic that is the smallest of a rule's numbers along a dimension, NaN if one is."""

    def statistic(values: xr.DataArray) -> float:
        return float(np.min([rule(values.isel({dim: i})) for i in range(values.sizes[dim])]))

    return statistic


# --- Figure 4 ------------------------------------------------------------------------------------


def _wider(
    variable: str,
    panels: Sequence[str],
    parameterization: str,
    rule: Callable[[xr.DataArray], float],
    limits: tuple[float, float],
) -> Measure:
    """Smallest number over some panels, over the seeds that were run."""

    def select(data: xr.Dataset) -> xr.DataArray:
        values = data[variable]
        if "step" in values.dims:
            values = values.where(data["whole_epoch"] == 1)
        chosen = values.sel(panel=list(panels), parameterization=parameterization)
        return chosen.dropna("seed", how="all")

    return Measure("wider", select, smallest("panel", rule), limits)


def _ordered(panels: Sequence[str]) -> Measure:
    return _wider("train_loss", panels, "mup", share_ordered, SHARE)


def _widest(panels: Sequence[str]) -> Measure:
    return _wider("final_loss", panels, "sp", widest_over_best, POSITIVE)


FIG4 = {
    "so_fig4_cnn_mup_monotone": _ordered(IMAGES),
    "so_fig4_cnn_sp_widest_not_best": _widest(IMAGES),
    "so_fig4_cbow_mup_monotone": _ordered(WORDS),
    "so_fig4_cbow_sp_widest_not_best": _widest(WORDS),
    "so_fig4_analogy_not_decreasing": _wider("final_analogy", WORDS, "mup", smallest_gain, POINTS),
}

# --- Figure 5 ------------------------------------------------------------------------------------


def _robust(strictly: bool) -> Measure:
    def select(data: xr.Dataset) -> xr.Dataset:
        return data[["test_accuracy", "diverged"]]

    return Measure("lr_robustness", select, lambda d: share_above(d, strictly), SHARE)


FIG5 = {
    "so_fig5_resnet50_mup_above_sp": _robust(strictly=True),
    "so_fig5_small_resnet_mup_above_sp": _robust(strictly=False),
}

# --- Table 3 -------------------------------------------------------------------------------------


def at_widths(values: xr.DataArray, wanted: Sequence[float]) -> xr.DataArray:
    """Values at all of some widths, over the seeds that were run with one of them."""
    places = [int(np.flatnonzero(near(values["width"].values, w))[0]) for w in wanted]
    return values.isel(width=places).dropna("seed", how="all")


def _row(data: xr.Dataset, row: str) -> xr.DataArray:
    """Test accuracy of a row over the widths and seeds that it was run with."""
    accuracy = data["test_accuracy"].sel(row=row, drop=True)
    return accuracy.dropna("width", how="all").dropna("seed", how="all")


def _level(row: str) -> Measure:
    """Largest distance from the published levels under SP, in points."""
    published = PUBLISHED_SP[row]
    wanted = np.array(list(published.values()))

    def select(data: xr.Dataset) -> xr.DataArray:
        accuracy = data["test_accuracy"].sel(row=row, parameterization="sp", drop=True)
        return 100 * at_widths(accuracy, list(published))

    def statistic(values: xr.DataArray) -> float:
        mean = values.mean("seed").transpose("width").values
        return float(abs(mean - wanted).max())

    return Measure("accuracy_by_width", select, statistic, (0.0, 100.0))


def _gain(row: str, widths: Sequence[float]) -> Measure:
    """Mean over seeds and widths of muP minus SP in points."""

    def select(data: xr.Dataset) -> xr.DataArray:
        return at_widths(differences(data["test_accuracy"].sel(row=row, drop=True)), widths)

    return Measure("accuracy_by_width", select, lambda v: mean_or_unknown(v.mean("seed")), POINTS)


def _smallest_gain_from(row: str, narrowest: float) -> Measure:
    """Smallest mean over seeds of muP minus SP among the widths from one up."""

    def select(data: xr.Dataset) -> xr.DataArray:
        accuracy = _row(data, row)
        return differences(accuracy.sel(width=accuracy["width"] >= narrowest))

    def statistic(values: xr.DataArray) -> float:
        means = values.mean("seed").values
        return float(means.min()) if means.size else math.nan

    return Measure("accuracy_by_width", select, statistic, POINTS)


def _growth(gain: xr.DataArray) -> float:
    """Least-squares slope of the seed-mean gain (width, seed) per doubling of the width."""
    mean = gain.mean("seed").dropna("width")
    if mean.sizes["width"] < 2:
        return math.nan
    return float(np.polyfit(np.log2(mean["width"].values), mean.values, 1)[0])


def _gains_from_two(data: xr.Dataset) -> xr.DataArray:
    """Gain of muP over SP in the rows `GROWING` at width multipliers from 2 up."""
    accuracy = data["test_accuracy"].sel(row=list(GROWING))
    wide = accuracy.sel(width=accuracy["width"] >= 2)
    return differences(wide).dropna("seed", how="all")


def _widest_gain() -> Measure:
    """Gain of muP over SP at the largest width of the ResNet18 row with K-FAC."""

    def select(data: xr.Dataset) -> xr.DataArray:
        gain = differences(_row(data, "resnet18_kfac"))
        return gain.isel(width=slice(gain.sizes["width"] - 1, None)).mean("width")

    return Measure("accuracy_by_width", select, mean_or_unknown, POINTS)


TABLE3 = {
    "so_table3_vgg19_sp_levels": _level("vgg19_shampoo"),
    "so_table3_vgg19_small_width_diff": _gain("vgg19_shampoo", (1, 2)),
    "so_table3_vgg19_large_width_diff": _smallest_gain_from("vgg19_shampoo", 4),
    "so_table3_diff_grows": Measure("accuracy_by_width", _gains_from_two, smallest("row", _growth)),
    "so_table3_resnet18_w16_diff": _gain("resnet18_kfac", (16,)),
    "so_table3_resnet_widest_diff": _widest_gain(),
    "so_table3_resnet50_sp_levels": _level("resnet50"),
    "so_table3_resnet50_diff": _gain("resnet50", (1, 8)),
}

WIDER: dict[str, Measure] = {**FIG4, **FIG5, **TABLE3}
