"""What the figures on transfer share: curves against a hyperparameter, one colour per width."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import xarray as xr
from matplotlib import colormaps
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter
from matplotlib.transforms import ScaledTranslation

from regimes.plot import style
from regimes.studies.second_order_mup.transfer import best, seed_mean

LOOKS = {
    "sp": {"linestyle": (0, (3, 1.5)), "markerfacecolor": "white"},
    "mup": {"linestyle": "-"},
}
"""Standard parameterization dashed with open markers, muP solid with filled ones."""
PARAMETERIZATION_NAMES = {"sp": "standard", "mup": "muP"}
PALEST, DARKEST = 0.85, 0.05  # of the colour map, narrowest and widest
HEADROOM = 2.0  # a panel ends at this multiple of the loss before training
SHADE = 0.15
LABEL_DEPTH = 0.4  # inches from an axis to below its label


def width_colours(widths: Sequence[float]) -> dict[float, tuple]:
    """Colour of each width, the widest darkest."""
    places = np.linspace(PALEST, DARKEST, len(widths)) if len(widths) > 1 else [DARKEST]
    return {w: colormaps["viridis"](p) for w, p in zip(sorted(widths), places, strict=True)}


def run_widths(values: xr.DataArray) -> list[float]:
    """Widths with any run, rising."""
    others = [dim for dim in values.dims if dim != "width"]
    return sorted(values["width"].values[values.notnull().any(others).values].tolist())


def curve(axes: Axes, values: xr.DataArray, dim: str, colour, floor: float | None, **look) -> None:
    """Mean over seeds with a band of one standard deviation, where all seeds are finite.

    Parameters
    ----------
    values
        (dim, seed); what was not run is NaN, what failed infinite (or NaN for some seeds).
    floor
        For logarithmic axes: share of the mean below which the band does not reach.
    look
        Of the line.
    """
    values = values.transpose(dim, "seed").dropna("seed", how="all")
    if not values.size:
        return
    known = np.isfinite(values.values).all(axis=1)
    x, y = values[dim].values.astype(float), values.values
    mean = np.where(known, np.where(known[:, None], y, 0).mean(axis=1), np.nan)
    # Grid points of other panels are not gaps in the line, failed runs are.
    drawn = ~np.isnan(values.values).all(axis=1)
    axes.plot(x[drawn], mean[drawn], color=colour, **look)
    if y.shape[1] > 1:
        spread = np.where(known[:, None], y, 0).std(axis=1, ddof=1)
        low = mean - spread if floor is None else np.maximum(mean - spread, floor * mean)
        band = {"color": colour, "alpha": SHADE, "linewidth": 0}
        axes.fill_between(x[drawn], low[drawn], (mean + spread)[drawn], **band)


def loss_panel(axes: Axes, data: xr.Dataset, dim: str, parameterization: str = "mup") -> None:
    """Final train loss against a hyperparameter: a line per width, the best marked.

    Parameters
    ----------
    data
        As from `transfer.outcomes` and `transfer.optima`, over (width, dim, seed). A star marks
        the smallest mean (open at an end of the grid); a cross at the upper edge a setting at
        which a run failed.
    """
    loss = data["train_loss"]
    widths = run_widths(loss)
    for rank, (width, colour) in enumerate(width_colours(widths).items()):
        own = loss.sel(width=width, drop=True)
        curve(axes, own, dim, colour, 0.2, marker="o", markersize=2.5, **LOOKS[parameterization])
        lost = np.isposinf(own).any("seed").values
        height = np.full(lost.sum(), 0.97 - 0.04 * rank)
        look = {"color": colour, "markersize": 3.5, "linestyle": ""}
        axes.plot(own[dim].values[lost], height, "x", transform=axes.get_xaxis_transform(), **look)
    for width, colour in width_colours(widths).items():  # above all lines
        place = float(best(loss.sel(width=width, drop=True), dim))
        if math.isfinite(place):
            lowest = float(seed_mean(loss.sel(width=width, drop=True)).sel({dim: place}))
            open_star = bool(data["at_end"].sel(width=width) > 0)
            _star(axes, place, lowest, colour, open_star)
    axes.set_yscale("log")


def accuracy_panel(axes: Axes, data: xr.Dataset, dim: str, parameterization: str = "mup") -> None:
    """Final test accuracy in percent; stars where the train loss is smallest, see `loss_panel`."""
    # Infinite where a run failed, so that lines have gaps there.
    accuracy = (100 * data["test_accuracy"]).where(~np.isposinf(data["train_loss"]), np.inf)
    widths = run_widths(data["train_loss"])
    for width, colour in width_colours(widths).items():
        own = accuracy.sel(width=width, drop=True)
        curve(axes, own, dim, colour, None, marker="o", markersize=2.5, **LOOKS[parameterization])
    for width, colour in width_colours(widths).items():
        place = float(data["best"].sel(width=width))
        reached = 100 * float(data["accuracy_at_best"].sel(width=width).mean("seed"))
        _star(axes, place, reached, colour, bool(data["at_end"].sel(width=width) > 0))


def _star(axes: Axes, x: float, y: float, colour, is_open: bool) -> None:
    look = {"markerfacecolor": "white" if is_open else colour, "markeredgewidth": 0.6}
    edge = colour if is_open else "white"
    axes.plot(x, y, "*", markersize=10, markeredgecolor=edge, zorder=5, **look)


def limit_losses(panels: Sequence[Axes], data: xr.Dataset, headroom: float = HEADROOM) -> None:
    """Common loss axis of panels, ending at a multiple of the loss before training.

    Parameters
    ----------
    data
        The runs of all of them.
    """
    loss = data["train_loss"].values
    finite = loss[np.isfinite(loss) & (loss > 0)]
    if not finite.size:
        return
    top = headroom * float(data["initial_loss"].max())
    low, high = float(finite.min()) / 1.6, float(finite.max()) * 2
    high = min(high, top) if top > low else high
    for axes in panels:
        axes.set_ylim(low, high)
        plain_labels(axes)


def width_handles(widths: Sequence[float], symbol: str = "M") -> list[Line2D]:
    """Legend entries of the widths."""
    return [
        Line2D([], [], color=colour, marker="o", markersize=3, label=f"${symbol}={width:g}$")
        for width, colour in width_colours(widths).items()
    ]


def mark_handles() -> list[Line2D]:
    """Legend entries of the marks for the best setting and for runs that failed."""
    look = {"linestyle": "", "color": "0.3"}
    return [
        Line2D([], [], marker="*", markersize=9, label="smallest mean loss", **look),
        Line2D([], [], marker="x", markersize=4, label="a seed failed", **look),
    ]


def legend_under(axes: Axes, handles: list[Line2D], columns: int = 3) -> None:
    """Legend centred under the label of the horizontal axis."""
    look = {"handlelength": 1.4, "columnspacing": 1.0, "handletextpad": 0.4, "fontsize": 6.5}
    below = ScaledTranslation(0, -LABEL_DEPTH, axes.figure.dpi_scale_trans)
    place = {"bbox_to_anchor": (0.5, 0), "bbox_transform": axes.transAxes + below}
    axes.legend(
        handles=handles, ncols=columns, loc="upper center", borderaxespad=0, **place, **look
    )


def plain_labels(axes: Axes) -> None:
    """Plain numbers at a logarithmic vertical axis, several a decade on a short one."""
    low, high = axes.get_ylim()
    fold = high / low
    subs = (1,) if fold > 300 else (1, 3) if fold > 15 else (1, 2, 5)
    if fold < 5:
        subs = (1, 1.5, 2, 3, 5, 7)
    axes.yaxis.set_major_locator(LogLocator(subs=subs))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter(NullFormatter())


def few_ticks(axes: Axes) -> None:
    """At most seven whole numbers on the horizontal axis."""
    axes.xaxis.set_major_locator(MaxNLocator(7, integer=True))


def nothing_figure(text: str) -> Figure:
    """Figure that says what is missing."""
    figure, axes = plt.subplots(figsize=(style.COLUMN, 1.6))
    axes.set_axis_off()
    axes.text(0.5, 0.5, text, ha="center", va="center", color="0.4", wrap=True)
    return figure


def grid_figure(
    columns: int, rows: Sequence[float], sharey: str | bool = "row", width: float = style.PAGE
) -> tuple[Figure, np.ndarray]:
    """Panels in rows of given heights in inches, a common horizontal axis in each column."""
    figure, axes = plt.subplots(
        len(rows),
        columns,
        figsize=(width, sum(rows) + 0.5),
        sharex="col",
        sharey=sharey,
        squeeze=False,
        gridspec_kw={"height_ratios": list(rows)},
    )
    return figure, axes


def name_setup(figure: Figure, *setups: object) -> None:
    """What was trained (`transfer.setup`), above all panels; every text once."""
    known = dict.fromkeys(str(text) for text in setups if str(text))
    figure.suptitle("\n".join(known), fontsize=8)


def letter(panels: Sequence[Axes], write: Callable = style.panel_label) -> None:
    """Bold letters at all panels, in order."""
    for axes, name in zip(panels, "abcdefghijklmnopqrstuvwxyz", strict=False):
        write(axes, name)
