"""What the analyses of the toy portraits share: boundaries on a grid, their exponents, labels."""

from __future__ import annotations

from collections.abc import Mapping

import xarray as xr

from regimes.fit.power_laws import fit_power_law
from regimes.studies.feature_strength import theory
from regimes.studies.feature_strength.edges import ETA, GAMMA

TRAINED_BELOW = 0.5  # final over initial excess loss of a trainable cell (section 6.2)

TEXTS = {
    "final_loss": "excess loss after the last step, NaN if diverged",
    "relative_loss": "excess loss after the last step over that at step 0, NaN if diverged",
    "edge": "log10 learning rate of the boundary",
    "slope": "fitted exponent of gamma",
    "slope_low": "lower end of the 95% interval of the exponent",
    "slope_high": "upper end of the 95% interval of the exponent",
    "slope_theory": "exponent of gamma by theory",
    "window": "window of log10 gamma used in the fit",
    "steps": "steps T of a run",
    GAMMA: "log10 of the feature strength gamma",
    ETA: "log10 of the learning rate eta",
    "quantity": "boundary of the portrait",
    "loss": "loss",
    "depth": "depth L",
    "regime": "window of the fit, lazy or rich",
    "end": "end of a window",
}


def stacked(found: Mapping[str, xr.DataArray], eta: xr.DataArray) -> xr.DataArray:
    """Boundaries over ``quantity``; NaN at the ends of the grid of learning rates.

    A boundary at an end is only a bound: it is left out of every fit.
    """
    joined = xr.concat(list(found.values()), dim="quantity", coords="minimal", compat="override")
    inside = (joined > eta.min()) & (joined < eta.max())
    return joined.assign_coords(quantity=list(found)).where(inside)


def exponents(edge: xr.DataArray) -> xr.Dataset:
    """Power laws through boundaries in the lazy and the rich window, over ``regime``.

    Returns
    -------
    xr.Dataset
        ``slope`` with its 95 % interval ``slope_low``, ``slope_high``; ``window`` (regime, end).
    """
    fits = [fit_power_law(edge, GAMMA, *window) for window in theory.TOY_WINDOWS.values()]
    fitted = xr.concat(fits, dim="regime", coords="minimal", compat="override")
    names = ["slope", "slope_low", "slope_high", "window"]
    return fitted[names].assign_coords(regime=list(theory.TOY_WINDOWS), end=["low", "high"])


def described(result: xr.Dataset, texts: Mapping[str, str]) -> xr.Dataset:
    """Dataset whose variables and coordinates all have a long name; all are dimensionless.

    Parameters
    ----------
    texts
        Long names; they go before those of `TEXTS`.
    """
    result = result.copy()
    for name, variable in result.variables.items():
        variable.attrs = {"long_name": {**TEXTS, **texts}[str(name)], "units": "1"}
    result.attrs = {}
    return result
