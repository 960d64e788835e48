"""Figure 14: pseudo-inverses that are regularized in different ways."""

from __future__ import annotations

import xarray as xr
from matplotlib.figure import Figure

from regimes.plot import style
from regimes.studies.exact_gauss_newton.variant_panels import ADAM, ADAM_LABEL, GN, row

SHOWN = {
    "truncate": ("GN, truncation", GN),
    "damp": ("GN, damping", style.ORANGE),
    "noise": ("GN, noise", style.PURPLE),
    "adam": (ADAM_LABEL, ADAM),
}


def draw(analyses: dict[str, xr.Dataset]) -> Figure:
    """Draw losses and test accuracy against epoch for truncation, damping and noise.

    Parameters
    ----------
    analyses
        ``pinv``.
    """
    return row(analyses["pinv"], SHOWN)
