"""Figure 4: training loss against epoch at several widths under SP and muP."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullFormatter, NullLocator

from regimes.plot import style
from regimes.studies.second_order_mup.analyses.wider import (
    PANELS,
    share_ordered,
)
from regimes.studies.second_order_mup.coordinate_panels import SCHEMES
from regimes.studies.second_order_mup.network_names import DATA, NETWORKS, OPTIMIZERS, name
from regimes.studies.second_order_mup.transfer import PARAMETERIZATIONS
from regimes.studies.second_order_mup.transfer_panels import (
    LOOKS,
    curve,
    nothing_figure,
    run_widths,
    width_colours,
)

COLOURS = {"sp": style.VERMILLION, "mup": style.BLUE}
ROW = 1.75  # height of a row, inches
FLOOR = 0.2  # bands on logarithmic axes do not reach below this share of the mean
MOST_TICKS = 5  # on an axis of widths
HEADROOM = 3.0  # a row ends at this multiple of the largest loss before training


def draw(analyses: dict[str, xr.Dataset]) -> Figure:
    """A row per model and optimizer that was run; scores at the end of training on the right."""
    data = analyses["wider"]
    panels = [p for p in PANELS if run_widths(data["train_loss"].sel(panel=p))]
    if not panels:
        return nothing_figure("Figure 4: no runs at this scale")
    figure, axes = plt.subplots(
        len(panels),
        4,
        figsize=(style.PAGE, ROW * len(panels) + 0.35),
        squeeze=False,
        gridspec_kw={"width_ratios": [1.2, 1.2, 1, 1]},
    )
    for row, panel in zip(axes, panels, strict=True):
        _row(row, data.sel(panel=panel))
    for column, title in zip(axes[0], ("SP", "muP", "end of training", ""), strict=True):
        if title:
            column.set_title(title)
    for column in axes[-1][:2]:
        column.set_xlabel("epoch")
    for column in axes[-1][2:]:
        column.set_xlabel("width")
    for i, each in enumerate(axes.ravel()):
        style.panel_label(each, "abcdefghijkl"[i])
    return figure


def _row(row: np.ndarray, data: xr.Dataset) -> None:
    """One model: loss against epoch under SP and muP, final loss and score against width."""
    loss = data["train_loss"]
    widths = run_widths(loss)
    colours = width_colours(widths)
    for axes, parameterization in zip(row, PARAMETERIZATIONS, strict=False):
        own = loss.sel(parameterization=parameterization)
        _curves(axes, own.assign_coords(step=data["epoch"].values), colours, parameterization)
        _print_share(axes, own.where(data["whole_epoch"] == 1), parameterization)
    _limits(row[:2], loss)
    row[1].sharey(row[0])
    row[1].tick_params(labelleft=False)
    row[0].set_ylabel(f"{_title(data)}\ntrain loss")
    handles = [Line2D([], [], color=c, label=f"{width:g}") for width, c in colours.items()]
    row[1].legend(
        handles=handles,
        title="width",
        title_fontsize=6,
        fontsize=5.8,
        loc="upper right",
        bbox_to_anchor=(1, 0.94),  # below the printed share
        handlelength=1.0,
        labelspacing=0.15,
        borderaxespad=0.2,
    )
    _against_width(row[2], data["final_loss"], "final train loss")
    row[2].set_yscale("log")
    _plain_numbers(row[2])
    words = bool(data["final_analogy"].notnull().any())
    score = data["final_analogy" if words else "final_accuracy"]
    _against_width(row[3], 100 * score, "word analogies (%)" if words else "test accuracy (%)")
    row[3].legend(fontsize=6, loc="best", handlelength=2.2)


def _curves(
    axes: Axes, loss: xr.DataArray, colours: dict[float, tuple], parameterization: str
) -> None:
    """Loss against epoch, a line per width; a cross where a run diverged."""
    look = LOOKS[parameterization]
    for width, colour in colours.items():
        own = loss.sel(width=width)
        own = own.isel(step=np.flatnonzero(np.isfinite(own["step"].values)))
        curve(axes, own, "step", colour, FLOOR, linestyle=look["linestyle"])
        lost = np.flatnonzero(np.isposinf(own).any("seed").values)
        if lost.size:
            place = own["step"].values[lost[0]]
            mark = {"color": colour, "markersize": 5, "markeredgewidth": 1.3, "clip_on": False}
            axes.plot(place, 0.97, "x", transform=axes.get_xaxis_transform(), **mark)
    axes.set_yscale("log")


def _print_share(axes: Axes, loss: xr.DataArray, parameterization: str) -> None:
    """Share of comparisons between neighbouring widths in which the wider one is ahead."""
    share = share_ordered(loss)
    if np.isfinite(share):
        place = {"ha": "right", "va": "top", "transform": axes.transAxes}
        axes.text(0.99, 0.99, f"wider is no worse: {100 * share:.0f} %", fontsize=6, **place)


def _limits(panels: np.ndarray, loss: xr.DataArray) -> None:
    """Common loss axis that ends shortly above the loss before training."""
    finite = loss.where(np.isfinite(loss) & (loss > 0))
    start = finite.isel(step=0).max()
    low, high = float(finite.min()), float(finite.max())
    if np.isfinite(low) and low < high:
        high = min(high, HEADROOM * float(start)) if np.isfinite(start) else high
        # Room for the line of text at the top.
        panels[0].set_ylim(low * (low / high) ** 0.08, high * (high / low) ** 0.2)
        _plain_numbers(panels[0])


def _plain_numbers(axes: Axes) -> None:
    """Plain numbers on a logarithmic axis that spans few powers of ten."""
    low, high = axes.get_ylim()
    if high / low < 30:
        wanted = (1, 2, 5) if high / low > 5 else (1, 1.5, 2, 3, 4, 5, 6, 8)
        axes.yaxis.set_major_locator(LogLocator(subs=wanted))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_minor_formatter(NullFormatter())


def _against_width(axes: Axes, values: xr.DataArray, label: str) -> None:
    """Mean and standard deviation over seeds against width for both parameterizations."""
    for parameterization in PARAMETERIZATIONS:
        own = values.sel(parameterization=parameterization)
        own = own.dropna("width", how="all").dropna("seed", how="all")
        if not own.size:
            continue
        own = own.where(np.isfinite(own))
        mean = own.mean("seed", skipna=False)
        spread = own.std("seed", ddof=1) if own.sizes["seed"] > 1 else 0 * mean
        axes.errorbar(
            own["width"],
            mean,
            spread,
            color=COLOURS[parameterization],
            marker="o",
            capsize=2,
            label=SCHEMES[parameterization],
            **LOOKS[parameterization],
        )
    axes.set_xscale("log", base=2)
    axes.xaxis.set_minor_locator(NullLocator())
    widths = run_widths(values)
    axes.set_xticks(widths[:: 1 + (len(widths) - 1) // MOST_TICKS])
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_ylabel(label)


def _title(data: xr.Dataset) -> str:
    """Network, optimizer and data as written, on two lines."""
    network = name(NETWORKS, str(data["network"].values))
    optimizer = name(OPTIMIZERS, PANELS[str(data["panel"].values)][1])
    return f"{network}, {optimizer}\n{name(DATA, str(data['data'].values))}"
