"""Silent alignment, one panel per feature strength: what Figs. A2 and A3 share."""

from __future__ import annotations

from math import ceil
from string import ascii_lowercase

import xarray as xr
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from regimes.plot import style
from regimes.studies.feature_strength.dynamics_panels import alignment_handles, alignment_panel
from regimes.studies.feature_strength.panels import gamma_label


def alignment_figure(data: xr.Dataset, columns: int) -> Figure:
    """Loss and alignment of all kernels against step (log), one panel per gamma.

    Parameters
    ----------
    data
        Alignment variables over log10_gamma, seed and steps.
    columns
        Panels side by side.
    """
    gammas = data["log10_gamma"].values
    columns = min(columns, len(gammas))
    rows = ceil(len(gammas) / columns)
    height = 1.0 + 1.75 * rows
    figure, grid = plt.subplots(
        rows, columns, figsize=(style.PAGE, height), squeeze=False, sharey=True
    )
    for axes in grid.flat[len(gammas) :]:
        axes.remove()
    for axes, gamma, letter in zip(grid.flat, gammas, ascii_lowercase, strict=False):
        part = data.sel(log10_gamma=gamma)
        right = alignment_panel(axes, part)
        axes.set_title(gamma_label(float(gamma)))
        place = axes.get_subplotspec()
        if place.is_first_col():
            axes.set_ylabel("loss / initial loss")
        if place.is_last_col() or gamma == gammas[-1]:
            right.set_ylabel("CKA with labels")
        else:
            right.set_yticklabels([])
        style.panel_label(axes, letter)
    figure.legend(handles=alignment_handles(data), loc="outside lower center", ncols=3)
    return figure
