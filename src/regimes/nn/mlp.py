"""Fully connected network, in the feature-strength or the standard parameterization."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

import numpy as np
import torch
from torch import Tensor

from regimes.nn import lanewise
from regimes.nn.parameterization import (
    Parameters,
    Shapes,
    Stream,
    final_linear,
    normal,
    plain_linear,
    std_linear,
)

ACTIVATIONS = {"relu": torch.relu, "tanh": lanewise.tanh}


@dataclass(frozen=True)
class MLP:
    """Inputs -> N -> ... -> N -> classes with an activation after every hidden layer.

    Attributes
    ----------
    inputs : int
        Numbers per input; inputs of any shape (B, ...) are flattened.
    width : int
        Width N of every hidden layer.
    depth : int
        Number L of weight layers with the read-out, at least 1: L - 1 hidden layers.
    classes : int
        Outputs C.
    bias : bool
        Whether layers have biases.
    activation : str
        "relu" or "tanh".
    standard : bool
        Standard parameterization: layers h W + b, weights N(0, 1/fan_in) at the start. Otherwise
        the scales of `regimes.nn.parameterization`.
    """

    inputs: int
    width: int
    depth: int
    classes: int = 10
    bias: bool = True
    activation: str = "relu"
    standard: bool = False

    def __post_init__(self) -> None:
        if min(self.inputs, self.width, self.depth, self.classes) < 1:
            raise ValueError(f"sizes of a network are positive: {self}")
        if self.activation not in ACTIVATIONS:
            raise ValueError(f"activations are {', '.join(ACTIVATIONS)}: {self}")

    @property
    def width_multiplier(self) -> int:
        """N in the learning rate N * eta."""
        return self.width

    @property
    def layers(self) -> tuple[tuple[str, ...], ...]:
        """Weights of each hidden layer, in the order of `features`."""
        return tuple((f"w{layer}",) for layer in range(1, self.depth))

    def shapes(self) -> Shapes:
        """Shapes of "w1", "b1", ..., "wL", "bL" in this order; wL is the read-out."""
        sizes = [self.inputs, *[self.width] * (self.depth - 1), self.classes]
        shapes: Shapes = {}
        for layer in range(1, self.depth + 1):
            shapes[f"w{layer}"] = (sizes[layer - 1], sizes[layer])
            if self.bias:
                shapes[f"b{layer}"] = (sizes[layer],)
        return shapes

    def initial(self, stream: Stream) -> dict[str, np.ndarray]:
        """Float64 parameters at the start, each weight from the stream of its name."""
        start = normal(self.shapes(), stream)
        if not self.standard:
            return start
        return {
            name: value / sqrt(len(value)) if name.startswith("w") else value
            for name, value in start.items()
        }

    def apply(self, params: Parameters, x: Tensor) -> Tensor:
        """Raw outputs o (B, C), before division by gamma, of inputs (B, ...)."""
        return self.features(params, x)[1]

    def features(self, params: Parameters, x: Tensor) -> tuple[list[Tensor], Tensor]:
        """Hidden representations (B, N) after each activation, and raw outputs (B, C)."""
        linear, readout = std_linear, final_linear
        if self.standard:
            linear = readout = plain_linear
        hidden: list[Tensor] = []
        h = x.reshape(x.shape[0], -1)
        for layer in range(1, self.depth):
            h = ACTIVATIONS[self.activation](linear(params, f"w{layer}", h))
            hidden.append(h)
        return hidden, readout(params, f"w{self.depth}", h)
