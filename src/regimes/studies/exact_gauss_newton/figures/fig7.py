"""Figure 7: changing from Adam to GN and from GN to Adam."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from regimes.plot import style
from regimes.studies.exact_gauss_newton.panels import curves, legend_below, log_loss
from regimes.studies.exact_gauss_newton.variant_panels import ADAM, ADAM_LABEL, GN, curves_of

SHOWN = {
    "gn": ("GN", GN),
    "adam": (ADAM_LABEL, ADAM),
    "adam_gn": ("Adam, then GN", style.ORANGE),
    "gn_adam": ("GN, then Adam", style.SKY),
}


def draw(analyses: dict[str, xr.Dataset]) -> Figure:
    """Draw the train loss against epoch, with the epochs at which the optimizer changes.

    Parameters
    ----------
    analyses
        ``switching``.
    """
    data = analyses["switching"]
    figure, axes = plt.subplots(figsize=(4.4, 3.0))
    cases = curves_of(data, SHOWN)
    curves(axes, "running_loss", cases)
    switches = data["switch_epoch"].values
    for position, epoch in enumerate(np.unique(switches[np.isfinite(switches)])):
        label = None if position else "change of optimizer"
        axes.axvline(epoch, color=style.PURPLE, linestyle="--", linewidth=1, label=label)
    axes.set(xlabel="epoch", ylabel="train loss")
    log_loss(axes)
    legend_below(figure, axes, 3)
    return figure
