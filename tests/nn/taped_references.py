"""Taped networks once more, of torch.nn modules with the same weights."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from regimes.nn.taped.cbow import Cbow
from regimes.nn.taped.convolutional import VGG19, Myrtle5, TapedCNN
from regimes.nn.taped.mlp import TapedMLP


def module(layer, weight) -> nn.Module:
    """Layer of torch with this weight."""
    if layer.kind == "embedding":
        made, weight = nn.Embedding(*layer.shape), weight
    elif layer.kind == "linear":
        made, weight = nn.Linear(*layer.shape, bias=False), weight.T
    else:
        size, _, given, taken = layer.shape
        made = nn.Conv2d(given, taken, size, layer.stride, layer.padding, bias=False)
        weight = weight.permute(3, 2, 0, 1)
    made.weight = nn.Parameter(weight.detach().clone())
    return made


def norm(params, name) -> nn.Module:
    """Batch norm of torch with these scales and shifts."""
    scale, shift = params[f"scale{name}"], params[f"shift{name}"]
    made = nn.BatchNorm2d(len(scale), track_running_stats=False)
    made.weight, made.bias = (nn.Parameter(part.detach().clone()) for part in (scale, shift))
    return made


class Residual(nn.Module):
    """A block in the words of torchvision: branch, and downsample where there is one."""

    def __init__(self, branch, downsample) -> None:
        super().__init__()
        self.branch, self.downsample = branch, downsample

    def forward(self, x):
        return F.relu(self.branch(x) + (self.downsample(x) if self.downsample else x))


class Summed(nn.Module):
    """Sum over the words of a context."""

    def forward(self, x):
        return x.sum(1)


VGG19_LIST = "64 64 M 128 128 M 256 256 256 256 M 512 512 512 512 M 512 512 512 512 M".split()
BLOCKS = {"resnet8": [1, 1, 1, 1], "resnet18": [2, 2, 2, 2], "resnet50": [3, 4, 6, 3]}


def reference(net, params) -> tuple[nn.Module, dict[str, nn.Module], dict[str, nn.Module]]:
    """Network of modules with parameters of one run; its layers and batch norms by name."""
    parts = {name: module(layer, params[name]) for name, layer in net.layers.items()}
    norms = {
        name.removeprefix("scale"): norm(params, name.removeprefix("scale"))
        for name in params
        if name.startswith("scale")
    }
    w = list(parts.values())
    if isinstance(net, TapedMLP):
        kind = {"relu": nn.ReLU, "tanh": nn.Tanh, "gelu": nn.GELU, "identity": nn.Identity}
        hidden = [part for one in w[:-1] for part in (one, kind[net.activation]())]
        return nn.Sequential(*hidden, w[-1]), parts, norms
    if isinstance(net, Cbow):
        return nn.Sequential(w[0], Summed(), w[1]), parts, norms
    if isinstance(net, TapedCNN):
        pool = nn.MaxPool2d(2)
        body = [w[0], nn.ReLU(), pool, w[1], nn.ReLU(), pool, nn.Flatten(), w[2]]
        return nn.Sequential(*body), parts, norms
    if isinstance(net, Myrtle5):
        pool, last = nn.AvgPool2d(2), nn.AvgPool2d(net.height // 4)
        body = [w[0], nn.ReLU(), w[1], nn.ReLU(), pool, w[2], nn.ReLU(), pool]
        return nn.Sequential(*body, w[3], nn.ReLU(), last, nn.Flatten(), w[4]), parts, norms
    if isinstance(net, VGG19):
        body, number = [], 0
        for entry in VGG19_LIST:
            if entry == "M":
                body.append(nn.MaxPool2d(2))
                continue
            number += 1
            body += [parts[f"w{number}"], norms[str(number)], nn.ReLU()]
        return nn.Sequential(*body, nn.Flatten(), w[-1]), parts, norms

    def unit(name):
        return [parts[f"w_{name}"], norms[f"_{name}"]]

    body = [*unit("stem"), nn.ReLU()]
    body += [nn.MaxPool2d(3, 2, 1)] if net.large_images else []
    for stage, count in enumerate(BLOCKS[net.model], 1):
        for number in range(1, count + 1):
            name = f"{stage}.{number}"
            branch = [*unit(f"{name}.1"), nn.ReLU(), *unit(f"{name}.2")]
            branch += [nn.ReLU(), *unit(f"{name}.3")] if net.model == "resnet50" else []
            shortcut = f"{name}.shortcut"
            downsample = nn.Sequential(*unit(shortcut)) if f"w_{shortcut}" in parts else None
            body.append(Residual(nn.Sequential(*branch), downsample))
    return nn.Sequential(*body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), w[-1]), parts, norms


def modules_step(net, params, x) -> dict[str, torch.Tensor]:
    """Outputs, layers' inputs and outputs, derivatives by them and by parameters, of modules."""
    network, parts, norms = reference(net, params)
    seen = {}
    for name, part in parts.items():

        def keep(_, given, out, name=name):
            seen[name] = (given[0], out)

        part.register_forward_hook(keep)
    outputs = network(x)
    weights = {name: part.weight for name, part in parts.items()}
    for name, part in norms.items():
        weights |= {f"scale{name}": part.weight, f"shift{name}": part.bias}
    loss = squared(outputs)
    of_outputs = torch.autograd.grad(loss, [out for _, out in seen.values()], retain_graph=True)
    of_weights = torch.autograd.grad(loss, weights.values())
    result = {"outputs": outputs, "loss": loss}
    for (name, (given, out)), slope in zip(seen.items(), of_outputs, strict=True):
        result |= {f"{name} in": given, f"{name} out": out, f"{name} d out": slope}
    for (name, weight), slope in zip(weights.items(), of_weights, strict=True):
        kernel = {4: (2, 3, 1, 0), 2: (1, 0), 1: (0,)}[weight.dim()]
        embedding = name in net.layers and net.layers[name].kind == "embedding"
        result[f"{name} d"] = slope if embedding else slope.permute(kernel)
    return result


def squared(outputs):
    """Loss of one run, not symmetric in samples and classes."""
    return (outputs - torch.linspace(-1, 1, outputs.numel()).view_as(outputs)).square().sum()
