"""Residual networks without biases, as second-order optimizers see them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from regimes.nn.convolution import overlapping_max_pool
from regimes.nn.taped.convolutional import check_sizes, image_maps, normalized
from regimes.nn.taped.layers import (
    Layer,
    Parameters,
    Role,
    Shapes,
    Stream,
    Tape,
    convolved,
    linear,
    standard_initial,
)

Model = Literal["resnet8", "resnet18", "resnet50"]


class Form(NamedTuple):
    """Blocks of each stage, and whether they are bottlenecks of three convolutions."""

    blocks: tuple[int, ...]
    bottleneck: bool


FORMS: dict[str, Form] = {
    "resnet8": Form((1, 1, 1, 1), False),
    "resnet18": Form((2, 2, 2, 2), False),
    "resnet50": Form((3, 4, 6, 3), True),
}

# Channels that a bottleneck block gives over those of its convolution 3 x 3.
EXPANSION = 4


class Unit(NamedTuple):
    """A convolution with the batch norm after it.

    Attributes
    ----------
    name : str
        Parameters are "w_<name>", "scale_<name>" and "shift_<name>".
    inputs, outputs : int
        Channels.
    kernel, stride : int
        Side of the kernel, padded to keep the size of the map, and its step.
    role : str
        "input" of the stem, "hidden" of all others.
    """

    name: str
    inputs: int
    outputs: int
    kernel: int = 3
    stride: int = 1
    role: Role = "hidden"

    @property
    def layer(self) -> Layer:
        """The convolution."""
        shape = (self.kernel, self.kernel, self.inputs, self.outputs)
        return Layer(shape, self.role, "convolution", self.stride, self.kernel // 2)

    def run(self, params: Parameters, tape: Tape, maps: Tensor) -> Tensor:
        """Normalized convolution of maps (R, inputs, H, W, B)."""
        maps = convolved(params, tape, f"w_{self.name}", self.layer, maps)
        return normalized(params, f"_{self.name}", maps)


class Block(NamedTuple):
    """Units in a row, ReLU between them, and a shortcut that is a unit where the shape changes."""

    branch: tuple[Unit, ...]
    shortcut: Unit | None

    @property
    def units(self) -> tuple[Unit, ...]:
        """All units of the block."""
        return self.branch if self.shortcut is None else (*self.branch, self.shortcut)

    def run(self, params: Parameters, tape: Tape, maps: Tensor) -> Tensor:
        """ReLU of the sum of branch and shortcut."""
        h = maps
        for number, unit in enumerate(self.branch):
            h = unit.run(params, tape, torch.relu(h) if number else h)
        return torch.relu(h + (self.shortcut.run(params, tape, maps) if self.shortcut else maps))


@dataclass(frozen=True)
class TapedResNet:
    """Residual network of basic or bottleneck blocks (He et al., arXiv 1512.03385), no bias.

    Stem C -> n with n = unit * width; four stages of n, 2n, 4n, 8n channels (four times as many
    after bottlenecks), the first block of the last three halving the map, in bottlenecks by the
    convolution 3 x 3; global average; read-out. Batch norm uses the statistics of the batch at
    hand, always.

    Attributes
    ----------
    channels, height, width_pixels : int
        Shape of an image.
    width : int
        Multiplier w; with the usual unit w = 4 is the standard network.
    classes : int
        Outputs C.
    model : str
        Entry of `FORMS`.
    unit : int
        Channels of the stem at w = 1; 16 usually, less for small studies.
    large_images : bool
        Stem for large photographs, 7 x 7 of stride 2 and a max pool 3 x 3 of stride 2, in place of
        one for small images, 3 x 3.
    """

    channels: int
    height: int
    width_pixels: int
    width: int
    classes: int = 10
    model: Model = "resnet18"
    unit: int = 16
    large_images: bool = False

    def __post_init__(self) -> None:
        names = ("channels", "height", "width_pixels", "width", "classes", "unit")
        check_sizes(**{name: getattr(self, name) for name in names})
        if self.model not in FORMS:
            raise ValueError(f"models are {', '.join(FORMS)}: {self}")

    @property
    def layers(self) -> dict[str, Layer]:
        """Layers "w_stem", "w_<stage>.<block>.<number or shortcut>" and "w_readout".

        See `regimes.nn.taped.layers.TapedModel`; stages, blocks and numbers count from 1.
        """
        layers = {f"w_{unit.name}": unit.layer for unit in self._units()}
        last = self._stages()[-1][-1].branch[-1].outputs
        return {**layers, "w_readout": Layer((last, self.classes), "output")}

    def shapes(self) -> Shapes:
        """Shapes of the weights, and of scales and shifts (channels,) of batch norms."""
        shapes: Shapes = {}
        for unit in self._units():
            shapes[f"w_{unit.name}"] = unit.layer.shape
            shapes[f"scale_{unit.name}"] = shapes[f"shift_{unit.name}"] = (unit.outputs,)
        return {**shapes, "w_readout": self.layers["w_readout"].shape}

    def initial(self, stream: Stream) -> dict[str, np.ndarray]:
        """Float64 parameters of one run: N(0, 1 / fan_in), fan_in = k k C of a kernel."""
        return standard_initial(self.layers, self.shapes(), stream)

    def run(self, params: Parameters, x: Tensor) -> tuple[Tensor, Tape]:
        """Outputs (R, B, C) and the tape, of images (R, B, channels, H, W) or flattened ones."""
        tape: Tape = {}
        maps = image_maps(x, self.channels, self.height, self.width_pixels)
        maps = torch.relu(self._stem.run(params, tape, maps))
        if self.large_images:
            maps = overlapping_max_pool(maps)
        for stage in self._stages():
            for block in stage:
                maps = block.run(params, tape, maps)
        return linear(params, tape, "w_readout", maps.mean((2, 3)).mT), tape

    @property
    def _stem(self) -> Unit:
        kernel, stride = (7, 2) if self.large_images else (3, 1)
        return Unit("stem", self.channels, self.unit * self.width, kernel, stride, "input")

    def _units(self) -> Iterator[Unit]:
        yield self._stem
        for stage in self._stages():
            for block in stage:
                yield from block.units

    def _stages(self) -> list[list[Block]]:
        blocks, bottleneck = FORMS[self.model]
        make = _bottleneck if bottleneck else _basic
        inputs, stages = self.unit * self.width, []
        for stage, count in enumerate(blocks):
            inner = 2**stage * self.unit * self.width
            stages.append([])
            for number in range(count):
                stride = 2 if stage and not number else 1
                name = f"{stage + 1}.{number + 1}"
                branch = make(name, inputs, inner, stride)
                outputs = branch[-1].outputs
                changes = stride > 1 or inputs != outputs
                shortcut = Unit(f"{name}.shortcut", inputs, outputs, 1, stride)
                stages[-1].append(Block(branch, shortcut if changes else None))
                inputs = outputs
        return stages


def _basic(name: str, inputs: int, inner: int, stride: int) -> tuple[Unit, ...]:
    """Two convolutions 3 x 3."""
    return (
        Unit(f"{name}.1", inputs, inner, stride=stride),
        Unit(f"{name}.2", inner, inner),
    )


def _bottleneck(name: str, inputs: int, inner: int, stride: int) -> tuple[Unit, ...]:
    """Convolutions 1 x 1, 3 x 3, 1 x 1, the last one to more channels."""
    return (
        Unit(f"{name}.1", inputs, inner, 1),
        Unit(f"{name}.2", inner, inner, stride=stride),
        Unit(f"{name}.3", inner, EXPANSION * inner, 1),
    )
