"""Layers that leave a tape: what each weight acted on and what came out.

Second-order optimizers need, per layer, the inputs h and the derivative of the loss with respect
to the outputs u = h W. A taped model works on many runs at once, run axis first, and records both
tensors of every layer; derivatives with respect to the recorded outputs follow by autograd.

Weights are matrices (fan_in, fan_out) in the sense of `Layer.matrix`: kernels (k, k, C, N) are
(k k C, N), embeddings (words, dimensions). There are no hidden scales: what a weight is drawn from,
and its learning rate, say which parameterization it is (`regimes.nn.abc_parameterization`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import sqrt
from typing import Literal, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from regimes.nn import convolution, lanewise

Parameters = Mapping[str, Tensor]
Shapes = dict[str, tuple[int, ...]]
Stream = Callable[[str], np.random.Generator]
Role = Literal["input", "hidden", "output"]


class Layer(NamedTuple):
    """A layer with a weight.

    Attributes
    ----------
    shape : tuple of int
        Of the weight: (fan_in, fan_out), kernels (k, k, C, N), embeddings (words, dimensions).
    role : str
        "input", "hidden" or "output": which of its sides grow with the width.
    kind : str
        "linear", "convolution" or "embedding".
    stride, padding : int
        Of a convolution.
    """

    shape: tuple[int, ...]
    role: Role
    kind: Literal["linear", "convolution", "embedding"] = "linear"
    stride: int = 1
    padding: int = 0

    @property
    def fan_in(self) -> int:
        """Rows of the weight as a matrix."""
        return int(np.prod(self.shape[:-1]))

    @property
    def fan_out(self) -> int:
        """Columns of the weight as a matrix."""
        return self.shape[-1]

    def matrix(self, weight: Tensor) -> Tensor:
        """Weights (R, *shape) as matrices (R, fan_in, fan_out)."""
        return weight.flatten(1, -2)


class Recorded(NamedTuple):
    """What a layer saw and gave.

    Attributes
    ----------
    inputs : Tensor
        (R, B, fan_in); maps (R, C, H, W, B) of a convolution; word numbers (R, B, c), integers, of
        an embedding.
    outputs : Tensor
        (R, B, fan_out); (R, N, H', W', B); (R, B, c, dimensions).
    """

    inputs: Tensor
    outputs: Tensor


Tape = dict[str, Recorded]


class TapedModel(Protocol):
    """A model of many runs that records its layers."""

    @property
    def layers(self) -> dict[str, Layer]:
        """Layers by the name of their weight, from the input to the output."""

    def shapes(self) -> Shapes:
        """Shapes of all parameters of one run: weights, and scales and shifts of batch norms."""

    def initial(self, stream: Stream) -> dict[str, np.ndarray]:
        """Float64 parameters of one run in the standard parameterization."""

    def run(self, params: Parameters, x: Tensor) -> tuple[Tensor, Tape]:
        """Outputs (R, B, C) of parameters (R, ...) and inputs (R, B, ...), and the tape."""


def activated(name: str, h: Tensor) -> Tensor:
    """Activation of this name, elementwise on (R, ...)."""
    if name == "relu":
        return torch.relu(h)
    if name == "tanh":
        return lanewise.tanh(h, h.dim() - 1)
    if name == "gelu":
        return lanewise.gelu(h, h.dim() - 1)
    if name == "identity":
        return h
    raise ValueError(f"activations are {', '.join(ACTIVATIONS)}, not {name!r}")


ACTIVATIONS = ("relu", "tanh", "gelu", "identity")


def applied(layer: Layer, weight: Tensor, inputs: Tensor) -> Tensor:
    """Outputs of a layer with these weights (R, *shape): see `Recorded` for inputs and outputs."""
    if layer.kind == "linear":
        return lanewise.product(inputs, weight)
    if layer.kind == "convolution":
        return convolution.convolve(inputs, weight, stride=layer.stride, padding=layer.padding)
    return _rows(weight, inputs)


def weight_gradient(layer: Layer, inputs: Tensor, slopes: Tensor) -> Tensor:
    """Gradient (R, *shape) of a layer's weights from its inputs and the loss's slopes there."""
    if layer.kind == "linear":
        return lanewise.product(inputs.mT, slopes)
    if layer.kind == "convolution":
        return convolution.correlate(
            inputs, slopes, layer.shape[0], stride=layer.stride, padding=layer.padding
        )
    words = inputs.flatten(1).unsqueeze(2).expand(-1, -1, layer.fan_out)
    table = slopes.new_zeros(len(slopes), *layer.shape)
    return table.scatter_add_(1, words, slopes.flatten(1, 2))


def linear(params: Parameters, tape: Tape, name: str, h: Tensor) -> Tensor:
    """Linear layer h W, (R, B, fan_in) to (R, B, fan_out)."""
    out = lanewise.product(h, params[name])
    tape[name] = Recorded(h, out)
    return out


def convolved(params: Parameters, tape: Tape, name: str, layer: Layer, maps: Tensor) -> Tensor:
    """Convolution without bias, maps (R, C, H, W, B) to (R, N, H', W', B)."""
    out = applied(layer, params[name], maps)
    tape[name] = Recorded(maps, out)
    return out


def embedded(params: Parameters, tape: Tape, name: str, words: Tensor) -> Tensor:
    """Rows of an embedding, word numbers (R, B, c) to (R, B, c, dimensions)."""
    out = _rows(params[name], words)
    tape[name] = Recorded(words, out)
    return out


def _rows(table: Tensor, words: Tensor) -> Tensor:
    runs = torch.arange(len(table), device=words.device).view(-1, 1, 1)
    return table[runs, words]


def standard_initial(
    layers: Mapping[str, Layer], shapes: Shapes, stream: Stream, embedding_deviation: float = 1.0
) -> dict[str, np.ndarray]:
    """Parameters of one run in the standard parameterization.

    Weights N(0, 1 / fan_in), each from the stream of its name, embeddings with a deviation of
    their own; scales of batch norms one, shifts zero.
    """
    start = {}
    for name, shape in shapes.items():
        if name not in layers:
            start[name] = np.ones(shape) if name.startswith("scale") else np.zeros(shape)
            continue
        layer = layers[name]
        deviation = embedding_deviation if layer.kind == "embedding" else 1 / sqrt(layer.fan_in)
        start[name] = deviation * stream(name).standard_normal(shape)
    return start
