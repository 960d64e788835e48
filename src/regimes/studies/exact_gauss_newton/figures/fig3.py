"""Figure 3: what an update does to the loss of the batch that it was computed on."""

from __future__ import annotations

import xarray as xr
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from regimes.plot import style
from regimes.studies.exact_gauss_newton.panels import COLOURS, NAMES, curves, legend_below
from regimes.studies.exact_gauss_newton.variant_panels import curves_of


def draw(analyses: dict[str, xr.Dataset]) -> Figure:
    """Draw the percent change of the batch loss by its own update, epoch by epoch.

    Parameters
    ----------
    analyses
        ``per_update``.
    """
    data = analyses["per_update"]
    figure, axes = plt.subplots(figsize=(style.COLUMN, 2.5))
    shown = {name: (NAMES[name], COLOURS[name]) for name in NAMES}
    curves(axes, "pct_change_mean", curves_of(data, shown))
    axes.axhline(0, color="0.6", linewidth=0.7, zorder=0)
    axes.set(xlabel="epoch", ylabel="change of the batch loss\nby its own update (%)")
    axes.set_xlim(left=0)
    legend_below(figure, axes, 3)
    return figure
