"""Final test accuracies under both parameterizations, and the advantage of muP over SP.

A run that diverged answers nothing: it counts with accuracy 0 instead of being left out, which
would flatter the others. A run that does not exist is NaN.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr
from scipy import stats

from regimes.fit.grids import by_setting
from regimes.studies.second_order_mup.transfer import PARAMETERIZATIONS, final, outcomes

TEXTS = {
    "parameterization": "parameterization",
    "seed": "seed",
    "train_accuracy": "final accuracy on the training set, a fraction, 0 where the run diverged",
    "test_accuracy": "final accuracy on the test set, a fraction, 0 where the run diverged",
    "diverged": "1 where the run diverged",
    "gain": "test accuracy of muP minus SP in points, mean over seeds",
    "gain_low": "lower end of the 95 % interval of the gain, differences of equal seeds",
    "gain_high": "upper end of the 95 % interval of the gain, differences of equal seeds",
}
"""Long names of the variables of `accuracies` and `gains`."""


def accuracies(runs: xr.Dataset, names: Sequence[str]) -> xr.Dataset:
    """Accuracy at the end of training on a grid of settings.

    Parameters
    ----------
    runs
        Trained runs with ``train_loss``, ``test_accuracy`` and optionally ``train_accuracy`` (run,
        step) and ``diverged_at``.
    names
        Settings that become dimensions besides ``parameterization`` and ``seed``.

    Returns
    -------
    xr.Dataset
        ``train_accuracy``, ``test_accuracy`` and ``diverged`` over (*names, parameterization,
        seed), both parameterizations always, NaN where there is no run or it was not recorded.
    """
    dims = (*names, "parameterization", "seed")
    grid = outcomes(runs, dims)
    lost = np.isinf(grid["train_loss"])
    fitted = runs.get("train_accuracy", np.nan * runs["test_accuracy"])
    fitted = by_setting(final(fitted).to_dataset(name="train_accuracy"), dims)
    found = xr.Dataset(
        {
            "train_accuracy": fitted["train_accuracy"].where(~lost, 0.0),
            "test_accuracy": grid["test_accuracy"].where(~lost, 0.0),
            "diverged": lost.astype(float).where(grid["train_loss"].notnull()),
        }
    )
    return found.reindex(parameterization=list(PARAMETERIZATIONS))


def epochs(runs: xr.Dataset) -> float:
    """Passes over the training samples of the longest run."""
    return float(runs["epoch"].max())


def differences(accuracy: xr.DataArray) -> xr.DataArray:
    """Accuracy of muP minus SP in points, seed by seed, NaN where one is missing."""
    both = accuracy.sel(parameterization="mup") - accuracy.sel(parameterization="sp")
    return 100 * both.drop_vars("parameterization", errors="ignore")


def gains(accuracy: xr.DataArray) -> xr.Dataset:
    """Mean over seeds of muP minus SP with its 95 % t interval.

    Parameters
    ----------
    accuracy
        Fractions over (parameterization, seed) and others.

    Returns
    -------
    xr.Dataset
        ``gain``, ``gain_low``, ``gain_high`` in points over the others; the ends are NaN with
        fewer than two seeds.
    """
    paired = differences(accuracy)
    count = paired.notnull().sum("seed")
    mean, deviation = paired.mean("seed"), paired.std("seed", ddof=1)
    half = (
        stats.t.ppf(0.975, np.maximum(count - 1, 1)) * deviation / np.sqrt(count.where(count > 1))
    )
    return xr.Dataset({"gain": mean, "gain_low": mean - half, "gain_high": mean + half})
