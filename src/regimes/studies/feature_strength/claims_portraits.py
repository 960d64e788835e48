"""How the claims about phase portraits are read off the analyses.

Edges are log10 of the learning rate. They are averaged over seeds first, then a power law is
fitted in the window that the claim names; the interval comes from leaving out seeds. Edges that
the trained window cuts off are bounds and left out (`boundaries.measured_edges`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import xarray as xr

from regimes.claims import Measure
from regimes.studies.feature_strength import reading
from regimes.studies.feature_strength.boundaries import (
    GAMMA,
    WINDOWS,
    cross_entropy_panel,
    measured_edges,
    only,
    pick,
)
from regimes.studies.feature_strength.reading import POSITIVE

MLP, BOTH = "portrait_mlp", ("portrait_mlp", "portrait_cnn")
SMALLEST_LAZY, LARGEST_LAZY = WINDOWS["lazy"]

# --- Selections ----------------------------------------------------------------------------------


def inside(values: xr.DataArray, window: str) -> xr.DataArray:
    """Values in a window of log10 gamma; seeds without any value are dropped."""
    low, high = WINDOWS[window]
    kept = values.sel({GAMMA: slice(low - 1e-6, high + 1e-6)})
    return kept.dropna("seed", how="all") if kept.size else kept


def edges(boundary: str | Sequence[str], window: str, **labels) -> Callable:
    """Edges of an analysis in a window, at given labels such as loss and depth."""

    def select(data: xr.Dataset) -> xr.DataArray:
        return inside(pick(measured_edges(data).sel(boundary=boundary), **labels), window)

    return select


def panel_d_edges(boundary: str, window: str) -> Callable:
    """Edges of the cross-entropy portrait of Fig. 1d: CNN where it covers the plane, else MLP."""

    def select(analyses: Mapping[str, xr.Dataset]) -> xr.DataArray:
        _, data = cross_entropy_panel(analyses)
        return inside(measured_edges(data).sel(boundary=boundary), window)

    return select


def both_panels(boundary: str, window: str) -> Callable:
    """Edges of Fig. 1c and 1d over ``panel``, log10 gamma and seed."""

    def select(analyses: Mapping[str, xr.Dataset]) -> xr.DataArray:
        panel_c = pick(analyses[MLP], loss="mse", depth=3)
        _, panel_d = cross_entropy_panel(analyses)
        each = [measured_edges(p).sel(boundary=boundary) for p in (panel_c, panel_d)]
        each = [edge.drop_vars(set(edge.coords) - {GAMMA, "seed"}) for edge in each]
        return inside(xr.concat(each, dim="panel", join="outer"), window)

    return select


def cnn_edges(boundary: str, window: str, loss: str) -> Callable:
    """Edges of the CNN portrait of one loss."""

    def select(data: xr.Dataset) -> xr.DataArray:
        return inside(measured_edges(only(data, loss)).sel(boundary=boundary), window)

    return select


def lazy_upper(data: xr.Dataset) -> xr.DataArray:
    """opt_max where the portrait was trained with the squared loss, else nocat_max."""
    loss, boundary = ("mse", "opt_max")
    if "mse" not in data["loss"].values:
        loss, boundary = ("cross_entropy", "nocat_max")
    return cnn_edges(boundary, "lazy", loss)(data)


def band(window: str, **labels) -> Callable:
    """log10(opt_max/opt_min) over log10 gamma and seed."""

    def select(data: xr.Dataset) -> xr.DataArray:
        both = pick(measured_edges(data), **labels)
        upper, lower = (both.sel(boundary=name, drop=True) for name in ("opt_max", "opt_min"))
        return inside(upper - lower, window)

    return select


def closed_band(data: xr.Dataset) -> xr.DataArray:
    """log10(opt_max/opt_min) at gamma = 1e4 for depth 4; 0 where no learning rate trains."""
    one = pick(data, loss="mse", depth=4)
    one = one.reindex({GAMMA: [4.0]}, method="nearest", tolerance=1e-6).isel({GAMMA: 0})
    measured = measured_edges(one)
    gap = measured.sel(boundary="opt_max", drop=True) - measured.sel(boundary="opt_min", drop=True)
    empty = one["window_high"].notnull() & one["edge"].sel(boundary="opt_max", drop=True).isnull()
    return xr.where(empty, 0.0, gap)


def initial_deviation(analyses: Mapping[str, xr.Dataset]) -> xr.DataArray:
    """Largest relative deviation of the first loss, over the portraits of Fig. 1."""
    networks = pick(analyses["portrait_cnn"], loss="cross_entropy")["initial_deviation"]
    parts = [analyses[MLP]["initial_deviation"], networks]
    return xr.concat([part.max().drop_vars(part.coords, errors="ignore") for part in parts], "part")


def opened_by_time(data: xr.Dataset) -> xr.DataArray:
    """log10(opt_min at T/4 / opt_min at T) per feature strength and seed, squared loss, L = 3."""
    one = pick(data, loss="mse", depth=3)
    early = one["edge_early"].sel(boundary="opt_min", drop=True)
    return inside(early - measured_edges(one).sel(boundary="opt_min", drop=True), "rich")


def across(dim: str) -> Callable:
    """opt_max against width or batch size, the other at the value combined with most of them."""

    def select(data: xr.Dataset) -> xr.DataArray:
        other = {"width": "batch_size", "batch_size": "width"}[dim]
        edge = measured_edges(data).sel(boundary="opt_max", drop=True)
        known = data["window_high"].notnull().any([GAMMA, "seed"])
        return edge.isel({other: int(known.sum(dim).values.argmax())}, drop=True)

    return select


# --- Statistics of values over seeds -------------------------------------------------------------


def slopes(values: xr.DataArray) -> xr.DataArray:
    """Exponent of the edges averaged over seeds, all feature strengths that were selected."""
    return reading.slopes(values.mean("seed"))


def slope(values: xr.DataArray) -> float:
    """Exponent as a number."""
    return float(slopes(values))


def slope_of_six(values: xr.DataArray) -> float:
    """Exponent of at least six feature strengths, else NaN."""
    known = int(values.notnull().any("seed").sum())
    return slope(values) if known >= 6 else float("nan")


def farthest(reference: float) -> Callable[[xr.DataArray], float]:
    """Of the exponents of several edges the one farthest from a reference; NaN if one lacks."""

    def statistic(values: xr.DataArray) -> float:
        found = np.ravel(slopes(values).values)
        if not np.isfinite(found).all():
            return float("nan")
        return float(found[np.argmax(np.abs(found - reference))])

    return statistic


def largest_error(exponent: Callable[[xr.DataArray], xr.DataArray | float]) -> Callable:
    """Largest |exponent - theory| over several edges; NaN if one could not be fitted."""

    def statistic(values: xr.DataArray) -> float:
        return float(abs(slopes(values) - exponent(values)).max(skipna=False))

    return statistic


def mean(values: xr.DataArray) -> float:
    """Mean over seeds, then over everything else; NaN if a cell is missing."""
    return reading.mean_of_cells(values)


def lazy_level(values: xr.DataArray) -> float:
    """Mean of log10(eta/gamma^2); NaN if a feature strength is missing."""
    return reading.mean_of_cells(values - 2 * values[GAMMA])


def slope_difference(values: xr.DataArray) -> float:
    """Exponent of the squared loss minus that of cross-entropy."""
    found = slopes(values)
    return float(found.sel(loss="mse") - found.sel(loss="cross_entropy"))


def largest_minus_smallest_batch(values: xr.DataArray) -> float:
    """Mean over feature strengths of log10(edge at the largest batch / at the smallest)."""
    means = values.mean("seed").dropna("batch_size", how="all")
    return float((means.sel(batch_size=256) - means.sel(batch_size=16)).mean(skipna=False))


def spread_over_width(values: xr.DataArray) -> float:
    """Mean over feature strengths of largest minus smallest log10 edge among the widths."""
    means = values.mean("seed").sel(width=[32, 64, 128])
    spread = means.max("width", skipna=False) - means.min("width", skipna=False)
    return float(spread.mean(skipna=False))


# --- Measures ------------------------------------------------------------------------------------

L3 = {"loss": "mse", "depth": 3}
XENT = {"loss": "cross_entropy", "depth": 3}


def _of_depth(values: xr.DataArray) -> xr.DataArray:
    return 2 / values["depth"]


FIG1 = {
    "fs_fig1_initial_loss": Measure(
        BOTH, initial_deviation, lambda v: float(v.max()), POSITIVE, exact=True
    ),
    "fs_fig1_mse_optmax_lazy": Measure(MLP, edges("opt_max", "lazy", **L3), slope),
    "fs_fig1_mse_optmax_rich": Measure(MLP, edges("opt_max", "rich", **L3), slope_of_six),
    "fs_fig1_optmin_lazy": Measure(BOTH, both_panels("opt_min", "lazy"), farthest(2)),
    "fs_fig1_optmin_rich": Measure(BOTH, both_panels("opt_min", "rich"), farthest(1)),
    "fs_fig1_mse_band_closes": Measure(MLP, band("rich", **L3), slope),
    "fs_fig1_mse_etastar_lazy": Measure(MLP, edges("eta_star", "lazy", **L3), slope),
    "fs_fig1_mse_etastar_rich": Measure(MLP, edges("eta_star", "rich_long", **L3), slope),
    "fs_fig1_mse_level_lazy": Measure(MLP, edges("opt_max", "lazy", **L3), lazy_level),
    "fs_fig1_xent_eta_crit_lazy": Measure(BOTH, panel_d_edges("nocat_max", "lazy"), slope),
    "fs_fig1_xent_eta_max_lazy": Measure(BOTH, panel_d_edges("accuracy_max", "lazy"), slope),
    "fs_fig1_xent_optmax_rich": Measure(MLP, edges("opt_max", "rich_long", **XENT), slope),
    "fs_fig1_xent_optmax_rich_cnn": Measure(
        "portrait_cnn", cnn_edges("opt_max", "rich", "cross_entropy"), slope
    ),
    "fs_fig1_xent_etastar_lazy": Measure(BOTH, panel_d_edges("eta_star", "lazy"), slope),
    "fs_fig1_xent_etastar_rich": Measure(MLP, edges("eta_star", "rich_long", **XENT), slope),
    "fs_fig1_loss_sets_shape": Measure(
        MLP,
        edges("accuracy_max", "lazy", loss=["mse", "cross_entropy"], depth=3),
        slope_difference,
    ),
}

FOLLOWUP = {
    "fs_supp_followup_portrait_level": Measure(
        "portrait_followup", cnn_edges("finite_max", "lazy", "mse"), lazy_level
    ),
}

FIGA1 = {
    "fs_figA1_optmax_lazy_depths": Measure(
        MLP,
        edges("opt_max", "lazy", loss="mse", depth=[2, 4]),
        largest_error(lambda v: 2),
        POSITIVE,
    ),
    "fs_figA1_optmax_rich_depths": Measure(
        MLP, edges("opt_max", "rich", loss="mse", depth=[2, 4]), largest_error(_of_depth), POSITIVE
    ),
    "fs_figA1_optmin_l2": Measure(MLP, edges("opt_min", "rich", loss="mse", depth=2), slope),
    "fs_figA1_optmin_l4": Measure(MLP, edges("opt_min", "rich", loss="mse", depth=4), slope),
    "fs_figA1_triangle_closes_l4": Measure(MLP, closed_band, mean, POSITIVE),
    "fs_figA1_etastar_l2": Measure(
        MLP, edges("eta_star", "ultra_rich", loss="mse", depth=2), slope
    ),
    "fs_figA1_etastar_l4": Measure(
        MLP, edges("eta_star", "ultra_rich", loss="mse", depth=4), slope
    ),
    "fs_figA1_xent_mlp_rich": Measure(MLP, edges("opt_max", "rich_long", **XENT), slope),
    "fs_figA1_cnn_mse_lazy": Measure("portrait_cnn", cnn_edges("opt_max", "lazy", "mse"), slope),
    "fs_figA1_cnn_mse_rich": Measure("portrait_cnn", cnn_edges("opt_max", "rich", "mse"), slope),
    "fs_figA1_resnet_lazy": Measure("portrait_resnet", lazy_upper, slope),
    "fs_figA1_vit_lazy": Measure("portrait_vit", lazy_upper, slope),
}

SIGN = {"loss": "mse", "depth": 3}
FIGA7 = {
    "fs_figA7_mlp_lazy": Measure(
        "portrait_sign",
        edges(["opt_max", "eta_star"], "lazy", **SIGN),
        largest_error(lambda v: 1),
        POSITIVE,
    ),
    "fs_figA7_mlp_rich": Measure(
        "portrait_sign",
        edges(["opt_max", "eta_star"], "rich_all", **SIGN),
        largest_error(lambda v: 1 / 3),
        POSITIVE,
    ),
    "fs_figA7_mlp_no_triangle": Measure("portrait_sign", band("rich_all", **SIGN), slope),
}

FIGA8 = {
    "fs_figA8_batch": Measure(
        "portrait_batch_width", across("batch_size"), largest_minus_smallest_batch
    ),
    "fs_figA8_width_transfer": Measure(
        "portrait_batch_width", across("width"), spread_over_width, POSITIVE
    ),
    "fs_figA8_time_opens": Measure(MLP, opened_by_time, mean),
}

PORTRAITS: dict[str, Measure] = {**FIG1, **FOLLOWUP, **FIGA1, **FIGA7, **FIGA8}
