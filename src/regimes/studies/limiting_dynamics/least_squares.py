"""Least squares in closed form: curvature, minimum, and gradient noise at the minimum.

With several outputs c each has its own weights, and the Hessian is the second moment of the inputs
once per output: eigenvalues are repeated. One output stands for all, the first one: eigenvectors,
noise along them and the residual variance belong to it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from torch import Tensor

from regimes.data.images import Pixels
from regimes.observe.subspace import signed
from regimes.studies.limiting_dynamics.data_sets import OneHot

# Numbers of samples and modes that are worked on together: what stays below a few 100 MB.
TOGETHER = 2**24
WATCHED = 0  # the output whose eigenvectors are looked at


class Moments(NamedTuple):
    """Second moments of inputs and targets, over N samples.

    Attributes
    ----------
    eigenvalue : ndarray (d,)
        Of E[x x^T], decreasing; x with a last entry one where there is a bias.
    eigenvector : ndarray (d, d)
        Row i belongs to eigenvalue i.
    along : ndarray (d, C)
        E[x y^T] in the eigenbasis.
    """

    eigenvalue: np.ndarray
    eigenvector: np.ndarray
    along: np.ndarray


class LeastSquares(NamedTuple):
    """Loss (1/2N) |y - X W|^2 + (weight_decay/2) |W|^2 in the eigenbasis of X^T X / N.

    Attributes
    ----------
    eigenvalue : ndarray (d,)
        Of H = X^T X / N, without weight decay, decreasing.
    eigenvector : ndarray (d, d)
        Row i belongs to eigenvalue i, for the weights of one output.
    minimum : ndarray (P,)
        Weights W (d, C) = (H + weight_decay)^-1 X^T Y / N, row after row.
    noise : ndarray (modes,)
        Variance of single-sample gradients along the first eigenvectors, at the minimum.
    noise_trace : float
        Trace of the covariance of single-sample gradients with respect to all weights.
    residual_variance : float
        Mean squared residual at the minimum.
    """

    eigenvalue: np.ndarray
    eigenvector: np.ndarray
    minimum: np.ndarray
    noise: np.ndarray
    noise_trace: float
    residual_variance: float

    def directions(self, count: int) -> np.ndarray:
        """First eigenvectors as directions (count, P) of all weights."""
        vectors = self.eigenvector[:count]
        outputs = len(self.minimum) // len(self.eigenvalue)
        spread = np.zeros((*vectors.shape, outputs))
        spread[..., WATCHED] = vectors
        return spread.reshape(len(vectors), -1)


def moments(
    x: np.ndarray | Tensor | Pixels, targets: np.ndarray | Tensor | OneHot, *, bias: bool = False
) -> Moments:
    """Second moments of inputs (N, d) and targets (N, C), in the eigenbasis of the inputs'."""
    second, cross = 0.0, 0.0
    for rows, wanted in _parts(x, targets, bias):
        second, cross = second + rows.T @ rows, cross + rows.T @ wanted
    value, vector = np.linalg.eigh(second / len(x))
    # Signs are fixed, so that paths do not flip between platforms.
    value, vector = value[::-1], signed(vector[:, ::-1].T)
    return Moments(value, vector, vector @ cross / len(x))


def solve(
    x: np.ndarray | Tensor | Pixels,
    targets: np.ndarray | Tensor | OneHot,
    weight_decay: float,
    *,
    bias: bool = False,
    modes: int | None = None,
    known: Moments | None = None,
) -> LeastSquares:
    """Least squares of inputs (N, d) and targets (N, C) (section 2.2).

    Parameters
    ----------
    x, targets
        Samples.
    weight_decay
        Also of the bias.
    bias
        Whether the map has one; its eigenvectors and weights are a last row then.
    modes
        Number of eigenvectors along which the noise is measured; all by default.
    known
        What `moments` gives for these samples.
    """
    value, vector, along = moments(x, targets, bias=bias) if known is None else known
    curvature = value + weight_decay
    # Directions in which no sample lies have no curvature, and nothing to be fitted.
    flat = curvature <= len(value) * np.finfo(float).eps * curvature[0]
    solved = np.where(flat[:, None], 0.0, along) / np.where(flat, 1.0, curvature)[:, None]
    minimum = vector.T @ solved
    watched = vector[: len(vector) if modes is None else modes].T
    sums, squares, length, variance = 0.0, 0.0, 0.0, 0.0
    for rows, wanted in _parts(x, targets, bias):
        residual = wanted - rows @ minimum
        gradients = (rows @ watched) * residual[:, [WATCHED]]
        sums, squares = sums + gradients.sum(0), squares + (gradients**2).sum(0)
        length += float(np.sum((rows**2).sum(1) * (residual**2).sum(1)))
        variance += float(np.sum(residual[:, WATCHED] ** 2))
    count = len(x)
    # The mean gradient at the minimum is that of the weight decay.
    trace = length / count - float(np.sum((weight_decay * minimum) ** 2))
    noise = squares / count - (sums / count) ** 2
    return LeastSquares(value, vector, minimum.ravel(), noise, trace, variance / count)


def _parts(x, targets, bias: bool) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Inputs (n, d), with a column of ones where there is a bias, and targets (n, C), in parts."""
    step = max(1, TOGETHER // x.shape[1])
    for start in range(0, len(x), step):
        part = slice(start, start + step)
        rows, wanted = (
            each.cpu().numpy() if isinstance(each, Tensor) else each
            for each in (x[part], targets[part])
        )
        yield np.column_stack([rows, np.ones(len(rows))]) if bias else rows, wanted
