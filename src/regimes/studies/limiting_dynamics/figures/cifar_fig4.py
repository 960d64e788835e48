"""CIFAR-10 repeat of Fig. 4: positions of an interpolating network drift."""

from __future__ import annotations

import xarray as xr
from matplotlib.figure import Figure

from regimes.studies.limiting_dynamics.cloud_panels import position_figure


def draw(analyses: dict[str, xr.Dataset]) -> Figure:
    """Draw the path of positions over train loss, test loss and modified loss.

    Parameters
    ----------
    analyses
        ``cifar_clouds``.
    """
    return position_figure(analyses["cifar_clouds"])
