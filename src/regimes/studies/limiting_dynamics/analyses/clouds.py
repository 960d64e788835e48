"""Shape of the clouds of positions and velocities around the minimum (Figs. 4 and 5)."""

from __future__ import annotations

import numpy as np
import xarray as xr

from regimes.studies.limiting_dynamics.cloud_shapes import cloud
from regimes.studies.limiting_dynamics.long_names import gathered
from regimes.studies.limiting_dynamics.stationary import COORDINATES, resumed, start_point


def analyse(experiments: dict[str, xr.Dataset]) -> xr.Dataset:
    """Block moments of the modes, loss maps, loss rise, and gradient noise against curvature.

    Parameters
    ----------
    experiments
        ``stationary_cloud_resume`` (kind sgd), ``start_geometry`` (kind geometry) and
        ``mlp_pretrain``, where there is one, for its accuracy.
    """
    run = resumed(experiments["stationary_cloud_resume"])
    start = start_point(experiments["start_geometry"], run)
    variables = cloud(run, start)
    geometry = experiments["start_geometry"]
    variables["train_accuracy"] = (
        xr.DataArray(_final_accuracy(experiments.get("mlp_pretrain", geometry))),
        "train accuracy of the pre-trained network",
    )
    return gathered(variables, COORDINATES)


def _final_accuracy(runs: xr.Dataset) -> float:
    """Train accuracy at the end of the first run; NaN where none was recorded."""
    if "train_accuracy" not in runs:
        return float("nan")
    accuracy = runs["train_accuracy"].isel(run=0).values.astype(float).ravel()
    known = accuracy[np.isfinite(accuracy)]
    return float(known[-1]) if known.size else float("nan")
