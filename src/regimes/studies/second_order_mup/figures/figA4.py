"""Fig. A4: learning-rate transfer for SGD and Shampoo."""

from __future__ import annotations

import math

import numpy as np
import xarray as xr
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from regimes.plot import style
from regimes.studies.second_order_mup import transfer_panels as panels
from regimes.studies.second_order_mup.analyses.lr_transfer import RATE
from regimes.studies.second_order_mup.transfer import PARAMETERIZATIONS

OPTIMIZERS = {"mlp_sgd": "SGD", "mlp_shampoo": "Shampoo"}
COLOURS = {"sp": style.VERMILLION, "mup": style.BLUE}
LEGEND_ROOM = 0.4  # of the vertical range
NUDGE = {"sp": 0.96, "mup": 1.04}  # so that equal optima do not hide each other


def draw(analyses: dict[str, xr.Dataset]) -> Figure:
    """Draw train loss against the learning rate, and the best rate against the width.

    Parameters
    ----------
    analyses
        ``lr_transfer``.
    """
    data = analyses["lr_transfer"]
    run = [name for name in OPTIMIZERS if panels.run_widths(data["train_loss"].sel(panel=name))]
    if not run:
        return panels.nothing_figure("no runs on learning-rate transfer of SGD and Shampoo")
    figure, axes = plt.subplots(3, len(run), figsize=(style.PAGE, 6.4), squeeze=False)
    for column, name in zip(axes.T, run, strict=True):
        one = data.sel(panel=name)
        used = one["train_loss"].notnull().any(("parameterization", "width", "seed"))
        _optimizer(column, one.isel({RATE: used.values}), OPTIMIZERS[name])
    panels.name_setup(figure, *data["setup"].sel(panel=run).values)
    panels.letter(axes.ravel())
    return figure


def _optimizer(column: np.ndarray, data: xr.Dataset, name: str) -> None:
    """Column of one optimizer."""
    for axes, parameterization in zip(column, PARAMETERIZATIONS, strict=False):
        own = data.sel(parameterization=parameterization, drop=True)
        panels.loss_panel(axes, own, RATE, parameterization)
        axes.set_title(f"{name}, {panels.PARAMETERIZATION_NAMES[parameterization]}")
        axes.set(ylabel="train loss", xlabel=r"$\log_2$ learning rate $\eta'$")
        panels.few_ticks(axes)
    column[1].sharex(column[0])
    panels.limit_losses(column[:2], data)
    handles = panels.width_handles(panels.run_widths(data["train_loss"]))
    panels.legend_under(column[1], handles + panels.mark_handles())
    _optima(column[2], data)


def _optima(axes: Axes, data: xr.Dataset) -> None:
    """Best learning rate against width, its interval and its power law.

    Open markers: standard parameterization, and dashed the line fitted to it.
    """
    widths = np.array(panels.run_widths(data["train_loss"]), dtype=float)
    for parameterization in PARAMETERIZATIONS:
        own = data.sel(parameterization=parameterization, width=widths, drop=True)
        place = own["best"].values
        x, colour = widths * NUDGE[parameterization], COLOURS[parameterization]
        look = panels.LOOKS[parameterization]
        exponent = float(own["exponent"])
        text = panels.PARAMETERIZATION_NAMES[parameterization]
        axes.plot(
            x,
            place,
            "o",
            color=colour,
            markerfacecolor=look.get("markerfacecolor", colour),
            label=f"{text}: $M^{{{exponent:.2f}}}${_interval(own)}",
        )
        axes.vlines(x, own["best_low"], own["best_high"], color=colour, linewidth=1)
        known = np.isfinite(place)
        if math.isfinite(exponent):
            line = place[known].mean() + exponent * np.log2(
                widths / np.exp(np.log(widths[known]).mean())
            )
            # Dashes above the solid line, so that both are seen where they coincide.
            order = 3 if parameterization == "sp" else 2
            dashes = look["linestyle"]
            axes.plot(widths, line, color=colour, linewidth=0.9, linestyle=dashes, zorder=order)
    axes.set_xscale("log", base=2)
    axes.set_xticks(widths, [f"{w:g}" for w in widths])
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set(xlabel="width $M$", ylabel=r"$\log_2$ best $\eta'$")
    axes.margins(y=0.2)
    low, high = axes.get_ylim()
    axes.set_ylim(low, high + LEGEND_ROOM * (high - low))
    axes.legend(loc="upper center")


def _interval(data: xr.Dataset) -> str:
    """Interval of the exponent over drawn seeds, empty where it is unknown."""
    low, high = float(data["exponent_low"]), float(data["exponent_high"])
    return f" [{low:.2f}, {high:.2f}]" if math.isfinite(low) and math.isfinite(high) else ""
