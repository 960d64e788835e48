"""Supplement: phase portrait as the follow-up code draws it, loss at one step."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib import pyplot as plt
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from regimes.plot import style
from regimes.studies.feature_strength.boundaries import GAMMA, only
from regimes.studies.feature_strength.portrait_panels import (
    MARKS,
    dashed_line,
    lost_cells,
    missing_handles,
    plane,
    power_text,
    theory_handle,
)

RANGE = Normalize(-3.5, 1.0)
# Guides of the follow-up code: prefactor, exponent, range of log10 gamma, name above the line.
GUIDES = [
    (500, 2, (-5.25, 0.5), True),
    (100, 2 / 3, (-0.5, 5.25), True),
    (0.1, 1, (-0.5, 5.25), False),
]
# Largest finite eta that it found on MNIST (specification, section 4, Fig. 1), log10.
PUBLISHED_GAMMA = np.arange(-5, 0, 0.5)
PUBLISHED = [-6.5, -5.5, -4.5, -3.5, -2.5, -1.5, -0.5, 0.5, 1.25, 1.5]


def draw(analyses: dict[str, xr.Dataset]) -> Figure:
    """Heat map of log10 train loss with the guides of the follow-up code."""
    loss = str(analyses["portrait_followup"]["loss"].values[0])
    data = only(analyses["portrait_followup"], loss)
    figure, axes = plt.subplots(figsize=(style.COLUMN, 3.9))
    mesh = plane(axes, np.log10(data["step_loss"]), RANGE, "viridis_r", lost_cells(data))
    (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()
    for factor, exponent, (start, end), above in GUIDES:
        x = (max(start, left), min(end, right))
        if x[0] < x[1]:
            name = rf"${factor:g}\,${power_text(exponent)}"
            dashed_line(axes, x, np.log10(factor), exponent, name, above)
    finite = data[["edge", "cut"]].sel(boundary="finite_max")
    measured = finite["edge"].where(finite["cut"] == 0).mean("seed")
    bound = finite["edge"].where(finite["cut"] == 1).mean("seed")
    marker, colour, _ = MARKS["finite_max"]
    own = {"linestyle": "", "marker": marker, "color": colour, "markeredgecolor": "black"}
    own |= {"markersize": 4, "markeredgewidth": 0.5}
    theirs = {"linestyle": "", "marker": "x", "color": "white", "markersize": 4}
    axes.plot(data[GAMMA], measured, zorder=5, **own)
    hollow = own | {"markerfacecolor": "none", "markeredgecolor": colour}
    axes.plot(data[GAMMA], bound, zorder=5, **hollow)
    shown = (PUBLISHED_GAMMA >= left) & (PUBLISHED_GAMMA <= right)
    axes.plot(PUBLISHED_GAMMA[shown], np.array(PUBLISHED)[shown], zorder=6, **theirs)
    axes.set(ylim=(low, max(high, np.max(PUBLISHED, where=shown, initial=low) + 0.3)))
    axes.set_title(f"MLP without biases, $T={float(data['budget']):.0f}$")
    bar = figure.colorbar(mesh, ax=axes, pad=0.015, aspect=30, extend="both")
    bar.set_label(rf"$\log_{{10}}$ train loss at step {int(data['step_read'])}")
    handles = [
        theory_handle("guides of the follow-up code"),
        Line2D([], [], label=r"largest finite $\eta$, here", **own),
        Line2D([], [], label="the same, published (MNIST)", **theirs | {"color": "0.55"}),
        *missing_handles(),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=2, columnspacing=1.0)
    return figure
