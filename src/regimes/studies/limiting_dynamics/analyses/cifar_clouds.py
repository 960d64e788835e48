"""Clouds and loops of an interpolating network, the CIFAR-10 repeats of Figs. 4 to 6."""

from __future__ import annotations

import xarray as xr

from regimes.studies.limiting_dynamics.cloud_shapes import cloud
from regimes.studies.limiting_dynamics.long_names import gathered
from regimes.studies.limiting_dynamics.rotation import circulation, last_steps
from regimes.studies.limiting_dynamics.stationary import COORDINATES, resumed, start_point


def analyse(experiments: dict[str, xr.Dataset]) -> xr.Dataset:
    """As `clouds`, with circulation and the last steps of the plotted modes.

    Parameters
    ----------
    experiments
        ``cifar_resume`` (kind sgd) and ``cifar_geometry`` (kind geometry).
    """
    run = resumed(experiments["cifar_resume"])
    start = start_point(experiments["cifar_geometry"], run)
    return gathered(cloud(run, start) | circulation(run) | last_steps(run), COORDINATES)
