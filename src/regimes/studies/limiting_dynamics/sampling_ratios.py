"""Ratios to theory from the blocks of the analysis ``sampling``, for its figure and claims."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr

from regimes.studies.limiting_dynamics import stationary

ALL = ("seed", "block")


def variance_ratio(data: xr.Dataset, kind: str, over: str | Sequence[str] = ALL) -> xr.DataArray:
    """Variance of ``position`` or ``velocity`` over its value by theory, from all of the blocks.

    Parameters
    ----------
    data, over
        As for `stationary.variance`, with moments over those of theory.
    """
    return stationary.variance(data, kind, over)


def equipartition(data: xr.Dataset, over: str | Sequence[str] = ALL) -> xr.DataArray:
    """omega^2 Var(position)/Var(velocity), which is 1 by theory, whose variances obey it."""
    return stationary.equipartition(data, over)


def spread_ratio(
    data: xr.Dataset, first: int, later: int, over: str | Sequence[str] = ALL
) -> xr.DataArray:
    """Standard deviation of the position along one mode over that along another."""
    spread = data["position_theory"] * np.sqrt(variance_ratio(data, "position", over))
    return spread.sel(mode=first, drop=True) / spread.sel(mode=later, drop=True)
