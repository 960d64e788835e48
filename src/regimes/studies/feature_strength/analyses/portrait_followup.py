"""Phase portrait as re-implemented in the follow-up code: loss at step 360 of 390, no biases."""

from __future__ import annotations

import numpy as np
import xarray as xr

from regimes.fit.grids import by_setting
from regimes.studies.feature_strength.boundaries import (
    CELL,
    ETA,
    GAMMA,
    described,
    portrait,
    seed_mean,
)

STEP, STEPS = 360, 390  # the step that the follow-up code draws, and how many it runs


def analyse(experiments: dict[str, xr.Dataset]) -> xr.Dataset:
    """Portrait with the train loss at one step; shorter runs are read at the same share of steps.

    Parameters
    ----------
    experiments
        ``portrait_followup``.

    Returns
    -------
    xr.Dataset
        Variables of `boundaries.portrait` over loss and depth, ``step_loss`` and ``step_read``.
    """
    runs = experiments["portrait_followup"]
    names = ["loss", "depth"]
    found = portrait([runs], names)
    step = int(np.round(STEP * int(runs["steps"].max()) / STEPS))
    settings = {n: ("run", runs[n].values) for n in [*names, "seed"]}
    settings |= {n: ("run", np.round(runs[n].values.astype(float), 6)) for n in (GAMMA, ETA)}
    loss = runs["train_loss"].isel(step=step, drop=True).values.astype(float)
    grid = by_setting(xr.Dataset({"loss_then": ("run", loss)}, coords=settings), [*names, *CELL])
    trained = found["status"].isel(rule=0, drop=True) > 0
    found["step_loss"] = seed_mean(grid["loss_then"], trained)
    found["step_loss"].attrs = {
        "long_name": "train loss at one step, mean over seeds",
        "units": "1",
    }
    found["step_read"] = ((), step, {"long_name": "step at which step_loss is read", "units": "1"})
    return described(found)
