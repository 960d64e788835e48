"""What the figures of linear regression share: curves of a path and its means, their legend."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.lines import Line2D

from regimes.studies.limiting_dynamics.panels import (
    CONTINUOUS_THEORY,
    DATA,
    RECURSION,
    PhaseCurve,
    moving_average,
)

SMOOTHING = 2  # steps averaged in the curves of data, as in the paper
DATA_LOOK = {"color": DATA, "linewidth": 1.0}


def path_curves(one: xr.Dataset, time: np.ndarray, recursion: bool = True) -> list[PhaseCurve]:
    """Curves of one run for `panels.phase_portrait`: data, continuous mean, exact recursion.

    Parameters
    ----------
    one
        A run of the analysis ``phase_space``, over ``step``.
    time
        Values of the time axis at these steps.
    recursion
        Draw the exact recursion too.
    """
    smooth = (moving_average(v, SMOOTHING) for v in (time, one["position"], one["velocity"]))
    curves = [
        PhaseCurve(*smooth, look=DATA_LOOK),
        PhaseCurve(
            time,
            one["continuous_position"].values,
            one["continuous_velocity"].values,
            look=CONTINUOUS_THEORY,
        ),
    ]
    if recursion:
        curves.append(
            PhaseCurve(
                time,
                one["recursion_position"].values,
                one["recursion_velocity"].values,
                look=RECURSION | {"color": "black"},
                wall=None,
            )
        )
    return curves


def path_legend(data: str = "one run", recursion: bool = True) -> list[Line2D]:
    """Handles that name the curves of `path_curves`; ``data`` is the name of the black ones."""
    handles = [
        Line2D([], [], label=data, **DATA_LOOK),
        Line2D([], [], label="continuous theory, mean", **CONTINUOUS_THEORY),
    ]
    if recursion:
        handles.append(Line2D([], [], label="exact recursion, mean", **RECURSION))
    return handles
