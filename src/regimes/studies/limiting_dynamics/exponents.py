"""Exponent c of the squared global displacement, ||Delta_k||^2 ~ k^c, fitted inside a window.

From rest the displacement first grows faster than ballistic, until the momentum buffer has filled
after about 5 / (1 - beta) steps; `fit_window` never reaches back into that transient (section 7,
pitfall 8). Least squares on all recorded steps weights late times, since they are evenly spaced in
k, not in ln k; `spacing="log"` keeps one step per bin of ln k instead.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import xarray as xr

TRANSIENT = 5.0  # the buffer is full after this many times 1 / (1 - beta) steps
LOG_POINTS = 40  # bins of ln k in a window that hold one point each, where spacing is "log"
FEWEST = 3  # points behind a slope

Spacing = Literal["uniform", "log"]


def transient_end(momentum: xr.DataArray | float) -> xr.DataArray | float:
    """Step 5 / (1 - beta) at which the transient from rest is over."""
    return TRANSIENT / (1 - momentum)


def fit_window(
    length: xr.DataArray | float, momentum: xr.DataArray | float, share: float
) -> tuple[xr.DataArray, xr.DataArray]:
    """First and last step of a fit on [share * length, length], the transient left out.

    Parameters
    ----------
    length
        Number of steps K up to which is fitted.
    momentum
        beta of the runs.
    share
        Where the window begins, as a share of K.

    Returns
    -------
    tuple of xr.DataArray
        Low and high end; where the transient outlasts K, low exceeds high and nothing is fitted.
    """
    length, momentum = xr.broadcast(xr.DataArray(length), xr.DataArray(momentum))
    return np.maximum(share * length, transient_end(momentum)), length.astype(float)


def displacement_exponent(
    step: xr.DataArray,
    displacement: xr.DataArray,
    low: xr.DataArray | float,
    high: xr.DataArray | float,
    spacing: Spacing = "uniform",
) -> xr.DataArray:
    """Least-squares slope of ln(displacement) on ln(step) over the recorded steps of a window.

    Parameters
    ----------
    step, displacement, low, high, spacing
        As in `fit_line`.

    Returns
    -------
    xr.DataArray
        Exponent c over all other dimensions.
    """
    return fit_line(step, displacement, low, high, spacing)["slope"]


def fit_line(
    step: xr.DataArray,
    displacement: xr.DataArray,
    low: xr.DataArray | float,
    high: xr.DataArray | float,
    spacing: Spacing = "uniform",
) -> xr.Dataset:
    """Least-squares line through ln(displacement) against ln(step) in the window [low, high].

    Parameters
    ----------
    step
        Step numbers k, shape (step,), increasing.
    displacement
        Squared displacement over the dimension of ``step`` and any others; values that are not
        recorded (NaN) or not positive are left out.
    low, high
        Closed window of k, numbers or arrays over other dimensions (one window per run).
    spacing
        ``uniform``: every recorded step; ``log``: the first recorded step in each of `LOG_POINTS`
        equal bins of ln k.

    Returns
    -------
    xr.Dataset
        ``slope`` (the exponent c), ``intercept`` (ln displacement at k = 1 of the line) and
        ``points`` over the other dimensions; NaN with fewer than `FEWEST` points.

    Raises
    ------
    ValueError
        For an unknown spacing, or a ``step`` that is not one-dimensional.
    """
    if spacing not in ("uniform", "log"):
        raise ValueError(f"spacing '{spacing}' is neither 'uniform' nor 'log'")
    if step.ndim != 1:
        raise ValueError(f"step has dimensions {step.dims}, one is needed")
    (dim,) = step.dims
    k = xr.DataArray(step.values.astype(float), dims=dim)
    if dim in displacement.coords:
        k = k.assign_coords({dim: displacement[dim]})
    used = (k >= low) & (k <= high) & (displacement > 0)
    if spacing == "log":
        used = _one_per_bin(used, k, low, high)
    points = used.sum(dim)
    x = np.log(k).where(used)
    y = np.log(displacement.where(used))
    x_mean, y_mean = x.mean(dim), y.mean(dim)
    deviation = x - x_mean
    spread = (deviation**2).sum(dim)
    enough = (points >= FEWEST) & (spread > 0)
    slope = ((deviation * (y - y_mean)).sum(dim) / spread.where(spread > 0)).where(enough)
    result = xr.Dataset({"slope": slope, "intercept": y_mean - slope * x_mean, "points": points})
    texts = {
        "slope": "exponent c of the squared global displacement",
        "intercept": "ln of the fitted squared displacement at k = 1",
        "points": "steps in the fit",
    }
    for name, text in texts.items():
        result[name].attrs = {"long_name": text, "units": "1", "spacing": spacing}
    return result


def evenly_spaced(
    displacement: xr.DataArray, low: xr.DataArray | float, high: xr.DataArray | float
) -> xr.DataArray:
    """Keep the steps of a window that are multiples of its largest gap between recorded steps.

    Where the cadence coarsens within the window, least squares over all recorded steps would count
    its early part more often than its late one.

    Parameters
    ----------
    displacement
        Over ``step`` and other dimensions, NaN where nothing was recorded.
    low, high
        Closed window, numbers or arrays over the other dimensions.

    Returns
    -------
    xr.DataArray
        NaN at all other steps, so that `fit_line` leaves them out.
    """
    step = xr.DataArray(displacement["step"].values.astype(float), dims="step")
    inside = (displacement.notnull() & (step >= low) & (step <= high)).transpose(..., "step")
    reached = np.maximum.accumulate(np.where(inside, step.values, -np.inf), axis=-1)
    before = np.concatenate([np.full((*reached.shape[:-1], 1), -np.inf), reached[..., :-1]], -1)
    gaps = np.where(inside & np.isfinite(before), step.values - before, 1.0)
    largest = inside.isel(step=0, drop=True).copy(data=gaps.max(axis=-1))
    return displacement.where(inside & (step % largest == 0))


def _one_per_bin(
    used: xr.DataArray, k: xr.DataArray, low: xr.DataArray | float, high: xr.DataArray | float
) -> xr.DataArray:
    """Keep the first usable step in each of `LOG_POINTS` equal bins of ln k between low and high.

    Bins without a recorded step, as at small k, stay empty.
    """
    (dim,) = k.dims
    low, high = xr.DataArray(low).clip(min=1.0), xr.DataArray(high)
    width = np.log(high / low) / LOG_POINTS
    position = np.log(k.where(k > 0) / low) / width.where(width > 0)
    # The last step of the window belongs to the last bin; steps outside belong to none.
    bins = np.floor(position).clip(min=0, max=LOG_POINTS - 1).where(used).fillna(-1.0)
    bins = bins.transpose(..., dim)
    reached = np.maximum.accumulate(bins.values, axis=-1)
    before = np.concatenate([np.full((*reached.shape[:-1], 1), -1.0), reached[..., :-1]], axis=-1)
    return used & bins.copy(data=bins.values > before)
