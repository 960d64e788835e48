"""Variants of the GN update and of the first block that the loss curve hardly tells apart."""

from __future__ import annotations

import xarray as xr
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from regimes.plot import style
from regimes.studies.exact_gauss_newton.panels import (
    band,
    curves,
    legend_below,
    log_loss,
    mark_end,
)
from regimes.studies.exact_gauss_newton.variant_panels import GN, curves_of

SHOWN = {
    "corrected": ("GN", GN),
    "uncorrected": ("without the cross term", style.ORANGE),
    "all_relu": ("ReLU in the first block", style.PURPLE),
    "tight": ("cut-off 0.001 instead of 0.01", style.SKY),
}


def draw(analyses: dict[str, xr.Dataset]) -> Figure:
    """Draw the train loss against epoch, and over that of the corrected update.

    Parameters
    ----------
    analyses
        ``update_variants``.
    """
    data = analyses["update_variants"]
    ends = data["last_epoch"].sel(variant=[name for name in SHOWN if name != "corrected"])
    if bool(ends.notnull().any()):  # GN itself was trained for longer
        data = data.sel(epoch=slice(None, float(ends.max())))
    figure, axes = plt.subplots(1, 2, figsize=(5.6, 2.6))
    cases = curves_of(data, SHOWN)
    curves(axes[0], "running_loss", cases)
    axes[0].set(xlabel="epoch", ylabel="train loss")
    log_loss(axes[0])
    reference = data["running_loss"].sel(variant="corrected", drop=True)
    for case in cases:
        if case.label == SHOWN["corrected"][0]:
            continue
        # Seed by seed, at the epochs that both have.
        ratio = case.data["running_loss"] / reference
        band(axes[1], ratio, case.label, case.colour, **case.look)
        mark_end(axes[1], ratio, case.colour)
    axes[1].axhline(1, color=GN, linewidth=1.3, zorder=0)
    axes[1].set(xlabel="epoch", ylabel="train loss over that of GN")
    for each, letter in zip(axes, "ab", strict=True):
        style.panel_label(each, letter)
    legend_below(figure, axes[0], 2)
    return figure
