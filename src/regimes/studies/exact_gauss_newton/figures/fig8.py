"""Figure 8: GN from initial weights of different spread."""

from __future__ import annotations

import xarray as xr
from matplotlib.figure import Figure

from regimes.plot import style
from regimes.studies.exact_gauss_newton.variant_panels import ADAM, ADAM_LABEL, GN, row

SHOWN = {
    "gn_1e-2": (r"GN, $\sigma=10^{-2}$", style.ORANGE),
    "gn_1e-3": (r"GN, $\sigma=10^{-3}$", GN),
    "gn_1e-6": (r"GN, $\sigma=10^{-6}$", style.PURPLE),
    "adam": (rf"{ADAM_LABEL}, $\sigma=10^{{-3}}$", ADAM),
}


def draw(analyses: dict[str, xr.Dataset]) -> Figure:
    """Draw train and test loss against epoch for each spread of the initial weights.

    Parameters
    ----------
    analyses
        ``init_std``.
    """
    return row(analyses["init_std"], SHOWN, ("running_loss", "test_loss"))
