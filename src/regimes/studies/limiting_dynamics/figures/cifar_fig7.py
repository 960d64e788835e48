"""CIFAR-10 repeat of figure 7."""

from __future__ import annotations

import xarray as xr
from matplotlib.figure import Figure

from regimes.studies.limiting_dynamics.displacement_panels import sweep_figure


def draw(analyses: dict[str, xr.Dataset]) -> Figure:
    """Draw mean squared local displacement and exponent over the three sweeps.

    Parameters
    ----------
    analyses
        ``cifar_sweeps``.
    """
    return sweep_figure(analyses["cifar_sweeps"])
