"""Final train loss against learning rate at several widths, and the best rate at each."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import xarray as xr

from regimes.store import described
from regimes.studies.second_order_mup.transfer import (
    PARAMETERIZATIONS,
    by_optimizer,
    optima,
    outcomes,
    rounded_logarithm,
    setup,
    texts,
)

PANELS = {
    "mlp_kfac": ("lr_transfer_mlp_kfac", "kfac"),
    "cnn_kfac": ("lr_transfer_cnn_kfac", "kfac"),
    "resnet_kfac": ("lr_transfer_resnet_kfac", "kfac"),
    "mlp_sgd": ("lr_transfer_sgd_shampoo", "sgd"),
    "mlp_shampoo": ("lr_transfer_sgd_shampoo", "shampoo"),
}
"""Network and optimizer to experiment and optimizer."""
RATE = "log2_learning_rate"


def analyse(experiments: Mapping[str, xr.Dataset]) -> xr.Dataset:
    """Outcomes on the grid of learning rates and their optima.

    Parameters
    ----------
    experiments
        Those of `PANELS` that were run at this scale.

    Returns
    -------
    xr.Dataset
        Over (panel, parameterization, width, log2_learning_rate, seed) and less, see
        `transfer.outcomes` and `transfer.optima`. The learning rate is the base one, before any
        factor that depends on the width. All panels and parameterizations are there, NaN where
        they were not run. ``setup`` (panel) says what was trained, empty where nothing was.
    """
    parts, setups = {}, dict.fromkeys(PANELS, "")
    for panel, runs in by_optimizer(experiments, PANELS).items():
        runs = runs.assign_coords({RATE: rounded_logarithm(runs["lr"], 2)})
        setups[panel] = setup(runs)
        parts[panel] = outcomes(runs, ("parameterization", "width", RATE, "seed"))
    found = _joined(parts) if parts else _nothing()
    found = found.reindex(panel=list(PANELS), parameterization=list(PARAMETERIZATIONS))
    found = found.assign_coords(setup=("panel", list(setups.values())))
    names = texts(RATE, "learning rate")
    names |= {"panel": "network and optimizer", "parameterization": "parameterization"}
    return described(found.merge(optima(found, RATE, 2)), names)


def _joined(parts: Mapping[str, xr.Dataset]) -> xr.Dataset:
    """Panels on the union of their widths, learning rates and seeds."""
    named = [part.drop_attrs().expand_dims(panel=[name]) for name, part in parts.items()]
    return xr.concat(named, "panel", join="outer")


def _nothing() -> xr.Dataset:
    """One panel without any run."""
    dims = ("panel", "parameterization", "width", RATE, "seed")
    coords = {"panel": ["mlp_kfac"], "parameterization": ["sp"], "width": [1.0], RATE: [0.0]}
    empty = xr.DataArray(np.full((1,) * len(dims), np.nan), {**coords, "seed": [0.0]}, dims)
    names = ("train_loss", "test_accuracy", "initial_loss")
    return xr.Dataset({name: empty for name in names})
