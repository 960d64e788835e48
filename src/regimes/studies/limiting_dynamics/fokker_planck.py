"""Modified loss and stationary currents of linear stochastic dynamics (2.4)."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.linalg import solve_sylvester

from regimes.studies.limiting_dynamics.oscillator import floats

Array = np.ndarray


def phase_space_matrices(
    hessian: ArrayLike,
    sigma: ArrayLike,
    eta: ArrayLike,
    momentum: ArrayLike,
    weight_decay: ArrayLike = 0.0,
) -> tuple[Array, Array]:
    """Drift A and diffusion D of (theta, u) in the continuous model (2.2).

    A = [[0, -I], [2(H+lambda)/(eta(1+beta)), 2(1-beta)/(eta(1+beta)) I]] and
    D = diag(0, 2(1-beta)/(eta(1+beta)) Sigma), for d(theta, u) = -A (theta-mu, u) dt
    + sqrt(2 D/kappa) dW with kappa = S(1-beta^2).

    Parameters
    ----------
    hessian, sigma
        Hessian and covariance of the gradients of single samples, shape (..., m, m).
    eta, momentum, weight_decay
        Scalars or arrays of shape (...).

    Returns
    -------
    tuple of numpy.ndarray
        A and D, shape (..., 2m, 2m).
    """
    hessian, sigma, eta, beta, decay = floats(hessian, sigma, eta, momentum, weight_decay)
    eta, beta, decay = (values[..., None, None] for values in (eta, beta, decay))
    shape = np.broadcast_shapes(hessian.shape, sigma.shape, eta.shape, beta.shape, decay.shape)
    one, zero = np.broadcast_to(np.eye(shape[-1]), shape), np.zeros(shape)
    inertia = eta * (1 + beta) / 2
    friction = (1 - beta) / inertia
    drift = np.block([[zero, -one], [(hessian + decay * one) / inertia, friction * one]])
    return drift, np.block([[zero, zero], [zero, friction * sigma]])


def drift_decomposition(drift: Array, diffusion: Array) -> tuple[Array, Array]:
    """Split a drift A = (D+Q) U into antisymmetric Q and the Hessian U of the modified loss (2.4).

    Q solves A Q + Q A^T = A D - D A^T, and U = (D+Q)^-1 A.

    Parameters
    ----------
    drift
        A, with eigenvalues of positive real part.
    diffusion
        D, symmetric; it may be singular as long as D + Q is not.

    Returns
    -------
    tuple of numpy.ndarray
        Q and U, neither of them symmetrized: the deviation shows the error.
    """
    drift, diffusion = floats(drift, diffusion)
    rotation = solve_sylvester(drift, drift.T, drift @ diffusion - diffusion @ drift.T)
    return rotation, np.linalg.solve(diffusion + rotation, drift)


def modified_loss(x: Array, mu: Array, curvature: Array) -> Array:
    """Psi = (x-mu)^T U (x-mu)/2 over the last axis of ``x``; ``curvature`` is U (2.4).

    With U = A, for symmetric A, this is the potential itself up to a constant.
    """
    centred = np.asarray(x, dtype=float) - mu
    return np.einsum("...i,ij,...j->...", centred, curvature, centred) / 2


def stationary_current(x: Array, mu: Array, rotation: Array, curvature: Array) -> Array:
    """Velocity -Q U (x-mu) of the stationary probability current, J over its density (2.4).

    ``rotation`` is Q and ``curvature`` is U of `drift_decomposition`.
    """
    return -(np.asarray(x, dtype=float) - mu) @ (rotation @ curvature).T
