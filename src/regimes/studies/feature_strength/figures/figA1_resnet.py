"""Figure A.1, ResNet: phase portrait with the guides of the depth assigned to it."""

from __future__ import annotations

import xarray as xr
from matplotlib.figure import Figure

from regimes.studies.feature_strength.boundaries import only
from regimes.studies.feature_strength.portrait_panels import single_portrait


def draw(analyses: dict[str, xr.Dataset]) -> Figure:
    """One panel: test accuracy over feature strength and learning rate, fitted slopes beside."""
    data = analyses["portrait_resnet"]
    loss = str(data["loss"].values[0])
    one = only(data, loss)
    return single_portrait(one, loss, int(one["depth"]), "ResNet")
