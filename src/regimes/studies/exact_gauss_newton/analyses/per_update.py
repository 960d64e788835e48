"""What an update does to the loss of the batch that it was computed on."""

from __future__ import annotations

import numpy as np
import xarray as xr

from regimes.studies.exact_gauss_newton.comparisons import over_decrease
from regimes.studies.exact_gauss_newton.reading import cases, common_end, pick, window
from regimes.studies.exact_gauss_newton.variants import (
    ADAM,
    BASE_GN,
    SGD,
    curve_of,
    gather,
    with_numbers,
)

CHANGE = "pct_change_mean"
NAMES = {CHANGE: "percent change of a batch's loss by its own update, mean over an epoch"}
VARIANTS = {"gn": BASE_GN, "adam": ADAM, "sgd": SGD}
EARLY = 10
PAPER_STEP = {"data": "cifar10", "alpha_eff": 0.6}


def analyse(experiments: dict[str, xr.Dataset]) -> xr.Dataset:
    """Percent change of the batch loss by each update, and by how much GN leads.

    Parameters
    ----------
    experiments
        ``mini_batch_hard``.

    Returns
    -------
    xr.Dataset
        ``pct_change_mean`` (variant, seed, epoch); over seed: ``first_change_images`` (percent
        change by the first GN update for CIFAR-10 at alpha = 0.6, else NaN), ``lead_early`` (mean
        change by GN over epochs 1-10 over the more negative one of Adam and SGD), ``lead_late``
        (difference to the more negative of Adam and SGD in the last tenth of the epochs over its
        largest value in the first third) and ``lead_share`` (share of the first four fifths of the
        epochs in which GN is below both).
    """
    curves = gather(experiments, VARIANTS, "mini_batch_hard", NAMES)
    end = common_end(*(curve_of(curves, name, CHANGE) for name in VARIANTS))
    change = curves[CHANGE]
    numbers = {
        "first_change_images": (
            first_change(experiments, **PAPER_STEP),
            "percent change of the loss of the first batch by the first GN update, CIFAR-10",
        ),
        "lead_early": (
            lead_early(change, end),
            "mean percent change in epochs 1-10, GN over the better of Adam and SGD",
        ),
        "lead_late": (
            lead_late(change, end),
            "lead of GN in the last tenth of epochs over its largest one in the first third",
        ),
        "lead_share": (
            lead_share(change, end),
            "share of the first four fifths of epochs in which GN is below Adam and SGD",
        ),
    }
    return with_numbers(curves, numbers)


def first_change(experiments: dict[str, xr.Dataset], **settings) -> xr.DataArray:
    """Percent change of the loss of the first batch by the first GN update, (seed)."""
    first = {
        name: data[["batch_loss", "batch_loss_after"]].isel(update=slice(0, 1))
        for name, data in experiments.items()
        if "batch_loss_after" in data
    }
    both = cases(first, ["batch_loss", "batch_loss_after"])
    both = pick(both, "mini_batch_hard", **BASE_GN, **settings).isel(update=0, drop=True)
    ratio = both["batch_loss_after"] / both["batch_loss"]
    return 100 * (ratio - 1)


def better_first_order(change: xr.DataArray) -> xr.DataArray:
    """The more negative change of Adam and SGD; NaN where one is unknown."""
    return change.sel(variant=["adam", "sgd"]).min("variant", skipna=False)


def over_better(change: xr.DataArray) -> xr.DataArray:
    """Change by GN over the more negative one of Adam and SGD; NaN where that is no decrease."""
    better = better_first_order(change)
    return change.sel(variant="gn", drop=True) / better.where(better < 0)


def _mean(values: xr.DataArray, first: float, last: float) -> xr.DataArray:
    """Mean over epochs first to last; NaN if one is unknown or there are none."""
    part = window(values, first, last)
    if not part.sizes["epoch"]:
        return part.sum("epoch", min_count=1)
    return part.mean("epoch", skipna=False)


def lead_early(change: xr.DataArray, end: float) -> xr.DataArray:
    """Mean change in the first ten epochs, GN over the more negative one of Adam and SGD, (seed).

    Parameters
    ----------
    change
        Percent change (variant, seed, epoch).
    end
        Last epoch.
    """
    return over_better(_mean(change, 1, np.minimum(EARLY, end)))


def lead_late(change: xr.DataArray, end: float) -> xr.DataArray:
    """Lead of GN in the last tenth of the epochs over the largest in the first third, (seed).

    Parameters
    ----------
    change
        Percent change (variant, seed, epoch).
    end
        Last epoch; the last tenth and the first third have at least one epoch.

    Returns
    -------
    xr.DataArray
        Infinite where GN does not lead in the first third, so that there is nothing to shrink.
    """
    lead = better_first_order(change) - change.sel(variant="gn", drop=True)
    # Whole epochs after nine tenths of the run; an end that is not known leaves none, and NaN.
    late = _mean(lead, np.minimum(np.floor(0.9 * end) + 1, end), end)
    early = window(lead, 1, np.maximum(end / 3, 1))
    if not early.sizes["epoch"]:
        return late
    return over_decrease(late, early.max("epoch", skipna=False))


def lead_share(change: xr.DataArray, end: float) -> xr.DataArray:
    """Share of the first four fifths of the epochs in which GN is below Adam and SGD, (seed).

    Parameters
    ----------
    change
        Percent change (variant, seed, epoch).
    end
        Last epoch.

    Returns
    -------
    xr.DataArray
        Epochs without a value, as after a divergence, count as not below; NaN for a seed
        without any.
    """
    gn, other = change.sel(variant="gn", drop=True), better_first_order(change)
    epoch = change["epoch"]
    counted = (epoch >= 1) & (epoch <= np.maximum(0.8 * end, 1))
    known = (gn + other).where(counted).notnull().any("epoch")
    below = (gn < other) & counted
    return (below.sum("epoch") / counted.sum()).where(known)
