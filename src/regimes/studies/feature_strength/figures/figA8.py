"""Figure A.8: edges of the trainable band at several batch sizes, widths and budgets."""

from __future__ import annotations

from collections.abc import Iterable

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from regimes.plot import style
from regimes.studies.feature_strength import theory
from regimes.studies.feature_strength.boundaries import GAMMA, measured_edges, pick
from regimes.studies.feature_strength.portrait_panels import (
    X_LABEL,
    Y_LABEL,
    Guide,
    guide_level,
)

DEPTH = 3
MAP = "viridis"  # small to large: dark to bright
Series = list[tuple[str, xr.DataArray]]  # name, edges over boundary and log10 gamma


def _reference(log10_gamma: xr.DataArray) -> xr.DataArray:
    """Exponent rule gamma^2 below gamma = 1 and gamma^(2/L) above, in log10."""
    return xr.where(log10_gamma < 0, 2.0, 2 / DEPTH) * log10_gamma


def _sweep(data: xr.Dataset, dim: str, symbol: str) -> tuple[str, Series]:
    """Edges along one of width and batch size, the other at the value most often combined."""
    other, letter = {"width": ("batch_size", "B"), "batch_size": ("width", "N")}[dim]
    known = data["window_high"].notnull().any([GAMMA, "seed"])
    middle = int(known.sum(dim).values.argmax())
    known = known.isel({other: middle})
    part = measured_edges(data).mean("seed").isel({other: middle})
    values = [v for v in data[dim].values if known.sel({dim: v})]
    title = f"${letter}={int(data[other][middle])}$, $T={float(data['budget'].max()):.0f}$"
    return title, [(f"${symbol}={int(v)}$", part.sel({dim: v})) for v in values]


def _budgets(data: xr.Dataset) -> Series:
    """Edges of the MLP at the full budget and after a quarter of it."""
    one = pick(data, loss="mse", depth=DEPTH)
    steps = float(one["budget"])
    full, early = measured_edges(one).mean("seed"), one["edge_early"].mean("seed")
    return [(f"$T={steps // 4:.0f}$", early), (f"$T={steps:.0f}$", full)]


def _panel(axes: Axes, series: Series, colours: Iterable[str], relative: bool) -> None:
    for index, ((name, edges), colour) in enumerate(zip(series, colours, strict=False)):
        gammas = edges[GAMMA]
        shift = 0.06 * (index - (len(series) - 1) / 2)  # equal edges stay visible
        for boundary, filled in (("opt_max", True), ("opt_min", False)):
            edge = edges.sel(boundary=boundary) - (_reference(gammas) if relative else 0)
            edge = edge.dropna(GAMMA)
            axes.plot(
                edge[GAMMA] + shift,
                edge,
                color=colour,
                marker="o" if filled else "s",
                markerfacecolor=colour if filled else "white",
                linewidth=0.8,
                markersize=3.5,
                label=name if filled else None,
            )


def _theory(axes: Axes, series: Series, relative: bool) -> None:
    """Theory's exponents through the edges of the last series, each on its side of gamma = 1."""
    edges = series[-1][1]
    left, right = float(edges[GAMMA].min()), float(edges[GAMMA].max())
    for boundary, quantity in (("opt_max", "eta_max"), ("opt_min", "eta_min")):
        for regime, window, end in (("lazy", "lazy", left), ("rich", "rich_all", right)):
            power = theory.exponent(quantity, "mse", regime, DEPTH)
            edge = edges.sel(boundary=boundary, drop=True)
            level = guide_level(edge, Guide(boundary, window, power))
            x = np.array([0.0, end])
            rule = (2.0 if regime == "lazy" else 2 / DEPTH) * x if relative else 0.0
            axes.plot(x, level + power * x - rule, **style.THEORY | {"linewidth": 0.8})


def draw(analyses: dict[str, xr.Dataset]) -> Figure:
    """Upper row: edges; lower row: the same relative to gamma^2 and gamma^(2/L)."""
    both = analyses["portrait_batch_width"]
    columns = [
        _sweep(both, "batch_size", "B"),
        _sweep(both, "width", "N"),
        (f"MLP, MSE, $L={DEPTH}$", _budgets(analyses["portrait_mlp"])),
    ]
    figure, panels = plt.subplots(2, 3, figsize=(style.PAGE, 4.9), sharex="col", sharey="row")
    for column, (title, series) in enumerate(columns):
        colours = mpl.colormaps[MAP](np.linspace(0, 0.85, len(series)))
        for row in (0, 1):
            axes = panels[row, column]
            _panel(axes, series, colours, relative=bool(row))
            _theory(axes, series, relative=bool(row))
            style.panel_label(axes, "abcdef"[3 * row + column])
        panels[0, column].set_title(title)
        panels[0, column].legend(loc="upper left")
        panels[1, column].set_xlabel(X_LABEL)
    panels[0, 0].set_ylabel(Y_LABEL)
    panels[1, 0].set_ylabel(r"$\log_{10}(\eta/\eta_0)$, $\eta_0=\gamma^2$ or $\gamma^{2/3}$")
    look = {"color": "0.4", "linewidth": 0.8, "markersize": 3.5}
    handles = [
        Line2D([], [], marker="o", label=r"$\eta_{\max}$", **look),
        Line2D([], [], marker="s", markerfacecolor="white", label=r"$\eta_{\min}$", **look),
        Line2D([], [], label="theory's exponents", **style.THEORY),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=3)
    return figure
