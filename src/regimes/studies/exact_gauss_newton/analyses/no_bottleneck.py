"""Networks without inverted bottleneck, full batch and mini-batch (Fig. 5)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import xarray as xr

from regimes.studies.exact_gauss_newton.reading import (
    at_epoch,
    cases,
    drop_unknown_seeds,
    last_epoch,
)

CURVES = ("running_loss", "train_loss", "test_loss", "test_accuracy")
FULL, MINI = "no_bottleneck_full", "no_bottleneck_mini"
JUDGED = {FULL: 20, MINI: 1}  # step or epoch at which learning rates are compared


def analyse(experiments: Mapping[str, xr.Dataset]) -> xr.Dataset:
    """Losses against step or epoch, and the best learning rate of each optimizer.

    Parameters
    ----------
    experiments
        Any of ``no_bottleneck_full``, ``no_bottleneck_mini``.

    Returns
    -------
    xr.Dataset
        `CURVES` over (case, seed, epoch) and ``best`` over (case,): 1 for the learning rate of
        each experiment and optimizer with the smallest train loss (seed mean) among those with
        which no seed diverged. Full batch: after 20 steps (the last one, if there are fewer), the
        step at which optimizers are compared. Mini-batch: after one epoch, the rule of the paper.
        Chosen once on all seeds.
    """
    data = cases(experiments, CURVES)
    best = np.zeros(data.sizes["case"])
    groups = {tuple(g) for g in np.stack([data["experiment"], data["optimizer"]], axis=-1).tolist()}
    for experiment, optimizer in sorted(groups):
        same = (data["experiment"] == experiment) & (data["optimizer"] == optimizer)
        members = np.flatnonzero(same.values)
        level = [_level(data["train_loss"].isel(case=i), JUDGED[experiment]) for i in members]
        if np.isfinite(level).any():
            best[members[int(np.nanargmin(level))]] = 1
    text = "1 for the best learning rate of an optimizer"
    return data.assign(best=("case", best, {"long_name": text, "units": "1"}))


def _level(loss: xr.DataArray, epoch: int) -> float:
    """Seed mean of the loss after an epoch, or after the last one; NaN if a seed diverged."""
    loss, end = drop_unknown_seeds(loss), last_epoch(loss)
    survived = bool(np.isfinite(at_epoch(loss, end)).all())
    return float(at_epoch(loss, min(epoch, end)).mean("seed", skipna=False)) if survived else np.nan
