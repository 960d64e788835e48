"""Figure A6: catapults of the two-weight model, trajectories, portraits, durations."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, NullLocator

from regimes.plot import style
from regimes.studies.feature_strength import theory
from regimes.studies.feature_strength.figures.fig6 import (
    DIVERGED,
    ETA,
    GAMMA,
    HIGHER,
    TITLES,
    loss_map,
)
from regimes.studies.feature_strength.panels import gamma_label

LOWEST_LOSS = 1e-12  # below it only rounding is left
HIGHEST_LOSS = {"mse": 1e6, "cross_entropy": 1e2}  # runs that diverge leave the panel
# Threshold: dashes of its theory line, marker, name.
LINES = {
    "eta_max": ((0, (1, 1.3)), "^", r"$\eta_{\max}$"),
    "eta_crit": ((0, (5, 2)), "s", r"$\eta_{\mathrm{crit}}$"),
}


def _colours(count: int) -> list:
    return [mpl.colormaps["viridis"](share) for share in np.linspace(0, 0.88, count)]


def _trajectories(axes: Axes, values: xr.DataArray) -> None:
    """One line per learning rate; steps on a logarithmic axis, each drawn one later."""
    for colour, multiple in zip(
        _colours(values.sizes["multiple"]), values["multiple"].values, strict=True
    ):
        line = values.sel(multiple=multiple)
        axes.plot(line["shown_step"] + 1, line, color=colour, linewidth=0.8)
    axes.set(xscale="log", yscale="log", xlabel=r"step $+\,1$")


def _losses(axes: Axes, data: xr.Dataset, loss: str) -> None:
    values = data["shown_loss"].sel(loss=loss)
    # A line ends where only rounding is left.
    _trajectories(axes, values.where(values > LOWEST_LOSS))
    axes.set(
        ylabel="excess loss", ylim=(LOWEST_LOSS, HIGHEST_LOSS[loss]),
        title=f"{TITLES[loss]}, {_gamma(data)}",
    )  # fmt: skip


def _gamma(data: xr.Dataset) -> str:
    return gamma_label(float(data["shown_log10_gamma"]))


def _squares(axes: Axes, data: xr.Dataset, loss: str) -> None:
    """u^2 + v^2, with the largest value at which a minimiser is stable at each rate."""
    values = data["shown_square"].sel(loss=loss)
    _trajectories(axes, values)
    for colour, multiple in zip(
        _colours(values.sizes["multiple"]), values["multiple"].values, strict=True
    ):
        if multiple > 1 and np.isfinite(values.sel(multiple=multiple)).all():
            axes.axhline(1 / multiple, **{**style.THEORY, "linewidth": 0.8}, zorder=1)
            axes.plot(values["shown_step"][-1] + 1, 1 / multiple, "o", color=colour, markersize=3)
    axes.set(ylabel=r"$u^2+v^2$", ylim=(0.03, 10), title=f"{TITLES[loss]}, {_gamma(data)}")


def _portrait(axes: Axes, data: xr.Dataset, loss: str):
    image = loss_map(axes, data["relative_loss"].sel(loss=loss))
    x = np.linspace(float(data[GAMMA].min()), float(data[GAMMA].max()), 51)
    laws = {"eta_crit": theory.pair_threshold, "eta_max": theory.pair_divergence}
    for name, (dashes, marker, _) in LINES.items():
        axes.plot(x, np.log10(laws[name](10**x, loss)), **{**style.THEORY, "linestyle": dashes})
        edge = data["edge"].sel(quantity=name, loss=loss)
        axes.plot(
            edge[GAMMA],
            edge,
            marker,
            markersize=3.5,
            markerfacecolor=style.ORANGE,
            markeredgecolor="black",
            markeredgewidth=0.4,
            linestyle="none",
        )
    axes.set(
        xlabel=r"$\log_{10}\gamma$",
        ylabel=r"$\log_{10}\eta$",
        title=f"{TITLES[loss]}, $T={int(data['steps'])}$",
        ylim=(float(data[ETA].min()), float(data[ETA].max())),
    )
    return image


def _durations(axes: Axes, data: xr.Dataset) -> None:
    """Steps of cross-entropy catapults and the law (gamma/eta)^2 through their mean."""
    steps = data["duration"].sel(loss="cross_entropy").dropna("log10_ratio")
    steps = steps.where(steps > 0).dropna("log10_ratio")
    axes.set(
        xlabel=r"$\eta/\gamma$",
        ylabel="steps of catapult",
        title=f"cross-entropy, {gamma_label(float(data['duration_log10_gamma']))}",
    )
    if not steps.size:  # a logarithmic axis needs data
        axes.text(0.5, 0.5, "no catapult ended", transform=axes.transAxes, ha="center")
        return
    ratio = 10.0 ** steps["log10_ratio"]
    law = theory.catapult_duration(ratio)
    level = float(np.exp(np.log(steps / law).mean()))
    axes.plot(ratio, steps, "o", color=style.BLUE, markersize=3)
    axes.plot(ratio, level * law, **style.THEORY)
    axes.set(xscale="log", yscale="log")
    axes.xaxis.set_major_locator(FixedLocator([0.05, 0.1, 0.2, 0.4]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter("{x:g}")
    slope = float(data["duration_slope"].sel(loss="cross_entropy"))
    if np.isfinite(slope):
        axes.text(
            0.96, 0.93, f"slope ${slope:.2f}$\ntheory $-2$", transform=axes.transAxes,
            ha="right", va="top", fontsize=7,
        )  # fmt: skip


def _legend(axes: Axes, data: xr.Dataset) -> None:
    """Legend of all panels in a field of its own."""
    axes.axis("off")
    multiples = data["multiple"].values
    entries = {
        rf"$\eta={multiple:g}\,\eta_{{\mathrm{{crit}}}}$": Line2D([], [], color=colour)
        for colour, multiple in zip(_colours(multiples.size), multiples, strict=True)
    }
    entries[r"b, e: stable up to $\eta_{\mathrm{crit}}/\eta$"] = Line2D([], [], **style.THEORY)
    for dashes, marker, name in LINES.values():
        entries[f"{name}, theory"] = Line2D([], [], **{**style.THEORY, "linestyle": dashes})
        entries[f"{name}, measured"] = Line2D(
            [],
            [],
            marker=marker,
            markersize=4,
            markerfacecolor=style.ORANGE,
            markeredgecolor="black",
            markeredgewidth=0.4,
            linestyle="none",
        )
    entries[r"g: $\propto(\gamma/\eta)^2$"] = Line2D([], [], **style.THEORY)
    entries["c, f: diverged"] = Patch(color=DIVERGED)
    entries["c, f: above the initial loss"] = Patch(color=HIGHER)
    axes.legend(entries.values(), entries, loc="center", ncols=2, columnspacing=1.2)


def draw(analyses: dict[str, xr.Dataset]) -> Figure:
    """Rows: squared error, cross-entropy; below them durations and the legend."""
    data = analyses["toy_catapult"]
    figure = plt.figure(figsize=(style.PAGE, 6.0))
    grid = figure.add_gridspec(3, 3, height_ratios=[1, 1, 1])
    letters = iter("abcdefg")
    portraits = []
    for row, loss in enumerate(TITLES):
        for column, panel in enumerate((_losses, _squares, _portrait)):
            axes = figure.add_subplot(grid[row, column])
            image = panel(axes, data, loss)
            style.panel_label(axes, next(letters))
        portraits.append(axes)
    bar = figure.colorbar(image, ax=portraits, pad=0.03, aspect=30, extend="min")
    bar.set_label(r"$\log_{10}$(final / initial excess loss)")
    axes = figure.add_subplot(grid[2, 0])
    _durations(axes, data)
    style.panel_label(axes, next(letters))
    _legend(figure.add_subplot(grid[2, 1:]), data)
    return figure
