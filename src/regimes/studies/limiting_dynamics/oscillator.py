"""One eigen-mode of the continuous model: a damped oscillator driven by noise (2.2, 2.3).

Conventions as in `regimes.studies.limiting_dynamics.theory`: velocity u = -buffer, t = eta k.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

Array = np.ndarray


class ModeConstants(NamedTuple):
    """Constants of one damped oscillator; rates per unit of t = eta k."""

    damping: Array
    frequency: Array
    ratio: Array
    critical_rate: Array
    period_steps: Array


class Response(NamedTuple):
    """Entries of the propagator E(t), and G = (1 - E11)/omega^2 = integral of E12 up to t."""

    e11: Array
    e12: Array
    e21: Array
    e22: Array
    integral: Array


def mode_constants(
    rho: ArrayLike, eta: ArrayLike, momentum: ArrayLike, weight_decay: ArrayLike = 0.0
) -> ModeConstants:
    """Damping and frequency of a mode (2.3).

    gamma = (1-beta)/(eta(1+beta)); omega = sqrt(2(rho+lambda)/(eta(1+beta))); zeta = gamma/omega;
    the mode oscillates above the critical rate eta_c = (1-beta)^2/(2(1+beta)(rho+lambda)), with a
    period of 2 pi/(eta sqrt(omega^2-gamma^2)) steps.

    Parameters
    ----------
    rho, eta, momentum, weight_decay
        Arrays that broadcast.

    Returns
    -------
    ModeConstants
        ``frequency``, ``ratio`` and ``critical_rate`` are NaN for negative curvature rho + lambda;
        the period is infinite without oscillation.
    """
    rho, eta, beta, decay = floats(rho, eta, momentum, weight_decay)
    curvature = rho + decay
    curvature = np.where(curvature < 0, np.nan, curvature)
    damping, square = rates(curvature, eta, beta)
    with np.errstate(divide="ignore", invalid="ignore"):
        frequency = np.sqrt(square)
        ratio = damping / frequency
        critical = (1 - beta) ** 2 / (2 * (1 + beta) * curvature)
        excess = (frequency - damping) * (frequency + damping)
        period = 2 * np.pi / (eta * np.sqrt(np.where(excess > 0, excess, 0.0)))
    shape = np.broadcast_shapes(period.shape, ratio.shape)
    return ModeConstants(
        *(np.broadcast_to(a, shape)[()] for a in (damping, frequency, ratio, critical, period))
    )


def floats(*values: ArrayLike) -> list[Array]:
    """Arguments as arrays of float64."""
    return [np.asarray(value, dtype=float) for value in values]


def rates(curvature: Array, eta: Array, beta: Array) -> tuple[Array, Array]:
    """Damping gamma and squared frequency omega^2; the latter keeps the sign of the curvature."""
    return (1 - beta) / (eta * (1 + beta)), 2 * curvature / (eta * (1 + beta))


def stability_limit(
    rho: ArrayLike, momentum: ArrayLike, weight_decay: ArrayLike = 0.0
) -> Array | float:
    """Learning rate 2(1+beta)/(rho+lambda) above which the discrete mode diverges (section 7.15).

    Infinite for a flat mode.
    """
    rho, beta, decay = floats(rho, momentum, weight_decay)
    with np.errstate(divide="ignore"):
        return 2 * (1 + beta) / (rho + decay)


def response(time: Array, damping: Array, square: Array) -> Response:
    """Response of the oscillator in every regime, without overflow or cancellation.

    ``square`` is omega^2, which may be zero or negative. With d^2 = omega^2 - gamma^2:

    underdamped, E12 = e^(-gamma t) sin(dt)/d and E11, E22 = e^(-gamma t) cos(dt) +- gamma E12;
    overdamped, with r = sqrt(-d^2), slow rate s = gamma - r = omega^2/(gamma + r) and fast rate
    f = gamma + r: E12 = e^(-st) (1 - e^(-2rt))/(2r), E11 = e^(-st) + s E12, E22 = e^(-ft) - s E12.
    Both tend to t e^(-gamma t) for E12 at critical damping.
    """
    excess = square - damping**2
    beyond = np.sqrt(np.maximum(excess, 0.0))  # d of the underdamped modes
    within = np.sqrt(np.maximum(-excess, 0.0))  # r of the overdamped modes
    # Critical modes count as overdamped: there r = 0, s = f = gamma.
    fast = damping + within
    shape = np.broadcast_shapes(np.shape(square), np.shape(fast))
    slow = np.divide(square, fast, out=np.zeros(shape), where=fast > 0)
    falling = np.exp(-slow * time)
    over12 = falling * _decay_integral(2 * within, time)
    over11 = falling + slow * over12
    over22 = np.exp(-fast * time) - slow * over12
    # G = [(1 - e^(-st))/s - E12]/(gamma + r)
    with np.errstate(divide="ignore", invalid="ignore"):
        over_integral = np.where(
            fast > 0, (_decay_integral(slow, time) - over12) / fast, time**2 / 2
        )
    if not np.any(excess > 0):
        return Response(over11, over12, -square * over12, over22, over_integral)
    decay = np.exp(-damping * time)
    phase = beyond * time
    under12 = decay * time * np.sinc(phase / np.pi)
    cosine = decay * np.cos(phase)
    under11, under22 = cosine + damping * under12, cosine - damping * under12
    # 1 - e^(-gamma t) cos(dt) as a sum of two small positive terms.
    rest = -np.expm1(-damping * time) + 2 * decay * np.sin(phase / 2) ** 2 - damping * under12
    with np.errstate(divide="ignore", invalid="ignore"):
        under_integral = rest / square
    oscillates = excess > 0
    e12 = np.where(oscillates, under12, over12)
    return Response(
        np.where(oscillates, under11, over11),
        e12,
        -square * e12,
        np.where(oscillates, under22, over22),
        np.where(oscillates, under_integral, over_integral),
    )


def _decay_integral(rate: Array, time: Array) -> Array:
    """Integral of e^(-rate s) over s from 0 to ``time``: (1 - e^(-rate time))/rate."""
    product = rate * time
    small = np.abs(product) < 1e-12  # where the relative error of `time` itself is product/2
    safe = np.where(small, 1.0, product)
    return time * np.where(small, 1.0, -np.expm1(-safe) / safe)


def propagator(time: ArrayLike, damping: ArrayLike, frequency: ArrayLike) -> Array:
    """Matrix exponential E(t) of one mode (2.3): (position, velocity)(t) = E (position, velocity).

    E = e^(-At) with A = [[0, -1], [omega^2, 2 gamma]], accurate in the overdamped, critical and
    underdamped regime, for any time.

    Parameters
    ----------
    time
        t = eta k >= 0.
    damping, frequency
        gamma and omega of `mode_constants`.

    Returns
    -------
    numpy.ndarray
        Broadcast shape with two trailing axes of length 2.
    """
    time, damping, frequency = floats(time, damping, frequency)
    found = response(time, damping, frequency**2)
    entries = np.broadcast_arrays(*found[:4])
    return np.stack([np.stack(entries[:2], axis=-1), np.stack(entries[2:], axis=-1)], axis=-2)


def mean_path(
    time: ArrayLike,
    damping: ArrayLike,
    frequency: ArrayLike,
    position: ArrayLike,
    velocity: ArrayLike = 0.0,
) -> tuple[Array, Array]:
    """Mean position relative to the minimum, and mean velocity (2.3).

    a(t)-mu = E11 (a_0-mu) + E12 u_0 and u(t) = E21 (a_0-mu) + E22 u_0.

    Parameters
    ----------
    time, damping, frequency
        As in `propagator`.
    position
        Start relative to the minimum, a_0 - mu.
    velocity
        Start velocity u_0.
    """
    time, damping, frequency, position, velocity = floats(
        time, damping, frequency, position, velocity
    )
    e = response(time, damping, frequency**2)
    return e.e11 * position + e.e12 * velocity, e.e21 * position + e.e22 * velocity


def stationary_variances(
    rho: ArrayLike,
    noise: ArrayLike,
    eta: ArrayLike,
    momentum: ArrayLike,
    batch_size: ArrayLike,
    weight_decay: ArrayLike = 0.0,
) -> tuple[Array, Array]:
    """Stationary variances of position and velocity of a mode, whose covariance is zero (2.3).

    Var_th = eta noise/(2 S (1-beta)(rho+lambda)) and Var_u = noise/(S(1-beta^2)).
    """
    rho, noise, eta, beta, size, decay = floats(rho, noise, eta, momentum, batch_size, weight_decay)
    position = eta * noise / (2 * size * (1 - beta) * (rho + decay))
    velocity = noise / (size * (1 - beta**2))
    shape = np.broadcast_shapes(position.shape, velocity.shape)
    return np.broadcast_to(position, shape)[()], np.broadcast_to(velocity, shape)[()]


def covariance(
    time: ArrayLike,
    damping: ArrayLike,
    frequency: ArrayLike,
    var_position: ArrayLike,
    var_velocity: ArrayLike,
) -> Array:
    """Covariance of (position, velocity) at time t after a certain start: V - E V E^T (2.3).

    Parameters
    ----------
    time, damping, frequency
        As in `propagator`.
    var_position, var_velocity
        Diagonal of V, from `stationary_variances`.

    Returns
    -------
    numpy.ndarray
        Broadcast shape with two trailing axes of length 2.
    """
    time, damping, frequency, first, second = floats(
        time, damping, frequency, var_position, var_velocity
    )
    e = response(time, damping, frequency**2)
    # 1 - E11^2 from G, since E11 is close to 1 at early times.
    position = first * frequency**2 * e.integral * (1 + e.e11) - second * e.e12**2
    cross = -(first * e.e11 * e.e21 + second * e.e12 * e.e22)
    velocity = second * (1 - e.e22) * (1 + e.e22) - first * e.e21**2
    entries = np.broadcast_arrays(position, cross, velocity)
    rows = [np.stack(entries[:2], axis=-1), np.stack(entries[1:], axis=-1)]
    return np.stack(rows, axis=-2)


def velocity_autocorrelation(
    lag: ArrayLike,
    rho: ArrayLike,
    eta: ArrayLike,
    momentum: ArrayLike,
    weight_decay: ArrayLike = 0.0,
) -> Array:
    """Stationary correlation of velocities ``lag`` steps apart, E22 at t = eta lag (2.5)."""
    lag, rho, eta, beta, decay = floats(lag, rho, eta, momentum, weight_decay)
    return response(eta * lag, *rates(rho + decay, eta, beta)).e22


def velocity_spectrum(w: ArrayLike, damping: ArrayLike, frequency: ArrayLike) -> Array:
    """Shape w^2/((omega^2-w^2)^2 + 4 gamma^2 w^2) of the power spectrum of the velocity (2.2).

    Parameters
    ----------
    w
        Angular frequency per unit of t; over all w, negative ones included, the shape integrates
        to pi/(2 gamma).
    damping, frequency
        gamma and omega.
    """
    w, damping, frequency = floats(w, damping, frequency)
    return w**2 / ((frequency**2 - w**2) ** 2 + 4 * damping**2 * w**2)
