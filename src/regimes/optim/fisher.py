"""Signals whose second moment is the curvature of a loss with respect to the outputs.

Backpropagated to the outputs of a layer and averaged, the outer products of the signals of an
example give the K-FAC factor B. Three choices: "ggn", one signal per column of the root of the
loss's Hessian, exact; "mc", one signal per example, the derivative of the loss at a target drawn
from the network's own predictive distribution, whose expectation is the same Hessian; "empirical",
the derivative at the given target, which vanishes as the loss does. All refer to the loss of one
example, not divided by the batch size.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt

import torch
from torch import Tensor

from regimes.optim.noise import normals, uniforms

KINDS = ("ggn", "mc", "empirical")
SMALLEST_ROOT = 1e-150  # of a probability: its square must not underflow


def mse_scale(loss: str, classes: int) -> float:
    """Second derivative of a squared loss of one example with respect to each output.

    Raises
    ------
    ValueError
        If the loss is not quadratic in the outputs.
    """
    if loss == "mse":  # mean over the classes, without a factor 1/2
        return 2 / classes
    if loss == "half_squares":
        return 1.0
    raise ValueError(f"curvature is known of mse, half_squares and cross_entropy, not of {loss!r}")


def columns(loss: str, outputs: Tensor) -> Tensor:
    """Columns of a root of the loss's Hessian, (R, N, C) to (R, N, K, C), K = C.

    The sum over k of the outer products of column k is the Hessian of the loss of an example.
    """
    classes = outputs.shape[2]
    eye = torch.eye(classes, dtype=outputs.dtype, device=outputs.device)
    if loss == "cross_entropy":
        weights = outputs.softmax(2)
        return weights.sqrt().unsqueeze(3) * (eye - weights.unsqueeze(2))
    return (sqrt(mse_scale(loss, classes)) * eye).expand(*outputs.shape, classes)


def coefficients(loss: str, outputs: Tensor, targets: Tensor) -> Tensor:
    """Coefficients (R, N, K) of the `columns` in the derivative of the loss of each example.

    For cross-entropy of one-hot targets y with probabilities p: ``p - y = sum_k c_k sqrt(p_k)
    (e_k - p)`` with ``c_k = -y_k / sqrt(p_k)``.
    """
    if loss == "cross_entropy":
        return -targets / outputs.softmax(2).sqrt().clamp_min(_smallest(outputs.dtype))
    scale = mse_scale(loss, outputs.shape[2])
    return sqrt(scale) * (outputs - targets)


def sampled(loss: str, outputs: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
    """Derivative of the loss of each example at a target drawn from the model, (R, N, 1, C).

    A squared loss is the negative logarithm of a Gaussian density, cross-entropy that of a
    categorical one.

    Parameters
    ----------
    loss : str
    outputs : Tensor (R, N, C)
    generators
        One per run; runs that share one see the same noise.
    """
    if loss == "cross_entropy":
        weights = outputs.softmax(2)
        level = uniforms(generators, outputs.shape[1:2]).to(outputs)
        label = (weights.cumsum(2) <= level.unsqueeze(2)).sum(2)
        label = label.clamp_max(outputs.shape[2] - 1)  # rounding of the last sum
        return (weights - torch.nn.functional.one_hot(label, outputs.shape[2])).unsqueeze(2)
    noise = normals(generators, outputs.shape[1:]).to(outputs)
    return (sqrt(mse_scale(loss, outputs.shape[2])) * noise).unsqueeze(2)


def _smallest(dtype: torch.dtype) -> float:
    return max(SMALLEST_ROOT, torch.finfo(dtype).tiny ** 0.5)
