"""Curvature, gradient noise and loss maps of one small network at one point, in float64.

The loss never includes weight decay here. Parameters are flat vectors (P,), in the order of the
shapes of the network.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.func import grad, jvp, vmap

from regimes.ensemble.losses import LOSSES, accuracy
from regimes.nn.mlp import MLP
from regimes.observe.subspace import Subspace, signed, top_subspace

# Vectors, samples and points that are worked on together: results do not depend on them beyond
# rounding, memory does.
VECTORS, SAMPLES, POINTS = 16, 512, 16


class Point(NamedTuple):
    """A network, its loss, data and the parameters at which it is looked at.

    Attributes
    ----------
    model : MLP
    loss : str
        Entry of `regimes.ensemble.losses.LOSSES`.
    weights : Tensor (P,)
    x, targets : Tensor (N, d), (N, C)
    """

    model: MLP
    loss: str
    weights: Tensor
    x: Tensor
    targets: Tensor

    def outputs(self, weights: Tensor, x: Tensor) -> Tensor:
        """Outputs (N, C) for weights (P,)."""
        return self.model.apply(self._named(weights), x)

    def value(self, weights: Tensor, x: Tensor, targets: Tensor) -> Tensor:
        """Loss for weights (P,)."""
        return LOSSES[self.loss].value(self.outputs(weights, x), targets)

    def on_data(self, weights: Tensor) -> Tensor:
        """Loss on all data for weights (P,)."""
        return self.value(weights, self.x, self.targets)

    def _named(self, weights: Tensor) -> dict[str, Tensor]:
        shapes = self.model.shapes()
        parts = weights.split([int(np.prod(shape)) for shape in shapes.values()])
        return {
            name: part.view(shape)
            for part, (name, shape) in zip(parts, shapes.items(), strict=True)
        }


class GradientNoise(NamedTuple):
    """Covariance Sigma of the gradients of single samples, and their mean.

    Attributes
    ----------
    variance : ndarray (V,)
        q^T Sigma q along V unit vectors q.
    variance_error : ndarray (V,)
        Its standard error; zero where all samples were looked at.
    trace : float
        tr(Sigma).
    mean : ndarray (P,)
        Mean gradient.
    mean_error : ndarray (V,)
        Standard error of q . mean.
    """

    variance: np.ndarray
    variance_error: np.ndarray
    trace: float
    mean: np.ndarray
    mean_error: np.ndarray


def gradient(point: Point) -> np.ndarray:
    """Gradient of the loss (P,)."""
    return grad(point.on_data)(point.weights).numpy()


def hessian_products(point: Point) -> Callable[[Tensor], Tensor]:
    """Products of the Hessian with vectors (V, P)."""
    slope = grad(point.on_data)
    return vmap(lambda vector: jvp(slope, (point.weights,), (vector,))[1], chunk_size=VECTORS)


def full_spectrum(point: Point, kept: int) -> tuple[np.ndarray, Subspace]:
    """All eigenvalues (P,) decreasing, and the largest with vectors and residuals.

    The Hessian is formed column by column and made symmetric; residuals are those of the matrix
    before.
    """
    columns = hessian_products(point)(torch.eye(len(point.weights), dtype=torch.float64)).numpy()
    values, vectors = np.linalg.eigh((columns + columns.T) / 2)
    values, vectors = values[::-1].copy(), vectors[:, ::-1].T
    error = vectors[:kept] @ columns - values[:kept, None] * vectors[:kept]
    residuals = np.linalg.norm(error, axis=1) / np.abs(values[:kept])
    return values, Subspace(values, signed(vectors), residuals)


def top_spectrum(point: Point, wanted: int, tolerance: float) -> Subspace:
    """Largest eigenvalues with vectors, from products alone."""
    product = hessian_products(point)

    def of_vector(vector: np.ndarray) -> np.ndarray:
        return product(torch.from_numpy(vector).view(1, -1))[0].numpy()

    found = top_subspace(of_vector, len(point.weights), wanted, tolerance=tolerance)
    return found._replace(vectors=signed(found.vectors))


def gradient_noise(point: Point, vectors: np.ndarray) -> GradientNoise:
    """Covariance of single-sample gradients along rows of ``vectors`` (V, P)."""
    per_sample = vmap(grad(point.value), in_dims=(None, 0, 0))
    mean = torch.from_numpy(gradient(point))
    basis = torch.from_numpy(np.ascontiguousarray(vectors)).mT
    along, trace = torch.zeros(len(vectors), dtype=torch.float64), 0.0
    for start in range(0, len(point.x), SAMPLES):
        part = slice(start, start + SAMPLES)
        centred = per_sample(point.weights, point.x[part, None], point.targets[part, None]) - mean
        along += (centred @ basis).square().sum(0)
        trace += float(centred.square().sum())
    exact = np.zeros(len(vectors))
    return GradientNoise(
        (along / len(point.x)).numpy(), exact, trace / len(point.x), mean.numpy(), exact
    )


def losses_at(point: Point, steps: np.ndarray, directions: np.ndarray) -> np.ndarray:
    """Losses at the weights moved by each row of steps (V, D) along directions (D, P): (V,)."""
    moved = point.weights + torch.from_numpy(np.ascontiguousarray(steps @ directions))
    return vmap(point.on_data, chunk_size=POINTS)(moved).numpy()


def loss_and_accuracy(point: Point) -> tuple[float, float]:
    """Loss and accuracy on the data."""
    outputs = point.outputs(point.weights, point.x)
    right = accuracy(outputs[None], point.targets[None])
    return float(LOSSES[point.loss].value(outputs, point.targets)), float(right)
