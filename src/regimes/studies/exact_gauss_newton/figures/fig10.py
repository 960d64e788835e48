"""Figure 10: how far the representation of every block stays what it was."""

from __future__ import annotations

import xarray as xr
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from regimes.studies.exact_gauss_newton.lazy_panels import (
    OTHER,
    block_grid,
    by_optimizer,
    label_rows,
    optimizer_handles,
)


def draw(analyses: dict[str, xr.Dataset]) -> Figure:
    """Draw CKA to init against epoch, a panel per block; dotted without bias.

    Parameters
    ----------
    analyses
        ``laziness`` and ``cross_cka``.
    """
    data, other = analyses["laziness"], analyses["cross_cka"]["cka_initial_debiased"]
    figure, panels = block_grid(data.sizes["block"])
    for i, axes in enumerate(panels):
        by_optimizer(axes, data["cka_initial"].isel(block=i))
        if i < other.sizes["block"]:
            by_optimizer(axes, other.isel(block=i), spread=False, **OTHER)
    label_rows(panels, "CKA to init")
    dotted = Line2D([], [], color="0.4", label="debiased, fewer images", **OTHER)
    legend = [*optimizer_handles(data["lr_code"]), dotted]
    figure.legend(handles=legend, loc="outside lower center", ncols=4)
    return figure
