"""Figure 11: how alike networks trained by two optimizers represent images."""

from __future__ import annotations

import xarray as xr
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from regimes.studies.exact_gauss_newton.lazy_panels import (
    OTHER,
    PAIR_COLOURS,
    PAIR_LABELS,
    block_grid,
    by_pair,
    handles,
    label_rows,
)


def draw(analyses: dict[str, xr.Dataset]) -> Figure:
    """Draw CKA between optimizers at equal epoch and seed, a panel per block; dotted without bias.

    Parameters
    ----------
    analyses
        ``cross_cka``.
    """
    data = analyses["cross_cka"]
    figure, panels = block_grid(data.sizes["block"])
    for i, axes in enumerate(panels):
        by_pair(axes, data["cka"].isel(block=i))
        by_pair(axes, data["cka_debiased"].isel(block=i), spread=False, **OTHER)
    label_rows(panels, "CKA between optimizers")
    dotted = Line2D([], [], color="0.4", label="debiased", **OTHER)
    legend = [*handles(PAIR_COLOURS, PAIR_LABELS), dotted]
    figure.legend(handles=legend, loc="outside lower center", ncols=4)
    return figure
