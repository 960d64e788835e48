"""Convolutional networks without biases, as second-order optimizers see them.

Chains of convolutions that keep the size of a map, pools of two by two pixels, and a linear
read-out of the flattened map: the three-layer network, Myrtle-5 and VGG19 of the width study.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from math import log2
from numbers import Integral
from typing import ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor

from regimes.nn.convolution import average_pool, max_pool
from regimes.nn.normalization import batch_norm
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


def image_maps(x: Tensor, channels: int, height: int, width: int) -> Tensor:
    """Maps (R, C, H, W, B) of images (R, B, C, H, W), or of their flattened numbers (R, B, C H W).

    Images that all runs share, a first axis of stride zero, stay shared: their maps are made once.
    """
    own = x[:1] if len(x) > 1 and x.stride(0) == 0 else x
    images = own.reshape(len(own), -1, channels, height, width)
    return images.permute(0, 2, 3, 4, 1).contiguous().expand(len(x), -1, -1, -1, -1)


def normalized(params: Parameters, name: str, maps: Tensor) -> Tensor:
    """Batch norm of maps (R, C, H, W, B) by "scale<name>" and "shift<name>", (R, C) each."""
    return batch_norm(maps, params[f"scale{name}"], params[f"shift{name}"])


def check_sizes(**sizes: int) -> None:
    """Refuse sizes that are no positive integers.

    Raises
    ------
    ValueError
        With the name of the size.
    """
    for name, size in sizes.items():
        if isinstance(size, bool) or not isinstance(size, Integral) or size < 1:
            raise ValueError(f"{name} of a network is a positive integer, not {size!r}")


class Step(NamedTuple):
    """A convolution, ReLU after it, then pools.

    Attributes
    ----------
    outputs : int
        Channels it gives.
    pools : int
        Number of pools, each halving the map.
    """

    outputs: int
    pools: int = 0


@dataclass(frozen=True)
class _Chain:
    """Convolutions in a row, each padded to keep the size of its map, and a linear read-out.

    Names are counted from 1: weights "w1", ... and, with batch norm, "scale1" and "shift1".
    """

    channels: int
    height: int
    width_pixels: int
    width: int
    classes: int = 10

    kernel: ClassVar[int] = 3
    batch_norms: ClassVar[bool] = False
    pool: ClassVar[Callable[[Tensor], Tensor]]

    def _steps(self) -> list[Step]:
        raise NotImplementedError

    def __post_init__(self) -> None:
        check_sizes(**asdict(self))
        halvings = sum(step.pools for step in self._steps())
        if self.height % 2**halvings or self.width_pixels % 2**halvings:
            raise ValueError(
                f"{halvings} pools need image sides divisible by {2**halvings}: {self}"
            )

    @property
    def layers(self) -> dict[str, Layer]:
        """Layers "w1", "w2", ...: see `regimes.nn.taped.layers.TapedModel`."""
        layers, inputs, area = {}, self.channels, self.height * self.width_pixels
        for number, step in enumerate(self._steps(), 1):
            role: Role = "input" if number == 1 else "hidden"
            shape = (self.kernel, self.kernel, inputs, step.outputs)
            layers[f"w{number}"] = Layer(shape, role, "convolution", padding=self.kernel // 2)
            inputs, area = step.outputs, area // 4**step.pools
        layers[f"w{len(layers) + 1}"] = Layer((inputs * area, self.classes), "output")
        return layers

    def shapes(self) -> Shapes:
        """Shapes of the weights, and of scales and shifts (channels,) of batch norms."""
        shapes: Shapes = {}
        for name, layer in self.layers.items():
            shapes[name] = layer.shape
            if self.batch_norms and layer.kind == "convolution":
                number = name.removeprefix("w")
                shapes[f"scale{number}"] = shapes[f"shift{number}"] = (layer.fan_out,)
        return shapes

    def initial(self, stream: Stream) -> dict[str, np.ndarray]:
        """Float64 parameters of one run: N(0, 1 / fan_in), fan_in = k k C of a kernel."""
        return standard_initial(self.layers, self.shapes(), stream)

    def run(self, params: Parameters, x: Tensor) -> tuple[Tensor, Tape]:
        """Outputs (R, B, C) and the tape, of images (R, B, channels, H, W) or flattened ones."""
        tape: Tape = {}
        layers = self.layers
        maps = image_maps(x, self.channels, self.height, self.width_pixels)
        for number, step in enumerate(self._steps(), 1):
            name = f"w{number}"
            maps = convolved(params, tape, name, layers[name], maps)
            if self.batch_norms:
                maps = normalized(params, str(number), maps)
            maps = torch.relu(maps)
            for _ in range(step.pools):
                maps = type(self).pool(maps)
        # Features (R, C H W, B) to samples: the batch is innermost in maps.
        return linear(params, tape, f"w{len(layers)}", maps.flatten(1, 3).mT), tape


@dataclass(frozen=True)
class TapedCNN(_Chain):
    """Three layers: convolution 5 x 5 C -> M, M -> 2M, each with max pool 2, and a read-out.

    ReLU after each convolution.

    Attributes
    ----------
    channels, height, width_pixels : int
        Shape of an image; sides divisible by 4.
    width : int
        M, channels of the first convolution.
    classes : int
        Outputs C.
    """

    kernel: ClassVar[int] = 5
    pool: ClassVar[Callable[[Tensor], Tensor]] = staticmethod(max_pool)

    def _steps(self) -> list[Step]:
        return [Step(self.width, 1), Step(2 * self.width, 1)]


@dataclass(frozen=True)
class Myrtle5(_Chain):
    """Four convolutions 3 x 3 of M channels and a read-out, average pools down to one pixel.

    Convolution twice, pool; convolution, pool; convolution, then log2(side / 4) pools: three for
    32 pixels. ReLU after each convolution.

    Attributes
    ----------
    channels, height, width_pixels : int
        Shape of an image: square, the side a power of two from 4.
    width : int
        M, channels of all convolutions.
    classes : int
        Outputs C.
    """

    pool: ClassVar[Callable[[Tensor], Tensor]] = staticmethod(average_pool)

    def __post_init__(self) -> None:
        side = self.height
        check_sizes(height=side)
        if side != self.width_pixels or side < 4 or side & (side - 1):
            raise ValueError(f"images are square, of a side 4, 8, 16, 32, ...: {self}")
        super().__post_init__()

    def _steps(self) -> list[Step]:
        last = int(log2(self.height // 4))
        return [Step(self.width, pools) for pools in (0, 1, 1, last)]


@dataclass(frozen=True)
class VGG19(_Chain):
    """Sixteen convolutions 3 x 3 with batch norm and ReLU, five max pools, and a read-out.

    Channels are n, n; 2n, 2n; 4n (four times); 8n (four times); 8n (four times), a pool after each
    group, with n = unit * width. Batch norm uses the statistics of the batch at hand, always.

    Attributes
    ----------
    channels, height, width_pixels : int
        Shape of an image; sides divisible by 32.
    width : int
        Multiplier w; with the usual unit w = 4 is the standard network.
    classes : int
        Outputs C.
    unit : int
        Channels of the first convolution at w = 1; 16 usually, less for small studies.
    """

    unit: int = 16

    batch_norms: ClassVar[bool] = True
    pool: ClassVar[Callable[[Tensor], Tensor]] = staticmethod(max_pool)

    def _steps(self) -> list[Step]:
        groups = [(1, 2), (2, 2), (4, 4), (8, 4), (8, 4)]
        return [
            Step(self.unit * self.width * factor, int(number == count))
            for factor, count in groups
            for number in range(1, count + 1)
        ]
