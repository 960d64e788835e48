"""Figure 12: GN at other learning rates."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from regimes.studies.exact_gauss_newton.variant_panels import (
    ADAM,
    ADAM_LABEL,
    GN,
    OTHERS,
    Shown,
    row,
)


def shown(data: xr.Dataset) -> Shown:
    """Colours of the learning rates that were run, largest first, then Adam."""
    found, others = {}, iter(OTHERS)
    for name, rate in zip(data["variant"].values, data["lr_code"].values, strict=True):
        if np.isfinite(rate):
            base = np.isclose(rate, 0.1)
            found[str(name)] = (f"GN, learning rate {rate:g}", GN if base else next(others))
    return found | {"adam": (ADAM_LABEL, ADAM)}


def draw(analyses: dict[str, xr.Dataset]) -> Figure:
    """Draw losses and test accuracy against epoch for each learning rate of GN.

    Parameters
    ----------
    analyses
        ``learning_rates``.
    """
    data = analyses["learning_rates"]
    return row(data, shown(data), columns=3)
