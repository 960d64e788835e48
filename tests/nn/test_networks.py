"""What holds for every architecture."""

from __future__ import annotations

from math import prod, sqrt

import numpy as np
import pytest
import torch
from torch.func import grad, grad_and_value, jvp, vmap

from regimes.data.streams import numpy_stream
from regimes.nn.cnn import CNN
from regimes.nn.mlp import MLP
from regimes.nn.resnet import ResNet
from regimes.nn.vit import ViT
from tests.nn.networks import (
    NETWORKS,
    REFERENCES,
    input_shape,
    inputs,
    name,
    perturbed,
    stacked,
    start,
)

every_network = pytest.mark.parametrize("net", NETWORKS, ids=name)
BATCH = 6


def close(left, right):
    return torch.allclose(left, right, rtol=1e-10, atol=1e-10)


def squared(apply):
    return lambda params, x: (apply(params, x) - 1).square().mean()


@every_network
def test_agrees_with_modules(net):
    params, x = perturbed(net), inputs(net, BATCH)
    expected_hidden, expected = REFERENCES[type(net)](net, params, x)
    hidden, outputs = net.features(params, x)
    assert outputs.shape == (BATCH, net.classes)
    assert close(outputs, expected) and torch.equal(net.apply(params, x), outputs)
    assert len(hidden) == len(expected_hidden) == len(net.layers)
    for layer, expected_layer in zip(hidden, expected_hidden, strict=True):
        assert layer.shape == expected_layer.shape and close(layer, expected_layer)


@every_network
def test_derivatives_agree_with_modules(net):
    """Gradients of stacked runs, and Hessian times vector, as the engine takes them."""
    runs = [perturbed(net, seed) for seed in range(2)]
    params = {label: torch.stack([run[label] for run in runs]) for label in runs[0]}
    along = {label: torch.ones_like(value) for label, value in params.items()}
    x = inputs(net, 2, BATCH)
    loss = squared(net.apply)
    gradients, losses = vmap(grad_and_value(loss))(params, x)
    curvatures = vmap(lambda p, t, x: jvp(grad(lambda p: loss(p, x)), (p,), (t,))[1])(
        params, along, x
    )
    expected_loss = squared(lambda p, x: REFERENCES[type(net)](net, p, x)[1])
    for run in range(2):
        leaves = {label: value[run].requires_grad_() for label, value in params.items()}
        value = expected_loss(leaves, x[run])
        first = torch.autograd.grad(value, leaves.values(), create_graph=True)
        second = torch.autograd.grad(sum(part.sum() for part in first), leaves.values())
        assert close(losses[run], value)
        for label, one, two in zip(leaves, first, second, strict=True):
            assert close(gradients[label][run], one), label
            assert close(curvatures[label][run], two), label


@every_network
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("batch", [7, 16])
@pytest.mark.parametrize("shared", [False, True], ids=["own-batch", "shared-batch"])
def test_bits_do_not_depend_on_the_other_runs(net, dtype, batch, shared):
    params = stacked(net, range(8), dtype)
    x = inputs(net, 8, batch, dtype=dtype)

    def loss(params, x):
        # A sum of the runs' own numbers only, so that no bits come from the loss.
        outputs = net.apply(params, x)
        return (outputs * (0.5 * outputs.detach() + 1)).sum(), outputs

    def step(runs):
        chosen = {label: value[runs] for label, value in params.items()}
        own = x[0] if shared else x[runs]
        take = vmap(grad_and_value(loss, has_aux=True), in_dims=(0, None if shared else 0))
        gradients, (_, outputs) = take(chosen, own)
        return {**gradients, "outputs": outputs}

    expected = step(list(range(8)))
    for runs in ([7, 2], [0, 1, 5], [3, 6, 1, 0, 4]):
        for label, value in step(runs).items():
            assert torch.equal(value, expected[label][runs]), (label, runs)


@pytest.mark.parametrize("net", NETWORKS[::2], ids=name)
def test_bits_of_curvature_do_not_depend_on_the_other_runs(net):
    params = stacked(net, range(5), torch.float32)
    x = inputs(net, 11, dtype=torch.float32)
    loss = squared(net.apply)

    def curvature(runs):
        chosen = {label: value[runs] for label, value in params.items()}
        return vmap(lambda p: jvp(grad(lambda p: loss(p, x)), (p,), (p,))[1])(chosen)

    expected = curvature([0, 1, 2, 3, 4])
    for label, value in curvature([4, 1]).items():
        assert torch.equal(value, expected[label][[4, 1]]), label


@every_network
def test_lanczos_vectors_stack_on_runs(net):
    """Two levels of vmap: vectors within runs."""
    params, x = stacked(net, range(2)), inputs(net, BATCH)
    many = {label: torch.stack([v, 2 * v, -v], 1) for label, v in params.items()}

    def curvature(p, t):
        return jvp(grad(lambda p: squared(net.apply)(p, x)), (p,), (t,))[1]

    nested = vmap(vmap(curvature, in_dims=(None, 0)))(params, many)
    single = vmap(curvature)(params, params)
    for label, value in nested.items():
        assert close(value[:, 0], single[label]), label
        assert close(value[:, 1], 2 * single[label]) and close(value[:, 2], -single[label]), label


@every_network
def test_initial_parameters(net):
    shapes, initial = net.shapes(), net.initial(lambda label: numpy_stream(3, label))
    assert list(initial) == list(shapes)
    for label, value in initial.items():
        assert value.dtype == np.float64 and value.shape == shapes[label]
        if label.startswith("w"):
            assert np.array_equal(value, numpy_stream(3, label).standard_normal(shapes[label]))
        else:
            assert np.all(value == (1 if label.startswith("scale") else 0))
    weights = np.concatenate([v.ravel() for k, v in initial.items() if k.startswith("w")])
    assert abs(weights.mean()) < 5 / sqrt(weights.size)
    assert abs(weights.var() - 1) < 5 * sqrt(2 / weights.size)
    assert any(label.startswith("b") for label in shapes) == net.bias


@every_network
def test_layers_name_weights_of_the_network(net):
    named = [label for layer in net.layers for label in layer]
    weights = {label for label in net.shapes() if label.startswith("w")}
    readout = list(net.shapes())[-2 if net.bias else -1]
    assert len(named) == len(set(named))
    assert set(named) == weights - {readout, "w_positions"}


COUNTS = [
    (MLP(784, 512, 3), 784 * 512 + 512 + 512 * 512 + 512 + 512 * 10 + 10),
    (MLP(784, 128, 3, bias=False), 784 * 128 + 128 * 128 + 128 * 10),
    # 32 x 32 ends in 6 x 6 maps, 28 x 28 in 5 x 5.
    (CNN(3, 32, 32, 64), 27 * 64 + 64 + 9 * 64 * 128 + 128 + 36 * 128 * 512 + 512 + 5130),
    (CNN(1, 28, 28, 8), 9 * 8 + 8 + 9 * 8 * 16 + 16 + 25 * 16 * 64 + 64 + 64 * 10 + 10),
    # torchvision's ResNet-18 with its 7 x 7 stem made 3 x 3 and its 1000 classes made 10.
    (
        ResNet(3, 32, 32, 64),
        11_689_512 - 3 * 64 * (49 - 9) - (512 * 1000 + 1000) + (512 * 10 + 10),
    ),
    # One block of torch's encoder layer: 4 N^2 + 4N, 8 N^2 + 5N and two norms of 2N.
    (
        ViT((3, 64, 64), 8, 128, 4, 4),
        (192 * 128 + 128) + 64 * 128 + 4 * (12 * 128**2 + 13 * 128) + 2 * 128 + (1280 + 10),
    ),
]


@pytest.mark.parametrize("net, count", COUNTS, ids=[name(net) for net, _ in COUNTS])
def test_number_of_parameters(net, count):
    assert sum(prod(shape) for shape in net.shapes().values()) == count


WIDER = [
    (MLP(20, 32, 3), MLP(20, 128, 3)),
    (CNN(1, 10, 10, 4), CNN(1, 10, 10, 16)),
    (ResNet(1, 8, 8, 4, 1), ResNet(1, 8, 8, 16, 1)),
    (ViT((16,), 4, 16, 2, 2), ViT((16,), 4, 64, 2, 8)),
]


@pytest.mark.parametrize("narrow, wide", WIDER, ids=[name(net) for net, _ in WIDER])
def test_scaling_with_width(narrow, wide):
    """Raw outputs at the start are of order 1/sqrt(N), N times their tangent kernel of order 1."""
    outputs, kernels = [], []
    for net in (narrow, wide):
        params, x = stacked(net, range(12)), inputs(net, 8)
        raw = vmap(net.apply, in_dims=(0, None))(params, x)
        outputs.append(raw.square().mean().sqrt() * sqrt(net.width_multiplier))
        slopes = vmap(grad(lambda p, net=net, x=x: net.apply(p, x)[0, 0]))(params)
        squares = sum(slope.square().sum() for slope in slopes.values()) / 12
        kernels.append(squares * net.width_multiplier)
    assert 0.6 < outputs[1] / outputs[0] < 1.7
    assert 0.6 < kernels[1] / kernels[0] < 1.7


def test_width_multipliers():
    assert MLP(20, 32, 3).width_multiplier == 32
    # Not the 8N of the layer that the read-out sees.
    assert CNN(3, 32, 32, 16).width_multiplier == 16
    assert ResNet(3, 32, 32, 64).width_multiplier == 64
    assert ViT((16,), 4, 24, 2, 2).width_multiplier == 24


def test_networks_see_images_given_flat():
    for net in NETWORKS:
        params, x = start(net), inputs(net, 4)
        assert torch.equal(net.apply(params, x.flatten(1)), net.apply(params, x))
        assert x[0].shape == input_shape(net)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: MLP(5, 0, 3), "positive"),
        (lambda: MLP(5, 5, 0), "positive"),
        (lambda: CNN(1, 9, 32, 4), "at least 10"),
        (lambda: CNN(0, 12, 32, 4), "positive"),
        (lambda: ResNet(1, 8, 8, 4, 0), "positive"),
        (lambda: ViT((3, 6, 8), 4, 8, 1, 2), "tile"),
        (lambda: ViT((30,), 4, 8, 1, 2), "tile"),
        (lambda: ViT((3, 8), 4, 8, 1, 2), "C, H, W"),
        (lambda: ViT((8,), 4, 9, 1, 2), "heads"),
        (lambda: ViT((8,), 4, 8, 0, 2), "positive"),
    ],
)
def test_impossible_networks_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
