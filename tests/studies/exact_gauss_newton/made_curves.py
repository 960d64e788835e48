"""Made-up trained runs with planted curves, for the tests of curves read off them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import xarray as xr

BASE = {
    "data": "mnist1d",
    "samples": 4000,
    "blocks": 3,
    "width": 800.0,
    "first_block_linear": True,
    "sigma": 1e-3,
    "optimizer": "gn",
    "lr_code": 0.1,
    "epochs": 60,
    "batch_size": 128.0,
    "then": "",
    "then_lr_code": math.nan,
    "then_epochs": 0,
    "weight_decay": 0.0,
    "cross_term": True,
    "inverse": "truncate",
    "rtol": 1e-2,
    "atol": 1e-5,
    "damping": 0.01,
    "noise": 0.1,
    "precision": "single",
}
SEEDS = (42, 43, 44)

Curve = Callable[[np.ndarray, int], np.ndarray]
"""(epoch, seed) to values."""


def runs(
    cases: Sequence[Mapping[str, object]], seeds: Sequence[int] = SEEDS, **others: tuple
) -> xr.Dataset:
    """Trained runs of one experiment, one per case and seed.

    Parameters
    ----------
    cases
        Settings that differ from `BASE`, and curves: name of a variable to a function of epochs
        and seed. Runs are NaN beyond their epochs.
    seeds
        Of all cases.
    others
        Variables that are not curves: name to (dimensions, array over run and these).
    """
    settings = [{k: v for k, v in case.items() if not callable(v)} for case in cases]
    settings = [BASE | each for each in settings]
    for each in settings:
        linear = each["optimizer"] == "gn"
        each["alpha_eff"] = each["lr_code"] * each["blocks"] if linear else math.nan
    lengths = [each["epochs"] + each["then_epochs"] for each in settings]
    epoch = np.arange(max(lengths) + 1)
    names = dict.fromkeys(k for case in cases for k, v in case.items() if callable(v))
    rows = [(case, each, s) for case, each in zip(cases, settings, strict=True) for s in seeds]
    data = {}
    for name in names:
        values = np.full((len(rows), len(epoch)), np.nan)
        for row, (case, each, seed) in enumerate(rows):
            if name in case:
                used = epoch <= each["epochs"] + each["then_epochs"]
                values[row, used] = case[name](epoch[used].astype(float), seed)
        data[name] = (("run", "epoch"), values, {"long_name": name, "units": "1"})
    for name, (dims, values) in others.items():
        data[name] = (("run", *dims), values, {"long_name": name, "units": "1"})
    coords = {k: ("run", [each[k] for _, each, _ in rows]) for k in [*BASE, "alpha_eff"]}
    coords |= {"seed": ("run", [s for *_, s in rows]), "epoch": epoch}
    coords["run_id"] = ("run", [f"r{i}" for i in range(len(rows))])
    found = xr.Dataset(data, coords=coords)
    for name in found.coords:
        found[name].attrs = {"long_name": name, "units": "1"}
    return found
