"""Figure 5: functions and representations agree at large gamma."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from regimes.plot import style
from regimes.studies.feature_strength.panels import gamma_colour, gamma_label

DEPTH = 3
PAIR_COLOURS = (style.VERMILLION, style.ORANGE, style.BLUE)
PAIR_TITLES = {
    "ultra-rich": "both ultra-rich",
    "rich": "rich and ultra-rich",
    "lazy": "lazy and ultra-rich",
}
DEPTH_MARKERS = {2: "s", 3: "o", 4: "D"}


def _scatter(axes: Axes, data: xr.Dataset, colour: str) -> None:
    x, y = data["scatter"].transpose("axis", "point").values
    axes.plot(x, y, ".", color=colour, markersize=2, alpha=0.35, markeredgewidth=0, rasterized=True)
    known = np.concatenate([x, y])
    known = known[np.isfinite(known)]
    if known.size:
        low, high = np.quantile(known, [0.002, 0.998]) + np.array([-0.1, 0.1])
        axes.plot([low, high], [low, high], **style.THEORY)
        axes.set(xlim=(low, high), ylim=(low, high))
    axes.set_aspect("equal")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(4))
    axes.annotate(
        f"$r={float(data['scatter_correlation']):.2f}$",
        (0.05, 0.96),
        xycoords="axes fraction",
        va="top",
    )
    names = [gamma_label(float(g)) for g in data["scatter_log10_gamma"].values]
    seeds = [int(s) for s in data["scatter_seed"].values]
    axes.set_xlabel(f"$f$, {names[0]}, seed {seeds[0]}")
    axes.set_ylabel(f"$f$, {names[1]}, seed {seeds[1]}")


def pair_means(pairs: xr.DataArray) -> np.ndarray:
    """Mean agreement of two gammas over pairs of different seeds.

    Networks of one seed share initial weights and data and are not independent.
    """
    mean = pairs.where(pairs["seed"] != pairs["other_seed"]).mean(["seed", "other_seed"])
    return mean.transpose("log10_gamma", "other_log10_gamma").values


def _matrix(axes: Axes, pairs: xr.DataArray) -> None:
    names = [gamma_label(g).replace(r"\gamma=", "") for g in pairs["log10_gamma"].values]
    means = pair_means(pairs)
    axes.imshow(means, cmap="cividis", vmin=0, vmax=1, origin="lower")
    for (row, column), value in np.ndenumerate(means):
        if np.isfinite(value):
            colour = "black" if value > 0.5 else "white"
            text = f"{value:.2f}"
            axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=6)
    axes.set_xticks(range(len(names)), names)
    axes.set_yticks(range(len(names)), names)
    axes.set(xlabel=r"$\gamma$", ylabel=r"$\gamma$", title="mean $r$ of outputs")
    axes.spines[:].set_visible(False)


def _alignment_end(axes: Axes, data: xr.Dataset) -> None:
    for depth in data["depth"].values:
        part = data.sel(depth=depth)
        marker = DEPTH_MARKERS.get(int(depth), "^")
        values = part["alignment_end"]
        axes.errorbar(
            10.0 ** part["log10_gamma"],
            values.mean("seed"),
            yerr=values.std("seed", ddof=1).fillna(0),
            marker=marker,
            color=style.BLUE if depth == DEPTH else style.GREEN,
            capsize=2,
            label=f"$L={int(depth)}$",
        )
        start = part["alignment_start"].mean("seed")
        axes.plot(
            10.0 ** part["log10_gamma"],
            start,
            marker=marker,
            markerfacecolor="none",
            linestyle=":",
            linewidth=0.8,
            color=style.BLUE if depth == DEPTH else style.GREEN,
        )
    axes.plot([], [], "o:", color="0.4", markerfacecolor="none", linewidth=0.8, label="step 0")
    axes.set(xscale="log", ylim=(0, 1), xlabel=r"$\gamma$", ylabel="CKA with labels, last kernel")
    axes.legend(loc="upper left")


def _alignment_in_time(axes: Axes, data: xr.Dataset) -> None:
    for gamma in data["log10_gamma"].values:
        part = data.sel(log10_gamma=gamma)
        tau, alignment = part["tau"].mean("seed"), part["alignment"]
        later = (tau > 0) & alignment.notnull().any("seed")
        colour = gamma_colour(gamma)
        axes.plot(
            tau.where(later, drop=True),
            alignment.mean("seed").where(later, drop=True),
            color=colour,
            label=gamma_label(gamma),
        )
        low, high = (
            end.where(later, drop=True) for end in (alignment.min("seed"), alignment.max("seed"))
        )
        axes.fill_between(
            tau.where(later, drop=True), low, high, color=colour, alpha=0.25, linewidth=0
        )
    axes.set(
        xscale="log",
        ylim=(0, 1),
        xlabel=r"rescaled time $\tau=\eta t/\gamma$",
        ylabel="CKA with labels, last kernel",
    )
    axes.legend(loc="upper left", handlelength=1.2, labelspacing=0.25)


def draw(analyses: dict[str, xr.Dataset]) -> Figure:
    """Scatters of outputs of three pairs, agreement of all pairs, alignment with the labels."""
    data = analyses["universality"].sortby(["log10_gamma", "other_log10_gamma"])
    chosen = data.sel(depth=DEPTH, method="nearest")
    figure = plt.figure(figsize=(style.PAGE, 4.6))
    panels = figure.subplots(2, 3)
    for axes, pair, colour in zip(panels[0], data["pair"].values, PAIR_COLOURS, strict=True):
        _scatter(axes, data.sel(pair=pair), colour)
        axes.set_title(PAIR_TITLES[str(pair)])
    _matrix(panels[1, 0], chosen["output_correlation"])
    _alignment_end(panels[1, 1], data)
    _alignment_in_time(panels[1, 2], chosen)
    for axes, letter in zip(panels.flat, "abcdef", strict=True):
        style.panel_label(axes, letter)
    return figure
