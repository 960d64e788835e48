"""Plateaus and tails of loss curves: smoothing, end of the plateau, decay exponent.

All functions take labelled losses with a numeric coordinate of steps and any other
dimensions, and treat these at once.
"""

from __future__ import annotations

import numpy as np
import xarray as xr

from regimes.fit.power_laws import fit_power_law

# A plateau has ended once the loss lies 15 % below its initial value (specification, section 6.3).
FRACTION = 0.85
# Half-width of the centred moving average. At the end of a plateau the online loss of batches of
# 64 scatters by about 1 % (MLP on the Gaussian mixture, measured), and single batches pass the
# level up to 5 % too early; between means of 3 and of 11 steps the end moves by 2 % at most. A
# centred window does not delay the crossing, and five steps still resolve the plateau of seven
# steps at gamma = 1.
HALF_WINDOW = 2
BINS_PER_DECADE = 10


def smoothed(loss: xr.DataArray, dim: str = "step", half: int = HALF_WINDOW) -> xr.DataArray:
    """Centred moving average over ``2 half + 1`` neighbours.

    Within ``half`` entries of either end the window shrinks on both sides, so that it stays
    centred and the first value is that of step 0 alone. An average that would contain NaN
    (a run that has diverged, or ended) is NaN.
    """
    count = loss.sizes[dim]
    position = np.arange(count)
    reach = np.minimum(half, np.minimum(position, count - 1 - position))
    reach = xr.DataArray(reach, dims=dim, coords={dim: loss[dim]} if dim in loss.coords else None)
    values = loss.astype(float)
    total = values.copy()
    for offset in range(1, half + 1):
        neighbours = values.shift({dim: offset}) + values.shift({dim: -offset})
        total = total + xr.where(reach >= offset, neighbours, 0.0)
    return (total / (2 * reach + 1)).transpose(*loss.dims).assign_attrs(loss.attrs)


def plateau_end(
    loss: xr.DataArray,
    initial: xr.DataArray | float,
    fraction: float = FRACTION,
    half: int = HALF_WINDOW,
    dim: str = "step",
) -> xr.DataArray:
    """First step at which the smoothed loss lies below a fraction of the initial loss.

    Parameters
    ----------
    loss
        Loss over ``dim``, whose coordinate counts updates, and any other dimensions.
    initial
        Loss at step 0, a number or over the other dimensions.
    fraction
        Share of the initial loss that has to be undercut.
    half
        Half-width of the moving average (`smoothed`); 0 for losses that are means already.

    Returns
    -------
    xr.DataArray
        Over the other dimensions, in steps; NaN where the loss never falls so far.
    """
    below = smoothed(loss, dim, half) < fraction * initial
    step = loss[dim].astype(float).where(below).min(dim)
    return step.assign_attrs(
        long_name=f"first step with smoothed loss below {fraction:g} of the initial loss", units="1"
    )


def largest_excursion(
    loss: xr.DataArray,
    initial: xr.DataArray | float,
    end: xr.DataArray,
    half: int = HALF_WINDOW,
    dim: str = "step",
) -> xr.DataArray:
    """Largest ``|smoothed loss / initial - 1|`` over the steps up to ``end``; NaN without end."""
    change = abs(smoothed(loss, dim, half) / initial - 1)
    return change.where(loss[dim] <= end).max(dim)


def log_binned(
    loss: xr.DataArray, dim: str = "step", per_decade: int = BINS_PER_DECADE
) -> xr.DataArray:
    """Means over bins of equal width in log(step), for steps >= 1.

    Each bin sits at the geometric mean of its steps, so bins of one step are exact; empty ones
    are left out. Means that would contain NaN are NaN.

    Returns
    -------
    xr.DataArray
        ``dim`` replaced by ``log_step``, with float coordinate of steps.
    """
    values = loss.astype(float).isel({dim: np.flatnonzero(loss[dim].values >= 1)}).sortby(dim)
    log_step = np.log(values[dim].values.astype(float))
    # The small shift keeps 10, 100, ... from falling below the edge of their bin by rounding.
    code = np.floor(log_step / np.log(10) * per_decade + 1e-9)
    first = np.flatnonzero(np.diff(code, prepend=-np.inf))
    count = np.diff(np.append(first, code.size))
    values = values.transpose(..., dim)
    if first.size:
        means = np.add.reduceat(values.values, first, axis=-1) / count
        centre = np.exp(np.add.reduceat(log_step, first) / count)
    else:
        means, centre = values.values, log_step
    others = values.isel({dim: 0}, drop=True) if values.sizes[dim] else values.sum(dim)
    return xr.DataArray(
        means,
        dims=(*others.dims, "log_step"),
        coords={**others.coords, "log_step": centre},
        attrs=loss.attrs,
    )


def tail_exponent(
    loss: xr.DataArray, dim: str = "step", decades: float = 1.0, per_decade: int = BINS_PER_DECADE
) -> xr.DataArray:
    """Exponent b of ``loss ~ step**-b`` over the last decade(s) of steps.

    A least-squares line through log-binned means (`log_binned`) of the steps in
    ``[T / 10**decades, T]``, T the last step: binning before the logarithm is taken keeps batch
    noise from biasing the fit, and gives every part of the decade the same weight.

    Returns
    -------
    xr.DataArray
        Over the other dimensions; NaN where fewer than two bins are finite and positive.
    """
    start = float(loss[dim].max()) / 10**decades
    means = log_binned(loss.isel({dim: np.flatnonzero(loss[dim].values >= start)}), dim, per_decade)
    values = np.log10(means.where(means > 0))
    values = values.assign_coords(log_step=np.log10(means["log_step"]))
    slope = fit_power_law(values, "log_step", -np.inf, np.inf)["slope"]
    return (-slope).assign_attrs(
        long_name=f"exponent -d log loss / d log step over the last {decades:g} decade(s)",
        units="1",
    )
