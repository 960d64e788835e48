"""How the claims of figures 2, 3, 5, A4 and A10 are read off the analyses; see `claims`."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import xarray as xr
from scipy import stats

from regimes.claims import Measure
from regimes.studies.feature_strength import theory
from regimes.studies.feature_strength.edges import CATAPULT_ABOVE
from regimes.studies.feature_strength.reading import (
    POSITIVE,
    SHARE,
    largest_cell,
    mean_of_cells,
    range_of_cells,
    slopes,
)

DIFFERENCE = (-1.0, 1.0)  # of two accuracies or two similarities
NEAR = 0.25  # decades by which a gamma of the data may differ from the one named in a claim
LAZY = (-np.inf, -2.0)
RICH = (1.0, np.inf)
ULTRA_RICH = (2.0, np.inf)


# --- Parts of an analysis -----------------------------------------------------------------------


def between(
    values: xr.DataArray, window: tuple[float, float], dim: str = "log10_gamma"
) -> xr.DataArray:
    """Values with log10 gamma in a closed window; one cell of NaN if the data have none there."""
    x = values[dim].values
    inside = np.flatnonzero((x >= window[0] - 1e-9) & (x <= window[1] + 1e-9))
    return values.isel({dim: inside}) if inside.size else values.isel({dim: [0]}).where(False)


def at(values: xr.DataArray, log10_gamma: float, dim: str = "log10_gamma") -> xr.DataArray:
    """Values at one gamma, NaN if the data have none within `NEAR` decades."""
    distance = np.abs(values[dim].values - log10_gamma)
    return values.isel({dim: distance.argmin()}, drop=True).where(distance.min() <= NEAR)


def of_depth(values: xr.DataArray, depth: int, dim: str = "depth") -> xr.DataArray:
    """Values at one depth, NaN if the data do not hold it."""
    distance = np.abs(values[dim].values - depth)
    return values.isel({dim: distance.argmin()}, drop=True).where(distance.min() == 0)


# --- Statistics ---------------------------------------------------------------------------------


def slope(values: xr.DataArray) -> float:
    """Exponent of gamma in the seed mean (of log10) of positive values, over all their gammas.

    Values that are not positive are unknown.
    """
    return float(slopes(np.log10(values.where(values > 0)).mean("seed")))


def slope_error(regime: str) -> Callable[[xr.Dataset], float]:
    """Largest distance of sharpness exponents of depths (variables ``L2``, ``L4``) from theory."""

    def statistic(data: xr.Dataset) -> float:
        errors = [
            abs(slope(values) - theory.sharpness_exponent(regime, int(str(name)[1:])))
            for name, values in data.items()
        ]
        return float(np.max(errors))

    return statistic


def other(pairs: xr.DataArray) -> xr.DataArray:
    """Pairs of networks of different seeds, both of them present.

    Networks of one seed share initial weights and data: they are not independent, whatever their
    gammas. Leaving out a seed (jackknife) has to remove it on either side of the pairs.
    """
    pairs = pairs.sel(other_seed=pairs["seed"].values)
    return pairs.where(pairs["seed"] != pairs["other_seed"])


def pair_cells(pairs: xr.DataArray, reduce: str = "mean") -> xr.DataArray:
    """Mean (or ``min``, ``max``) over the pairs of seeds of each two gammas that a claim names."""
    return getattr(pairs, reduce)(["seed", "other_seed"])


def ultra_rich_pairs(pairs: xr.DataArray) -> xr.DataArray:
    """Pairs with both gammas in 100, 1000 (or above)."""
    return between(between(pairs, ULTRA_RICH), ULTRA_RICH, "other_log10_gamma")


def lazy_rich_pairs(pairs: xr.DataArray) -> xr.DataArray:
    """Pairs of gamma = 0.01 with gamma >= 1."""
    return at(between(pairs, (0.0, np.inf), "other_log10_gamma"), -2.0)


def _gap(pairs: xr.DataArray) -> float:
    pairs = other(pairs)
    rich, lazy = pair_cells(ultra_rich_pairs(pairs)), pair_cells(lazy_rich_pairs(pairs))
    return float(rich.mean(skipna=False) - lazy.mean(skipna=False))


def _ordered(accuracy: xr.DataArray) -> float:
    """Mean over seeds of the rank correlation of accuracy with gamma."""
    columns = accuracy.transpose("seed", "log10_gamma").values
    known = columns[np.isfinite(columns).all(axis=1)]
    if columns.shape[1] < 2 or not len(known):
        return float("nan")
    order = accuracy["log10_gamma"].values
    return float(np.mean([stats.spearmanr(order, seed).statistic for seed in known]))


def _growth_between(end: xr.DataArray) -> float:
    """Plateau of the largest gamma at which all seeds leave it, over that of gamma = 1."""
    missing = end.notnull().sum("seed") < end.notnull().any("log10_gamma").sum("seed")
    mean = end.mean("seed").where(~missing)
    left = mean.dropna("log10_gamma")
    if not left.sizes["log10_gamma"]:
        return float("nan")
    return float(left.sortby("log10_gamma").isel(log10_gamma=-1) / at(mean, 0.0))


def _alignment_ratio(end: xr.DataArray) -> float:
    return mean_of_cells(between(end, RICH)) / mean_of_cells(between(end, LAZY))


def _largest_below_critical(values: xr.DataArray) -> float:
    """Largest cell; of a gamma's candidates those above eta_crit are NaN and do not count."""
    return float(values.mean("seed").max("candidate").max(skipna=False))


def _outliers(rank: xr.DataArray) -> float:
    """Median over seeds and gammas; NaN if a gamma is missing."""
    return float(rank.median()) if rank.notnull().any("seed").all() else float("nan")


# --- Measures -----------------------------------------------------------------------------------


def _longest(name: str) -> Callable[[xr.Dataset], xr.DataArray]:
    return lambda d: d[name].sel(budget=d["budget"].max(), drop=True)


def _compared(values: xr.DataArray, window: tuple[float, float]) -> xr.Dataset:
    """Values at gamma = 1 and at the gammas of a window."""
    return xr.Dataset({"one": at(values, 0.0), "others": between(values, window)})


DECADES = (1.0, 3.0)  # gamma = 10, 100, 1000

FIGURE_2 = {
    "fs_fig2_plateau_growth": Measure(
        "loss_curves", lambda d: between(d["plateau_end"], (1.0, 4.0)), slope
    ),
    "fs_fig2_plateau_growth_cnn": Measure(
        "loss_curves", lambda d: between(d["plateau_end"], RICH), slope
    ),
    "fs_fig2_plateau_flat": Measure(
        "loss_curves", lambda d: between(d["excursion"], RICH), largest_cell, POSITIVE
    ),
    "fs_fig2_tail_steeper": Measure(
        "loss_curves",
        lambda d: at(d["tail_exponent"], 2.0) - at(d["tail_exponent"], -2.0),
        mean_of_cells,
    ),
    "fs_fig2_lazy_worse": Measure(
        "equal_time",
        lambda d: _compared(_longest("test_loss")(d), (-2.0, -2.0)),
        lambda d: mean_of_cells(d["others"]) / mean_of_cells(d["one"]),
        POSITIVE,
    ),
    "fs_fig2_ultrarich_matches": Measure(
        "equal_time",
        lambda d: _compared(_longest("test_loss")(d), DECADES),
        lambda d: largest_cell(d["others"]) / mean_of_cells(d["one"]),
        POSITIVE,
    ),
    "fs_fig2_acc_flat": Measure(
        "equal_time",
        lambda d: _compared(_longest("accuracy")(d), DECADES),
        lambda d: mean_of_cells(d["others"]) - mean_of_cells(d["one"]),
        DIFFERENCE,
    ),
    "fs_fig2_acc_gain": Measure(
        "equal_time",
        lambda d: _compared(_longest("accuracy")(d), (1e-6, np.inf)),
        lambda d: largest_cell(d["others"]) - mean_of_cells(d["one"]),
        DIFFERENCE,
    ),
    "fs_fig2_acc_rises": Measure(
        "equal_time",
        lambda d: between(_longest("accuracy")(d), (-2.0, 0.0)),
        _ordered,
        DIFFERENCE,
    ),
    "fs_fig2_acc_short_time": Measure(
        "equal_time",
        lambda d: _compared(
            d["accuracy"].sel(budget=d["budget"].min(), drop=True),
            (float(d["log10_gamma"].max()), np.inf),
        ),
        lambda d: mean_of_cells(d["one"]) - mean_of_cells(d["others"]),
        DIFFERENCE,
    ),
}


def _mlp(name: str, window: tuple[float, float], depth: int = 3) -> Callable:
    return lambda d: between(of_depth(d[name], depth), window)


def _single(name: str, window: tuple[float, float]) -> Callable:
    """Variable of an analysis that holds one depth."""
    return lambda d: between(d[name].isel(depth=0, drop=True), window)


def _spectral(name: str, window: tuple[float, float], below_critical: bool = False) -> Callable:
    """Read what follows from the spectra of depth 3, of gammas with runs below eta_crit only."""

    def select(data: xr.Dataset) -> xr.DataArray:
        values = between(of_depth(data[name], 3, "spectrum_depth"), window)
        if not below_critical:
            return values
        below = between(of_depth(data["peak_ratio"], 3), window) < CATAPULT_ABOVE
        values = values.where(below)
        # A gamma above eta_crit is not one that the claim names, unless it is all there is.
        return values.isel(log10_gamma=below.any("seed").values) if below.any() else values

    return select


def _sharpening(data: xr.Dataset) -> xr.DataArray:
    ratio = data["sharpness_end"] / data["early_sharpness"]
    return between(of_depth(ratio, 3), ULTRA_RICH)


FIGURE_3 = {
    "fs_fig3_init_lazy": Measure("curvature", _mlp("sharpness_start", LAZY), slope),
    "fs_fig3_init_rich": Measure("curvature", lambda d: abs(_mlp("extreme_start", RICH)(d)), slope),
    "fs_fig3_final_lazy": Measure("curvature", _mlp("sharpness_end", LAZY), slope),
    "fs_fig3_final_rich": Measure("curvature", _mlp("sharpness_end", RICH), slope),
    "fs_fig3_final_rich_cnn": Measure("curvature_cnn", _single("sharpness_end", RICH), slope),
    "fs_fig3_final_at_edge": Measure("curvature", _mlp("edge_ratio_end", RICH), mean_of_cells),
    "fs_fig3_rich_sharpens": Measure(
        "curvature", _sharpening, lambda v: float(v.mean("seed").median(skipna=False))
    ),
    "fs_fig3_lazy_constant": Measure(
        "curvature", _spectral("spectrum_change", LAZY, True), largest_cell, POSITIVE
    ),
    "fs_fig3_lazy_outliers": Measure(
        "curvature", _spectral("outliers", LAZY), _outliers, (2.0, 40.0), interval="bootstrap"
    ),
    "fs_fig3_rich_many_large": Measure(
        "curvature",
        _spectral("large_count", ULTRA_RICH),
        mean_of_cells,
        (0.0, 50.0),  # the spectra keep their 50 largest eigenvalues
    ),
}


def _depth_three(name: str) -> Callable[[xr.Dataset], xr.DataArray]:
    return lambda d: of_depth(d[name], 3)


def _only_depth(name: str) -> Callable[[xr.Dataset], xr.DataArray]:
    """Depth 3, or the first depth of data that lack it (networks for images)."""
    return lambda d: d[name].isel(depth=int(np.abs(d["depth"].values - 3).argmin()), drop=True)


def _one_with_ultra_rich(pairs: xr.DataArray) -> float:
    ultra_rich = between(other(pairs), ULTRA_RICH, "other_log10_gamma")
    return float(pair_cells(at(ultra_rich, 0.0)).mean(skipna=False))


FIGURE_5 = {
    "fs_fig5_r_ultrarich": Measure(
        "universality",
        _only_depth("output_correlation"),
        lambda r: float(pair_cells(ultra_rich_pairs(other(r)), "min").min(skipna=False)),
        DIFFERENCE,
    ),
    "fs_fig5_r_one_ultrarich": Measure(
        "universality",
        _only_depth("output_correlation"),
        _one_with_ultra_rich,
        DIFFERENCE,
    ),
    "fs_fig5_r_lazy_rich": Measure(
        "universality",
        _depth_three("output_correlation"),
        lambda r: float(pair_cells(lazy_rich_pairs(other(r)), "max").max(skipna=False)),
        DIFFERENCE,
    ),
    "fs_fig5_r_gap": Measure("universality", _only_depth("output_correlation"), _gap, (-2.0, 2.0)),
    "fs_fig5_kernel_agreement": Measure(
        "universality", _only_depth("kernel_similarity"), _gap, DIFFERENCE
    ),
    "fs_fig5_cka_flat": Measure(
        "universality",
        lambda d: between(_only_depth("alignment_end")(d), RICH),
        range_of_cells,
        SHARE,
    ),
    "fs_fig5_cka_ratio": Measure(
        "universality", _depth_three("alignment_end"), _alignment_ratio, POSITIVE
    ),
    "fs_fig5_cka_ratio_images": Measure(
        "universality", _only_depth("alignment_end"), _alignment_ratio, POSITIVE
    ),
    "fs_fig5_cka_ratio_l2": Measure(
        "universality", lambda d: of_depth(d["alignment_end"], 2), _alignment_ratio, POSITIVE
    ),
}

FIGURE_A4 = {
    "fs_figA4_vit_plateau": Measure(
        "plateau_vit", lambda d: between(d["excursion"], ULTRA_RICH), largest_cell, POSITIVE
    ),
    "fs_figA4_vit_plateau_grows": Measure(
        "plateau_vit", lambda d: d["plateau_end"], _growth_between, POSITIVE
    ),
    "fs_figA4_vit_lazy": Measure(
        "plateau_vit",
        lambda d: between(d["kernel_change"].where(d["peak_ratio"] < CATAPULT_ABOVE), LAZY),
        _largest_below_critical,
        SHARE,
    ),
}


def _depths(name: str, window: tuple[float, float]) -> Callable[[xr.Dataset], xr.Dataset]:
    return lambda d: xr.Dataset(
        {f"L{depth}": between(of_depth(d[name], depth), window) for depth in (2, 4)}
    )


FIGURE_A10 = {
    "fs_figA10_init_lazy_depths": Measure(
        "curvature", _depths("sharpness_start", LAZY), slope_error("lazy"), POSITIVE
    ),
    "fs_figA10_final_lazy_depths": Measure(
        "curvature", _depths("sharpness_end", LAZY), slope_error("lazy"), POSITIVE
    ),
    "fs_figA10_final_rich_depths": Measure(
        "curvature", _depths("sharpness_end", RICH), slope_error("rich"), POSITIVE
    ),
    "fs_figA10_edge_depths": Measure(
        "curvature",
        _depths("edge_ratio_end", RICH),
        lambda d: float(np.min([mean_of_cells(values) for values in d.values()])),
    ),
    "fs_figA10_vit_init_lazy": Measure("curvature_vit", _single("sharpness_start", LAZY), slope),
}

SPECTRA: dict[str, Measure] = FIGURE_2 | FIGURE_3 | FIGURE_5 | FIGURE_A4 | FIGURE_A10
