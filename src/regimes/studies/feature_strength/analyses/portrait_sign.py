"""Phase portrait of the MLP under SignSGD."""

from __future__ import annotations

import xarray as xr

from regimes.studies.feature_strength.boundaries import portrait


def analyse(experiments: dict[str, xr.Dataset]) -> xr.Dataset:
    """Maps of accuracy and loss, statuses, boundaries and their exponents.

    Parameters
    ----------
    experiments
        ``portrait_sign_mlp``.

    Returns
    -------
    xr.Dataset
        Variables of `boundaries.portrait` over loss and depth.
    """
    return portrait(experiments.values(), ["loss", "depth"])
