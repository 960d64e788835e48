"""Losses of full-batch Gauss-Newton against exact dynamics in function space (section 2.4)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import xarray as xr

from regimes.store import described
from regimes.studies.exact_gauss_newton import theory
from regimes.studies.exact_gauss_newton.reading import RAN, on_grid

END = 1.0  # time at which squared losses are compared
TIMES = (1, 2, 5, 10, 20)  # alpha t at which cross-entropies are compared
# Figure 3 of the paper: alpha of the mini-batch runs on CIFAR-10, ten classes.
START = {"alpha": 0.6, "classes": 10, "rows": 200_000}
TEXTS = {
    "weight_std": "standard deviation of the initial weights",
    "alpha": "step alpha in function space",
    "seed": "seed of the draw",
    "step": "number of updates",
    "loss_ratio": "squared loss over its start",
    "end_ratio": "squared loss at t = 1 over its start",
    "alpha_eff": "step alpha = lr_code L in function space",
    "ran": RAN,
    "trained_ran": RAN,
    "trained_seed": "seed of the trained network",
    "epoch": "number of updates, full batch",
    "train_loss": "train cross-entropy of the network",
    "recursion": "cross-entropy of z <- z - alpha (softmax(z) - y) from the initial logits",
    "alpha_time": "alpha times the number of updates",
    "deviation": "|train_loss / recursion - 1|",
    "classes": "number of classes K",
    "start_change": "change of the cross-entropy by the first step of alpha 0.6 from standard "
    "normal logits of ten classes, percent",
}


def analyse(experiments: Mapping[str, xr.Dataset]) -> xr.Dataset:
    """Ratios of squared losses, and cross-entropies beside the recursion on the logits.

    Parameters
    ----------
    experiments
        ``squared_loss_flow_toy`` and ``function_space_recursion``.

    Returns
    -------
    xr.Dataset
        ``loss_ratio`` (weight_std, alpha, seed, step), ``end_ratio`` (weight_std, alpha, seed);
        ``train_loss`` and ``recursion`` (alpha_eff, trained_seed, epoch), ``deviation``
        (alpha_eff, trained_seed, alpha_time), NaN at times that were not reached;
        ``start_change`` and ``classes``, numbers. Coordinates ``ran`` (weight_std, alpha, seed) and
        ``trained_ran`` (alpha_eff, trained_seed), 1 where a run exists.
    """
    parts = [
        _squared(experiments["squared_loss_flow_toy"]),
        _cross_entropy(experiments["function_space_recursion"]),
        xr.Dataset({"start_change": ((), theory.first_step_change(**START))}),
    ]
    return described(xr.merge(parts, join="exact"), TEXTS)


def _squared(runs: xr.Dataset) -> xr.Dataset:
    """Squared losses over their start."""
    loss = on_grid(runs[["loss"]], ["weight_std", "alpha", "seed"])["loss"]
    ratio = loss / loss.isel(step=0, drop=True)
    ends = [_at_step(ratio.sel(alpha=a).drop_vars("ran"), END / float(a)) for a in ratio["alpha"]]
    end = xr.concat(ends, "alpha").transpose("weight_std", "alpha", "seed")
    return xr.Dataset({"loss_ratio": ratio, "end_ratio": end})


def _cross_entropy(runs: xr.Dataset) -> xr.Dataset:
    """Losses of networks beside the recursion from their initial logits."""
    names = ["train_loss", "initial_logits", "label"]
    settings = [name for name, c in runs.coords.items() if c.dims == ("run",)]
    kept = runs[names].drop_vars([n for n in settings if n not in ("alpha_eff", "seed")])
    grid = on_grid(kept, ["alpha_eff", "seed"], "trained_ran").rename(seed="trained_seed")
    measured = grid["train_loss"].transpose("alpha_eff", "trained_seed", "epoch")
    logits = grid["initial_logits"].transpose("alpha_eff", "trained_seed", "sample", "class")
    labels = grid["label"].transpose("alpha_eff", "trained_seed", "sample")
    alpha = measured["alpha_eff"].values
    expected = np.full(measured.shape, np.nan)
    known = labels.notnull().all("sample").values  # a pair of settings may lack a seed
    losses = theory.function_space_recursion(
        logits.values[known],
        labels.values[known],
        np.broadcast_to(alpha[:, None], known.shape)[known],
        int(measured["epoch"].max()),
    )
    expected[known] = losses[:, measured["epoch"].values]
    recursion = measured.copy(data=expected).where(measured.notnull())
    gap = abs(measured / recursion - 1).drop_vars("trained_ran")
    deviation = xr.concat([_at_time(gap, time) for time in TIMES], "alpha_time")
    deviation = deviation.assign_coords(alpha_time=list(map(float, TIMES)))
    return xr.Dataset(
        {
            "train_loss": measured,
            "recursion": recursion,
            "deviation": deviation.transpose("alpha_eff", "trained_seed", "alpha_time"),
            "classes": ((), logits.sizes["class"]),
        }
    )


def _at_time(values: xr.DataArray, time: float) -> xr.DataArray:
    """Values after so many updates that alpha times their number is ``time``."""
    parts = [
        _at_step(values.sel(alpha_eff=a).rename(epoch="step"), time / float(a))
        for a in values["alpha_eff"]
    ]
    return xr.concat(parts, "alpha_eff")


def _at_step(values: xr.DataArray, step: float) -> xr.DataArray:
    """Values at a step up to rounding, NaN if it is no whole number or was not reached."""
    found = np.flatnonzero(np.isclose(values["step"].values, step, rtol=1e-6, atol=0))
    if found.size:
        return values.isel(step=int(found[0]), drop=True)
    return xr.full_like(values.isel(step=0, drop=True), np.nan)
