"""Curvature, gradient noise and loss maps of one image network at one point, in float32.

As `regimes.studies.limiting_dynamics.curvature`, part by part of the images: batch norm normalizes
a part by itself, as it does a batch in training, so the loss is the mean over parts. Which images
make up a part is fixed. Images of an augmented data set are augmented, always by the same draws:
what is measured is the loss that training sees, of a sample of it. Nothing is dropped.

Sums over parts are taken in float64.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from regimes.data.augmentation import Augmentation
from regimes.data.images import Pixels
from regimes.data.samples import SampledStream
from regimes.data.streams import stream_seed
from regimes.ensemble.losses import LOSSES, accuracy
from regimes.nn.image_networks import ImageModel
from regimes.observe.subspace import Subspace, signed, top_subspace
from regimes.studies.limiting_dynamics.data_sets import OneHot, spread
from regimes.studies.limiting_dynamics.mixed_precision import SINGLE

TOGETHER = 250  # images of a part


class ImagePoint(NamedTuple):
    """An image network, its loss, data and the parameters at which it is looked at.

    Attributes
    ----------
    model : ImageModel
    loss : str
        Entry of `regimes.ensemble.losses.LOSSES`.
    weights : Tensor (P,)
        In float64, on the device of the data.
    x : Pixels (N, C, H, W)
    targets : OneHot (N, C)
    augment : Augmentation or None
        Random change of the images.
    samples : int or None
        Number of images that are looked at, spread over the data; None for all.
    """

    model: ImageModel
    loss: str
    weights: Tensor
    x: Pixels
    targets: OneHot
    augment: Augmentation | None = None
    samples: int | None = None

    def parts(self) -> Iterator[tuple[float, Tensor, Tensor]]:
        """Share among the images, images (n, C, H, W) and targets (n, C) of every part."""
        parts = spread(len(self.x), self.samples, TOGETHER)
        for number, rows in enumerate(parts):
            rows = rows.to(self.x.device)
            x = self._taken(rows, number)
            yield len(rows) / sum(map(len, parts)), x, self.targets.index_select(0, rows)

    def _taken(self, rows: Tensor, number: int) -> Tensor:
        if self.augment is None:
            return self.x.index_select(0, rows)
        seed = stream_seed(0, "curvature", "augmentation", number) % 2**63
        generator = torch.Generator(self.x.device).manual_seed(seed)
        return self.x.changed(rows, lambda images: self.augment(images, generator))

    def outputs(self, weights: Tensor, x: Tensor) -> Tensor:
        """Outputs (n, C) in float64 for weights (P,) in float32."""
        shapes = self.model.shapes()
        parts = weights.split([int(np.prod(shape)) for shape in shapes.values()])
        named = {
            name: part.view(shape)
            for part, (name, shape) in zip(parts, shapes.items(), strict=True)
        }
        return self.model.apply(named, x).double()

    def slope(self, x: Tensor, targets: Tensor, *, twice: bool = False) -> tuple[Tensor, Tensor]:
        """Weights (P,) in float32 as a leaf, and the gradient of the loss of a batch there."""
        leaf = self.weights.to(SINGLE).requires_grad_()
        with torch.enable_grad():
            loss = LOSSES[self.loss].value(self.outputs(leaf, x), targets)
            (slope,) = torch.autograd.grad(loss, leaf, create_graph=twice)
        return leaf, slope


def gradient(point: ImagePoint) -> np.ndarray:
    """Gradient of the loss (P,)."""
    total = torch.zeros_like(point.weights)
    for share, x, targets in point.parts():
        total.add_(point.slope(x, targets)[1], alpha=share)
    return total.cpu().numpy()


def hessian_product(point: ImagePoint, vector: np.ndarray) -> np.ndarray:
    """Product of the Hessian with a vector (P,)."""
    total = torch.zeros_like(point.weights)
    along = torch.from_numpy(np.ascontiguousarray(vector)).to(point.weights.device, SINGLE)
    for share, x, targets in point.parts():
        leaf, slope = point.slope(x, targets, twice=True)
        total.add_(torch.autograd.grad(slope, leaf, along)[0], alpha=share)
    return total.cpu().numpy()


def top_spectrum(point: ImagePoint, wanted: int, tolerance: float) -> Subspace:
    """Largest eigenvalues with vectors, from products alone."""
    product = partial(hessian_product, point)
    found = top_subspace(product, len(point.weights), wanted, tolerance=tolerance)
    return found._replace(vectors=signed(found.vectors))


def gradient_noise(
    point: ImagePoint, vectors: np.ndarray, batch_size: int, batches: int
) -> tuple[np.ndarray, float]:
    """Batch size times the covariance of batch gradients: along rows of vectors (V, P), its trace.

    With batch norm a sample has no gradient of its own; without, this is the covariance of
    single-sample gradients. Batches are drawn and augmented as in training.

    Returns
    -------
    noise : ndarray (V,)
        q^T Sigma q.
    trace : float
        tr(Sigma).
    """
    seed = stream_seed(0, "curvature", "noise", batch_size)
    stream = SampledStream(
        point.x, point.targets, [seed], batch_size, batches, augment=point.augment
    )
    basis = torch.from_numpy(np.ascontiguousarray(vectors)).to(point.weights.device, SINGLE)
    along, squares, total = [], 0.0, torch.zeros_like(point.weights)
    for x, targets in stream:
        slope = point.slope(x[0], targets[0])[1]
        along.append((basis @ slope).double())
        squares += float(slope.double().square().sum())
        total += slope
    # Unbiased: the mean is that of the same batches.
    variance = torch.stack(along).var(0) * batch_size
    trace = (squares - float(total.square().sum()) / batches) / (batches - 1) * batch_size
    return variance.cpu().numpy(), trace


def losses_at(point: ImagePoint, steps: np.ndarray, directions: np.ndarray) -> np.ndarray:
    """Losses at the weights moved by each row of steps (V, D) along directions (D, P): (V,)."""
    device = point.weights.device
    moves, along = (
        torch.from_numpy(np.ascontiguousarray(each)).to(device, torch.float64)
        for each in (steps, directions)
    )
    losses = torch.zeros(len(moves), dtype=torch.float64, device=device)
    with torch.no_grad():
        for share, x, targets in point.parts():
            for row, move in enumerate(moves):
                outputs = point.outputs((point.weights + move @ along).to(SINGLE), x)
                losses[row] += share * LOSSES[point.loss].value(outputs, targets)
    return losses.cpu().numpy()


def loss_and_accuracy(point: ImagePoint) -> tuple[float, float]:
    """Loss and accuracy on the data."""
    loss, right = 0.0, 0.0
    with torch.no_grad():
        for share, x, targets in point.parts():
            outputs = point.outputs(point.weights.to(SINGLE), x)
            loss += share * float(LOSSES[point.loss].value(outputs, targets))
            right += share * float(accuracy(outputs[None], targets[None]))
    return loss, right
