"""Powers of the width: straight lines through logarithms of values against log width."""

from __future__ import annotations

import numpy as np
import xarray as xr

from regimes.fit.power_laws import fit_power_law

FIRST_WIDTH = 128  # narrower networks are not yet in the limit (specification, section 6)
SMALLEST = 1.0  # below every width: a window with all of them
LOG = "log10_width"
FIT_TEXTS = {
    "slope": "fitted exponent of the width",
    "slope_low": "lower end of the 95% interval of the exponent",
    "slope_high": "upper end of the 95% interval of the exponent",
    "points": "networks in the fit",
}
"""Long names of the variables of `pooled_slopes`."""


def pooled_slopes(values: xr.DataArray, first_width: float = FIRST_WIDTH) -> xr.Dataset:
    """Exponents of the width from all widths and seeds at once, with intervals.

    Least squares through log10 values against log10 width. Each (width, seed) is a point, so that
    the interval covers the scatter between seeds and departures from a power law alike.

    Parameters
    ----------
    values
        Over (width, seed) and any other dimensions. NaN was not run and is left out. A value that
        is not positive or not finite makes the exponent unknown.
    first_width
        Narrowest network of the fit.

    Returns
    -------
    xr.Dataset
        ``slope``, ``slope_low``, ``slope_high`` (95 %), ``points`` over the other dimensions; NaN
        with fewer than two widths.
    """
    logs, lost = _logarithms(values, first_width)
    logs = logs.transpose(..., "width", "seed")
    others = logs.dims[:-2]
    # Not `stack`, which cannot do without any case.
    count = logs.sizes["width"] * logs.sizes["seed"]
    flat = logs.values.reshape(*logs.shape[:-2], count)
    widths = np.repeat(np.log10(logs["width"].values.astype(float)), logs.sizes["seed"])
    coords = {name: logs[name] for name in others if name in logs.coords}
    points = xr.DataArray(flat, dims=(*others, LOG), coords={**coords, LOG: widths})
    return _fit(points, first_width).where(~lost)


def slopes_of_means(values: xr.DataArray, first_width: float = FIRST_WIDTH) -> xr.DataArray:
    """Exponents of the width of geometric means over seeds; arguments of `pooled_slopes`.

    With the geometric mean the slope of the mean over seeds is the mean over seeds of slopes.
    """
    logs, lost = _logarithms(values, first_width)
    means = logs.mean("seed").rename(width=LOG)
    fit = _fit(means.assign_coords({LOG: np.log10(means[LOG].values.astype(float))}), first_width)
    return fit["slope"].where(~lost)


def geometric_mean(values: xr.DataArray) -> xr.DataArray:
    """Geometric mean over seeds of positive finite values, NaN where there are none."""
    logs, _ = _logarithms(values, SMALLEST)
    return np.exp(np.log(10) * logs.mean("seed"))


def _logarithms(values: xr.DataArray, first_width: float) -> tuple[xr.DataArray, xr.DataArray]:
    """log10 of what has one, and whether something in the window has none."""
    usable = np.isfinite(values) & (values > 0)
    bad = values.notnull() & ~usable & (values["width"] >= first_width)
    return np.log10(values.where(usable)), bad.any(["width", "seed"])


def _fit(logs: xr.DataArray, first_width: float) -> xr.Dataset:
    """Fit from a width up; without any width nothing is known."""
    logs = logs.transpose(..., LOG)
    widest = float(logs[LOG].max()) if logs.sizes[LOG] else 0.0
    low = np.log10(first_width)
    return fit_power_law(logs, LOG, low, max(low, widest)).drop_vars(["window", "intercept"])
