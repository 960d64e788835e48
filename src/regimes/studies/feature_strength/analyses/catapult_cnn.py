"""Catapults of the CNN at small feature strength (Fig. 4a)."""

from __future__ import annotations

import xarray as xr

from regimes.studies.feature_strength.catapult import catapult_variables


def analyse(experiments: dict[str, xr.Dataset]) -> xr.Dataset:
    """Overshoot, final sharpness and divergence per loss, gamma, multiple m and seed.

    Parameters
    ----------
    experiments
        ``catapult_cnn``.
    """
    return catapult_variables(experiments["catapult_cnn"])
