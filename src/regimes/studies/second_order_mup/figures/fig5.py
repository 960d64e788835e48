"""Figure 5: test accuracy of a residual network against the learning rate."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from regimes.plot import style
from regimes.studies.second_order_mup.analyses.lr_robustness import RATE
from regimes.studies.second_order_mup.coordinate_panels import SCHEMES
from regimes.studies.second_order_mup.network_names import DATA, NETWORKS, chance, name
from regimes.studies.second_order_mup.transfer_panels import (
    LOOKS,
    curve,
    nothing_figure,
)

COLOURS = {"sp": style.VERMILLION, "mup": style.BLUE}


def draw(analyses: dict[str, xr.Dataset]) -> Figure:
    """Accuracy under SP and muP, and their difference with its interval."""
    data = analyses["lr_robustness"]
    if not data["test_accuracy"].notnull().any():
        return nothing_figure("Figure 5: no runs at this scale")
    data = data.assign_coords({RATE: np.exp2(data[RATE])})
    figure, (left, right) = plt.subplots(1, 2, figsize=(style.PAGE, 2.5))
    for parameterization, colour in COLOURS.items():
        own = data.sel(parameterization=parameterization)
        look = {"marker": "o", "label": SCHEMES[parameterization], **LOOKS[parameterization]}
        curve(left, 100 * own["test_accuracy"], RATE, colour, None, **look)
        fitted = 100 * own["train_accuracy"].mean("seed")
        left.plot(fitted[RATE], fitted, color=colour, alpha=0.6, linewidth=0.9, linestyle=":")
        _mark_diverged(left, own, colour)
    network = name(NETWORKS, str(data["network"].values))
    where = name(DATA, str(data["data"].values))
    if np.isfinite(guess := chance(str(data["data"].values))):
        left.axhline(guess, color="0.5", linewidth=0.8, zorder=0.5, label="chance")
    left.plot([], [], color="0.4", linewidth=0.9, linestyle=":", label="training set")
    title = (
        f"{network}, width ×{float(data['width']):g}, {where}, {float(data['epochs']):.0f} epochs"
    )
    left.set(ylabel="test accuracy (%)", title=title)
    left.legend(loc="best", fontsize=6.5)
    _gain(right, data)
    right.set(ylabel="muP − SP (points)", title="advantage of muP")
    for axes, letter in ((left, "a"), (right, "b")):
        axes.set_xlabel(r"base learning rate $\eta'$")
        axes.set_xscale("log")
        axes.set_xticks(data[RATE].values)
        axes.xaxis.set_major_formatter("{x:.2g}")
        axes.xaxis.set_minor_locator(NullLocator())
        style.panel_label(axes, letter)
    return figure


def _mark_diverged(axes: Axes, own: xr.Dataset, colour: str) -> None:
    """Cross at the lower edge for each learning rate at which a seed diverged."""
    lost = (own["diverged"] > 0).any("seed").values
    if not lost.any():  # an empty line that is not clipped would widen the margins
        return
    look = {"color": colour, "markersize": 5, "linestyle": "", "clip_on": False}
    height = np.full(lost.sum(), 0.02)
    axes.plot(own[RATE].values[lost], height, "x", transform=axes.get_xaxis_transform(), **look)


def _gain(axes: Axes, data: xr.Dataset) -> None:
    """Mean of the paired differences with 95 % intervals."""
    known = data["gain"].notnull().values
    gain = data["gain"].values[known]
    ends = [gain - data["gain_low"].values[known], data["gain_high"].values[known] - gain]
    axes.axhline(0, color="0.6", linewidth=0.8)
    look = {"color": style.BLUE, "marker": "o", "capsize": 2.5, "linestyle": ""}
    axes.errorbar(data[RATE].values[known], gain, np.nan_to_num(ends), **look)
