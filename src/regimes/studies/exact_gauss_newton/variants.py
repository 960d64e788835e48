"""Curves of named variants of a run, next to each other, and numbers that compare two of them.

The figures that vary one thing about Gauss-Newton (its learning rate, the spread of the initial
weights, weight decay, the pseudo-inverse, the update itself, what ran before) all read the same:
a few named variants, each one setting with several seeds, compared at equal epochs.

A seed with which a variant was not run and a run that diverged both leave NaN; ``ran`` tells them
apart, and claims leave out the first, not the second.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr

from regimes.studies.exact_gauss_newton.reading import (
    at_epoch,
    cases,
    last_epoch,
    minimum,
    minimum_epoch,
    pick,
    window,
)

# Runs that the variants are held against. The learning rates of Adam and SGD depend on the data,
# and each experiment has one of each, so they are not named; that of GN is the same on all.
BASE_GN = {
    "optimizer": "gn",
    "lr_code": 0.1,
    "sigma": 1e-3,
    "weight_decay": 0.0,
    "cross_term": True,
    "first_block_linear": True,
    "inverse": "truncate",
    "rtol": 1e-2,
}
ADAM = {"optimizer": "adam"}
SGD = {"optimizer": "sgd"}

CURVES = {
    "running_loss": "mean loss of the batches of an epoch, each before its update",
    "train_loss": "loss on the training data after an epoch",
    "test_loss": "loss on the test data after an epoch",
    "test_accuracy": "accuracy on the test data after an epoch",
}
LOSS = "running_loss"
VARIANT = {"long_name": "variant of the run", "units": "1"}


# --- Curves --------------------------------------------------------------------------------------


def gather(
    experiments: Mapping[str, xr.Dataset],
    variants: Mapping[str, Mapping],
    prefer: str,
    names: Mapping[str, str] = CURVES,
) -> xr.Dataset:
    """Curves of variants side by side.

    Parameters
    ----------
    experiments
        Runs of each experiment.
    variants
        Name of each variant to its settings (see `reading.pick`), in the order of the figure.
    prefer
        Experiment whose runs are taken where several experiments have such runs.
    names
        Variables to gather, with their long names.

    Returns
    -------
    xr.Dataset
        The variables over (variant, seed, epoch), NaN where a variant was not run, has no such
        seed, is shorter than others or diverged; ``ran`` (variant, seed): 1 where a run exists;
        over variant: ``last_epoch`` and ``switch_epoch``, planned epochs in all and before a
        change of the optimizer (NaN without one), and ``data``, "" where it was not run.
    """
    everything = cases(experiments, list(names))
    found = [pick(everything, prefer, **settings) for settings in variants.values()]
    axis = xr.Variable("variant", list(variants), VARIANT)
    plain = [each[list(names)].reset_coords(drop=True) for each in found]
    result = xr.concat(plain, axis, join="outer", combine_attrs="drop")
    ran = np.any([result[name].notnull().any("epoch") for name in names], axis=0)
    result = result.assign(ran=(("variant", "seed"), ran.astype(float)))
    plan = [_plan(each) for each in found]
    for name in plan[0]:
        result[name] = ("variant", [each[name] for each in plan])
    texts = {
        **names,
        "ran": "1 where a run exists",
        "last_epoch": "epochs of training",
        "switch_epoch": "epochs before the change of the optimizer",
        "data": "data set",
    }
    for name, text in texts.items():
        result[name].attrs = {"long_name": text, "units": "1"}
    return result


def _plan(found: xr.Dataset) -> dict[str, float | str]:
    """Planned length of a case, the epoch of its switch and its data; unknown if it was not run."""
    end = max((last_epoch(values) for values in found.data_vars.values()), key=np.nan_to_num)
    known = not math.isnan(end) and "epochs" in found.coords
    first = float(found["epochs"]) if known else math.nan
    return {
        "last_epoch": end,
        "switch_epoch": first if known and end > first else math.nan,
        "data": str(found["data"].values) if known else "",
    }


# --- Numbers per seed ----------------------------------------------------------------------------


def common_end(curves: xr.Dataset, *variants: str) -> float:
    """Last epoch that all of these variants have; NaN if one of them was not run.

    It is the planned one: a run that diverged has no value there, and is not judged by the
    last value that it had.
    """
    return float(curves["last_epoch"].sel(variant=list(variants)).values.min())


def level(curves: xr.Dataset, variant: str, epoch: float) -> xr.DataArray:
    """Running train loss of a variant at an epoch, (seed); NaN if it was not recorded."""
    return at_epoch(curves[LOSS].sel(variant=variant, drop=True), epoch)


def final_levels(curves: xr.Dataset, *variants: str) -> xr.DataArray:
    """Running train loss of variants at their last common epoch, (variant, seed)."""
    end = common_end(curves, *variants)
    return at_epoch(curves[LOSS].sel(variant=list(variants)), end)


def final_ratio(curves: xr.Dataset, above: str, below: str) -> xr.DataArray:
    """Running train loss of one variant over that of another at the last common epoch, (seed)."""
    end = common_end(curves, above, below)
    return level(curves, above, end) / level(curves, below, end)


def ratio_at(curves: xr.Dataset, above: str, below: str, epoch: float) -> xr.DataArray:
    """Running train loss of one variant over that of another at an epoch, (seed)."""
    return level(curves, above, epoch) / level(curves, below, epoch)


def smallest_over(curves: xr.Dataset, variants: Sequence[str], reference: str) -> xr.DataArray:
    """Smallest final loss among variants over that of a reference, at equal epochs, (seed).

    Returns
    -------
    xr.DataArray
        NaN for a seed that lacks one of the variants: it might be the smallest. A run that
        diverged is not the smallest.
    """
    end = common_end(curves, *variants, reference)
    levels = at_epoch(curves[LOSS].sel(variant=list(variants)), end)
    ran = curves["ran"].sel(variant=list(variants)) > 0
    smallest = levels.fillna(np.inf).where(ran).min("variant", skipna=False)
    return smallest.where(not math.isnan(end)) / level(curves, reference, end)


def lowest(curves: xr.Dataset, variant: str, after: float = 0) -> xr.DataArray:
    """Smallest running train loss of a variant after an epoch, (seed); NaN if there is none.

    A run that diverged counts with what it reached before.
    """
    return minimum(window(curves[LOSS].sel(variant=variant, drop=True), after + 1, np.inf))


def epoch_of_lowest(curves: xr.Dataset, variant: str) -> xr.DataArray:
    """Epoch of the smallest running train loss from the first epoch on, (seed); NaN if none."""
    return minimum_epoch(window(curves[LOSS].sel(variant=variant, drop=True), 1, np.inf))


def late_share(curves: xr.Dataset, variant: str, end: float) -> xr.DataArray:
    """Share of the decrease of the running train loss that falls into the second half, (seed).

    Parameters
    ----------
    curves
        As from `gather`.
    variant
        Name.
    end
        Last epoch that counts.

    Returns
    -------
    xr.DataArray
        (L(end/2) - L(end)) / (L(0) - L(end)), negative where the loss rises again. The middle is
        rounded down.
    """
    start, half, last = (level(curves, variant, epoch) for epoch in (0, end // 2, end))
    return (half - last) / (start - last)


def with_numbers(curves: xr.Dataset, numbers: Mapping[str, tuple[xr.DataArray, str]]) -> xr.Dataset:
    """Curves together with numbers per seed, each with its long name."""
    named = {
        name: values.reset_coords(drop=True).assign_attrs(long_name=text, units="1")
        for name, (values, text) in numbers.items()
    }
    return curves.assign(named)
