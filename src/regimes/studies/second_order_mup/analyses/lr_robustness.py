"""Test accuracy of a residual network against the learning rate under SP and muP (Fig. 5)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import xarray as xr

from regimes.store import described
from regimes.studies.second_order_mup import accuracies
from regimes.studies.second_order_mup.accuracies import gains
from regimes.studies.second_order_mup.transfer import PARAMETERIZATIONS, rounded_logarithm

EXPERIMENT = "lr_robustness_resnet"
OPTIMIZER = "kfac"
RATE = "log2_learning_rate"
TEXTS = accuracies.TEXTS | {
    RATE: "log2 of the base learning rate",
    "network": "network",
    "data": "data",
    "width": "width multiplier",
    "epochs": "passes over the training samples",
}


def analyse(experiments: Mapping[str, xr.Dataset]) -> xr.Dataset:
    """Accuracies on the grid of learning rates, at the largest width that was run.

    Parameters
    ----------
    experiments
        ``lr_robustness_resnet``, where a scale has it.

    Returns
    -------
    xr.Dataset
        ``train_accuracy``, ``test_accuracy``, ``diverged`` (log2_learning_rate, parameterization,
        seed); ``gain``, ``gain_low``, ``gain_high`` (log2_learning_rate); ``network``, ``data``
        (empty without runs), ``width`` and ``epochs``, scalar coordinates.
    """
    found = {"network": "", "data": "", "width": np.nan, "epochs": np.nan}
    grid = _nothing()
    if EXPERIMENT in experiments:
        runs = experiments[EXPERIMENT]
        runs = runs.isel(run=np.flatnonzero(runs["optimizer"].values == OPTIMIZER))
        if runs.sizes["run"]:
            width = runs["width"].values.max()
            runs = runs.isel(run=np.flatnonzero(runs["width"].values == width))
            runs = runs.assign_coords({RATE: rounded_logarithm(runs["lr"], 2)})
            grid = accuracies.accuracies(runs, [RATE])
            network, data = (str(runs[name].values[0]) for name in ("model", "data"))
            found = {"network": network, "data": data, "width": float(width)}
            found["epochs"] = accuracies.epochs(runs)
    grid = grid.drop_attrs().merge(gains(grid["test_accuracy"]))
    return described(grid.assign_coords(found), TEXTS)


def _nothing() -> xr.Dataset:
    """One learning rate without any run."""
    coords = {RATE: [0.0], "parameterization": list(PARAMETERIZATIONS), "seed": [0.0]}
    empty = xr.DataArray(np.full((1, 2, 1), np.nan), coords, tuple(coords))
    return xr.Dataset(dict.fromkeys(("train_accuracy", "test_accuracy", "diverged"), empty))


def share_above(data: xr.Dataset, strictly: bool = False) -> float:
    """Share of learning rates at which the seed mean of muP is not below (or above) that of SP.

    Parameters
    ----------
    data
        ``test_accuracy`` and ``diverged`` over (log2_learning_rate, parameterization, seed).
    strictly
        Whether equal accuracies count as below.

    Returns
    -------
    float
        Learning rates at which both parameterizations lose a seed are left out, and so are those
        at which one of them was not run; NaN if none is left.
    """
    mean = data["test_accuracy"].mean("seed")
    sp, mup = (mean.sel(parameterization=p).values for p in PARAMETERIZATIONS)
    both_lost = (data["diverged"] > 0).any("seed").all("parameterization").values
    compared = np.isfinite(sp) & np.isfinite(mup) & ~both_lost
    above = mup > sp if strictly else mup >= sp
    return float(above[compared].mean()) if compared.any() else float("nan")
