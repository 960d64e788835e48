"""Residual convolutional network in the parameterization of the feature-strength study."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from regimes.nn.convolution import convolve, from_images, to_samples
from regimes.nn.normalization import batch_norm
from regimes.nn.parameterization import (
    Parameters,
    Shapes,
    Stream,
    bias_name,
    final_linear,
    normal,
    std_conv,
)

STAGES = 4


@dataclass(frozen=True)
class Unit:
    """One convolution with the batch norm after it.

    Attributes
    ----------
    name : str
        Names "w_<name>", "scale_<name>" and "shift_<name>" of its parameters.
    inputs, outputs : int
        Channels.
    kernel, stride : int
        Side of the kernel, padded to keep the map's size, and its step.
    scaled : bool
        Whether the convolution has the scale of `regimes.nn.parameterization`, or none.
    """

    name: str
    inputs: int
    outputs: int
    kernel: int = 3
    stride: int = 1
    scaled: bool = True

    def shapes(self) -> Shapes:
        """Shapes of the parameters."""
        return {
            f"w_{self.name}": (self.kernel, self.kernel, self.inputs, self.outputs),
            f"scale_{self.name}": (self.outputs,),
            f"shift_{self.name}": (self.outputs,),
        }

    def apply(self, params: Parameters, maps: Tensor) -> Tensor:
        """Normalized convolution, maps (inputs, H, W, B) to (outputs, H', W', B)."""
        name, place = f"w_{self.name}", {"stride": self.stride, "padding": self.kernel // 2}
        if self.scaled:
            z = std_conv(params, name, maps, **place)
        else:
            z = convolve(maps, params[name], **place)
        return batch_norm(z, params[f"scale_{self.name}"], params[f"shift_{self.name}"])


@dataclass(frozen=True)
class Block:
    """Basic block: two units, and a shortcut that is a unit where the shape changes."""

    first: Unit
    second: Unit
    shortcut: Unit | None

    @property
    def units(self) -> tuple[Unit, ...]:
        """All units of the block."""
        both = (self.first, self.second)
        return both if self.shortcut is None else (*both, self.shortcut)

    def apply(self, params: Parameters, maps: Tensor) -> Tensor:
        """ReLU of the sum of both branches."""
        h = self.second.apply(params, torch.relu(self.first.apply(params, maps)))
        return torch.relu(h + (self.shortcut.apply(params, maps) if self.shortcut else maps))


@dataclass(frozen=True)
class ResNet:
    """Residual network in the form for small images; ResNet-18 with 2 blocks per stage.

    Stem 3 x 3 C -> N, batch norm, ReLU; four stages of basic blocks with N, 2N, 4N, 8N channels,
    the first block of the last three halving the map; global average; read-out 8N -> classes.
    Convolutions have no bias.

    Batch norm uses the statistics of the batch at hand, always: in training and in evaluation, in
    the network and in its frozen copy. There are no running averages, so outputs of a sample depend
    on the samples beside it, and the network is a function of parameters and batch alone.

    Attributes
    ----------
    channels, height, width_pixels : int
        Shape of an image.
    width : int
        N, channels of the stem: 64 times the width multiplier of the usual ResNet-18.
    blocks : int
        Basic blocks per stage.
    classes : int
        Outputs C.
    bias : bool
        Whether the read-out has a bias.
    """

    channels: int
    height: int
    width_pixels: int
    width: int
    blocks: int = 2
    classes: int = 10
    bias: bool = True

    def __post_init__(self) -> None:
        sizes = (self.channels, self.height, self.width_pixels, self.width, self.blocks)
        if min(*sizes, self.classes) < 1:
            raise ValueError(f"sizes of a network are positive: {self}")

    @property
    def width_multiplier(self) -> int:
        """N in the learning rate N * eta."""
        return self.width

    @property
    def layers(self) -> tuple[tuple[str, ...], ...]:
        """Weights of each stage, in the order of `features`; the stem belongs to the first."""
        stages = [
            [f"w_{unit.name}" for block in stage for unit in block.units]
            for stage in self._stages()
        ]
        stages[0].insert(0, "w_stem")
        return tuple(map(tuple, stages))

    def shapes(self) -> Shapes:
        """Shapes of "w_<unit>", "scale_<unit>", "shift_<unit>" of each unit, and the read-out.

        Units are "stem" and "<stage>.<block>.<first, second or shortcut>", counted from 1; the
        read-out is "w_readout".
        """
        shapes = self._stem.shapes()
        for stage in self._stages():
            for block in stage:
                for unit in block.units:
                    shapes |= unit.shapes()
        shapes["w_readout"] = (2 ** (STAGES - 1) * self.width, self.classes)
        if self.bias:
            shapes[bias_name("w_readout")] = (self.classes,)
        return shapes

    def initial(self, stream: Stream) -> dict[str, np.ndarray]:
        """Float64 parameters at the start, each weight from the stream of its name."""
        return normal(self.shapes(), stream)

    def apply(self, params: Parameters, x: Tensor) -> Tensor:
        """Raw outputs o (B, C), before division by gamma, of images (B, channels, H, W)."""
        return self.features(params, x)[1]

    def features(self, params: Parameters, x: Tensor) -> tuple[list[Tensor], Tensor]:
        """Hidden representations (B, n_l) after each stage, and raw outputs (B, C).

        The maps of a stage are flattened; those of the last are averaged over positions, which is
        what the read-out sees.
        """
        maps = from_images(x, self.channels, self.height, self.width_pixels)
        maps = torch.relu(self._stem.apply(params, maps))
        hidden = []
        for stage in self._stages():
            for block in stage:
                maps = block.apply(params, maps)
            hidden.append(to_samples(maps))
        hidden[-1] = maps.mean((1, 2)).mT
        return hidden, final_linear(params, "w_readout", hidden[-1])

    @property
    def _stem(self) -> Unit:
        return Unit("stem", self.channels, self.width)

    def _stages(self) -> list[list[Block]]:
        return stages(self.width, [self.blocks] * STAGES)


def stages(width: int, blocks: Sequence[int], *, scaled: bool = True) -> list[list[Block]]:
    """Stages of basic blocks with N, 2N, 4N, ... channels behind a stem of N.

    The first block of every stage but the first halves the map.

    Parameters
    ----------
    width
        N.
    blocks
        Number of blocks of each stage.
    scaled
        See `Unit`.
    """
    found = []
    inputs = width
    for stage, count in enumerate(blocks):
        outputs = 2**stage * width
        found.append([])
        for number in range(count):
            stride = 2 if stage and not number else 1
            name = f"{stage + 1}.{number + 1}"
            changes = stride > 1 or inputs != outputs
            shortcut = Unit(f"{name}.shortcut", inputs, outputs, 1, stride, scaled)
            found[-1].append(
                Block(
                    Unit(f"{name}.first", inputs, outputs, stride=stride, scaled=scaled),
                    Unit(f"{name}.second", outputs, outputs, scaled=scaled),
                    shortcut if changes else None,
                )
            )
            inputs = outputs
    return found
