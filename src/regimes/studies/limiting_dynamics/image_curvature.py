"""Curvature, gradient noise and loss maps of one image network at one point, in float32.

As `regimes.studies.limiting_dynamics.curvature`, part by part of the images: batch norm normalizes
a part by itself, as it does a group of a batch in training, so the loss is the mean over parts.
Which images make up a part is fixed. Images of an augmented data set are augmented, always by the
same draws: what is measured is the loss that training sees, of a sample of it, without dropout.
Gradient noise is that of training, with dropout.

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
from regimes.ensemble.networks import Parameters
from regimes.nn.image_networks import ImageModel, kept
from regimes.observe.subspace import Subspace, signed, top_subspace
from regimes.studies.limiting_dynamics.curvature import GradientNoise
from regimes.studies.limiting_dynamics.data_sets import OneHot, spread
from regimes.studies.limiting_dynamics.mixed_precision import SINGLE, parts_of


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
    together : int
        Images of a part, about.
    """

    model: ImageModel
    loss: str
    weights: Tensor
    x: Pixels
    targets: OneHot
    augment: Augmentation | None = None
    samples: int | None = None
    together: int = 250

    def parts(self) -> Iterator[tuple[float, Tensor, Tensor]]:
        """Share among the images, images (n, C, H, W) and targets (n, C) of every part."""
        parts = spread(len(self.x), self.samples, self.together)
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

    def outputs(self, weights: Tensor, x: Tensor, masks: Parameters | None = None) -> Tensor:
        """Outputs (n, C) in float64 for weights (P,) in float32, with dropout where masks are."""
        shapes = self.model.shapes()
        parts = weights.split([int(np.prod(shape)) for shape in shapes.values()])
        named = {
            name: part.view(shape)
            for part, (name, shape) in zip(parts, shapes.items(), strict=True)
        }
        return self.model.apply(named | (masks or {}), x).double()

    def slope(
        self, x: Tensor, targets: Tensor, masks: Parameters | None = None, *, twice: bool = False
    ) -> tuple[Tensor, Tensor]:
        """Weights (P,) in float32 as a leaf, and the gradient of the loss of a batch there."""
        leaf = self.weights.to(SINGLE).requires_grad_()
        with torch.enable_grad():
            loss = LOSSES[self.loss].value(self.outputs(leaf, x, masks), targets)
            (slope,) = torch.autograd.grad(loss, leaf, create_graph=twice)
        return leaf, slope


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
    point: ImagePoint, vectors: np.ndarray, batch_size: int, batches: int, groups: int = 1
) -> GradientNoise:
    """Mean of batch gradients, and batch size times their covariance.

    With batch norm a sample has no gradient of its own; without, this is the covariance of
    single-sample gradients. Batches are drawn, augmented, cut into groups and pass through dropout
    as in training.

    Parameters
    ----------
    point
        Where.
    vectors
        Unit vectors (V, P) along which the covariance is given.
    batch_size, batches
        Images of a batch, and number of batches.
    groups
        Groups of a batch that are normalized by themselves.
    """
    seed = stream_seed(0, "curvature", "noise", batch_size)
    stream = SampledStream(
        point.x, point.targets, [seed], batch_size, batches, augment=point.augment
    )
    dropping = torch.Generator().manual_seed(
        stream_seed(0, "curvature", "dropout", batch_size) % 2**63
    )
    basis = torch.from_numpy(np.ascontiguousarray(vectors)).to(point.weights.device, SINGLE)
    found, squares, total = [], 0.0, torch.zeros_like(point.weights)
    for x, targets in stream:
        slope = torch.zeros_like(point.weights)
        # Drawn on the CPU: the same numbers on every device.
        masks = {
            f"keep_{name}": kept(torch.rand(batch_size, size, generator=dropping))
            for name, size in point.model.dropout.items()
        }
        for part in parts_of(batch_size, groups):
            here = {name: mask[part].to(x.device) for name, mask in masks.items()}
            share = (part.stop - part.start) / batch_size
            slope.add_(point.slope(x[0, part], targets[0, part], here)[1], alpha=share)
        found.append((basis @ slope.to(SINGLE)).double())
        squares += float(slope.square().sum())
        total += slope
    along = torch.stack(found).cpu().numpy()
    # Unbiased: the mean is that of the same batches.
    variance = along.var(0, ddof=1)
    spread_of_squares = ((along - along.mean(0)) ** 2).std(0, ddof=1)
    trace = (squares - float(total.square().sum()) / batches) / (batches - 1)
    return GradientNoise(
        batch_size * variance,
        batch_size * spread_of_squares / np.sqrt(batches),
        batch_size * trace,
        (total / batches).cpu().numpy(),
        np.sqrt(variance / batches),
    )


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
