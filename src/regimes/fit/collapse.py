r"""How well curves fall onto one another when each is drawn against its own time.

A control (a feature strength, a learning rate) gives curves :math:`v_i(t)`. Theory says that
they coincide in a rescaled time :math:`\tau_i = s_i t`. The score below measures how far they
are from doing so; taking raw instead of rescaled times as ``times`` gives the value to compare
with.

Each curve is read as piecewise linear in log time. On a grid of cells :math:`c` of equal width in
log time, common to all curves, :math:`\bar v_{ic}` is the mean of curve :math:`i` over the cell, an
exact integral, so that noise from point to point averages out wherever the curve has several
points in a cell, and a sparse curve is interpolated. With :math:`n_c` curves known in cell
:math:`c`, :math:`m_c` their mean and :math:`\bar m` the mean of :math:`m_c` over the cells,

.. math::

    \mathrm{score}^2 =
    \frac{\mathrm{mean}_c\ \frac{1}{n_c - 1} \sum_i (\bar v_{ic} - m_c)^2}
         {\mathrm{mean}_c\ (m_c - \bar m)^2}

the root-mean-square spread between curves, in units of the variation of their mean along time.
Zero means perfect collapse; about one, that curves differ from each other as much as their mean
changes over time. The score does not change when curves are relabelled, when all times are
multiplied by one number, or when all values are scaled or shifted together.
"""

from __future__ import annotations

import numpy as np
import xarray as xr

CELLS_PER_DECADE = 10


def collapse_score(
    values: xr.DataArray,
    times: xr.DataArray,
    curve: str,
    time: str,
    cells_per_decade: int = CELLS_PER_DECADE,
    fewest: int = 2,
) -> xr.DataArray:
    """Spread between curves over a common logarithmic time grid, 0 for a perfect collapse.

    Parameters
    ----------
    values
        Curves, over the dimensions ``curve`` and ``time`` and any others; NaN is left out.
    times
        Time of each value, increasing along ``time``; broadcast against ``values``, so it may lack
        any dimension. Times that are not positive have no place on a logarithmic grid and are
        left out.
    curve
        Dimension of the control, over which the spread is taken.
    time
        Dimension of the points of a curve.
    cells_per_decade
        Cells of the grid per factor ten in time.
    fewest
        Cells count where at least so many curves (two or more) are known over the whole cell.

    Returns
    -------
    xr.DataArray
        Over the other dimensions; NaN where no cell counts or the mean curve is constant.

    Raises
    ------
    ValueError
        If ``fewest`` is below two or ``cells_per_decade`` below one.
    """
    if fewest < 2 or cells_per_decade < 1:
        raise ValueError(f"fewest={fewest} must be >= 2, cells_per_decade={cells_per_decade} >= 1")
    values, times = xr.broadcast(values.astype(float), times.astype(float))
    score = xr.apply_ufunc(
        _score,
        values,
        times,
        input_core_dims=[[curve, time], [curve, time]],
        vectorize=True,
        kwargs={"cells_per_decade": cells_per_decade, "fewest": fewest},
        output_dtypes=[float],
    )
    return score.assign_attrs(
        long_name="rms spread between curves over rms variation of their mean in time", units="1"
    )


def cell_means(time: np.ndarray, values: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Mean over cells of the function that interpolates points linearly.

    Parameters
    ----------
    time, values
        Points of the function, shape (point,), times strictly increasing.
    edges
        Increasing edges of the cells, shape (cell + 1,), in units of ``time``.

    Returns
    -------
    np.ndarray
        Shape (cell,); NaN for cells that reach beyond the first or last point.
    """
    if time.size < 2:
        return np.full(edges.size - 1, np.nan)
    width = np.diff(time)
    integral = np.concatenate([[0.0], np.cumsum(width * (values[:-1] + values[1:]) / 2)])
    piece = np.clip(np.searchsorted(time, edges, side="right") - 1, 0, width.size - 1)
    into = edges - time[piece]
    slope = (values[piece + 1] - values[piece]) / width[piece]
    upto = integral[piece] + values[piece] * into + slope * into**2 / 2
    # Edges computed from the very times of a curve may miss its ends by rounding.
    margin = 1e-9 * max(1.0, float(np.abs(time).max()))
    inside = (edges >= time[0] - margin) & (edges <= time[-1] + margin)
    return np.where(inside[:-1] & inside[1:], np.diff(upto) / np.diff(edges), np.nan)


def _score(values: np.ndarray, times: np.ndarray, cells_per_decade: int, fewest: int) -> float:
    """Score of curves (curve, time); see the module's text."""
    curves = []
    for row, own in zip(values, times, strict=True):
        known = np.isfinite(row) & np.isfinite(own) & (own > 0)
        if known.sum() >= 2:
            curves.append((np.log10(own[known]), row[known]))
    if len(curves) < fewest:
        return float("nan")
    # Outside these ends fewer than `fewest` curves are known.
    low = np.sort([time[0] for time, _ in curves])[fewest - 1]
    high = np.sort([time[-1] for time, _ in curves])[-fewest]
    # The small shift keeps the number of cells from jumping by rounding.
    cells = int(np.ceil((high - low) * cells_per_decade - 1e-6))
    if cells < 1:
        return float("nan")
    edges = np.linspace(low, high, cells + 1)
    means = np.array([cell_means(time, row, edges) for time, row in curves])
    means = means[:, np.isfinite(means).sum(0) >= fewest]
    if not means.size:
        return float("nan")
    spread = np.nanvar(means, axis=0, ddof=1).mean()
    centre = np.nanmean(means, axis=0)
    variation = centre.var()
    # A constant mean curve has no variation beyond rounding.
    if variation <= (1e-12 * np.abs(centre).max()) ** 2:
        return float("nan")
    return float(np.sqrt(spread / variation))
