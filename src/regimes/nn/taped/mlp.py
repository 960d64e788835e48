"""Multilayer perceptron without biases, as second-order optimizers see it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from regimes.nn.taped.layers import (
    ACTIVATIONS,
    Layer,
    Parameters,
    Shapes,
    Stream,
    Tape,
    activated,
    linear,
    standard_initial,
)


@dataclass(frozen=True)
class TapedMLP:
    """Inputs -> M -> ... -> M -> C, an activation after every hidden layer, no bias.

    Attributes
    ----------
    inputs : int
        Numbers per input; inputs of any shape are flattened.
    width : int
        Width M of every hidden layer.
    classes : int
        Outputs C.
    depth : int
        Number L of weight layers, at least 2: one hidden layer.
    activation : str
        Entry of `regimes.nn.taped.layers.ACTIVATIONS`.
    """

    inputs: int
    width: int
    classes: int = 10
    depth: int = 3
    activation: str = "relu"

    def __post_init__(self) -> None:
        if min(self.inputs, self.width, self.classes) < 1 or self.depth < 2:
            raise ValueError(f"sizes of a network are positive, its depth at least 2: {self}")
        if self.activation not in ACTIVATIONS:
            raise ValueError(f"activations are {', '.join(ACTIVATIONS)}: {self}")

    @property
    def layers(self) -> dict[str, Layer]:
        """Layers "w1" to "wL": see `regimes.nn.taped.layers.TapedModel`."""
        sizes = [self.inputs, *[self.width] * (self.depth - 1), self.classes]
        roles = ["input", *["hidden"] * (self.depth - 2), "output"]
        pairs = zip(sizes[:-1], sizes[1:], roles, strict=True)
        return {f"w{n}": Layer((m, k), role) for n, (m, k, role) in enumerate(pairs, 1)}

    def shapes(self) -> Shapes:
        """Shapes of the weights."""
        return {name: layer.shape for name, layer in self.layers.items()}

    def initial(self, stream: Stream) -> dict[str, np.ndarray]:
        """Float64 parameters of one run, N(0, 1 / fan_in)."""
        return standard_initial(self.layers, self.shapes(), stream)

    def run(self, params: Parameters, x: Tensor) -> tuple[Tensor, Tape]:
        """Outputs (R, B, C) and the tape, of inputs (R, B, ...)."""
        tape: Tape = {}
        h = x.flatten(2)
        for layer in range(1, self.depth):
            h = activated(self.activation, linear(params, tape, f"w{layer}", h))
        return linear(params, tape, f"w{self.depth}", h), tape
