"""Figure A.4: six giant steps, example 2 of the official notebook (a staircase target)."""

from __future__ import annotations

import xarray as xr
from matplotlib.figure import Figure

from regimes.studies.giant_step.six_step_panels import six_steps


def draw(analyses: dict[str, xr.Dataset]) -> Figure:
    """Gradients leave the diagonal at the second step, both clusters to the same side."""
    return six_steps(analyses["six_steps"], "minus", "linear part, slope 1")
