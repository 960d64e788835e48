"""Estimators that many claims share: slopes, deviations between curves, crossings.

All take labelled arrays without a seed dimension (seeds are averaged before)
and return plain numbers. NaN marks a value that was not measured and is left
out; where nothing is left the result is NaN.
"""

from __future__ import annotations

import numpy as np
import xarray as xr


def loglog_slope(values: xr.DataArray, dim: str) -> float:
    """Least-squares slope of log(values) against log(coordinate).

    Parameters
    ----------
    values
        Positive values, shape (dim,), with a positive coordinate on ``dim``.
    dim
        Name of the dimension.

    Returns
    -------
    float
        The exponent b of values = a * coordinate**b; NaN for fewer than two points.
    """
    x = np.log(values[dim].values.astype(float))
    y = np.log(values.values.astype(float))
    known = np.isfinite(y)
    if known.sum() < 2:
        return float("nan")
    x, y = x[known] - x[known].mean(), y[known]
    return float(x @ y / (x @ x))


def largest_deviation(measured: xr.DataArray, reference) -> float:
    """Largest absolute difference ``|measured - reference|`` over all entries.

    Parameters
    ----------
    measured
        Labelled array.
    reference
        Labelled array (aligned by dimension name and coordinate), or numbers
        in the shape of ``measured``.

    Raises
    ------
    ValueError
        If a labelled reference lacks a coordinate value of ``measured``.
    """
    return float(abs(measured - _matched(measured, reference)).max())


def largest_relative_deviation(measured: xr.DataArray, reference) -> float:
    """Largest ``|measured / reference - 1|`` over all entries; see `largest_deviation`."""
    return float(abs(measured / _matched(measured, reference) - 1).max())


def _matched(measured: xr.DataArray, reference):
    """Return the reference, its labels checked, so that no value drops out of a comparison."""
    if isinstance(reference, xr.DataArray):
        xr.align(measured, reference, join="exact")
        return reference
    values = np.asarray(reference, dtype=float)
    if values.ndim and values.shape != measured.shape:
        raise ValueError(f"reference has shape {values.shape}, measured {measured.shape}")
    return values


def crossing(
    first: xr.DataArray, second: xr.DataArray | float, dim: str, extrapolate: bool = False
) -> float:
    """Coordinate at which two curves first cross, by linear interpolation.

    Parameters
    ----------
    first
        Curve of shape (dim,), with a numeric, increasing coordinate.
    second
        Curve on the same coordinate, or a constant level.
    dim
        Name of the dimension.
    extrapolate
        Where the curves do not cross, continue the last two points of both as
        straight lines; otherwise the result is then NaN.

    Returns
    -------
    float
        In units of the coordinate; NaN without crossing, and for parallel lines.
    """
    gap = (first - second).dropna(dim)
    x, y = gap[dim].values.astype(float), gap.values.astype(float)
    change = np.flatnonzero(np.sign(y[:-1]) * np.sign(y[1:]) <= 0)
    if change.size:
        left = change[0]
    elif extrapolate and y.size >= 2:
        left = y.size - 2
    else:
        return float("nan")
    rise = y[left + 1] - y[left]
    if rise == 0:
        return float(x[left]) if y[left] == 0 else float("nan")
    return float(x[left] - y[left] * (x[left + 1] - x[left]) / rise)


def distance_from_line(points: xr.DataArray, slope, dim: str) -> xr.DataArray:
    """Distance of points in the plane from a line through the origin.

    Parameters
    ----------
    points
        Any shape, with a dimension ``dim`` of length 2 (abscissa, ordinate).
    slope
        Slope of the line, a number or an array over other dimensions.
    dim
        Name of the dimension of the two components.

    Returns
    -------
    xr.DataArray
        Shape of ``points`` without ``dim``, non-negative.
    """
    x, y = (points.isel({dim: i}, drop=True) for i in (0, 1))
    return abs(y - slope * x) / np.sqrt(1 + slope**2)


def slope_through_origin(points: xr.DataArray, dim: str, over: str) -> xr.DataArray:
    """Least-squares slope of a line through the origin, sum(x y) / sum(x^2).

    Parameters
    ----------
    points
        With a dimension ``dim`` of length 2 (abscissa, ordinate).
    dim
        Name of the dimension of the two components.
    over
        Dimension along which the points are counted.
    """
    x, y = (points.isel({dim: i}, drop=True) for i in (0, 1))
    return (x * y).sum(over) / (x**2).sum(over)
