"""Figure 1: performance is flat while the weights keep moving."""

from __future__ import annotations

import xarray as xr
from matplotlib.figure import Figure

from regimes.studies.limiting_dynamics.displacement_panels import resumed_figure


def draw(analyses: dict[str, xr.Dataset]) -> Figure:
    """Draw accuracy, squared local and squared global displacement against step.

    Parameters
    ----------
    analyses
        ``displacements``.
    """
    return resumed_figure(analyses["displacements"])
