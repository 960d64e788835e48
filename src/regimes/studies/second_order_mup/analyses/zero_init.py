"""Training from output layers of three sizes, against the kernel solution."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import xarray as xr

from regimes.store import described
from regimes.studies.second_order_mup.zero_init import CASE, DIMS, OUTPUT_EXPONENTS, cases

EXPERIMENT = "zero_init_bias"
_KERNELS = {
    "nngp": "ridge regression with the NNGP kernel",
    "kernel": "ridge regression with the kernel of the initial last hidden layer",
}
TEXTS = {
    "train_accuracy": "accuracy on the training set, a fraction",
    "test_accuracy": "accuracy on the test set, a fraction",
    "final_train_accuracy": "accuracy on the training set at the end, a fraction",
    "final_test_accuracy": "accuracy on the test set at the end, a fraction",
    **{f"{k}_accuracy": f"test accuracy of {v}, a fraction" for k, v in _KERNELS.items()},
    **{f"{k}_distance": f"final relative distance to {v}" for k, v in _KERNELS.items()},
    "feature_change": "relative change of the last hidden features at the end",
    "ran": "1 where a run exists",
    "failed": "1 where a run failed",
    "setup": "network, data and length of training",
    "case": "optimizer, damping and learning rate",
    "output_exponent": "exponent b_L of the initial size of the output layer",
    "batch_size": "samples in a batch",
    "full": "1 where a batch holds all training samples",
    "seed": "seed",
    "step": "updates",
    "ridge": "ridge relative to the trace of the kernel",
    "optimizer": "optimizer",
    "damping_rule": "rule that sets the damping",
    "damping": "damping of the rule",
    "lr": "base learning rate",
}


def analyse(experiments: Mapping[str, xr.Dataset]) -> xr.Dataset:
    """Curves and final numbers of all cases.

    Parameters
    ----------
    experiments
        ``zero_init_bias``, if it was run at this scale.

    Returns
    -------
    xr.Dataset
        See `zero_init.cases`.
    """
    runs = experiments.get(EXPERIMENT)
    found = cases(runs) if runs is not None and runs.sizes["run"] else _nothing()
    return described(found, TEXTS)


def _nothing() -> xr.Dataset:
    """One case without any run."""
    sizes = {"case": 1, "output_exponent": len(OUTPUT_EXPONENTS), "batch_size": 1, "seed": 1}
    sizes |= {"step": 1, "ridge": 1}
    along = {name: ("step",) for name in ("train_accuracy", "test_accuracy")}
    along |= {f"{k}_{n}": ("ridge",) for k in _KERNELS for n in ("accuracy", "distance")}
    along |= {f"final_{n}": () for n in ("train_accuracy", "test_accuracy")}
    along |= {"feature_change": (), "failed": ()}
    unknown = {}
    for name, extra in along.items():
        dims = (*DIMS, *extra)
        unknown[name] = (dims, np.full([sizes[d] for d in dims], np.nan))
    unknown["ran"] = (DIMS, np.zeros([sizes[d] for d in DIMS]))
    coords = {dim: np.zeros(sizes[dim]) for dim in ("case", "batch_size", "seed", "step", "ridge")}
    coords["output_exponent"] = list(OUTPUT_EXPONENTS)
    texts = {n: ("case", [""]) for n in CASE[:2]} | {n: ("case", [np.nan]) for n in CASE[2:]}
    return xr.Dataset(unknown, {**coords, **texts, "full": ("batch_size", [0.0]), "setup": ""})
