"""Figure A.3: six giant steps, example 1 of the official notebook."""

from __future__ import annotations

import xarray as xr
from matplotlib.figure import Figure

from regimes.studies.giant_step.six_step_panels import six_steps


def draw(analyses: dict[str, xr.Dataset]) -> Figure:
    """Gradients stay near the line of slope 1/4 while they shrink."""
    return six_steps(analyses["six_steps"], "example1", "linear part, slope 1/4")
