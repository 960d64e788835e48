"""Image networks in the ensemble engine: weights in float64, passes in float32, dropout per run.

Steps of a resumed run are 1e-6 of its weights, below what float32 resolves; the gradient itself
needs no more than float32, in which GPUs compute. Weights are rounded at every step before the
network sees them, and the gradient there is that at the weights up to rounding.

A batch may pass through the network in groups, one after the other: batch norm then normalizes
each group by itself (ghost batch norm, arXiv 1705.08741), as the cores of the paper do, and what
is kept for the backward pass is that of one group.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.func import vmap

from regimes.ensemble.losses import Loss
from regimes.ensemble.networks import Parameters
from regimes.nn.image_networks import ImageModel, kept
from regimes.optim.noise import NOISE_SEED, Generators, uniforms

SINGLE = torch.float32


class MixedPrecisionNetwork:
    """An image network: see `regimes.ensemble.networks.Network`.

    Where the model has dropout, `engine.Runs.frozen` holds the seeds of the runs under
    `regimes.optim.noise.NOISE_SEED`; outputs that are only looked at drop nothing, and all samples
    that are given are normalized together there.

    Parameters
    ----------
    model : ImageModel
    loss : Loss
        Entry of `regimes.ensemble.losses.LOSSES`.
    groups : int
        Groups of a batch in training, as equal as can be; at most one per sample.
    """

    def __init__(self, model: ImageModel, loss: Loss, groups: int = 1) -> None:
        self.model, self.loss, self.groups = model, loss, groups
        self.capturable = not model.dropout  # masks are drawn on the CPU
        self._outputs = vmap(model.apply)
        self._generators = Generators()

    def prepare(self, params: Parameters) -> Parameters:
        """Compact copies: see `Network`."""
        return {name: value.clone() for name, value in params.items()}

    def release(self) -> None:
        """Nothing is kept: see `Network`."""

    def outputs(self, params: Parameters, x: Tensor) -> Tensor:
        """Outputs (R, B, C) in float64: see `Network`."""
        single = {name: params[name].to(SINGLE) for name in self.model.shapes()}
        return self._outputs(single, x.to(SINGLE)).double()

    def loss_and_gradient(self, params, x, targets, reference, gamma):
        """Losses and gradients in float64: see `Network`."""
        leaves = {
            name: params[name].detach().to(SINGLE).requires_grad_() for name in self.model.shapes()
        }
        masks = self._masks(params, x)
        reference = reference.expand(-1, x.shape[1], -1)
        losses, gradient = 0.0, dict.fromkeys(leaves, 0.0)
        for part in parts_of(x.shape[1], self.groups):
            here = {name: mask[:, part] for name, mask in masks.items()}
            found, slopes = self._slopes(
                {**leaves, **here}, x[:, part], targets[:, part], reference[:, part], gamma
            )
            share = (part.stop - part.start) / x.shape[1]
            losses = losses + share * found
            for name, slope in zip(leaves, slopes, strict=True):
                gradient[name] = gradient[name] + share * slope.double()
        return losses, gradient

    def _slopes(self, params, x, targets, reference, gamma):
        """Losses (R,) of a group, and the gradients to the parameters in float32."""
        with torch.enable_grad():
            raw = self._outputs(params, x.to(SINGLE))
        scale = gamma.view(-1, 1, 1)
        losses, slope = self.loss.batched((raw.detach().double() - reference) / scale, targets)
        leaves = [params[name] for name in self.model.shapes()]
        return losses, torch.autograd.grad(raw, leaves, (slope / scale).to(SINGLE))

    def state(self) -> dict[str, Any]:
        """Random numbers so far, for a checkpoint."""
        return {"generators": self._generators.state()}

    def resume(self, state: Mapping[str, Any]) -> None:
        """Go on from there."""
        self._generators.resume(state["generators"])

    def _masks(self, params: Parameters, x: Tensor) -> Parameters:
        """Factors "keep_<layer>" (R, B, n) of dropout, drawn anew."""
        if not self.model.dropout:
            return {}
        generators = self._generators.of(params[NOISE_SEED])
        return {
            f"keep_{name}": kept(uniforms(generators, (x.shape[1], size))).to(x.device)
            for name, size in self.model.dropout.items()
        }


def parts_of(samples: int, groups: int) -> list[slice]:
    """Consecutive parts of a batch, as `torch.tensor_split`, at most one per sample."""
    groups = min(groups, samples)
    size, larger = divmod(samples, groups)
    bounds = [group * size + min(group, larger) for group in range(groups + 1)]
    return [slice(*each) for each in pairwise(bounds)]


def held_numbers(model: ImageModel, shape: tuple[int, int, int], batch_size: int) -> int:
    """Numbers that a forward pass of one run keeps for the backward pass.

    Counted on a pass over a batch without numbers, weights left out; proportional to the batch.
    """
    with torch.device("meta"):
        params = {
            name: torch.empty(1, *size, requires_grad=True) for name, size in model.shapes().items()
        }
        # Two images: batch norm of one pixel and one image would be no batch.
        x = torch.empty(1, 2, *shape)
    held: dict[int, tuple[int, torch.UntypedStorage]] = {}

    def pack(tensor: Tensor) -> Tensor:
        memory = tensor.untyped_storage()
        held[memory._cdata] = memory.nbytes() // tensor.element_size(), memory
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        vmap(model.apply)(params, x)
    weights = sum(map(prod, model.shapes().values()))
    return (sum(numbers for numbers, _ in held.values()) - weights) * batch_size // 2
