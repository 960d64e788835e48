"""Curves of named variants of a run, next to each other, and numbers that compare two of them.

The figures that vary one thing about Gauss-Newton (its learning rate, the spread of the initial
weights, weight decay, the pseudo-inverse, the update itself, what ran before) all read the same:
a few named variants, each one setting with several seeds, compared at equal epochs.

A seed with which a variant was not run and a run that diverged both leave NaN; ``ran`` tells them
apart, and claims leave out the first, not the second.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr

from regimes.store import described
from regimes.studies.exact_gauss_newton.comparisons import final_ratio, over_decrease
from regimes.studies.exact_gauss_newton.reading import (
    RAN,
    at_epoch,
    cases,
    common_end,
    last_epoch,
    minimum,
    minimum_epoch,
    pick,
    side_by_side,
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
    "train_loss": "loss on training samples, at most 1000 of them, after an epoch",
    "test_loss": "loss on the test data after an epoch",
    "test_accuracy": "accuracy on the test data after an epoch",
}
LOSS = "running_loss"
TEXTS = {
    "variant": "variant of the run",
    "seed": "seed",
    "epoch": "epochs of training",
    "ran": RAN,
    "last_epoch": "planned epochs of training",
    "switch_epoch": "epochs before the change of the optimizer",
    "data": "data set",
}


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
        seed, is shorter than others or diverged; coordinate ``ran`` (variant, seed): 1 where a run
        exists; over variant: ``last_epoch`` and ``switch_epoch``, planned epochs in all and before
        a change of the optimizer (NaN without one), and ``data``, "" where it was not run.
    """
    everything = cases(experiments, list(names))
    found = {name: pick(everything, prefer, **each) for name, each in variants.items()}
    result = side_by_side(found, "variant")
    plan = [_plan(each) for each in found.values()]
    for name in plan[0]:
        result[name] = ("variant", [each[name] for each in plan])
    return described(result, TEXTS | dict(names))


def _plan(found: xr.Dataset) -> dict[str, float | str]:
    """Planned length of a case, the epoch of its switch and its data; unknown if it was not run."""
    if not (found["ran"] > 0).any():
        return {"last_epoch": np.nan, "switch_epoch": np.nan, "data": ""}
    end, first = last_epoch(found), float(found["epochs"])
    return {
        "last_epoch": end,
        "switch_epoch": first if end > first else np.nan,
        "data": str(found["data"].values),
    }


# --- Numbers per seed ----------------------------------------------------------------------------


def curve_of(curves: xr.Dataset, variant: str, name: str = LOSS) -> xr.DataArray:
    """Curve (seed, epoch) of a variant, with its planned length as `reading` knows it."""
    one = curves.sel(variant=variant)
    return one[name].reset_coords(drop=True).assign_coords(epochs=one["last_epoch"].values)


def level(curves: xr.Dataset, variant: str, epoch: float) -> xr.DataArray:
    """Running train loss of a variant at an epoch, (seed); NaN if it was not recorded."""
    return at_epoch(curve_of(curves, variant), epoch)


def final_levels(curves: xr.Dataset, *variants: str) -> xr.DataArray:
    """Running train loss of variants at their last common epoch, (variant, seed)."""
    end = common_end(*(curve_of(curves, name) for name in variants))
    return at_epoch(curves[LOSS].sel(variant=list(variants)), end)


def final_over(curves: xr.Dataset, above: str, below: str) -> xr.DataArray:
    """Running train loss of one variant over that of another at the last common epoch, (seed)."""
    return final_ratio(curve_of(curves, above), curve_of(curves, below))


def ratio_at(curves: xr.Dataset, above: str, below: str, epoch: float) -> xr.DataArray:
    """Running train loss of one variant over that of another at an epoch, (seed)."""
    return level(curves, above, epoch) / level(curves, below, epoch)


def smallest_over(curves: xr.Dataset, variants: Sequence[str], reference: str) -> xr.DataArray:
    """Smallest final loss among variants over that of a reference, at equal epochs, (seed).

    Returns
    -------
    xr.DataArray
        NaN for a seed that lacks one of the variants, or with which one diverged: it might have
        been the smallest.
    """
    levels = final_levels(curves, *variants, reference)
    smallest = levels.sel(variant=list(variants)).min("variant", skipna=False)
    return smallest / levels.sel(variant=reference, drop=True)


def lowest(curves: xr.Dataset, variant: str, after: float = 0) -> xr.DataArray:
    """Smallest running train loss of a variant after an epoch, (seed); see `reading.minimum`."""
    return minimum(window(curve_of(curves, variant), after + 1, np.inf))


def epoch_of_lowest(curves: xr.Dataset, variant: str) -> xr.DataArray:
    """Epoch of the smallest running train loss from the first epoch on, (seed)."""
    return minimum_epoch(window(curve_of(curves, variant), 1, np.inf))


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
        (L(end/2) - L(end)) / (L(0) - L(end)), negative where the loss rises again and infinite
        where it ends at or above its start. The middle is rounded down.
    """
    loss = curves[LOSS].sel(variant=variant, drop=True)
    start, half, last = (at_epoch(loss, epoch) for epoch in (0, end // 2, end))
    return over_decrease(half - last, start - last)


def with_numbers(curves: xr.Dataset, numbers: Mapping[str, tuple[xr.DataArray, str]]) -> xr.Dataset:
    """Curves together with numbers per seed, each with its long name."""
    named = {
        name: values.reset_coords(drop=True).assign_attrs(long_name=text, units="1")
        for name, (values, text) in numbers.items()
    }
    return curves.assign(named)
