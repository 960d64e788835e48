"""CIFAR-10 repeat of figure 1."""

from __future__ import annotations

import xarray as xr
from matplotlib.figure import Figure

from regimes.studies.limiting_dynamics.displacement_panels import resumed_figure


def draw(analyses: dict[str, xr.Dataset]) -> Figure:
    """Draw accuracy, squared local and squared global displacement against step.

    Parameters
    ----------
    analyses
        ``cifar_displacements``.
    """
    return resumed_figure(analyses["cifar_displacements"], marks=True)
