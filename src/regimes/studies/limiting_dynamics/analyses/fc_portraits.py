"""Phase portraits of a fully connected network at high momentum, q1 to q3."""

from __future__ import annotations

import numpy as np
import xarray as xr

from regimes.fit.grids import by_setting
from regimes.studies.limiting_dynamics.long_names import gathered
from regimes.studies.limiting_dynamics.stationary import COORDINATES, STEP

LAST_STEPS = 2000
MODES = 3


def analyse(experiments: dict[str, xr.Dataset]) -> xr.Dataset:
    """Positions and velocities of the first modes at the last steps of each run.

    Parameters
    ----------
    experiments
        ``cifar_fc_portraits`` (kind sgd).

    Returns
    -------
    xr.Dataset
        ``position`` and ``velocity`` over (batch_size, seed, last_step, mode), NaN after a run
        diverged; the settings ``eta`` and ``momentum``.
    """
    runs = experiments["cifar_fc_portraits"]
    modes = runs["mode"].values[:MODES]
    known = runs["position"].notnull().any(["run", "mode"]).values
    end = int(np.flatnonzero(known)[-1]) + 1 if known.any() else known.size
    part = runs[["position", "velocity"]].sel(mode=modes)
    part = part.isel({STEP: slice(max(0, end - LAST_STEPS), end)}).rename({STEP: "last_step"})
    dense = by_setting(part, ["batch_size", "seed"])
    variables = {
        name: (dense[name], f"{name} along the eigenvectors at the last steps")
        for name in ("position", "velocity")
    }
    for name, text in (("eta", "learning rate eta"), ("momentum", "momentum beta")):
        variables[name] = (xr.DataArray(float(runs[name].isel(run=0))), text)
    return gathered(variables, COORDINATES)
