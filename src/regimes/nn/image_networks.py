"""ResNets and VGGs in the usual parameterization, layouts of torchvision, as pure functions.

Layers have no hidden scales, see `initial` for the start. Batch norm uses the statistics of the
batch at hand, always: there are no running averages, so outputs of a sample depend on the samples
beside it, and a network is a function of parameters and batch alone.

Both families come in two forms. For large photographs they are torchvision's. For small images
(32 pixels, as of CIFAR-10) the stem of a ResNet is 3 x 3 of stride 1 without pool, and a VGG reads
its last map out with one linear layer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod, sqrt

import numpy as np
import torch
from torch import Tensor

from regimes.nn.convolution import (
    convolve,
    from_images,
    max_pool,
    overlapping_max_pool,
    to_samples,
)
from regimes.nn.normalization import batch_norm
from regimes.nn.parameterization import Parameters, Shapes, Stream, bias_name, plain_linear
from regimes.nn.resnet import Block, Unit, stages

# Blocks of each stage.
RESNETS = {"resnet18": (2, 2, 2, 2), "resnet34": (3, 4, 6, 3)}
# Convolutions of each group, whose channels are n, 2n, 4n, 8n, 8n; a pool follows each group.
VGGS = {"vgg11": (1, 1, 2, 2, 2), "vgg16": (2, 2, 3, 3, 3), "vgg19": (2, 2, 4, 4, 4)}
GROUP_CHANNELS = (1, 2, 4, 8, 8)
HIDDEN = 64  # hidden units of the classifier of a large VGG over the channels n: 4096 over 64
DROPPED = 0.5  # probability of dropout


@dataclass(frozen=True)
class ImageResNet:
    """Residual network of basic blocks (He et al., arXiv 1512.03385).

    Stem C -> N, batch norm, ReLU; stages of basic blocks with N, 2N, 4N, ... channels, the first
    block of every stage but the first halving the map; global average; read-out with bias.

    Attributes
    ----------
    channels, height, width_pixels : int
        Shape of an image.
    width : int
        N, channels of the stem; 64 usually.
    blocks : tuple of int
        Basic blocks of each stage, see `RESNETS`.
    classes : int
        Outputs C.
    large_images : bool
        Stem 7 x 7 of stride 2 and a max pool 3 x 3 of stride 2, in place of one 3 x 3.
    """

    channels: int
    height: int
    width_pixels: int
    width: int = 64
    blocks: tuple[int, ...] = RESNETS["resnet18"]
    classes: int = 10
    large_images: bool = False

    def __post_init__(self) -> None:
        _check(self, self.channels, self.height, self.width_pixels, self.width, *self.blocks)

    @property
    def dropout(self) -> dict[str, int]:
        """No layer has dropout: see `VGG.dropout`."""
        return {}

    def shapes(self) -> Shapes:
        """Shapes of "w_<unit>", "scale_<unit>", "shift_<unit>" of each unit, and the read-out.

        Units are "stem" and "<stage>.<block>.<first, second or shortcut>", counted from 1; the
        read-out is "w_readout" and "b_readout".
        """
        shapes = self._stem.shapes()
        for block in self._blocks():
            for unit in block.units:
                shapes |= unit.shapes()
        last = 2 ** (len(self.blocks) - 1) * self.width
        return {**shapes, "w_readout": (last, self.classes), "b_readout": (self.classes,)}

    def initial(self, stream: Stream) -> dict[str, np.ndarray]:
        """Float64 parameters at the start: see `initial`."""
        return initial(self.shapes(), stream)

    def apply(self, params: Parameters, x: Tensor) -> Tensor:
        """Outputs (B, C) of images (B, channels, H, W)."""
        maps = from_images(x, self.channels, self.height, self.width_pixels)
        maps = torch.relu(self._stem.apply(params, maps))
        if self.large_images:
            maps = overlapping_max_pool(maps)
        for block in self._blocks():
            maps = block.apply(params, maps)
        return plain_linear(params, "w_readout", maps.mean((1, 2)).mT)

    @property
    def _stem(self) -> Unit:
        kernel, stride = (7, 2) if self.large_images else (3, 1)
        return Unit("stem", self.channels, self.width, kernel, stride, scaled=False)

    def _blocks(self) -> Iterator[Block]:
        for stage in stages(self.width, self.blocks, scaled=False):
            yield from stage


@dataclass(frozen=True)
class VGG:
    """Convolutions 3 x 3 with ReLU in five groups, a max pool after each (arXiv 1409.1556).

    Channels of the groups are n, 2n, 4n, 8n, 8n. Convolutions have biases, also before batch norm,
    as torchvision's.

    Attributes
    ----------
    channels, height, width_pixels : int
        Shape of an image, sides of at least 32.
    width : int
        n, channels of the first group; 64 usually.
    groups : tuple of int
        Convolutions of each of the five groups, see `VGGS`.
    batch_norms : bool
        Whether batch norm follows every convolution.
    classes : int
        Outputs C.
    large_images : bool
        Classifier of two hidden layers of 64 n ReLU units, dropout after each, and a read-out; in
        place of a read-out alone.
    """

    channels: int
    height: int
    width_pixels: int
    width: int = 64
    groups: tuple[int, ...] = VGGS["vgg16"]
    batch_norms: bool = False
    classes: int = 10
    large_images: bool = False

    def __post_init__(self) -> None:
        _check(self, self.channels, self.width, self.classes, *self.groups)
        halved = 2 ** len(GROUP_CHANNELS)
        if min(self.height, self.width_pixels) < halved or len(self.groups) != len(GROUP_CHANNELS):
            raise ValueError(
                f"a VGG has {len(GROUP_CHANNELS)} groups and images of at least {halved} pixels a "
                f"side: {self}"
            )

    @property
    def dropout(self) -> dict[str, int]:
        """Names and sizes of the layers that dropout follows.

        Where parameters hold "keep_<layer>" (B, size), see `kept`, its outputs are multiplied by
        them; without, none is dropped.
        """
        hidden = HIDDEN * self.width
        return {"fc1": hidden, "fc2": hidden} if self.large_images else {}

    def shapes(self) -> Shapes:
        """Shapes of the parameters.

        Convolutions are "w_1.1", "b_1.1", with batch norm "scale_1.1", "shift_1.1", ..., by group
        and number; hidden layers "w_fc1", "b_fc1", ...; the read-out "w_readout", "b_readout".
        """
        shapes: Shapes = {}
        inputs = self.channels
        kinds = ("b", "scale", "shift") if self.batch_norms else ("b",)
        for factor, names in zip(GROUP_CHANNELS, self._convolutions(), strict=True):
            outputs = factor * self.width
            for name in names:
                shapes[f"w_{name}"] = (3, 3, inputs, outputs)
                shapes |= {f"{kind}_{name}": (outputs,) for kind in kinds}
                inputs = outputs
        halved = 2 ** len(GROUP_CHANNELS)
        inputs *= (self.height // halved) * (self.width_pixels // halved)
        for name, outputs in {**self.dropout, "readout": self.classes}.items():
            shapes[f"w_{name}"] = (inputs, outputs)
            shapes[f"b_{name}"] = (outputs,)
            inputs = outputs
        return shapes

    def initial(self, stream: Stream) -> dict[str, np.ndarray]:
        """Float64 parameters at the start: see `initial`."""
        return initial(self.shapes(), stream)

    def apply(self, params: Parameters, x: Tensor) -> Tensor:
        """Outputs (B, C) of images (B, channels, H, W)."""
        maps = from_images(x, self.channels, self.height, self.width_pixels)
        for names in self._convolutions():
            for name in names:
                maps = convolve(maps, params[f"w_{name}"], params[f"b_{name}"], padding=1)
                if self.batch_norms:
                    maps = batch_norm(maps, params[f"scale_{name}"], params[f"shift_{name}"])
                maps = torch.relu(maps)
            maps = max_pool(maps)
        h = to_samples(maps)
        for name in self.dropout:
            h = torch.relu(plain_linear(params, f"w_{name}", h))
            if f"keep_{name}" in params:
                h = h * params[f"keep_{name}"]
        return plain_linear(params, "w_readout", h)

    def _convolutions(self) -> list[list[str]]:
        """Names of the convolutions of each group."""
        return [
            [f"{group}.{number}" for number in range(1, count + 1)]
            for group, count in enumerate(self.groups, 1)
        ]


ImageModel = ImageResNet | VGG


def image_model(
    name: str, width: int, shape: tuple[int, int, int], classes: int, *, large_images: bool
) -> ImageModel:
    """Network of this name: an entry of `RESNETS` or `VGGS`, VGGs also with "_bn" at its end.

    Parameters
    ----------
    name
        For instance "resnet18" or "vgg16_bn".
    width
        Channels of the first convolution; 64 usually.
    shape
        Of an image (channels, height, width).
    classes
        Outputs.
    large_images
        Form for large photographs.
    """
    if name in RESNETS:
        return ImageResNet(*shape, width, RESNETS[name], classes, large_images)
    base = name.removesuffix("_bn")
    return VGG(*shape, width, VGGS[base], name != base, classes, large_images)


def initial(shapes: Shapes, stream: Stream) -> dict[str, np.ndarray]:
    """Float64 parameters of one network at the start, in the order of ``shapes``.

    Kernels N(0, 2 / (k k fan_out)) (Kaiming normal, "fan_out"), scales one, shifts and biases of
    convolutions zero; linear layers and their biases uniform within +-1 / sqrt(fan_in), as
    ``torch.nn.Linear``. Each is drawn from the stream of its name.
    """
    start = {}
    for name, shape in shapes.items():
        if name.startswith("scale"):
            start[name] = np.ones(shape)
        elif name.startswith("w") and len(shape) == 4:
            deviation = sqrt(2 / (shape[0] * shape[1] * shape[3]))
            start[name] = deviation * stream(name).standard_normal(shape)
        elif name.startswith("w"):
            reach = 1 / sqrt(shape[0])
            start[name] = stream(name).uniform(-reach, reach, shape)
            bias = bias_name(name)
            start[bias] = stream(bias).uniform(-reach, reach, shapes[bias])
        elif name not in start:
            start[name] = np.zeros(shape)
    return {name: start[name] for name in shapes}


def kept(uniforms: Tensor) -> Tensor:
    """Factors of dropout from numbers uniform in [0, 1): 0, or 1 over the share that is kept."""
    return (uniforms >= DROPPED).to(uniforms.dtype) / (1 - DROPPED)


def from_torchvision(model: ImageModel, state: Mapping[str, Tensor]) -> dict[str, np.ndarray]:
    """Float64 parameters of a network from a state of torchvision's network of the same layout.

    Parameters
    ----------
    model
        Network.
    state
        Parameters and running averages by torchvision's names, in its order, which is the order
        here as well; running averages are not used.

    Raises
    ------
    ValueError
        If it belongs to another network.
    """
    running = ("running_mean", "running_var", "num_batches_tracked")
    given = [value for name, value in state.items() if not name.endswith(running)]
    shapes = model.shapes()
    arrays = [_transposed(value.detach().cpu().double().numpy()) for value in given]
    if [array.shape for array in arrays] != list(shapes.values()):
        count, wanted = (sum(map(prod, each)) for each in (map(np.shape, arrays), shapes.values()))
        raise ValueError(f"holds {count} parameters of another layout, not the {wanted} of {model}")
    return dict(zip(shapes, arrays, strict=True))


def _transposed(weight: np.ndarray) -> np.ndarray:
    """Weight (N, C, k, k) or (fan_out, fan_in) with its axes in the order of this package."""
    return np.ascontiguousarray(weight.transpose(2, 3, 1, 0) if weight.ndim == 4 else weight.T)


def _check(model: ImageModel, *sizes: int) -> None:
    if min(sizes) < 1:
        raise ValueError(f"sizes of a network are positive: {model}")
