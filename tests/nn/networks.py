"""Small networks of every architecture, odd and even sizes, and their parameters."""

from __future__ import annotations

import numpy as np
import torch

from regimes.data.streams import numpy_stream
from regimes.nn.cnn import CNN
from regimes.nn.mlp import MLP
from regimes.nn.resnet import ResNet
from regimes.nn.vit import ViT
from tests.nn import references

REFERENCES = {
    MLP: references.mlp,
    CNN: references.cnn,
    ResNet: references.resnet,
    ViT: references.vit,
}

NETWORKS = [
    MLP(inputs=9, width=7, depth=3, classes=5),
    MLP(inputs=16, width=16, depth=4, bias=False),
    MLP(inputs=3, width=5, depth=1),
    CNN(1, 10, 13, width=3, classes=5),
    CNN(3, 12, 11, width=2, bias=False),
    ResNet(3, 9, 7, width=3, blocks=1, classes=5),
    ResNet(1, 8, 8, width=2, blocks=2, bias=False),
    ViT((3, 4, 6), patch=2, width=15, depth=2, heads=3, classes=5),
    ViT((20,), patch=5, width=16, depth=2, heads=2, bias=False),
]


def name(net) -> str:
    """Short label of a test case."""
    return type(net).__name__ + ("" if net.bias else "-no-bias")


def input_shape(net) -> tuple[int, ...]:
    """Shape of one input."""
    if isinstance(net, MLP):
        return (net.inputs,)
    return net.shape if isinstance(net, ViT) else (net.channels, net.height, net.width_pixels)


def start(net, seed: int = 0, dtype: torch.dtype = torch.float64) -> dict[str, torch.Tensor]:
    """Initial parameters of one network."""
    initial = net.initial(lambda label: numpy_stream(seed, label))
    return {label: torch.tensor(value, dtype=dtype) for label, value in initial.items()}


def stacked(net, seeds, dtype: torch.dtype = torch.float64) -> dict[str, torch.Tensor]:
    """Initial parameters of several networks, runs first."""
    runs = [start(net, seed, dtype) for seed in seeds]
    return {label: torch.stack([run[label] for run in runs]) for label in runs[0]}


def perturbed(net, seed: int = 0, dtype: torch.dtype = torch.float64) -> dict[str, torch.Tensor]:
    """Parameters away from the start, where biases and shifts are not zero."""
    rng = np.random.default_rng(seed)
    return {
        label: value + 0.3 * torch.tensor(rng.standard_normal(value.shape), dtype=dtype)
        for label, value in start(net, seed, dtype).items()
    }


def inputs(net, *lead: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    """Standard normal inputs (*lead, ...)."""
    generator = torch.Generator().manual_seed(1)
    return torch.randn(*lead, *input_shape(net), dtype=dtype, generator=generator)
