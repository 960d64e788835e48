"""Fig. 5: the cloud of velocities has the shape of the Hessian."""

from __future__ import annotations

import xarray as xr
from matplotlib.figure import Figure

from regimes.studies.limiting_dynamics.cloud_panels import velocity_figure


def draw(analyses: dict[str, xr.Dataset]) -> Figure:
    """Draw the path of velocities over the velocity part of the modified loss.

    Parameters
    ----------
    analyses
        ``clouds``.
    """
    return velocity_figure(analyses["clouds"])
