"""Networks batched over runs: any pure model through torch.func, multilayer perceptrons by hand.

A network holds no parameters. Parameters are a dict of tensors with the run as first axis; data
come per run, (R, B, ...), where a view expanded along the first axis costs nothing. The output
that is trained is centred and scaled by the feature strength gamma,

    f(x; theta) = (o(x; theta) - o(x; theta_0)) / gamma,

where the engine passes o(x; theta_0) as ``reference`` (feature-strength paper, official code).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import sqrt
from typing import Protocol

import torch
from torch.func import vmap

from regimes import lanes
from regimes.ensemble.losses import Loss

Parameters = dict[str, torch.Tensor]
Apply = Callable[[Parameters, torch.Tensor], torch.Tensor]


class Network(Protocol):
    """What the engine needs to know of a model and its loss."""

    def prepare(self, params: Parameters) -> Parameters:
        """Copy of the parameters in the layout that this network works on."""

    def release(self) -> None:
        """Free scratch memory, once runs have left the program."""

    def outputs(self, params: Parameters, x: torch.Tensor) -> torch.Tensor:
        """Raw outputs o: parameters of R runs and data (R, B, ...) to (R, B, C)."""

    def loss_and_gradient(
        self,
        params: Parameters,
        x: torch.Tensor,
        targets: torch.Tensor,
        reference: torch.Tensor,
        gamma: torch.Tensor,
    ) -> tuple[torch.Tensor, Parameters]:
        """Losses (R,) and their gradients with respect to the parameters.

        Data ``x`` (R, B, ...), ``targets`` and ``reference`` (R, B, C), ``gamma`` (R,). The
        gradient may share memory with the next call's: use it before.
        """


def centred_objective(apply: Apply, loss: Loss) -> Callable[..., torch.Tensor]:
    """Loss of ONE run as a function of (params, x, targets, reference, gamma), differentiable."""

    def objective(params, x, targets, reference, gamma):
        return loss.value((apply(params, x) - reference) / gamma, targets)

    return objective


class FunctionalNetwork:
    """Any pure model ``apply(params, x)``, batched by torch.func and differentiated by autograd.

    Autograd sees the batched operations, so that a backward pass costs no tracing: on a small ViT
    a step takes 60 % of the time of ``vmap(grad)``.

    Parameters
    ----------
    apply
        Raw outputs (B, C) of one network from its parameters and data (B, ...).
    loss
        Entry of `regimes.ensemble.losses.LOSSES`.
    """

    def __init__(self, apply: Apply, loss: Loss) -> None:
        self._outputs = vmap(apply)
        self._losses = vmap(centred_objective(apply, loss))

    def prepare(self, params: Parameters) -> Parameters:
        """Compact copies: see `Network`."""
        return {name: value.clone() for name, value in params.items()}

    def release(self) -> None:
        """Nothing is kept: see `Network`."""

    def outputs(self, params: Parameters, x: torch.Tensor) -> torch.Tensor:
        """Raw outputs (R, B, C): see `Network`."""
        return self._outputs(params, x)

    def loss_and_gradient(self, params, x, targets, reference, gamma):
        """Losses and gradients: see `Network`."""
        leaves = {name: value.detach().requires_grad_() for name, value in params.items()}
        with torch.enable_grad():
            losses = self._losses(leaves, x, targets, reference, gamma)
        gradient = torch.autograd.grad(losses.sum(), list(leaves.values()))
        return losses.detach(), dict(zip(leaves, gradient, strict=True))


def _through_relu(delta: torch.Tensor, hidden: torch.Tensor) -> None:
    torch.ops.aten.threshold_backward(delta, hidden, 0, grad_input=delta)


def _through_tanh(delta: torch.Tensor, hidden: torch.Tensor) -> None:
    torch.ops.aten.tanh_backward(delta, hidden, grad_input=delta)


# Forward in place, and derivative with respect to what follows made that with respect to what
# precedes, in place, from the activations.
ACTIVATIONS = {
    "relu": (torch.Tensor.relu_, _through_relu),
    "tanh": (torch.Tensor.tanh_, _through_tanh),
}


class LayeredNetwork:
    """Multilayer perceptron of `regimes.nn.mlp`, forward and backward pass written by hand.

    Parameters are ``w1, b1, ..., wL, bL``; a layer computes ``(h w + b) / sqrt(fan_in)``, the
    activation follows, the read-out divides by the fan-in; in the standard parameterization
    nothing is divided. Biases may be missing. Every product is one batched matrix product into a
    buffer that is kept between steps.

    Parameters
    ----------
    depth
        Number L of weight layers, the read-out included.
    loss
        Entry of `regimes.ensemble.losses.LOSSES`.
    activation
        "relu" or "tanh".
    standard
        Whether layers have no scales.
    """

    def __init__(
        self, depth: int, loss: Loss, activation: str = "relu", standard: bool = False
    ) -> None:
        self.depth = depth
        self.loss = loss
        self.activate_, self.through = ACTIVATIONS[activation]
        self.standard = standard
        self._buffers: dict[tuple, torch.Tensor] = {}

    def prepare(self, params: Parameters) -> Parameters:
        """Copy with aligned lanes, the read-out in transposed memory: see `Network`.

        A product whose result has ten columns takes four times as long as one with ten rows
        (measured), so the read-out is kept as (C, N) and seen through a transposed view.
        """
        readout = f"w{self.depth}"
        prepared = {name: _compact(value) for name, value in params.items() if name != readout}
        prepared[readout] = _compact(params[readout].transpose(1, 2)).transpose(1, 2)
        return {name: prepared[name] for name in params}

    def release(self) -> None:
        """Drop the buffers: see `Network`. A captured step writes to them until its end."""
        self._buffers.clear()

    def outputs(self, params: Parameters, x: torch.Tensor) -> torch.Tensor:
        """Raw outputs (R, B, C), a transposed view: see `Network`."""
        return self._readout(params, self._hidden(params, x)[-1]).clone()

    def loss_and_gradient(self, params, x, targets, reference, gamma):
        """Losses and gradients: see `Network`."""
        hidden = self._hidden(params, x)
        outputs = self._readout(params, hidden[-1])
        scale = gamma.view(-1, 1, 1)
        loss, slope = self.loss.batched((outputs - reference) / scale, targets)
        divisor = scale * (1 if self.standard else hidden[-1].shape[2])
        delta = self._buffer("slope", slope.transpose(1, 2))
        torch.div(slope.transpose(1, 2), divisor, out=delta)  # (R, C, B)
        gradient = {}
        top = self.depth
        weight = self._product(f"g{top}", delta, hidden[-1])
        gradient[f"w{top}"] = weight.transpose(1, 2)
        if f"b{top}" in params:
            gradient[f"b{top}"] = delta.sum(2)
        # From here delta is the derivative with respect to what a layer computes.
        if top > 1:
            stored = params[f"w{top}"].transpose(1, 2)
            delta = self._product(f"d{top - 1}", delta.transpose(1, 2), stored)
        for layer in range(top - 1, 0, -1):
            self.through(delta, hidden[layer])
            below = hidden[layer - 1]
            scale = self._scale(below.shape[2])
            gradient[f"w{layer}"] = self._product(f"g{layer}", below.transpose(1, 2), delta, scale)
            if f"b{layer}" in params:
                gradient[f"b{layer}"] = delta.sum(1).mul_(scale)
            if layer > 1:
                upper = params[f"w{layer}"].transpose(1, 2)
                delta = self._product(f"d{layer - 1}", delta, upper, scale)
        return loss, {name: gradient[name] for name in params}

    def _hidden(self, params: Parameters, x: torch.Tensor) -> list[torch.Tensor]:
        """Representations h_0 = x, h_1, ..., h_(L-1), each (R, B, n)."""
        hidden = [x.flatten(2)]
        for layer in range(1, self.depth):
            weight = params[f"w{layer}"]
            scale = self._scale(weight.shape[1])
            shape = (weight.shape[0], x.shape[1], weight.shape[2])
            out = self._buffer(f"h{layer}", weight, shape)
            bias = params.get(f"b{layer}")
            if bias is not None:
                out.copy_(bias.unsqueeze(1).expand(shape))
            beta = 0.0 if bias is None else scale
            out.baddbmm_(lanes.aligned(hidden[-1]), lanes.aligned(weight), beta=beta, alpha=scale)
            hidden.append(self.activate_(out))
        return hidden

    def _readout(self, params: Parameters, features: torch.Tensor) -> torch.Tensor:
        """Raw outputs as a transposed view (R, B, C) of (R, C, B)."""
        weight = params[f"w{self.depth}"].transpose(1, 2)
        scale = 1.0 if self.standard else 1 / weight.shape[2]
        out = self._product("o", weight, features.transpose(1, 2), scale)
        bias = params.get(f"b{self.depth}")
        if bias is not None:
            out.add_(bias.unsqueeze(2), alpha=scale)
        return out.transpose(1, 2)

    def _scale(self, fan_in: int) -> float:
        """Factor of a hidden layer's result."""
        return 1.0 if self.standard else 1 / sqrt(fan_in)

    def _product(
        self, name: str, left: torch.Tensor, right: torch.Tensor, scale: float = 1.0
    ) -> torch.Tensor:
        out = self._buffer(name, left, (left.shape[0], left.shape[1], right.shape[2]))
        return out.baddbmm_(lanes.aligned(left), lanes.aligned(right), beta=0.0, alpha=scale)

    def _buffer(
        self, name: str, like: torch.Tensor, shape: tuple[int, ...] | None = None
    ) -> torch.Tensor:
        """Scratch memory with aligned lanes, the same at every step."""
        shape = tuple(like.shape) if shape is None else shape
        key = (name, shape, like.dtype, like.device)
        if key not in self._buffers:
            # Zeros: a product with beta = 0 must not meet the NaN of uninitialized memory.
            self._buffers[key] = _empty(shape, like).zero_()
        return self._buffers[key]


def _empty(shape: tuple[int, ...], like: torch.Tensor) -> torch.Tensor:
    """Uninitialized memory: compact where that aligns the lanes, otherwise spaced.

    Only sums, products, quotients and maxima run over it, whose bits do not depend on the place.
    """
    size = like.element_size()
    for extent in shape[1:]:
        size *= extent
    if size % lanes.BOUNDARY == 0:
        return torch.empty(shape, dtype=like.dtype, device=like.device)
    return lanes.empty(*shape, dtype=like.dtype, device=like.device)


def _compact(value: torch.Tensor) -> torch.Tensor:
    return _empty(tuple(value.shape), value).copy_(value)


def stacked(params: Mapping[str, torch.Tensor], index: torch.Tensor) -> Parameters:
    """Parameters of the runs ``index``, copied."""
    return {name: value.index_select(0, index) for name, value in params.items()}
