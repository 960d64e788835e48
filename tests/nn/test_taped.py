"""Taped networks against torch.nn modules with the same weights, and what the tape is for."""

from __future__ import annotations

from dataclasses import replace
from math import prod, sqrt

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from regimes.data.streams import numpy_stream
from regimes.nn.taped.cbow import Cbow
from regimes.nn.taped.convolutional import VGG19, Myrtle5, TapedCNN
from regimes.nn.taped.layers import activated
from regimes.nn.taped.mlp import TapedMLP
from regimes.nn.taped.residual import TapedResNet
from tests.nn.taped_references import modules_step, squared

NETWORKS = {
    "mlp": TapedMLP(9, 7, 5, activation="relu"),
    "mlp-tanh": TapedMLP(16, 16, depth=4, activation="tanh"),
    "mlp-gelu": TapedMLP(3, 5, 2, depth=2, activation="gelu"),
    "mlp-identity": TapedMLP(5, 3, 2, activation="identity"),
    "cnn": TapedCNN(2, 8, 12, 3, classes=5),
    "myrtle5": Myrtle5(3, 16, 16, 3, classes=5),
    "myrtle5-small": Myrtle5(1, 4, 4, 5),
    "vgg19": VGG19(3, 32, 32, 2, classes=5, unit=2),
    "resnet8": TapedResNet(3, 9, 7, 2, classes=5, model="resnet8", unit=3),
    "resnet18": TapedResNet(1, 8, 8, 1, model="resnet18", unit=3),
    "resnet50": TapedResNet(2, 8, 8, 1, model="resnet50", unit=2),
    "resnet8-large": TapedResNet(3, 32, 27, 1, model="resnet8", unit=3, large_images=True),
    "cbow": Cbow(words=13, width=6),
}
IMAGES = (TapedCNN, Myrtle5, VGG19, TapedResNet)
BATCH = 6

every_network = pytest.mark.parametrize("net", NETWORKS.values(), ids=NETWORKS.keys())


def inputs(net, runs: int, batch: int = BATCH, dtype: torch.dtype = torch.float64):
    """Inputs (R, B, ...), other ones for each run."""
    generator = torch.Generator().manual_seed(1)
    if isinstance(net, Cbow):
        return torch.randint(net.words, (runs, batch, 4), generator=generator)
    images = isinstance(net, IMAGES)
    shape = (net.channels, net.height, net.width_pixels) if images else (net.inputs,)
    return torch.randn(runs, batch, *shape, dtype=torch.float64, generator=generator).to(dtype)


def parameters(net, runs: int, dtype: torch.dtype = torch.float64):
    """Parameters (R, ...) that need derivatives, with scales and shifts away from the start."""
    rng = np.random.default_rng(0)
    starts = [net.initial(lambda name, r=run: numpy_stream(r, name)) for run in range(runs)]
    values = {name: np.stack([start[name] for start in starts]) for name in starts[0]}
    moved = {
        name: value if name in net.layers else value + 0.3 * rng.standard_normal(value.shape)
        for name, value in values.items()
    }
    return {name: torch.tensor(v, dtype=dtype).requires_grad_() for name, v in moved.items()}


def own_step(net, params, x, chosen=None) -> dict[str, torch.Tensor]:
    """What `modules_step` gives, run axis first, maps with the batch before their channels."""
    chosen = list(range(len(x))) if chosen is None else chosen
    params = {name: p[chosen].detach().requires_grad_() for name, p in params.items()}
    outputs, tape = net.run(params, x)
    losses = torch.stack([squared(run) for run in outputs])
    by_outputs = [recorded.outputs for recorded in tape.values()]
    of_outputs = torch.autograd.grad(losses.sum(), by_outputs, retain_graph=True)
    of_weights = torch.autograd.grad(losses.sum(), params.values())
    result = {"outputs": outputs, "loss": losses}
    for (name, recorded), slope in zip(tape.items(), of_outputs, strict=True):
        parts = (recorded.inputs, recorded.outputs, slope)
        if net.layers[name].kind == "convolution":
            parts = tuple(part.permute(0, 4, 1, 2, 3) for part in parts)
        result |= dict(zip((f"{name} in", f"{name} out", f"{name} d out"), parts, strict=True))
    return result | {f"{n} d": s for n, s in zip(params, of_weights, strict=True)}


@every_network
def test_agrees_with_modules(net):
    """Outputs, the tape, derivatives by its outputs and by parameters, in float64."""
    params, x = parameters(net, 2), inputs(net, 2)
    own = own_step(net, params, x)
    for run in range(2):
        expected = modules_step(net, {name: p[run] for name, p in params.items()}, x[run])
        assert own.keys() == expected.keys()
        for name, value in expected.items():
            size = float(value.detach().double().square().mean().sqrt())
            assert own[name][run].shape == value.shape, name
            assert torch.allclose(own[name][run], value, rtol=1e-8, atol=1e-9 * size), name


@every_network
def test_gradients_from_the_tape(net):
    """Weights as `Layer.matrix` have the gradient inputs^T derivatives, patches for kernels."""
    params, x = parameters(net, 1), inputs(net, 1)
    own = own_step(net, params, x)
    for name, layer in net.layers.items():
        given, slope = own[f"{name} in"][0], own[f"{name} d out"][0]
        if layer.kind == "embedding":
            rows = F.one_hot(given, layer.fan_in).double().flatten(0, 1)
            gradient = rows.T @ slope.flatten(0, 1)
        elif layer.kind == "linear":
            gradient = given.T @ slope
        else:
            cut = F.unfold(given, layer.shape[0], padding=layer.padding, stride=layer.stride)
            patches = cut.unflatten(1, (layer.shape[2], -1)).transpose(1, 2).flatten(1, 2)
            gradient = torch.einsum("bip,bop->io", patches, slope.flatten(2))
        assert gradient.shape == (layer.fan_in, layer.fan_out)
        assert torch.allclose(layer.matrix(own[f"{name} d"])[0], gradient, rtol=1e-9, atol=1e-11)


@every_network
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("shared", [False, True], ids=["own-batch", "shared-batch"])
def test_bits_do_not_depend_on_the_other_runs(net, dtype, shared):
    params, x = parameters(net, 5, dtype), inputs(net, 5, 7, dtype)
    x = x[:1].expand_as(x) if shared else x
    expected = own_step(net, params, x)
    for chosen in ([0], [3], [4], [3, 1]):
        own = x[:1].expand(len(chosen), *x.shape[1:]) if shared else x[chosen]
        for name, value in own_step(net, params, own, chosen).items():
            assert torch.equal(value, expected[name][chosen]), (name, chosen)


@pytest.mark.parametrize("name", ["cnn", "vgg19", "resnet8"])
def test_images_may_be_flat(name):
    net = NETWORKS[name]
    params, x = parameters(net, 2), inputs(net, 2)
    assert torch.equal(net.run(params, x)[0], net.run(params, x.flatten(2))[0])


def test_shared_images_stay_shared():
    net = NETWORKS["cnn"]
    x = inputs(net, 1).expand(3, -1, -1, -1, -1)
    maps = net.run(parameters(net, 3), x)[1]["w1"].inputs
    assert maps.shape == (3, 2, 8, 12, BATCH) and maps.stride(0) == 0
    assert torch.equal(maps[0], x[0].permute(1, 2, 3, 0))


@every_network
def test_roles_say_which_sides_grow_with_the_width(net):
    wide = replace(net, width=2 * net.width)
    grows = {"input": (1, 2), "hidden": (2, 2), "output": (2, 1)}
    assert list(net.layers) == list(wide.layers)
    for name, layer in net.layers.items():
        other = wide.layers[name]
        assert other[1:] == layer[1:]
        factors = (other.fan_in / layer.fan_in, other.fan_out / layer.fan_out)
        assert factors == grows[layer.role], name
    roles = [layer.role for layer in net.layers.values()]
    middle = ["hidden"] * (len(roles) - 2)
    assert roles == ["input", *middle, "output"]


@every_network
def test_tape_and_parameters_have_the_declared_names(net):
    params = parameters(net, 1)
    _, tape = net.run(params, inputs(net, 1))
    assert tape.keys() == net.layers.keys()
    assert params.keys() == net.shapes().keys()
    assert {name: tuple(p.shape[1:]) for name, p in params.items()} == net.shapes()


@pytest.mark.parametrize(
    "net, count",
    [
        # Published counts of the usual networks without biases of convolutions and read-outs:
        # VGG19 with batch norm for CIFAR-10, 20 040 522 less 5504 + 10.
        (VGG19(3, 32, 32, 4), 20_035_008),
        # ResNet-18 and ResNet-50 for CIFAR-10, 11 173 962 and 23 520 842 less 10.
        (TapedResNet(3, 32, 32, 4, model="resnet18"), 11_173_952),
        (TapedResNet(3, 32, 32, 4, model="resnet50"), 23_520_832),
        # torchvision's for ImageNet, 11 689 512 and 25 557 032 less 1000.
        (TapedResNet(3, 224, 224, 4, 1000, "resnet18", large_images=True), 11_688_512),
        (TapedResNet(3, 224, 224, 4, 1000, "resnet50", large_images=True), 25_556_032),
        # By hand: 25 M + 50 M^2 + 2 M 49 C, and 9 (3 M + 3 M^2) + M C.
        (TapedCNN(1, 28, 28, 8), 25 * 8 + 50 * 64 + 98 * 8 * 10),
        (Myrtle5(3, 32, 32, 16), 27 * 16 + 27 * 256 + 160),
        (Cbow(300, 64), 2 * 300 * 64),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, int) else str(value),
)
def test_parameter_counts(net, count):
    assert sum(prod(shape) for shape in net.shapes().values()) == count


def test_layer_counts():
    """Named after their layers; shortcuts of residual networks come on top."""
    shortcuts = {"resnet8": 3, "resnet18": 3, "resnet50": 4}
    # Four stages of one basic block make ten layers, not eight.
    depths = {"resnet8": 10, "resnet18": 18, "resnet50": 50}
    for model, depth in depths.items():
        net = TapedResNet(3, 32, 32, 1, model=model)
        assert len(net.layers) == depth + shortcuts[model]
    assert len(VGG19(3, 32, 32, 1).layers) == 17  # two linear layers are left out
    assert len(Myrtle5(3, 32, 32, 1).layers) == 5


def test_initial_deviations():
    for net in (TapedCNN(3, 8, 8, 32), VGG19(3, 32, 32, 2), TapedResNet(3, 8, 8, 2)):
        start = net.initial(lambda name: numpy_stream(0, name))
        for name, value in start.items():
            assert value.dtype == np.float64
            if name in net.layers:
                deviation = 1 / sqrt(prod(value.shape[:-1]))
                # Five standard errors of a standard deviation.
                assert value.std() == pytest.approx(deviation, rel=5 / sqrt(2 * value.size))
            else:
                assert np.all(value == (1 if name.startswith("scale") else 0))
    words = Cbow(400, 50, embedding_deviation=0.5).initial(lambda name: numpy_stream(0, name))
    assert words["w1"].std() == pytest.approx(0.5, rel=0.025)
    assert words["w2"].std() == pytest.approx(1 / sqrt(50), rel=0.025)


def test_weights_come_from_streams_of_their_names():
    start = Myrtle5(1, 4, 4, 5).initial(lambda name: numpy_stream(3, name))
    rng = numpy_stream(3, "w3")
    assert np.allclose(start["w3"], rng.standard_normal((3, 3, 5, 5)) / sqrt(45), rtol=1e-14)


@pytest.mark.parametrize(
    "build, message",
    [
        (lambda: TapedCNN(1, 8, 10, 4), "divisible by 4"),
        (lambda: VGG19(3, 48, 32, 1), "divisible by 32"),
        (lambda: Myrtle5(3, 28, 28, 4), "side 4, 8, 16"),
        (lambda: Myrtle5(3, 32, 16, 4), "square"),
        (lambda: TapedCNN(1, 8, 8, 0), "width .* positive integer"),
        (lambda: TapedCNN(1, 8, 8, 2.0), "width .* positive integer"),
        (lambda: VGG19(3, 32, 32, 1, unit=0), "unit .* positive integer"),
        (lambda: TapedResNet(3, 8, 8, 0.5), "width .* positive integer"),
        (lambda: TapedResNet(3, 8, 8, 1, model="resnet9"), "resnet8, resnet18"),
        (lambda: Cbow(10, -1), "width .* positive integer"),
        (lambda: Cbow(10, 2, -1.0), "at least zero"),
        (lambda: TapedMLP(3, 4, depth=1), "depth at least 2"),
        (lambda: TapedMLP(3, 4, activation="sigmoid"), "activations are"),
        (lambda: activated("sigmoid", torch.ones(1, 2)), "activations are"),
    ],
)
def test_refuses_sizes_that_do_not_fit(build, message):
    with pytest.raises(ValueError, match=message):
        build()
