"""Accuracy and test loss against gamma at equal numbers of steps on MNIST-1D (figure 2c)."""

from __future__ import annotations

import xarray as xr

from regimes.studies.feature_strength.analyses.equal_time import at_equal_time


def analyse(experiments: dict[str, xr.Dataset]) -> xr.Dataset:
    """As `equal_time.analyse`, for ``accuracy_mnist1d``."""
    return at_equal_time(experiments["accuracy_mnist1d"])
