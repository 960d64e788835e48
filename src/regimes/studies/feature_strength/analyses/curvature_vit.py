"""Hessian of the vision transformer across gamma and training time (appendix A10)."""

from __future__ import annotations

import xarray as xr

from regimes.studies.feature_strength.analyses.curvature import describe


def analyse(experiments: dict[str, xr.Dataset]) -> xr.Dataset:
    """As `regimes.studies.feature_strength.analyses.curvature`, from ``hessian_vit``."""
    return describe(experiments["hessian_vit"])
