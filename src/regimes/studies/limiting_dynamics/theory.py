"""Closed forms and exact recursions of SGD with momentum near a minimum.

Sections refer to the specification cited in docs/studies/limiting_dynamics.md. The dynamics are
(2.1), with buffer v_0 = 0 and minibatch gradient g_B,

    v_(k+1) = beta v_k + g_B(theta_k) + lambda theta_k,   theta_(k+1) = theta_k - eta v_(k+1).

**Velocity** is always u = -v, minus the buffer, so that d theta/dt = u with the physical time
t = eta k. Along an eigenvector of the Hessian with eigenvalue ``rho`` the process is a damped
oscillator driven by noise (2.3). ``eta`` is the learning rate, ``momentum`` beta, ``weight_decay``
lambda, ``batch_size`` S, and ``noise`` the variance q^T Sigma q of the gradients of single samples
along the eigenvector (sigma^2 rho under assumption 3). All arguments broadcast unless a function
says more; ``rho`` + ``weight_decay`` may be zero (a flat mode) except where it is divided by.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike

from regimes.studies.limiting_dynamics.fokker_planck import (
    drift_decomposition,
    modified_loss,
    phase_space_matrices,
    stationary_current,
)
from regimes.studies.limiting_dynamics.oscillator import (
    ModeConstants,
    covariance,
    floats,
    mean_path,
    mode_constants,
    propagator,
    rates,
    response,
    stability_limit,
    stationary_variances,
    velocity_autocorrelation,
    velocity_spectrum,
)
from regimes.studies.limiting_dynamics.recursion import (
    Displacements,
    Moments,
    discrete_stationary,
    displacement_recursion,
    moment_recursion,
    recorded_moments,
)

__all__ = [
    "Displacements",
    "ModeConstants",
    "Moments",
    "covariance",
    "discrete_stationary",
    "displacement_double_sum",
    "displacement_from_rest",
    "displacement_recursion",
    "displacement_stationary",
    "drift_decomposition",
    "local_displacement",
    "mean_path",
    "mode_constants",
    "modified_loss",
    "moment_recursion",
    "phase_space_matrices",
    "propagator",
    "recorded_moments",
    "stability_limit",
    "stationary_current",
    "stationary_variances",
    "velocity_autocorrelation",
    "velocity_spectrum",
]

Array = np.ndarray
# Entries of one temporary array of sums over modes and steps: 8 MB.
LARGEST_BLOCK = 2**20


def local_displacement(
    trace_noise: ArrayLike, eta: ArrayLike, momentum: ArrayLike, batch_size: ArrayLike
) -> Array:
    """Stationary squared local displacement eta^2 tr(Sigma)/(S(1-beta^2)) (equation 10, 2.5)."""
    trace, eta, beta, size = floats(trace_noise, eta, momentum, batch_size)
    return eta**2 * trace / (size * (1 - beta**2))


def _sum_over_modes(term: Callable, width: int, modes: Sequence[ArrayLike]) -> Array:
    """Sum over the last axis of a function of per-mode arrays, block by block.

    ``width`` is the number of entries per mode that the function makes.
    """
    arrays = floats(*modes)
    total = max((a.shape[-1] for a in arrays if a.ndim), default=1)
    block = max(1, LARGEST_BLOCK // max(width, 1))
    result = 0.0
    for start in range(0, total, block):
        part = [
            a[..., start : start + block] if a.ndim and a.shape[-1] == total else a for a in arrays
        ]
        result = result + np.sum(term(*part), axis=-1)
    return np.asarray(result)


def _width(k: Array, modes: Sequence[ArrayLike]) -> int:
    shapes = [k.shape, *(np.shape(a)[:-1] for a in modes)]
    return math.prod(np.broadcast_shapes(*shapes))


def displacement_from_rest(
    k: ArrayLike,
    rho: ArrayLike,
    noise: ArrayLike,
    eta: ArrayLike,
    momentum: ArrayLike,
    batch_size: ArrayLike,
    weight_decay: ArrayLike = 0.0,
    offset: ArrayLike = 0.0,
    counts: ArrayLike = 1.0,
) -> Array:
    """Expected squared global displacement of the continuous model from a fixed start at rest.

    sum_l [ o_l^2 (1-E11)^2 + Var_th - E11^2 Var_th - E12^2 Var_u ] at t = eta k (2.5), written as
    o_l^2 (omega^2 G)^2 + Var_u [G (1+E11) - E12^2], which holds for flat modes as well.

    Parameters
    ----------
    k
        Steps after the start, of any shape.
    rho, noise, offset, counts
        Per mode, over the last axis; ``offset`` is theta_0 - mu and ``counts`` the number of equal
        modes that an entry stands for.
    eta, momentum, batch_size, weight_decay
        Scalars, or arrays that broadcast with (..., modes) after a further axis behind those of
        ``k``, for instance of shape (settings, 1, 1) with ``k`` of shape (steps,).

    Returns
    -------
    numpy.ndarray
        Shape of ``k`` broadcast with the settings.
    """
    k = np.asarray(k, dtype=float)

    def term(rho, noise, eta, beta, size, decay, offset, counts):
        damping, square = rates(rho + decay, eta, beta)
        e = response(eta * k[..., None], damping, square)
        spread = noise / (size * (1 - beta**2)) * (e.integral * (1 + e.e11) - e.e12**2)
        return counts * ((offset * square * e.integral) ** 2 + spread)

    modes = (rho, noise, eta, momentum, batch_size, weight_decay, offset, counts)
    return _sum_over_modes(term, _width(k, modes), modes)


def displacement_stationary(
    k: ArrayLike,
    rho: ArrayLike,
    noise: ArrayLike,
    eta: ArrayLike,
    momentum: ArrayLike,
    batch_size: ArrayLike,
    weight_decay: ArrayLike = 0.0,
    counts: ArrayLike = 1.0,
) -> Array:
    """Expected squared global displacement from a stationary start: sum_l 2 Var_th (1-E11) (2.5).

    Written as 2 Var_u G, which holds for flat modes as well. Arguments and shapes as in
    `displacement_from_rest`.
    """
    k = np.asarray(k, dtype=float)

    def term(rho, noise, eta, beta, size, decay, counts):
        damping, square = rates(rho + decay, eta, beta)
        e = response(eta * k[..., None], damping, square)
        return counts * 2 * noise / (size * (1 - beta**2)) * e.integral

    modes = (rho, noise, eta, momentum, batch_size, weight_decay, counts)
    return _sum_over_modes(term, _width(k, modes), modes)


def displacement_double_sum(
    k: ArrayLike,
    rho: ArrayLike,
    noise: ArrayLike,
    eta: ArrayLike,
    momentum: ArrayLike,
    batch_size: ArrayLike,
    weight_decay: ArrayLike = 0.0,
    counts: ArrayLike = 1.0,
) -> Array:
    """Squared global displacement by the double sum over velocity correlations (equation 11, 2.5).

    eta^2/(S(1-beta^2)) sum_l noise_l [ k + 2 sum_(j=1..k) (k-j) C_l(j) ], C_l(j) = E22 at eta j.

    Parameters
    ----------
    k
        Steps, integers >= 0 in one dimension.
    rho, noise, counts
        Per mode, in one dimension or scalar.
    eta, momentum, batch_size, weight_decay
        Scalars.

    Returns
    -------
    numpy.ndarray
        Shape of ``k``.
    """
    k = np.asarray(k, dtype=int)
    j = np.arange(1, max(int(k.max(initial=0)), 1) + 1)

    def term(rho, noise, eta, beta, size, decay, counts):
        correlation = response(eta * j[:, None], *rates(rho + decay, eta, beta)).e22
        # Sums up to j = k, with an empty sum at k = 0.
        plain, weighted = (
            np.concatenate([np.zeros((1, total.shape[1])), np.cumsum(total, axis=0)])[k]
            for total in (correlation, j[:, None] * correlation)
        )
        bracket = k[:, None] + 2 * (k[:, None] * plain - weighted)
        return counts * eta**2 * noise / (size * (1 - beta**2)) * bracket

    modes = (np.atleast_1d(rho), noise, eta, momentum, batch_size, weight_decay, counts)
    return _sum_over_modes(term, j.size, modes)
