"""Figure 13: GN with weight decay."""

from __future__ import annotations

import xarray as xr
from matplotlib.figure import Figure

from regimes.plot import style
from regimes.studies.exact_gauss_newton.variant_panels import ADAM, ADAM_LABEL, GN, row


def draw(analyses: dict[str, xr.Dataset]) -> Figure:
    """Draw losses and test accuracy against epoch with and without weight decay.

    Parameters
    ----------
    analyses
        ``weight_decay``.
    """
    data = analyses["weight_decay"]
    strength = float(data["weight_decay"].sel(variant="gn_decay"))
    shown = {
        "gn": ("GN", GN),
        "gn_decay": (f"GN, weight decay {strength:g}", style.ORANGE),
        "adam": (ADAM_LABEL, ADAM),
    }
    return row(data, shown)
