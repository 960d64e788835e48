"""Checks of the single-mode theory by numerics that do not use its closed forms.

Matrix exponentials, powers of the discrete map, eigenvalues and bisection stand against the
formulas of `regimes.studies.limiting_dynamics.theory` (sections 2.2-2.5).
"""

from __future__ import annotations

import numpy as np
from scipy import linalg

from regimes.studies.limiting_dynamics import theory

Array = np.ndarray
SETTINGS = 200  # random settings behind an identity
MODES = 3  # modes of each random phase space
BISECTIONS = 60  # halvings that locate an edge to relative 1e-16


def _random_settings(seed: int) -> dict[str, Array]:
    """Settings over wide ranges, shape (SETTINGS,); curvature and noise (SETTINGS, MODES)."""
    rng = np.random.default_rng(seed)

    def logarithmic(low, high, *shape):
        return np.exp(rng.uniform(np.log(low), np.log(high), (SETTINGS, *shape)))

    return {
        "rho": logarithmic(0.05, 5, MODES),
        "noise": logarithmic(0.1, 10, MODES),
        "eta": logarithmic(1e-3, 0.1),
        "momentum": rng.uniform(0, 0.99, SETTINGS),
        "weight_decay": rng.choice([0.0, 1e-4, 0.1], SETTINGS),
        "batch_size": rng.integers(1, 1000, SETTINGS),
        "basis": np.linalg.qr(rng.standard_normal((SETTINGS, MODES, MODES)))[0],
    }


def identity_residuals(seed: int = 0) -> dict[str, float]:
    """Largest relative residual of each exact identity of the theory over random settings.

    The Hessian and the noise covariance are dense matrices with common eigenvectors.

    Returns
    -------
    dict
        ``noise_amplitude`` 2 D22/kappa = 4 Sigma/(S eta (1+beta)^2) (2.2);
        ``fluctuation_dissipation`` A V + V A^T = 2D/kappa with the stationary variances V (2.3);
        ``equipartition`` omega^2 Var_th = Var_u (2.3); ``drift`` (D+Q) U = A with Q and U of SGD
        (2.4); ``critical_damping`` gamma = omega at eta_c (2.3).
    """
    s = _random_settings(seed)
    rho, noise, basis = s["rho"], s["noise"], s["basis"]
    eta, beta, decay, size = (
        s[name][:, None] for name in ("eta", "momentum", "weight_decay", "batch_size")
    )

    def dense(diagonal: Array) -> Array:
        return (basis * diagonal[:, None, :]) @ np.swapaxes(basis, 1, 2)

    def diagonal_blocks(first: Array, second: Array) -> Array:
        zero = np.zeros_like(first)
        return np.block([[first, zero], [zero, second]])

    hessian, sigma = dense(rho), dense(noise)
    drift, diffusion = theory.phase_space_matrices(
        hessian, sigma, s["eta"], s["momentum"], s["weight_decay"]
    )
    kappa = (size * (1 - beta**2))[..., None]
    position, velocity = theory.stationary_variances(rho, noise, eta, beta, size, decay)
    covariance = diagonal_blocks(dense(position), dense(velocity))
    curvature = diagonal_blocks(
        dense(2 * (rho + decay) / (eta * (1 + beta) * noise)), dense(1 / noise)
    )
    zero = np.zeros_like(sigma)
    rotation = np.block([[zero, -sigma], [sigma, zero]])
    amplitude = 4 * sigma / (size * eta * (1 + beta) ** 2)[..., None]
    frequency = theory.mode_constants(rho, eta, beta, decay).frequency
    critical = theory.mode_constants(rho, eta, beta, decay).critical_rate
    lyapunov = drift @ covariance + covariance @ np.swapaxes(drift, 1, 2)
    return {
        "noise_amplitude": _relative(2 * diffusion[:, MODES:, MODES:] / kappa, amplitude),
        "fluctuation_dissipation": _relative(lyapunov, 2 * diffusion / kappa),
        "equipartition": float(np.max(np.abs(frequency**2 * position / velocity - 1))),
        "drift": _relative((diffusion + rotation) @ curvature, drift),
        "critical_damping": float(
            np.max(np.abs(theory.mode_constants(rho, critical, beta, decay).ratio - 1))
        ),
    }


def _relative(found: Array, expected: Array) -> float:
    """Largest deviation in units of the largest entry of each matrix."""
    scale = np.abs(expected).max(axis=(-2, -1))
    return float(np.max(np.abs(found - expected).max(axis=(-2, -1)) / scale))


def propagator_errors() -> dict[str, float]:
    """Largest deviation of the closed form from expm(-A t) in each regime of damping (2.3).

    In units where omega = 1: t from 1e-3 to 30, gamma from 0.01 to 30, the critical regime within
    1e-6 of 1.
    """
    near = np.array([0.0, 1e-12, -1e-12, 1e-9, -1e-9, 1e-6, -1e-6])
    ratios = {
        "underdamped": np.geomspace(0.01, 0.99, 30),
        "critical": 1 + near,
        "overdamped": np.geomspace(1.01, 30, 30),
    }
    time = np.geomspace(1e-3, 30, 60)[:, None]
    errors = {}
    for regime, ratio in ratios.items():
        drift = np.zeros((ratio.size, 2, 2))
        drift[:, 0, 1], drift[:, 1, 0], drift[:, 1, 1] = -1, 1, 2 * ratio
        exact = linalg.expm(-drift * time[..., None, None])
        errors[regime] = float(np.max(np.abs(theory.propagator(time, ratio, 1.0) - exact)))
    return errors


def map_matrix(rho: Array, eta: Array, momentum: Array, weight_decay: Array = 0.0) -> Array:
    """One deterministic step of (theta - mu, u) by the update rule (2.1), shape (..., 2, 2)."""
    h, eta, beta = np.broadcast_arrays(np.add(rho, weight_decay), eta, momentum)
    rows = [np.stack([1 - eta * h, eta * beta], -1), np.stack([-h, beta], -1)]
    return np.stack(rows, axis=-2)


def stability_ratios(seed: int = 0) -> Array:
    """Edge of stability of the deterministic recursion over 2(1+beta)/(rho+lambda), (SETTINGS,).

    The edge is found by bisecting the learning rate at which the spectral radius of the map
    passes 1, between eta (rho+lambda) = 0.01 and 100.
    """
    s = _random_settings(seed)
    rho, beta, decay = s["rho"][:, 0], s["momentum"], s["weight_decay"]
    low, high = 0.01 / (rho + decay), 100 / (rho + decay)
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        radius = np.abs(np.linalg.eigvals(map_matrix(rho, middle, beta, decay))).max(axis=-1)
        low, high = np.where(radius < 1, middle, low), np.where(radius < 1, high, middle)
    return low / theory.stability_limit(rho, beta, decay)


def stationary_displacement(
    steps: Array, rho: float, noise: float, eta: float, momentum: float
) -> Array:
    """Exact squared displacement of the discrete process from a stationary start.

    2 Var_th - 2 (M^k V)_11 with the map M of one step and its stationary covariance V.

    Parameters
    ----------
    steps
        Steps k, shape (n,).
    noise
        Variance of the minibatch gradient along the mode.
    """
    step = map_matrix(rho, eta, momentum)
    kick = np.array([-eta, -1.0])
    covariance = linalg.solve_discrete_lyapunov(step, noise * np.outer(kick, kick))
    correlation = np.array([np.linalg.matrix_power(step, int(k)) @ covariance for k in steps])
    return 2 * (covariance[0, 0] - correlation[:, 0, 0])
