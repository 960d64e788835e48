"""Exact first and second moments of the discrete dynamics near a minimum (2.1, 2.3).

Conventions as in `regimes.studies.limiting_dynamics.theory`: velocity u = -buffer, t = eta k.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from regimes.studies.limiting_dynamics.oscillator import floats

Array = np.ndarray


class Moments(NamedTuple):
    """Exact means and (co)variances at steps 0, 1, ..., over the first axis.

    x is the displacement theta_k - theta_0, v here the velocity u = -buffer.
    """

    var_x: Array
    var_v: Array
    cov_xv: Array
    mean_x: Array
    mean_v: Array


class Displacements(NamedTuple):
    """Expected squared displacements at the recorded steps (last axis), summed over modes."""

    global_: Array
    local: Array


def discrete_stationary(
    rho: ArrayLike,
    noise: ArrayLike,
    eta: ArrayLike,
    momentum: ArrayLike,
    batch_size: ArrayLike,
    weight_decay: ArrayLike = 0.0,
) -> tuple[Array, Array, Array]:
    """Exact stationary moments of the discrete recursion: fixed point of `moment_recursion`.

    With h = rho+lambda: Var_u = noise/(S(1-beta)(1+beta-eta h/2)), Cov = eta Var_u/2 and
    Var_th = eta(1+beta) Var_u/(2h). They tend to `stationary_variances` for small eta h.

    Returns
    -------
    tuple of numpy.ndarray
        Var_th, Var_u and the covariance of position and velocity; NaN beyond `stability_limit`.
    """
    rho, noise, eta, beta, size, decay = floats(rho, noise, eta, momentum, batch_size, weight_decay)
    h = rho + decay
    edge = 1 + beta - eta * h / 2
    velocity = noise / (size * (1 - beta) * np.where(edge > 0, edge, np.nan))
    return eta * (1 + beta) * velocity / (2 * h), velocity, eta * velocity / 2


class _Recursion:
    """Exact first and second moments of the modes, advanced one step at a time (2.3)."""

    def __init__(self, shape, curvature, variance, eta, beta, offset):
        self.curvature, self.variance, self.eta, self.beta = curvature, variance, eta, beta
        self.offset = offset
        self.state = Moments(*(np.zeros(shape) for _ in Moments._fields))

    def advance(self) -> Moments:
        """Moments after one more step."""
        s, h, eta, beta = self.state, self.curvature, self.eta, self.beta
        mean_v = beta * s.mean_v - h * (s.mean_x + self.offset)
        cross = beta * s.cov_xv - h * s.var_x  # covariance of x_k and u_(k+1)
        var_v = beta**2 * s.var_v - h * (beta * s.cov_xv + cross) + self.variance
        cov_xv = cross + eta * var_v
        var_x = s.var_x + eta * (cross + cov_xv)
        self.state = Moments(var_x, var_v, cov_xv, s.mean_x + eta * mean_v, mean_v)
        return self.state

    def at(self, steps: Array) -> Iterator[Moments]:
        """Moments at increasing steps, the start being step 0."""
        done = 0
        for step in steps:
            for _ in range(step - done):
                self.advance()
            done = step
            yield self.state


def _recursion(rho, noise, eta, momentum, batch_size, weight_decay, offset) -> _Recursion:
    rho, noise, eta, beta, size, decay, offset = floats(
        rho, noise, eta, momentum, batch_size, weight_decay, offset
    )
    curvature, variance = rho + decay, noise / size
    parts = (curvature, variance, eta, beta, offset)
    shape = np.broadcast_shapes(*(part.shape for part in parts))
    return _Recursion(shape, *parts)


def moment_recursion(
    steps: int,
    rho: ArrayLike,
    noise: ArrayLike,
    eta: ArrayLike,
    momentum: ArrayLike,
    batch_size: ArrayLike,
    weight_decay: ArrayLike = 0.0,
    offset: ArrayLike = 0.0,
) -> Moments:
    """Exact moments of a quadratic loss with constant gradient noise, from rest (2.3).

    Parameters
    ----------
    steps
        Number of steps K.
    rho, noise, eta, momentum, batch_size, weight_decay
        Arrays that broadcast to the shape of the modes.
    offset
        Start relative to the minimum, theta_0 - mu.

    Returns
    -------
    Moments
        Arrays of shape (K + 1, ...modes): x = theta_k - theta_0 and v = u_k, minus the buffer.
        A mode contributes Var x + (mean x)^2 to the squared global displacement and eta^2 times
        [Var u + (mean u)^2] to the squared local one.
    """
    return recorded_moments(
        np.arange(steps + 1), rho, noise, eta, momentum, batch_size, weight_decay, offset
    )


def recorded_moments(
    record_steps: Sequence[int],
    rho: ArrayLike,
    noise: ArrayLike,
    eta: ArrayLike,
    momentum: ArrayLike,
    batch_size: ArrayLike,
    weight_decay: ArrayLike = 0.0,
    offset: ArrayLike = 0.0,
) -> Moments:
    """Moments of `moment_recursion` at chosen steps k >= 0, strictly increasing (first axis).

    Raises
    ------
    ValueError
        If the steps are not strictly increasing from 0 or later.
    """
    record = _checked(record_steps)
    recursion = _recursion(rho, noise, eta, momentum, batch_size, weight_decay, offset)
    shape = (record.size, *recursion.state.var_x.shape)
    moments = Moments(*(np.zeros(shape) for _ in Moments._fields))
    for index, state in enumerate(recursion.at(record)):
        for stored, value in zip(moments, state, strict=True):
            stored[index] = value
    return moments


def _checked(steps: Sequence[int]) -> Array:
    steps = np.asarray(steps, dtype=int)
    if not steps.size or steps[0] < 0 or np.any(np.diff(steps) <= 0):
        raise ValueError("steps to record must be increasing integers >= 0")
    return steps


def displacement_recursion(
    record_steps: Sequence[int],
    rho: ArrayLike,
    noise: ArrayLike,
    counts: ArrayLike,
    eta: ArrayLike,
    momentum: ArrayLike,
    batch_size: ArrayLike,
    weight_decay: ArrayLike = 0.0,
    offset: ArrayLike = 0.0,
) -> Displacements:
    """Exact expected squared displacements from rest, summed over groups of equal modes (2.3).

    Keeps only the running moments, so memory does not grow with the number of steps.

    Parameters
    ----------
    record_steps
        Steps k >= 0 to record, strictly increasing.
    rho, noise
        Eigenvalue and noise of the modes of each group, groups over the last axis.
    counts
        Number of modes in each group.
    eta, momentum, batch_size, weight_decay
        Arrays that broadcast with the groups, for instance of shape (settings, 1).
    offset
        Start relative to the minimum of each single mode of a group.

    Returns
    -------
    Displacements
        Arrays of the broadcast shape with the groups replaced by the recorded steps.

    Raises
    ------
    ValueError
        If the steps are not strictly increasing from 0 or later.
    """
    record = _checked(record_steps)
    counts = np.asarray(counts, dtype=float)
    recursion = _recursion(rho, noise, eta, momentum, batch_size, weight_decay, offset)
    shape = np.broadcast_shapes(recursion.state.var_x.shape, counts.shape)
    out = Displacements(*(np.zeros((record.size, *shape[:-1])) for _ in Displacements._fields))
    square = np.asarray(eta, dtype=float) ** 2
    for index, state in enumerate(recursion.at(record)):
        far = counts * (state.var_x + state.mean_x**2)
        near = counts * square * (state.var_v + state.mean_v**2)
        out.global_[index] = far.sum(axis=-1)
        out.local[index] = near.sum(axis=-1)
    return Displacements(*(np.moveaxis(part, 0, -1) for part in out))
