"""Losses of network outputs, batched over runs, with their gradients.

Targets are one-hot rows, so that all losses read the same array. Conventions of the official code
of the feature-strength paper: squared error is the mean over the batch AND the classes, without a
factor 1/2 (initially 1/C); cross-entropy is the mean over the batch (initially ln C). Half squares
are least squares as the limiting-dynamics paper writes them: the mean over the batch of half the
squared length of the error, with targets of any kind.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch

from regimes import lanes


class Loss(NamedTuple):
    """A loss in the two forms that the engine needs.

    Attributes
    ----------
    value
        Outputs (B, C) and targets (B, C) of one run to a scalar; differentiable.
    batched
        Outputs (R, B, C) and targets (R, B, C) to the losses (R,) and their gradient (R, B, C)
        with respect to the outputs.
    """

    value: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
    batched: Callable[[torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]


def _mse(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return (outputs - targets).square().mean()


def _mse_batched(outputs: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    error = outputs - targets
    per_run = error[0].numel()
    return error.square().sum((1, 2)) / per_run, error.mul_(2 / per_run)


def _cross_entropy(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return (outputs.logsumexp(1) - (outputs * targets).sum(1)).mean()


def _cross_entropy_batched(
    outputs: torch.Tensor, targets: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    samples = outputs.shape[1]
    # Spaced lanes: exponentials and logarithms of a compact batch depend on the lane.
    shifted = lanes.spaced(outputs - outputs.amax(2, keepdim=True))
    weights = shifted.exp()
    total = lanes.spaced(weights.sum(2))
    loss = (total.log() - (shifted * targets).sum(2)).sum(1) / samples
    return loss, (weights / total.unsqueeze(2) - targets) / samples


def _half_squares(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return (outputs - targets).square().sum(1).mean() / 2


def _half_squares_batched(
    outputs: torch.Tensor, targets: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    error = outputs - targets
    samples = error.shape[1]
    return error.square().sum((1, 2)) / (2 * samples), error.div_(samples)


LOSSES = {
    "mse": Loss(_mse, _mse_batched),
    "cross_entropy": Loss(_cross_entropy, _cross_entropy_batched),
    "half_squares": Loss(_half_squares, _half_squares_batched),
}


def accuracy(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Share of samples whose largest output is that of their class: (R, B, C) to (R,).

    Outputs that are not all finite count as wrong; so do ties, as between the zero outputs of a
    centred network at step 0.
    """
    right = (outputs * targets).sum(2)
    others = outputs.masked_fill(targets > 0, -torch.inf).amax(2)
    return (right > others).to(outputs.dtype).mean(1)
