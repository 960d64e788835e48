"""Phase portraits of the MLP at several widths and batch sizes."""

from __future__ import annotations

import xarray as xr

from regimes.studies.feature_strength.boundaries import portrait


def analyse(experiments: dict[str, xr.Dataset]) -> xr.Dataset:
    """Maps of accuracy and loss, statuses, boundaries and their exponents.

    Parameters
    ----------
    experiments
        ``portrait_batch_width``.

    Returns
    -------
    xr.Dataset
        Variables of `boundaries.portrait` over width and batch size.
    """
    return portrait(experiments.values(), ["width", "batch_size"])
