"""Figure 7: displacements against learning rate, batch size and momentum."""

from __future__ import annotations

import xarray as xr
from matplotlib.figure import Figure

from regimes.studies.limiting_dynamics.displacement_panels import sweep_figure


def draw(analyses: dict[str, xr.Dataset]) -> Figure:
    """Draw mean squared local displacement and exponent over the three sweeps.

    Parameters
    ----------
    analyses
        ``sweeps``.
    """
    return sweep_figure(analyses["sweeps"])
