"""Hessian of the convolutional network across gamma and training time (figure 3)."""

from __future__ import annotations

import xarray as xr

from regimes.studies.feature_strength.analyses.curvature import describe


def analyse(experiments: dict[str, xr.Dataset]) -> xr.Dataset:
    """As `regimes.studies.feature_strength.analyses.curvature`, from ``hessian_cnn``."""
    return describe(experiments["hessian_cnn"])
