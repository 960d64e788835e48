"""Periods, decay and number of turns of an oscillation that dies out, read off one curve."""

from __future__ import annotations

import math

import numpy as np
from scipy.signal import find_peaks

SMALLEST = 0.05  # swings below this share of the first one are not counted


def zero_crossings(values: np.ndarray, smallest: float = SMALLEST) -> np.ndarray:
    """Times, in steps, at which a curve passes through zero from one swing to the next.

    A swing counts if it exceeds the share ``smallest`` of the largest value, so that noise around
    zero makes no crossings; of several sign changes between two swings the mean time is taken.

    Parameters
    ----------
    values
        Curve at steps 0, 1, ..., shape (n,), oscillating about zero.

    Returns
    -------
    np.ndarray
        Increasing times, linear between steps.
    """
    values = np.asarray(values, dtype=float)
    if values.size < 2 or not np.isfinite(values).all():
        return np.empty(0)
    side = np.sign(values) * (abs(values) > smallest * abs(values).max())
    out = np.flatnonzero(side)
    before = np.flatnonzero(side[out][1:] != side[out][:-1])
    change = np.flatnonzero(np.signbit(values[1:]) != np.signbit(values[:-1]))
    when = change + values[change] / (values[change] - values[change + 1])
    # Each crossing lies between the last step of one swing and the first of the next.
    pairs = zip(out[before], out[before + 1], strict=True)
    return np.array([when[(change >= last) & (change < new)].mean() for last, new in pairs])


def period(values: np.ndarray) -> float:
    """Period in steps: twice the mean distance of zero crossings; NaN with fewer than two."""
    times = zero_crossings(values)
    return 2 * (times[-1] - times[0]) / (times.size - 1) if times.size > 1 else math.nan


def decay_ratios(values: np.ndarray) -> np.ndarray:
    """Ratios of successive extrema of the same sign, later over earlier.

    An extremum is the largest absolute value between two zero crossings; the start counts as one,
    for a path released at rest. A swing that the record cuts off does not count.
    """
    times = zero_crossings(values)
    edges = np.concatenate([[0], np.ceil(times)]).astype(int)
    swings = [abs(values[i:j]).max() for i, j in zip(edges[:-1], edges[1:], strict=True)]
    heights = np.array(swings, dtype=float)
    return heights[2:] / heights[:-2]


def turns(velocity: np.ndarray, period_steps: float) -> float:
    """Number of extrema of the velocity with the sign of the first.

    Parameters
    ----------
    velocity
        Velocity at steps 0, 1, ..., shape (n,), zero at step 0.
    period_steps
        Period by theory: extrema lie at least half of it apart, the first within the first half;
        infinite if overdamped.

    Returns
    -------
    float
        Extrema above the share `SMALLEST` of the first; NaN if the curve has a NaN.
    """
    velocity = np.asarray(velocity, dtype=float)
    if not np.isfinite(velocity).all():
        return math.nan
    half = min(max(1.0, period_steps / 2), float(velocity.size))
    start = velocity[: math.ceil(half) + 1]
    first = start[np.argmax(abs(start))]
    if first == 0:
        return 0.0
    found, _ = find_peaks(velocity * np.sign(first), height=SMALLEST * abs(first), distance=half)
    return float(found.size)
