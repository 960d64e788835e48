"""ResNets and VGGs against modules of torch put together as torchvision does."""

from __future__ import annotations

from math import prod, sqrt

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.func import grad, grad_and_value, jvp, vmap

from regimes.data.streams import numpy_stream
from regimes.nn.image_networks import (
    RESNETS,
    VGG,
    VGGS,
    ImageResNet,
    from_torchvision,
    image_model,
    kept,
)
from regimes.nn.taped.convolutional import VGG19
from regimes.nn.taped.residual import TapedResNet

# Parameters of torchvision's networks (its documentation, IMAGENET1K_V1).
PUBLISHED = {
    "resnet18": 11_689_512,
    "resnet34": 21_797_672,
    "vgg11_bn": 132_868_840,
    "vgg16": 138_357_544,
    "vgg16_bn": 138_365_992,
    "vgg19_bn": 143_678_248,
}


class BasicBlock(nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample = None
        if stride > 1 or inputs != outputs:
            conv = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.downsample = nn.Sequential(conv, nn.BatchNorm2d(outputs))

    def forward(self, x):
        h = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(h + (x if self.downsample is None else self.downsample(x)))


class PlainResNet(nn.Module):
    def __init__(self, net):
        super().__init__()
        n = net.width
        if net.large_images:
            self.conv1 = nn.Conv2d(net.channels, n, 7, 2, 3, bias=False)
        else:
            self.conv1 = nn.Conv2d(net.channels, n, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(n)
        self.maxpool = nn.MaxPool2d(3, 2, 1) if net.large_images else nn.Identity()
        inputs, self.stages = n, []
        for stage, count in enumerate(net.blocks):
            blocks = []
            for number in range(count):
                blocks.append(BasicBlock(inputs, 2**stage * n, 2 if stage and not number else 1))
                inputs = 2**stage * n
            setattr(self, f"layer{stage + 1}", nn.Sequential(*blocks))
            self.stages.append(f"layer{stage + 1}")
        self.fc = nn.Linear(inputs, net.classes)

    def forward(self, x):
        h = self.maxpool(F.relu(self.bn1(self.conv1(x))))
        for stage in self.stages:
            h = getattr(self, stage)(h)
        return self.fc(F.adaptive_avg_pool2d(h, 1).flatten(1))


class PlainVGG(nn.Module):
    def __init__(self, net):
        super().__init__()
        layers, inputs = [], net.channels
        for count, factor in zip(net.groups, (1, 2, 4, 8, 8), strict=True):
            for _ in range(count):
                outputs = factor * net.width
                layers.append(nn.Conv2d(inputs, outputs, 3, padding=1))
                layers += [nn.BatchNorm2d(outputs)] if net.batch_norms else []
                layers.append(nn.ReLU())
                inputs = outputs
            layers.append(nn.MaxPool2d(2, 2))
        self.features = nn.Sequential(*layers)
        inputs *= (net.height // 32) * (net.width_pixels // 32)
        hidden = 64 * net.width
        self.classifier = nn.Linear(inputs, net.classes)
        if net.large_images:
            self.classifier = nn.Sequential(
                nn.Linear(inputs, hidden), nn.ReLU(), nn.Dropout(0.0),
                nn.Linear(hidden, hidden), nn.ReLU(), nn.Dropout(0.0),
                nn.Linear(hidden, net.classes),
            )  # fmt: skip

    def forward(self, x):
        return self.classifier(self.features(x).flatten(1))


NETWORKS = {
    "resnet, small images": ImageResNet(3, 9, 8, 3, (1, 2), 5),
    "resnet, large images": ImageResNet(2, 21, 20, 2, (2, 1, 1, 1), 4, True),
    "vgg, small images": VGG(3, 32, 33, 1, (1, 1, 1, 1, 1), True, 5),
    "vgg, large images": VGG(1, 32, 64, 1, (1, 1, 2, 1, 1), False, 5, True),
}
every_network = pytest.mark.parametrize("net", NETWORKS.values(), ids=NETWORKS)


def plain(net, seed=0):
    """Modules in torchvision's order, training mode, parameters away from their start."""
    torch.manual_seed(seed)
    modules = (PlainVGG if isinstance(net, VGG) else PlainResNet)(net).double()
    with torch.no_grad():
        for parameter in modules.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    return modules.train()


def parameters(net, modules):
    found = from_torchvision(net, modules.state_dict())
    return {name: torch.from_numpy(value) for name, value in found.items()}


def inputs(net, *lead, dtype=torch.float64):
    generator = torch.Generator().manual_seed(1)
    shape = (net.channels, net.height, net.width_pixels)
    return torch.randn(*lead, *shape, generator=generator, dtype=dtype)


@every_network
def test_agrees_with_modules(net):
    modules, x = plain(net), inputs(net, 6)
    params = parameters(net, modules)
    expected = modules(x)
    outputs, close = net.apply(params, x), {"rtol": 1e-10, "atol": 1e-11}
    assert outputs.shape == (6, net.classes)
    assert torch.allclose(outputs, expected, **close)

    def loss(outputs):
        return (outputs - 1).square().mean()

    found = grad(lambda p: loss(net.apply(p, x)))(params)
    loss(expected).backward()
    slopes = {name: p.grad for name, p in modules.named_parameters()}
    for name, value in from_torchvision(net, slopes).items():
        assert torch.allclose(found[name], torch.from_numpy(value), **close), name


@every_network
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_bits_do_not_depend_on_the_other_runs(net, dtype):
    each = [parameters(net, plain(net, seed)) for seed in range(5)]
    params = {name: torch.stack([p[name] for p in each]).to(dtype) for name in each[0]}
    x = inputs(net, 5, 7, dtype=dtype)

    def loss(params, x):
        outputs = net.apply(params, x)
        return (outputs * (0.5 * outputs.detach() + 1)).sum(), outputs

    def step(runs):
        chosen = {name: value[runs] for name, value in params.items()}
        gradients, (_, outputs) = vmap(grad_and_value(loss, has_aux=True))(chosen, x[runs])
        return {**gradients, "outputs": outputs}

    expected = step([0, 1, 2, 3, 4])
    for runs in ([4, 2], [3, 0, 1]):
        for name, value in step(runs).items():
            assert torch.equal(value, expected[name][runs]), (name, runs)


@every_network
def test_curvature_both_ways(net):
    """Hessian times vector by reverse over reverse, as the studies take it, and forward."""
    params, x = parameters(net, plain(net)), inputs(net, 5)
    along = {name: torch.cos(3 * value) for name, value in params.items()}

    def loss(p):
        return (net.apply(p, x) - 1).square().mean()

    forward = jvp(grad(loss), (params,), (along,))[1]
    leaves = {name: value.clone().requires_grad_() for name, value in params.items()}
    first = torch.autograd.grad(loss(leaves), leaves.values(), create_graph=True)
    second = torch.autograd.grad(first, leaves.values(), along.values())
    for name, value in zip(leaves, second, strict=True):
        assert torch.allclose(value, forward[name], rtol=1e-8, atol=1e-10), name


@pytest.mark.parametrize("name", PUBLISHED)
def test_number_of_parameters(name):
    net = image_model(name, 64, (3, 224, 224), 1000, large_images=True)
    assert sum(map(prod, net.shapes().values())) == PUBLISHED[name]


def test_number_of_parameters_for_small_images():
    # The stem 3 x 3 in place of 7 x 7, ten classes in place of a thousand.
    net = image_model("resnet18", 64, (3, 32, 32), 10, large_images=False)
    count = PUBLISHED["resnet18"] - 3 * 64 * (49 - 9) - 513 * 1000 + 513 * 10
    assert sum(map(prod, net.shapes().values())) == count
    # No hidden layers of the classifier.
    net = image_model("vgg16_bn", 64, (3, 32, 32), 10, large_images=False)
    classifier = (25_088 + 1) * 4096 + 4097 * 4096 + 4097 * 1000
    count = PUBLISHED["vgg16_bn"] - classifier + 513 * 10
    assert sum(map(prod, net.shapes().values())) == count


def test_number_of_parameters_of_taped_networks():
    """Those of `regimes.nn.taped` have no biases, and VGG19 there reads out by one layer."""
    published = {"resnet18": PUBLISHED["resnet18"], "resnet50": 25_557_032}
    for name, count in published.items():
        net = TapedResNet(3, 224, 224, 4, 1000, name, large_images=True)
        assert sum(map(prod, net.shapes().values())) == count - 1000
    net = VGG19(3, 224, 224, 4, 1000)
    biases = 2 * 64 + 2 * 128 + 4 * 256 + 8 * 512
    classifier = (25_088 + 1) * 4096 + 4097 * 4096 + 4097 * 1000
    count = PUBLISHED["vgg19_bn"] - biases - classifier + 25_088 * 1000
    assert sum(map(prod, net.shapes().values())) == count


@every_network
def test_start(net):
    shapes, start = net.shapes(), net.initial(lambda name: numpy_stream(3, name))
    assert list(start) == list(shapes)
    for name, value in start.items():
        assert value.dtype == np.float64 and value.shape == shapes[name]
        if name.startswith(("scale", "shift")):
            assert (value == name.startswith("scale")).all()
        elif name.startswith("b_") and name != "b_readout" and not name.startswith("b_fc"):
            assert (value == 0).all()


def test_start_has_the_spread_of_torch():
    net = image_model("vgg16", 8, (3, 64, 64), 10, large_images=True)
    start = net.initial(lambda name: numpy_stream(0, name))
    kernel = torch.empty(64, 64, 3, 3)
    nn.init.kaiming_normal_(kernel, mode="fan_out", nonlinearity="relu")
    assert start["w_4.2"].std() == pytest.approx(float(kernel.std()), rel=0.02)
    layer = nn.Linear(512, 10)
    for value, like in ((start["w_readout"], layer.weight), (start["b_readout"], layer.bias)):
        reach = 1 / sqrt(512)
        assert abs(value).max() <= reach and float(like.detach().abs().max()) <= reach
    assert start["w_readout"].std() == pytest.approx(float(layer.weight.detach().std()), rel=0.03)
    assert abs(start["b_fc1"]).max() > 0


def test_dropout_multiplies_hidden_layers():
    net = NETWORKS["vgg, large images"]
    modules, x = plain(net), inputs(net, 6)
    params = parameters(net, modules)
    assert net.dropout == {"fc1": 64, "fc2": 64}
    uniforms = torch.rand(2, 6, 64, generator=torch.Generator().manual_seed(0)).double()
    factors = kept(uniforms)
    assert set(factors.unique().tolist()) == {0.0, 2.0}
    found = net.apply({**params, "keep_fc1": factors[0], "keep_fc2": factors[1]}, x)
    first, second = modules.classifier[0], modules.classifier[3]
    h = F.relu(first(modules.features(x).flatten(1))) * factors[0]
    h = F.relu(second(h)) * factors[1]
    assert torch.allclose(found, modules.classifier[6](h), rtol=1e-10, atol=1e-11)
    whole = net.apply({**params, "keep_fc1": torch.ones(6, 64), "keep_fc2": torch.ones(6, 64)}, x)
    assert torch.equal(whole, net.apply(params, x))


def test_states_of_other_networks_are_refused():
    net, other = NETWORKS["resnet, small images"], NETWORKS["resnet, large images"]
    with pytest.raises(ValueError, match="parameters of another layout"):
        from_torchvision(net, plain(other).state_dict())


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: ImageResNet(3, 8, 8, 0), "positive"),
        (lambda: ImageResNet(3, 8, 8, 4, (1, 0)), "positive"),
        (lambda: VGG(3, 31, 32), "at least 32 pixels"),
        (lambda: VGG(3, 32, 32, 8, (1, 1)), "5 groups"),
        (lambda: image_model("resnet19", 4, (3, 32, 32), 10, large_images=False), "resnet19"),
    ],
)
def test_impossible_networks_are_refused(make, message):
    with pytest.raises((ValueError, KeyError), match=message):
        make()


def test_names_of_networks():
    net = image_model("vgg11_bn", 8, (3, 32, 32), 7, large_images=False)
    assert net == VGG(3, 32, 32, 8, VGGS["vgg11"], True, 7)
    net = image_model("resnet34", 8, (3, 32, 32), 7, large_images=False)
    assert net == ImageResNet(3, 32, 32, 8, RESNETS["resnet34"], 7)
