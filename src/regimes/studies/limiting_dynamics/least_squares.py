"""Least squares in closed form: curvature, minimum, and gradient noise at the minimum."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class LeastSquares(NamedTuple):
    """Loss (1/2N) |y - X theta|^2 + (weight_decay/2) |theta|^2 in the eigenbasis of X^T X / N.

    Attributes
    ----------
    eigenvalue : ndarray (d,)
        Of H = X^T X / N, without weight decay, decreasing.
    eigenvector : ndarray (d, d)
        Row i belongs to eigenvalue i.
    minimum : ndarray (d,)
        theta = (H + weight_decay)^-1 X^T y / N.
    noise : ndarray (d,)
        Variance of single-sample gradients along each eigenvector, at the minimum.
    residual_variance : float
        Mean squared residual at the minimum.
    """

    eigenvalue: np.ndarray
    eigenvector: np.ndarray
    minimum: np.ndarray
    noise: np.ndarray
    residual_variance: float


def solve(x: np.ndarray, targets: np.ndarray, weight_decay: float) -> LeastSquares:
    """Least squares of one target: inputs (N, d), targets (N, 1) (section 2.2)."""
    samples = len(x)
    value, vector = np.linalg.eigh(x.T @ x / samples)
    value, vector = value[::-1], vector[:, ::-1].T
    # Sign: first large entry positive, so that paths do not flip between platforms.
    lead = np.take_along_axis(vector, np.abs(vector).argmax(1)[:, None], 1)
    vector = vector * np.sign(lead)
    along = vector @ (x.T @ targets[:, 0]) / samples
    minimum = vector.T @ (along / (value + weight_decay))
    residual = targets[:, 0] - x @ minimum
    gradients = (x @ vector.T) * residual[:, None]
    return LeastSquares(value, vector, minimum, gradients.var(0), float(np.mean(residual**2)))
