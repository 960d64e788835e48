"""CIFAR-10 repeat of Fig. 6: single modes of an interpolating network in phase space."""

from __future__ import annotations

import xarray as xr
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from regimes.studies.limiting_dynamics.cloud_panels import mode_portrait


def draw(analyses: dict[str, xr.Dataset]) -> Figure:
    """Draw phase portraits of the two plotted modes.

    Parameters
    ----------
    analyses
        ``cifar_clouds``.
    """
    data = analyses["cifar_clouds"]
    figure = plt.figure(figsize=(4.6, 5.6))
    for pair in (0, 1):
        mode_portrait(figure, (2, 1, pair + 1), data, pair, zoom=1.02)
    return figure
