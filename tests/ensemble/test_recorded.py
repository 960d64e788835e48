"""Gradients and layer statistics of taped models against torch.func and explicit sums."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch.func import grad, jacrev

from regimes.data.streams import numpy_stream
from regimes.ensemble.losses import LOSSES
from regimes.ensemble.recorded import RecordedNetwork, statistic
from regimes.nn.taped.cbow import Cbow
from regimes.nn.taped.convolutional import TapedCNN
from regimes.nn.taped.mlp import TapedMLP
from regimes.nn.taped.residual import TapedResNet
from regimes.optim.noise import NOISE_SEED, Generators

F64 = torch.float64
RUNS, SAMPLES = 2, 6


def models():
    """Small models by name."""
    return {
        "mlp": TapedMLP(5, 7, 3, activation="tanh"),
        "cnn": TapedCNN(1, 8, 8, 2, 3),
        "resnet": TapedResNet(3, 8, 8, 1, 3, model="resnet8", unit=2),
        "cbow": Cbow(9, 4),
    }


def begun(model, runs=RUNS):
    """Initial parameters (R, ...) and seeds of the noise."""
    each = [model.initial(lambda name, seed=seed: numpy_stream(seed, name)) for seed in range(runs)]
    params = {name: torch.stack([torch.from_numpy(e[name]) for e in each]) for name in each[0]}
    return params, {NOISE_SEED: torch.arange(runs)}


def batch(model, samples=SAMPLES, runs=RUNS):
    """Inputs and one-hot targets (R, B, ...)."""
    generator = torch.Generator().manual_seed(4)
    if isinstance(model, Cbow):
        x = torch.randint(model.words, (runs, samples, 4), generator=generator)
    elif isinstance(model, TapedMLP):
        x = torch.randn(runs, samples, model.inputs, generator=generator, dtype=F64)
    else:
        shape = (model.channels, model.height, model.width_pixels)
        x = torch.randn(runs, samples, *shape, generator=generator, dtype=F64)
    label = torch.randint(model.classes, (runs, samples), generator=generator)
    return x, F.one_hot(label, model.classes).to(F64)


@pytest.mark.parametrize("name", models())
@pytest.mark.parametrize("loss", ["mse", "cross_entropy"])
def test_losses_and_gradients_are_those_of_the_model(name, loss):
    model = models()[name]
    params, seeds = begun(model)
    x, targets = batch(model)
    network = RecordedNetwork(model, loss, "mc" if name == "resnet" else None)
    losses, gradient = network.loss_and_gradient({**params, **seeds}, x, targets, None, None)

    def total(p):
        outputs = model.run(p, x)[0]
        return sum(LOSSES[loss].value(o, t) for o, t in zip(outputs, targets, strict=True))

    expected = grad(total)(params)
    assert losses.sum().item() == pytest.approx(total(params).item())
    for key, value in expected.items():
        np.testing.assert_allclose(gradient[key], value, atol=1e-12, err_msg=key)
    assert not any(value.requires_grad for value in gradient.values())


@pytest.mark.parametrize("loss", ["mse", "cross_entropy"])
def test_factors_of_one_sample_are_the_gauss_newton_block(loss):
    # For a single example the Gauss-Newton matrix of a layer is A (x) B exactly.
    model = models()["mlp"]
    params, seeds = begun(model)
    x, targets = batch(model, samples=1)
    network = RecordedNetwork(model, loss, "ggn")
    _, found = network.loss_and_gradient({**params, **seeds}, x, targets, None, None)
    for run in range(RUNS):
        own = {n: v[run] for n, v in params.items()}

        def outputs(weight, name, own=own, run=run):
            given = {n: v[None] for n, v in {**own, name: weight}.items()}
            return model.run(given, x[run][None])[0][0, 0]

        point = model.run({n: v[None] for n, v in own.items()}, x[run][None])[0][0]

        def value(o, run=run):
            return LOSSES[loss].value(o[None], targets[run])

        curvature = torch.func.hessian(value)(point[0])
        for name, layer in model.layers.items():
            jacobian = jacrev(outputs)(own[name], name).flatten(1)
            block = jacobian.T @ curvature @ jacobian
            rows = found[statistic(name, "inputs")][run]
            signals = found[statistic(name, "signals")][run]
            a, b = rows.T @ rows, signals.T @ signals
            assert block.shape[0] == layer.fan_in * layer.fan_out
            np.testing.assert_allclose(torch.kron(a, b), block, atol=1e-12)


def test_slopes_and_coefficients_make_up_the_gradient():
    model = models()["mlp"]
    params, seeds = begun(model)
    x, targets = batch(model)
    network = RecordedNetwork(model, "cross_entropy", "ggn")
    _, found = network.loss_and_gradient({**params, **seeds}, x, targets, None, None)
    for name in model.layers:
        rows, slopes = (found[statistic(name, kind)] for kind in ("inputs", "slopes"))
        np.testing.assert_allclose(rows.mT @ slopes / SAMPLES, found[name], atol=1e-13)
        signals = found[statistic(name, "signals")].unflatten(1, (SAMPLES, 3))
        weights = found[statistic(name, "coefficients")]
        rebuilt = (weights.unsqueeze(-1) * signals).sum(2)
        np.testing.assert_allclose(rebuilt, slopes, atol=1e-12)


def test_factors_of_a_convolution_are_sums_over_patches():
    model = models()["cnn"]
    params, seeds = begun(model)
    x, targets = batch(model)
    network = RecordedNetwork(model, "mse", "empirical")
    _, found = network.loss_and_gradient({**params, **seeds}, x, targets, None, None)
    images = x[0]
    patches = F.unfold(images, 5, padding=2)  # (B, C k k, positions), one channel
    expected = torch.einsum("bip,bjp->ij", patches, patches) / SAMPLES
    np.testing.assert_allclose(found[statistic("w1", "A")][0], expected, atol=1e-12)

    # Slopes of the first layer's outputs by autograd of torch's own convolution.
    own = {n: v[0] for n, v in params.items()}
    kernels = [own[n].permute(3, 2, 0, 1) for n in ("w1", "w2")]
    first = F.conv2d(images, kernels[0], padding=2).requires_grad_()
    h = F.max_pool2d(torch.relu(first), 2)
    h = F.max_pool2d(torch.relu(F.conv2d(h, kernels[1], padding=2)), 2)
    # The tape has the batch innermost and flattens channels, rows, columns.
    loss = LOSSES["mse"].value(h.flatten(1) @ own["w3"], targets[0]) * SAMPLES
    (slopes,) = torch.autograd.grad(loss, first)
    rows = slopes.permute(0, 2, 3, 1).reshape(-1, slopes.shape[1])
    np.testing.assert_allclose(
        found[statistic("w1", "B")][0], rows.T @ rows / len(rows), atol=1e-12
    )


def test_factors_of_an_embedding_are_counts_and_slopes():
    model = models()["cbow"]
    params, seeds = begun(model)
    x, targets = batch(model)
    network = RecordedNetwork(model, "cross_entropy", "empirical")
    _, found = network.loss_and_gradient({**params, **seeds}, x, targets, None, None)
    counts = torch.stack([torch.bincount(words.flatten(), minlength=9) for words in x])
    np.testing.assert_allclose(found[statistic("w1", "A")], counts / SAMPLES)
    # Every word of a context has the slope of their sum: that of the output layer's inputs.
    slopes = found[statistic("w2", "slopes")] @ params["w2"].mT
    np.testing.assert_allclose(
        found[statistic("w1", "B")], slopes.mT @ slopes / SAMPLES, atol=1e-13
    )


def test_sampled_signals_need_one_per_example_and_come_at_their_interval():
    model = models()["mlp"]
    params, seeds = begun(model)
    x, targets = batch(model)
    network = RecordedNetwork(model, "mse", "mc", interval=3)
    key = statistic("w1", "signals")
    given = ({**params, **seeds}, x, targets, None, None)
    found = [network.loss_and_gradient(*given)[1] for _ in range(5)]
    assert [key in each for each in found] == [True, False, False, True, False]
    assert found[0][key].shape == (RUNS, SAMPLES, 7)
    assert (found[0][key] != found[3][key]).any()
    fresh = RecordedNetwork(model, "mse", "mc")
    again = fresh.with_statistics({**params, **seeds}, x, targets, Generators())[1]
    np.testing.assert_array_equal(again[key], found[0][key])


def test_unknown_fisher():
    with pytest.raises(ValueError, match="the Fisher is ggn, mc, empirical"):
        RecordedNetwork(models()["mlp"], "mse", "exact")
