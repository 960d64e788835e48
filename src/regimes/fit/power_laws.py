"""Power laws fitted in logarithmic coordinates, with the window and the covariance of the fit."""

from __future__ import annotations

import numpy as np
import xarray as xr
from scipy.special import stdtrit  # quantile of Student's t; scipy.stats takes 0.4 s to import


def fit_power_law(
    values: xr.DataArray, dim: str, low: float, high: float, confidence: float = 0.95
) -> xr.Dataset:
    """Least-squares line through log10 values against a log10 coordinate, inside a window.

    Parameters
    ----------
    values
        log10 of the quantity, over ``dim`` and any other dimensions; NaN is left out.
    dim
        Dimension whose coordinate is log10 of the control, for instance ``log10_gamma``.
    low, high
        Closed window of the coordinate.
    confidence
        Level of the interval of the slope, from the covariance of the fit and Student's t.

    Returns
    -------
    xr.Dataset
        Over the other dimensions: ``slope``, ``intercept`` (at coordinate 0), ``slope_low``,
        ``slope_high``, ``points``; and ``window`` over ``end`` (low, high). NaN with fewer than
        two points; an infinite interval with two.
    """
    margin = 1e-9 * max(1.0, abs(low), abs(high))
    inside = (values[dim] >= low - margin) & (values[dim] <= high + margin)
    y = values.isel({dim: np.flatnonzero(inside.values)})
    known = np.isfinite(y)
    x = y[dim].astype(float).where(known)
    points = known.sum(dim)
    x_mean, y_mean = x.mean(dim), y.where(known).mean(dim)
    spread = ((x - x_mean) ** 2).sum(dim)
    enough = (points >= 2) & (spread > 0)
    slope = (((x - x_mean) * (y - y_mean)).sum(dim) / spread.where(spread > 0)).where(enough)
    intercept = y_mean - slope * x_mean
    residual = ((y - intercept - slope * x) ** 2).sum(dim)
    freedom = points - 2
    error = np.sqrt(residual / freedom.where(freedom > 0) / spread.where(spread > 0))
    quantile = xr.DataArray(
        stdtrit(np.maximum(freedom.values, 1), 0.5 + confidence / 2), dims=points.dims
    )
    half = (quantile * error).where(freedom > 0, np.inf).where(enough)
    text = f"of log10 values against {dim}"
    named = {
        "slope": (slope, f"fitted slope {text}"),
        "intercept": (intercept, f"fitted value at {dim} = 0"),
        "slope_low": (slope - half, f"lower end of the {confidence:.0%} interval of the slope"),
        "slope_high": (slope + half, f"upper end of the {confidence:.0%} interval of the slope"),
        "points": (points, "points in the fit"),
    }
    result = xr.Dataset(
        {name: array.drop_vars(dim, errors="ignore") for name, (array, _) in named.items()}
    )
    result["window"] = ("end", [float(low), float(high)])
    for name, (_, long_name) in named.items():
        result[name].attrs = {"long_name": long_name, "units": "1"}
    result["window"].attrs = {"long_name": f"window of {dim} used in the fit", "units": "1"}
    return result
