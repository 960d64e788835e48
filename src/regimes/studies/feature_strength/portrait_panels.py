"""Drawing of phase portraits: cells, boundaries with fitted slopes, guides with theory's exponents.

A portrait here is one selection of `boundaries.portrait` without further dimensions: what is left
is the plane, ``boundary``, ``fit_window`` and ``seed``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import xarray as xr
from matplotlib import patheffects
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import QuadMesh
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from regimes.plot import style
from regimes.studies.feature_strength import theory
from regimes.studies.feature_strength.boundaries import (
    DIVERGED,
    ETA,
    GAMMA,
    NOT_IN_WINDOW,
    WINDOWS,
    measured_edges,
)

NOT_RUN, LOST = "0.36", "0.12"  # dark for missing, darker for divergent
ACCURACY = Normalize(0.1, 1.0)  # from guessing among ten classes
X_LABEL, Y_LABEL = r"$\log_{10}\gamma$", r"$\log_{10}\eta$"
LOSSES = {"mse": "MSE", "cross_entropy": "cross-entropy"}

# Marker, colour and name of each boundary.
MARKS = {
    "opt_max": ("o", style.VERMILLION, r"$\eta_{\max}$"),
    "opt_min": ("s", style.SKY, r"$\eta_{\min}$"),
    "nocat_max": ("D", style.PURPLE, r"$\eta_{\mathrm{crit}}$"),
    "accuracy_max": ("^", style.ORANGE, "accuracy edge"),
    "eta_star": ("P", "white", r"$\eta^*$"),
    "finite_max": ("v", style.ORANGE, "largest finite"),
}
_HALO = [patheffects.withStroke(linewidth=2.4, foreground="white")]


# --- Guides --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Guide:
    """A power of gamma laid through a measured boundary.

    Attributes
    ----------
    boundary, window
        The edge whose mean in the window fixes the prefactor.
    exponent
        Theory's exponent of gamma.
    above
        Whether the name of the line stands above it.
    """

    boundary: str
    window: str
    exponent: float
    above: bool = True

    @property
    def lazy(self) -> bool:
        """Whether the guide belongs to the left half of the portrait."""
        return self.window == "lazy"


def guides(loss: str, depth: int, optimizer: str = "sgd") -> list[Guide]:
    """Dashed lines of a portrait: exponents of Table 1, for SignSGD of section 2.4."""

    def line(boundary: str, quantity: str, window: str, above: bool) -> Guide:
        regime = "lazy" if window == "lazy" else "rich"
        power = theory.exponent(quantity, loss, regime, depth, optimizer)
        return Guide(boundary, window, power, above)

    if optimizer == "sign":
        return [
            line("opt_max", "eta_max", "lazy", True),
            line("opt_max", "eta_max", "rich_all", True),
            line("opt_min", "eta_min", "lazy", False),
            line("opt_min", "eta_min", "rich_all", False),
        ]
    lower = line("opt_min", "eta_min", "rich", False)
    if loss == "mse":
        lazy = [line("opt_max", "eta_max", "lazy", True)]
        return [*lazy, line("opt_max", "eta_max", "rich", True), lower]
    lazy = [
        line("accuracy_max", "eta_max", "lazy", True),
        line("nocat_max", "eta_crit", "lazy", False),
    ]
    return [*lazy, line("opt_max", "eta_max", "rich_long", True), lower]


def power_text(exponent: float) -> str:
    """A power of gamma in mathematical notation, fractions as such."""
    share = Fraction(exponent).limit_denominator(12)
    if share == 1:
        return r"$\gamma$"
    power = str(share.numerator) if share.denominator == 1 else f"{share}"
    return rf"$\gamma^{{{power}}}$"


def guide_level(mean: xr.DataArray, guide: Guide) -> float:
    """Log10 prefactor of a guide from an edge averaged over seeds (log10_gamma).

    Where a scale has no two edges in the window, all on its side of gamma = 1 count; a single one
    places no line.
    """
    low, high = WINDOWS[guide.window]
    side = (-np.inf, 0.0) if guide.lazy else (0.0, np.inf)
    gap = mean - guide.exponent * mean[GAMMA]
    for start, end in ((low, high), side):
        inside = gap.sel({GAMMA: slice(start - 1e-6, end + 1e-6)})
        if inside.notnull().sum() >= 2:
            return float(inside.mean())
    return float("nan")


def dashed_line(
    axes: Axes, x: Sequence[float], level: float, exponent: float, text: str, above: bool = True,
    at: float = 0.5,
) -> None:  # fmt: skip
    """Dashed black line ``level + exponent x`` with its name, legible on dark cells too."""
    if not np.isfinite(level):
        return
    x = np.asarray(x, dtype=float)
    axes.plot(x, level + exponent * x, **style.THEORY, path_effects=_HALO, zorder=4)
    place = x[0] + at * (x[-1] - x[0])
    axes.annotate(
        text,
        (place, level + exponent * place),
        xytext=(-3, 5) if above else (4, -5),
        textcoords="offset points",
        ha="right" if above else "left",
        va="bottom" if above else "top",
        fontsize=8,
        path_effects=_HALO,
        zorder=6,
    )


def draw_guides(axes: Axes, data: xr.Dataset, lines: Sequence[Guide]) -> None:
    """Guides of a portrait, each over its half of the plane and a little beyond."""
    mean = measured_edges(data).mean("seed")
    left, right = axes.get_xlim()
    for line in lines:
        edge = mean.sel(boundary=line.boundary, drop=True)
        x = (left, min(right, 0.5)) if line.lazy else (max(left, -0.5), right)
        if x[0] < x[1]:
            level = guide_level(edge, line)
            text = power_text(line.exponent)
            dashed_line(axes, x, level, line.exponent, text, line.above, 0.45)


# --- Cells ---------------------------------------------------------------------------------------


def cell_edges(centres: np.ndarray, width: float = 0.5) -> np.ndarray:
    """Edges of cells around sorted centres; ``width`` where there is one centre only."""
    centres = np.asarray(centres, dtype=float)
    if centres.size == 1:
        return centres[0] + width * np.array([-0.5, 0.5])
    between = (centres[1:] + centres[:-1]) / 2
    first, last = 2 * centres[0] - between[0], 2 * centres[-1] - between[-1]
    return np.concatenate([[first], between, [last]])


def plane(
    axes: Axes, values: xr.DataArray, norm: Normalize, cmap: str, lost: xr.DataArray | None = None
) -> QuadMesh:
    """Heat map over log10 gamma and log10 eta; dark where there is no value.

    Parameters
    ----------
    values
        Over ``log10_gamma`` and ``log10_eta``; the window of eta may differ between columns.
    lost
        Cells that count as divergent, drawn darker than those that were not run.
    """
    known = values.notnull() if lost is None else values.notnull() | lost
    rows, columns = known.any(GAMMA).values, known.any(ETA).values
    if rows.any():  # rows of other losses or depths on the same grid
        values = values.isel({ETA: rows, GAMMA: columns})
    values = values.transpose(ETA, GAMMA)
    x, y = cell_edges(values[GAMMA].values), cell_edges(values[ETA].values)
    axes.set_facecolor(NOT_RUN)
    shared = {"rasterized": True, "shading": "flat", "zorder": 1}
    mesh = axes.pcolormesh(x, y, values.values, norm=norm, cmap=cmap, **shared)
    if lost is not None:
        flags = lost.reindex_like(values, fill_value=False).transpose(ETA, GAMMA).values
        dark = np.where(flags, 1.0, np.nan)
        axes.pcolormesh(x, y, dark, cmap=ListedColormap([LOST]), **shared)
    axes.set(xlim=x[[0, -1]], ylim=y[[0, -1]], xlabel=X_LABEL, ylabel=Y_LABEL)
    for side in ("top", "right"):
        axes.spines[side].set_visible(True)
    return mesh


def lost_cells(data: xr.Dataset) -> xr.DataArray:
    """Cells that count as divergent for at least half of the seeds (corrected scan rule)."""
    status = data["status"].sel(rule="corrected", drop=True)
    trained = (status != NOT_IN_WINDOW).sum("seed")
    return (trained > 0) & (2 * (status >= DIVERGED).sum("seed") >= trained)


# --- Boundaries ----------------------------------------------------------------------------------


def slope_text(data: xr.Dataset, boundary: str, windows: Sequence[str]) -> str:
    """Fitted exponents of a boundary, such as 'lazy 2.00 ± 0.02, rich 0.61 ± 0.06'."""
    parts = []
    for window in windows:
        fit = data[["slope", "slope_low", "slope_high"]].sel(boundary=boundary, fit_window=window)
        slope = float(fit["slope"])
        if not np.isfinite(slope):
            continue
        half = float(fit["slope_high"] - fit["slope_low"]) / 2
        interval = rf"$\pm{half:.2f}$" if np.isfinite(half) else " (2 points)"
        parts.append(f"{window.split('_')[0]} {slope:.2f}{interval}")
    return ", ".join(parts) if parts else "too few points to fit"


def draw_boundaries(
    axes: Axes, data: xr.Dataset, windows: dict[str, Sequence[str]]
) -> list[Line2D]:
    """Boundaries averaged over seeds; returns legend handles with fitted exponents.

    Parameters
    ----------
    windows
        Boundaries to draw, in order, each with the windows whose exponents the legend names.
        Where these lie on one side of gamma = 1, only that side is drawn.

    Notes
    -----
    Hollow markers are edges that the trained window cuts off: bounds, left out of the fits.
    """
    handles = []
    bounds = data["edge"].where(data["cut"] == 1)
    for name, fitted in windows.items():
        marker, colour, text = MARKS[name]
        look = {"linestyle": "", "marker": marker, "markersize": 3.6, "markeredgewidth": 0.5}
        gammas = data[GAMMA]
        side = (gammas < 0) & ("lazy" in fitted) | (gammas >= 0) & (set(fitted) != {"lazy"})
        full = measured_edges(data).sel(boundary=name).mean("seed").where(side)
        cut = bounds.sel(boundary=name).mean("seed").where(side & full.isnull())
        look["zorder"] = 5
        axes.plot(gammas, full, color=colour, markeredgecolor="black", clip_on=False, **look)
        axes.plot(gammas, cut, markerfacecolor="none", markeredgecolor=colour, **look)
        label = f"{text}: {slope_text(data, name, fitted)}"
        handles.append(Line2D([], [], color=colour, markeredgecolor="black", label=label, **look))
    return handles


def shown_boundaries(loss: str, optimizer: str = "sgd") -> dict[str, list[str]]:
    """Boundaries that a portrait shows and the windows in which their exponents are fitted."""
    if optimizer == "sign":
        return {name: ["lazy", "rich_all"] for name in ("opt_max", "opt_min")}
    if loss == "mse":
        return {name: ["lazy", "rich"] for name in ("opt_max", "opt_min")}
    return {
        "accuracy_max": ["lazy"],
        "nocat_max": ["lazy"],
        "opt_max": ["rich_long"],
        "opt_min": ["lazy", "rich"],
    }


# --- A whole panel -------------------------------------------------------------------------------


def portrait_panel(
    axes: Axes, data: xr.Dataset, loss: str, depth: int, name: str, optimizer: str = "sgd"
) -> QuadMesh:
    """Heat map of test accuracy with guides and boundaries; fitted exponents below the panel.

    Parameters
    ----------
    data
        Portrait without dimensions besides plane, boundary, window and seed.
    name
        Architecture, for the title, which also names loss, L and T.
    """
    mesh = plane(axes, data["accuracy"], ACCURACY, "viridis", lost_cells(data))
    draw_guides(axes, data, guides(loss, depth, optimizer))
    handles = draw_boundaries(axes, data, shown_boundaries(loss, optimizer))
    axes.set_title(portrait_title(data, name, loss, depth))
    legend_below(axes, handles)
    return mesh


def legend_below(axes: Axes, handles: Sequence[Line2D] | None = None) -> None:
    """Legend centred under the label of the horizontal axis."""
    axes.legend(
        handles=handles,
        loc="upper center",
        bbox_to_anchor=(0.5, -0.17),
        fontsize=6.5,
        handletextpad=0.2,
        labelspacing=0.25,
        borderaxespad=0,
    )


def portrait_title(data: xr.Dataset, name: str, loss: str, depth: int) -> str:
    """Architecture, loss, depth and number of steps: portraits compare at equal T only."""
    budget = float(data["budget"])
    steps = f", $T={budget:.0f}$" if np.isfinite(budget) else ""
    return f"{name}, {LOSSES[loss]}, $L={depth}${steps}"


def missing_handles() -> list[Patch]:
    """Legend of dark cells."""
    return [Patch(color=LOST, label="diverged"), Patch(color=NOT_RUN, label="not run")]


def theory_handle(text: str = "theory's exponent") -> Line2D:
    """Legend of the dashed guides."""
    return Line2D([], [], label=text, **style.THEORY)


def common_legend(figure: Figure) -> None:
    """Legend below the figure of what all portraits share: guides and dark cells."""
    handles = [theory_handle(), *missing_handles()]
    options = {"ncols": 3, "columnspacing": 1.2, "handlelength": 1.8}
    figure.legend(handles=handles, loc="outside lower center", **options)


def accuracy_bar(figure: Figure, mesh: ScalarMappable, axes, **options) -> None:
    """Colour bar of test accuracy beside one or several axes."""
    bar = figure.colorbar(mesh, ax=axes, **{"pad": 0.015, "aspect": 30, **options})
    bar.set_label("test accuracy at the end")
    bar.outline.set_linewidth(0.5)


def single_portrait(
    data: xr.Dataset, loss: str, depth: int, name: str, height: float = 3.7
) -> Figure:
    """Figure of column width with one portrait."""
    figure, axes = plt.subplots(figsize=(style.COLUMN, height))
    mesh = portrait_panel(axes, data, loss, depth, name)
    accuracy_bar(figure, mesh, axes)
    common_legend(figure)
    return figure
