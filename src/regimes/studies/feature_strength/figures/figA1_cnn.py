"""Figure A.1, CNN: phase portrait with the squared loss."""

from __future__ import annotations

import xarray as xr
from matplotlib.figure import Figure

from regimes.studies.feature_strength.boundaries import only
from regimes.studies.feature_strength.portrait_panels import single_portrait


def draw(analyses: dict[str, xr.Dataset]) -> Figure:
    """One panel: test accuracy over feature strength and learning rate."""
    data = only(analyses["portrait_cnn"], "mse")
    return single_portrait(data, "mse", int(data["depth"]), "CNN")
