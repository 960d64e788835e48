"""Supplement: the conditional Gaussian surrogate against the real network."""

from __future__ import annotations

import xarray as xr
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, NullLocator, ScalarFormatter

from regimes.plot import style
from regimes.studies.giant_step.panels import TARGET_FORMULAS, centre, interval

# Step 0 are frozen features; the two ridge strengths differ by filling, weak to strong.
SERIES = {1: (style.BLUE, "o", "one step"), 0: (style.BASELINE, "^", "frozen features")}


def _look(step: int, strong: bool) -> dict:
    """Marker of one series."""
    colour, marker, _ = SERIES[step]
    return {
        "color": colour,
        "marker": marker,
        "markerfacecolor": colour if strong else "white",
        "capsize": 1.5,
        "elinewidth": 0.8,
    }


def _series(data: xr.Dataset) -> list[tuple[xr.Dataset, dict, str]]:
    """Errors, look and legend text of each step and ridge strength."""
    found = []
    for step, (*_, name) in SERIES.items():
        for ridge in data["ridge"].values:
            strong = bool(ridge == data["ridge"].values.max())
            part = data.sel(step=step, ridge=ridge)
            found.append((part, _look(step, strong), rf"{name}, $\lambda={ridge:g}$"))
    return found


def _errors(axes: Axes, data: xr.Dataset) -> None:
    """Points for the real network, dashed lines for the surrogate."""
    n = data["ridge_batch_size"]
    for part, look, text in _series(data):
        real = part["error"]
        axes.errorbar(n, centre(real), interval(real), linestyle="", label=text, **look)
        axes.plot(n, centre(part["error_surrogate"]), **{**style.THEORY, "linewidth": 0.9})
    name = str(data["target"].item())
    axes.set(title=f"target {name}: {TARGET_FORMULAS[name]}", yscale="log")
    axes.yaxis.set_major_locator(FixedLocator([0.5, 1, 2, 3, 5, 10]))
    axes.yaxis.set_major_formatter(ScalarFormatter())
    axes.yaxis.set_minor_locator(NullLocator())


def _ratios(axes: Axes, data: xr.Dataset) -> None:
    """Quotient of the mean errors; its interval from the paired differences over seeds."""
    axes.axhline(1, **style.THEORY, zorder=0)
    for part, look, _ in _series(data):
        real, surrogate = part["error"], part["error_surrogate"]
        ratio = centre(surrogate) / centre(real)
        half = interval(surrogate - ratio * real) / centre(real)
        axes.errorbar(
            part["ridge_batch_size"], ratio, half, linewidth=0.8, **{**look, "markersize": 3}
        )
    axes.set(xlabel="samples $n$ of the second layer", xscale="log")


def _mark_width(axes: Axes, width: float, named: bool) -> None:
    """Lines where the weaker ridge nearly interpolates.

    The symmetric start leaves p/2 distinct frozen rows; one step makes all p distinct.
    """
    for value, text in ((width / 2, "$n=p/2$"), (width, "$n=p$")):
        axes.axvline(value, color="0.8", linewidth=0.8, zorder=0)
        axes.annotate(
            text if named else "",
            (value, 0.03),
            xycoords=("data", "axes fraction"),
            xytext=(2, 0),
            textcoords="offset points",
            fontsize=7,
            color="0.45",
        )


def draw(analyses: dict[str, xr.Dataset]) -> Figure:
    """Errors of both targets, and below the quotient of surrogate and real network."""
    data = analyses["surrogate"]
    figure, grid = plt.subplots(
        2,
        data.sizes["target"],
        figsize=(style.PAGE, 4.0),
        sharex=True,
        sharey="row",
        squeeze=False,
        height_ratios=[2.2, 1],
    )
    for column, target in enumerate(data["target"].values):
        part = data.sel(target=target)
        above, below = grid[:, column]
        _errors(above, part)
        _ratios(below, part)
        _mark_width(above, float(data["width"]), named=True)
        _mark_width(below, float(data["width"]), named=False)
        style.panel_label(above, "ab"[column])
        style.panel_label(below, "cd"[column])
    grid[0, 0].set_ylabel("test error")
    grid[1, 0].set_ylabel("surrogate / real")
    figure.align_ylabels(grid[:, 0])
    handles, labels = grid[0, 0].get_legend_handles_labels()
    figure.legend(
        [*handles, Line2D([], [], **style.THEORY)],
        [*labels, "surrogate"],
        loc="outside lower center",
        ncols=3,
    )
    return figure
