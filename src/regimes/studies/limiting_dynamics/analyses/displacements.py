"""Converged networks that keep moving: levels, exponents and growth of displacements (fig. 1)."""

from __future__ import annotations

import xarray as xr

from regimes.studies.limiting_dynamics.displacement_cases import statistics


def analyse(experiments: dict[str, xr.Dataset]) -> xr.Dataset:
    """Statistics of local and global displacements per network, learning rate and seed.

    Parameters
    ----------
    experiments
        ``converged_long_resume``, and ``reheat_geometry`` where tr(Sigma) was measured.

    Returns
    -------
    xr.Dataset
        See `displacement_cases.statistics`.
    """
    return statistics(experiments["converged_long_resume"], experiments.get("reheat_geometry"))
