"""Figure A.1: phase portraits of the MLP, one panel per loss and depth."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from regimes.plot import style
from regimes.studies.feature_strength.boundaries import GAMMA
from regimes.studies.feature_strength.portrait_panels import (
    accuracy_bar,
    common_legend,
    portrait_panel,
)


def _trained(data: xr.Dataset) -> list[tuple[str, int]]:
    """Pairs of loss and depth that the scale has, squared loss first."""
    known = data["window_high"].notnull().any([GAMMA, "seed"])
    losses = sorted(map(str, data["loss"].values), reverse=True)
    return [(m, int(d)) for m in losses for d in data["depth"].values if known.sel(loss=m, depth=d)]


def draw(analyses: dict[str, xr.Dataset]) -> Figure:
    """Test accuracy over feature strength and learning rate, guides, boundaries with slopes."""
    data = analyses["portrait_mlp"]
    pairs = _trained(data)
    rows = int(np.ceil(len(pairs) / 2))
    size = (style.PAGE, 3.2 * rows)
    figure, panels = plt.subplots(rows, min(len(pairs), 2), figsize=size, squeeze=False)
    for spare in panels.flat[len(pairs) :]:
        spare.set_axis_off()
    for index, ((loss, depth), axes) in enumerate(zip(pairs, panels.flat, strict=False)):
        mesh = portrait_panel(axes, data.sel(loss=loss, depth=depth), loss, depth, "MLP")
        style.panel_label(axes, "abcdefgh"[index])
    accuracy_bar(figure, mesh, list(panels.flat), aspect=40)
    common_legend(figure)
    return figure
