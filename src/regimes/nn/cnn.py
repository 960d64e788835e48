"""Convolutional network in the parameterization of the feature-strength study."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from regimes.nn.convolution import average_pool, from_images, to_samples
from regimes.nn.parameterization import (
    Parameters,
    Shapes,
    Stream,
    bias_name,
    final_linear,
    normal,
    std_conv,
    std_linear,
)


@dataclass(frozen=True)
class CNN:
    """Two convolutions and two linear layers, L = 4.

    Convolution 3 x 3 without padding C -> N, ReLU, average pool 2; convolution N -> 2N, ReLU,
    average pool 2; linear -> 8N, ReLU; read-out 8N -> classes.

    Attributes
    ----------
    channels, height, width_pixels : int
        Shape of an image; sides of at least 10 leave one pixel after the second pool.
    width : int
        N, channels of the first convolution.
    classes : int
        Outputs C.
    bias : bool
        Whether layers have biases.
    """

    channels: int
    height: int
    width_pixels: int
    width: int
    classes: int = 10
    bias: bool = True

    def __post_init__(self) -> None:
        if min(self.channels, self.width, self.classes) < 1:
            raise ValueError(f"sizes of a network are positive: {self}")
        if min(self.height, self.width_pixels) < 10:
            raise ValueError(f"images need sides of at least 10: {self}")

    @property
    def width_multiplier(self) -> int:
        """N in the learning rate N * eta."""
        return self.width

    @property
    def layers(self) -> tuple[tuple[str, ...], ...]:
        """Weights of each hidden layer, in the order of `features`."""
        return ("w1",), ("w2",), ("w3",)

    def shapes(self) -> Shapes:
        """Shapes of "w1", "b1", ..., "w4", "b4" in this order; w4 is the read-out."""
        height, pixels = (((side - 2) // 2 - 2) // 2 for side in (self.height, self.width_pixels))
        weights = {
            "w1": (3, 3, self.channels, self.width),
            "w2": (3, 3, self.width, 2 * self.width),
            "w3": (2 * self.width * height * pixels, 8 * self.width),
            "w4": (8 * self.width, self.classes),
        }
        shapes: Shapes = {}
        for name, shape in weights.items():
            shapes[name] = shape
            if self.bias:
                shapes[bias_name(name)] = shape[-1:]
        return shapes

    def initial(self, stream: Stream) -> dict[str, np.ndarray]:
        """Float64 parameters at the start, each weight from the stream of its name."""
        return normal(self.shapes(), stream)

    def apply(self, params: Parameters, x: Tensor) -> Tensor:
        """Raw outputs o (B, C), before division by gamma, of images (B, channels, H, W)."""
        return self.features(params, x)[1]

    def features(self, params: Parameters, x: Tensor) -> tuple[list[Tensor], Tensor]:
        """Hidden representations (B, n_l), and raw outputs (B, C).

        Representations are the two pooled maps, flattened, and the hidden linear layer.
        """
        maps = from_images(x, self.channels, self.height, self.width_pixels)
        hidden = []
        for name in ("w1", "w2"):
            maps = average_pool(torch.relu(std_conv(params, name, maps)))
            hidden.append(to_samples(maps))
        hidden.append(torch.relu(std_linear(params, "w3", hidden[-1])))
        return hidden, final_linear(params, "w4", hidden[-1])
