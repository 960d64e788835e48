"""Figure A4: plateaus of the vision transformer, and its lazy limit."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from regimes.plot import style
from regimes.studies.feature_strength.edges import CATAPULT_ABOVE
from regimes.studies.feature_strength.figures.fig2 import losses, plateau_points
from regimes.studies.feature_strength.panels import gamma_colour


def _frozen(axes: Axes, data: xr.Dataset) -> None:
    """Change of the last kernel against gamma for every learning rate below eta_crit."""
    below = data["peak_ratio"] < CATAPULT_ABOVE
    change = data["kernel_change"].where(below).stack(run=["seed", "candidate"])
    for gamma in data["log10_gamma"].values:
        values = change.sel(log10_gamma=gamma).values
        axes.plot(
            np.full(values.size, 10.0**gamma), values, "o", color=gamma_colour(gamma), alpha=0.8
        )
    if (change > 0).any():
        axes.set(yscale="log")
    axes.set(
        xscale="log",
        xlabel=r"feature strength $\gamma$",
        ylabel="1 - CKA(initial, final kernel)",
    )


def draw(analyses: dict[str, xr.Dataset]) -> Figure:
    """Losses against steps at tuned learning rates, plateau ends, change of the last kernel."""
    data = analyses["plateau_vit"].sortby("log10_gamma")
    figure = plt.figure(figsize=(style.PAGE, 2.5))
    left, middle, right = figure.subplots(1, 3, width_ratios=[1.3, 1, 1])
    losses(left, data)
    left.legend(loc="lower left", handlelength=1.2, labelspacing=0.25)
    plateau_points(middle, data)
    _frozen(right, data)
    for axes, letter in zip((left, middle, right), "abc", strict=True):
        style.panel_label(axes, letter)
    return figure
