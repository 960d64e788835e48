"""The two ways to batch a network agree with each other and with plain autograd."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from regimes.data.streams import numpy_stream
from regimes.ensemble.losses import LOSSES, accuracy
from regimes.ensemble.networks import FunctionalNetwork, LayeredNetwork
from regimes.ensemble.updates import UPDATES
from regimes.nn.mlp import MLP

RUNS, SAMPLES = 3, 11


FORMS = [("relu", False), ("tanh", True)]


def setting(depth, bias=True, dtype=torch.float64, runs=RUNS, width=7, form=FORMS[0]):
    """Parameters, reference, data of a few small networks."""
    model = MLP(5, width, depth, 10, bias, *form)
    drawn = [model.initial(lambda n, r=r: numpy_stream(r, "w", n)) for r in range(runs)]
    params = {n: torch.from_numpy(np.stack([d[n] for d in drawn])).to(dtype) for n in drawn[0]}
    rng = np.random.default_rng(1)
    params = {n: p + 0.3 * torch.from_numpy(rng.standard_normal(p.shape)).to(dtype)
              for n, p in params.items()}  # fmt: skip
    x = torch.from_numpy(rng.standard_normal((runs, SAMPLES, 5))).to(dtype)
    reference = torch.from_numpy(rng.standard_normal((runs, SAMPLES, 10))).to(dtype)
    targets = torch.eye(10, dtype=dtype)[torch.from_numpy(rng.integers(0, 10, (runs, SAMPLES)))]
    gamma = torch.tensor([0.1, 1.0, 30.0, 2.0, 0.5, 7.0, 1.5, 3.0][:runs], dtype=dtype)
    return model, params, x, targets, reference, gamma


@pytest.mark.parametrize("loss", sorted(LOSSES))
@pytest.mark.parametrize("depth", [1, 2, 3, 5])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("form", FORMS)
def test_layered_equals_functional_equals_autograd(loss, depth, bias, form):
    model, params, x, targets, reference, gamma = setting(depth, bias, form=form)
    layered = LayeredNetwork(depth, LOSSES[loss], *form)
    functional = FunctionalNetwork(model.apply, LOSSES[loss])
    prepared = layered.prepare(params)
    value, gradient = layered.loss_and_gradient(prepared, x, targets, reference, gamma)
    other, expected = functional.loss_and_gradient(params, x, targets, reference, gamma)
    torch.testing.assert_close(layered.outputs(prepared, x), functional.outputs(params, x))
    torch.testing.assert_close(value, other)
    for name, each in expected.items():
        torch.testing.assert_close(gradient[name], each, rtol=1e-10, atol=1e-14)
    # One run by plain autograd with torch's own losses.
    leaf = {n: p[1].clone().requires_grad_() for n, p in params.items()}
    f = (model.apply(leaf, x[1]) - reference[1]) / gamma[1]
    if loss == "mse":
        plain = torch.nn.functional.mse_loss(f, targets[1])
    elif loss == "half_squares":
        plain = torch.nn.functional.mse_loss(f, targets[1]) * 10 / 2
    else:
        plain = torch.nn.functional.cross_entropy(f, targets[1].argmax(1))
    plain.backward()
    torch.testing.assert_close(value[1], plain.detach())
    for name, each in leaf.items():
        torch.testing.assert_close(gradient[name][1], each.grad, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("loss", sorted(LOSSES))
@pytest.mark.parametrize("width", [7, 16])
@pytest.mark.parametrize("form", FORMS)
def test_bits_of_a_run_do_not_depend_on_the_others(dtype, loss, width, form):
    torch.set_num_threads(1)
    found = {}
    for runs in (2, 3, 5, 8):
        model, params, x, targets, reference, gamma = setting(3, True, dtype, 8, width, form)
        network = LayeredNetwork(3, LOSSES[loss], *form)
        part = slice(0, runs)
        params = network.prepare({n: p[part] for n, p in params.items()})
        for _ in range(5):
            value, gradient = network.loss_and_gradient(
                params, x[part], targets[part], reference[part], gamma[part]
            )
            rate = torch.linspace(0.1, 0.9, 8, dtype=dtype)[part]
            UPDATES["sgd"].apply(params, gradient, {}, {"rate": rate})
        found[runs] = (value, params)
    for runs, (value, params) in found.items():
        for lane in (0, 1):
            assert value[lane] == found[2][0][lane], runs
            for name, each in params.items():
                assert torch.equal(each[lane], found[2][1][name][lane]), (runs, name)


def test_losses_start_at_their_values_without_outputs():
    zero = torch.zeros(2, 6, 10, dtype=torch.float64)
    targets = torch.eye(10, dtype=torch.float64)[torch.arange(12).remainder(10)].view(2, 6, 10)
    for name, expected in (("mse", 0.1), ("cross_entropy", np.log(10))):
        value, _ = LOSSES[name].batched(zero, targets)
        np.testing.assert_allclose(value, expected, rtol=1e-12)


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_batched_losses_have_the_gradient_of_the_value(name):
    rng = torch.Generator().manual_seed(0)
    outputs = torch.randn(2, 6, 4, generator=rng, dtype=torch.float64)
    targets = torch.eye(4, dtype=torch.float64)[torch.randint(4, (2, 6), generator=rng)]
    value, slope = LOSSES[name].batched(outputs.clone(), targets)
    for run in range(2):
        leaf = outputs[run].clone().requires_grad_()
        single = LOSSES[name].value(leaf, targets[run])
        single.backward()
        torch.testing.assert_close(value[run], single.detach())
        torch.testing.assert_close(slope[run], leaf.grad)


def test_cross_entropy_survives_large_outputs():
    outputs = torch.tensor([[[1e4, -1e4, 0.0]], [[-1e4, 1e4, 0.0]]])
    targets = torch.tensor([[[1.0, 0, 0]], [[1.0, 0, 0]]])
    value, slope = LOSSES["cross_entropy"].batched(outputs, targets)
    assert value.tolist() == [0.0, 2e4]
    assert torch.isfinite(slope).all()


def test_accuracy_counts_ties_and_missing_numbers_as_wrong():
    targets = torch.eye(2).expand(3, 2, 2)
    outputs = torch.stack([torch.eye(2), torch.zeros(2, 2), torch.full((2, 2), torch.nan)])
    assert accuracy(outputs, targets).tolist() == [1.0, 0.0, 0.0]


def test_sign_update_moves_every_parameter_by_the_rate():
    params = {"w1": torch.zeros(2, 3, 3)}
    gradient = {"w1": torch.randn(2, 3, 3, generator=torch.Generator().manual_seed(0))}
    UPDATES["sign"].apply(params, gradient, {}, {"rate": torch.tensor([0.5, 2.0])})
    assert torch.equal(params["w1"].abs().amax((1, 2)), torch.tensor([0.5, 2.0]))
    assert torch.equal(params["w1"].sign(), -gradient["w1"].sign())


def test_standard_parameterization_is_that_of_torch():
    model = MLP(5, 7, 2, 3, activation="tanh", standard=True)
    drawn = model.initial(lambda name: numpy_stream(0, "w", name))
    params = {name: torch.from_numpy(value) for name, value in drawn.items()}
    plain = torch.nn.Sequential(torch.nn.Linear(5, 7), torch.nn.Tanh(), torch.nn.Linear(7, 3))
    plain.double().load_state_dict(
        {"0.weight": params["w1"].T, "0.bias": params["b1"] + 0.5,
         "2.weight": params["w2"].T, "2.bias": params["b2"] - 1}
    )  # fmt: skip
    moved = {**params, "b1": params["b1"] + 0.5, "b2": params["b2"] - 1}
    x = torch.randn(11, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(model.apply(moved, x), plain(x))
    wide = MLP(400, 300, 2, 3, standard=True).initial(lambda name: numpy_stream(0, "w", name))
    assert wide["w1"].std() * 20 == pytest.approx(1, rel=0.02)


@pytest.mark.parametrize("momentum, decay", [(0.0, 0.0), (0.9, 0.0), (0.99, 0.1)])
def test_heavy_ball_is_sgd_of_torch(momentum, decay):
    rng = np.random.default_rng(0)
    start = torch.from_numpy(rng.standard_normal((2, 4, 3)))
    params = {"w1": start.clone()}
    memory = UPDATES["heavy_ball"].memory(params)
    hyper = {
        "rate": torch.tensor([0.1, 0.02], dtype=torch.float64),
        "momentum": torch.full((2,), momentum, dtype=torch.float64),
        "weight_decay": torch.full((2,), decay, dtype=torch.float64),
    }
    leaves = [start[run].clone().requires_grad_() for run in range(2)]
    plain = [
        torch.optim.SGD([leaf], lr=float(hyper["rate"][run]), momentum=momentum, weight_decay=decay)
        for run, leaf in enumerate(leaves)
    ]
    for _ in range(20):
        gradient = torch.from_numpy(rng.standard_normal((2, 4, 3)))
        UPDATES["heavy_ball"].apply(params, {"w1": gradient}, memory, hyper)
        for run, optimizer in enumerate(plain):
            leaves[run].grad = gradient[run].clone()
            optimizer.step()
    for run, leaf in enumerate(leaves):
        torch.testing.assert_close(params["w1"][run], leaf.detach(), rtol=1e-13, atol=0)
