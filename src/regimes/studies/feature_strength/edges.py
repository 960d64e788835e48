"""Edges of the trainable band: the extreme learning rates at which something holds."""

from __future__ import annotations

import xarray as xr

GAMMA, ETA = "log10_gamma", "log10_eta"
CATAPULT_ABOVE = 1.3  # peak over initial loss from which a run counts as a catapult (section 2.5)


def upper_edge(holds: xr.DataArray, dim: str = "log10_eta") -> xr.DataArray:
    """Largest coordinate of ``dim`` at which ``holds`` is true; NaN where it never is."""
    return holds[dim].where(holds).max(dim)


def lower_edge(holds: xr.DataArray, dim: str = "log10_eta") -> xr.DataArray:
    """Smallest coordinate of ``dim`` at which ``holds`` is true; NaN where it never is."""
    return holds[dim].where(holds).min(dim)


def best(loss: xr.DataArray, dim: str = "log10_eta") -> xr.DataArray:
    """Coordinate of ``dim`` with the smallest finite loss; NaN where there is none."""
    known = loss.notnull()
    filled = loss.where(known, float("inf"))
    return loss[dim].isel({dim: filled.argmin(dim)}).where(known.any(dim)).drop_vars(dim)
