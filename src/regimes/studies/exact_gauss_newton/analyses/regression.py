"""Regression on tables, full batch and mini-batch (Fig. 15)."""

from __future__ import annotations

from collections.abc import Mapping

import xarray as xr

from regimes.studies.exact_gauss_newton.reading import cases

CURVES = ("running_loss", "train_loss", "test_loss", "diverged_at")


def analyse(experiments: Mapping[str, xr.Dataset]) -> xr.Dataset:
    """Mean squared errors against step (full batch) or epoch.

    Parameters
    ----------
    experiments
        Any of ``regression_full``, ``regression_mini``.

    Returns
    -------
    xr.Dataset
        Losses over (case, seed, epoch), ``diverged_at`` over (case, seed).
    """
    return cases(experiments, CURVES)
