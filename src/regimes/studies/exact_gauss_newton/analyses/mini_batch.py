"""Mini-batch training on the easy and the hard data (Fig. 2)."""

from __future__ import annotations

from collections.abc import Mapping

import xarray as xr

from regimes.studies.exact_gauss_newton.reading import cases

CURVES = ("running_loss", "train_loss", "test_loss", "train_accuracy", "test_accuracy")


def analyse(experiments: Mapping[str, xr.Dataset]) -> xr.Dataset:
    """Losses and accuracies against epoch.

    Parameters
    ----------
    experiments
        Any of ``mini_batch_easy``, ``mini_batch_hard``.

    Returns
    -------
    xr.Dataset
        `CURVES` over (case, seed, epoch).
    """
    return cases(experiments, CURVES)
