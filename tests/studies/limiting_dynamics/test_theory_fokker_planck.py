"""Decomposition of linear drifts: Lyapunov equations, currents, the phase space of SGD."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import linalg

from regimes.studies.limiting_dynamics import theory

by_hypothesis = settings(max_examples=40, deadline=None, database=None, derandomize=True)


@by_hypothesis
@given(seed=st.integers(0, 10_000), size=st.integers(2, 4))
def test_decomposition_of_random_drifts(seed, size):
    rng = np.random.default_rng(seed)
    root = rng.standard_normal((size, size))
    diffusion = root @ root.T + np.eye(size)
    # A symmetric part that is positive definite makes all eigenvalues stable.
    other = rng.standard_normal((size, size))
    drift = other @ other.T + np.eye(size) + 2 * (root - root.T)
    rotation, curvature = theory.drift_decomposition(drift, diffusion)
    np.testing.assert_allclose(rotation, -rotation.T, atol=1e-9)
    np.testing.assert_allclose(curvature, curvature.T, atol=1e-9)
    covariance = linalg.solve_continuous_lyapunov(drift, 2 * diffusion)
    np.testing.assert_allclose(np.linalg.inv(curvature), covariance, atol=1e-8)
    x, mu = rng.standard_normal((5, size)), rng.standard_normal(size)
    gradient = (x - mu) @ curvature
    current = theory.stationary_current(x, mu, rotation, curvature)
    # The current runs along contours, and drift = dissipation + rotation.
    np.testing.assert_allclose(np.sum(current * gradient, axis=1), 0, atol=1e-8)
    total = -gradient @ diffusion + current
    np.testing.assert_allclose(total, -(x - mu) @ drift.T, atol=1e-8)
    values = theory.modified_loss(x, mu, curvature)
    np.testing.assert_allclose(values, np.sum((x - mu) * gradient, axis=1) / 2, rtol=1e-12)


def test_phase_space_of_sgd():
    """U and Q of (2.4), for a Hessian and noise with common eigenvectors."""
    rng = np.random.default_rng(3)
    basis = np.linalg.qr(rng.standard_normal((3, 3)))[0]
    rho, noise, eta, beta, decay = (
        np.array([2.0, 0.5, 0.1]),
        np.array([1, 0.7, 0.3]),
        0.1,
        0.8,
        0.01,
    )
    hessian, sigma = (basis * rho) @ basis.T, (basis * noise) @ basis.T
    drift, diffusion = theory.phase_space_matrices(hessian, sigma, eta, beta, decay)
    inertia = eta * (1 + beta) / 2
    np.testing.assert_allclose(
        theory.phase_space_matrices(np.diag([2.0]), np.eye(1), eta, beta, decay)[0],
        np.array([[0, -1], [2.01 / inertia, (1 - beta) / inertia]]),
    )
    rotation, curvature = theory.drift_decomposition(drift, diffusion)
    zero = np.zeros((3, 3))
    np.testing.assert_allclose(rotation, np.block([[zero, -sigma], [sigma, zero]]), atol=1e-10)
    inverse = np.linalg.inv(sigma)
    top = 2 / (eta * (1 + beta)) * inverse @ (hessian + decay * np.eye(3))
    np.testing.assert_allclose(curvature, np.block([[top, zero], [zero, inverse]]), atol=1e-8)
    # Clockwise in the (theta, u) plane: (u, -omega^2 theta) along a mode.
    state = np.concatenate([basis[:, 0], 2 * basis[:, 1]])
    current = theory.stationary_current(state, np.zeros(6), rotation, curvature)
    omega = theory.mode_constants(rho, eta, beta, decay).frequency
    expected = np.concatenate([2 * basis[:, 1], -(omega[0] ** 2) * basis[:, 0]])
    np.testing.assert_allclose(current, expected, atol=1e-8)
