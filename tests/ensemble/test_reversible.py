"""Reversible networks in the engine: gradients, Gauss-Newton steps, frozen tensors, divergence."""

import numpy as np
import pytest
import torch

from regimes.data.samples import EPOCHS, SampledStream, WholeSet
from regimes.ensemble import engine
from regimes.ensemble.losses import LOSSES
from regimes.ensemble.reversible import NOISE_SEED, GaussNewtonNetwork, ReversibleNetwork
from regimes.ensemble.updates import UPDATES
from regimes.nn.revmlp import RevMLP
from regimes.optim.gauss_newton import direction
from regimes.optim.pseudo_inverse import Rule
from tests.nn.test_revmlp import stream

MODEL = RevMLP(8, 2, 40, 3)
LOSS = LOSSES["cross_entropy"]
GENERATOR = torch.Generator().manual_seed(0)
X = torch.randn(24, 8, generator=GENERATOR, dtype=torch.float64)
TARGETS = torch.eye(3, dtype=torch.float64)[torch.randint(3, (24,), generator=GENERATOR)]


def runs(rates, seeds, dtype=torch.float64, decay=0.0, model=MODEL):
    """Runs at these rates, from the weights of these seeds."""

    def stacked(drawn):
        return {n: torch.from_numpy(np.stack([d[n] for d in drawn])).to(dtype) for n in drawn[0]}

    rate = torch.tensor(rates, dtype=dtype)
    each = torch.arange(len(rates))
    frozen = stacked([model.frozen(stream(seed)) for seed in seeds])
    frozen[NOISE_SEED] = torch.tensor(seeds)
    start = stacked([model.initial(stream(seed), 0.1) for seed in seeds])
    more = {"weight_decay": torch.full_like(rate, decay)}
    return engine.Runs(
        start, each, each, torch.ones_like(rate), rate, more, centred=False, frozen=frozen
    )


def batches(steps, dtype=torch.float64, seeds=(0, 1, 2)):
    return SampledStream(X.to(dtype), TARGETS.to(dtype), seeds, 9, steps, EPOCHS, keep_last=True)


@pytest.mark.parametrize("decay", [0.0, 0.1])
@pytest.mark.parametrize(
    ("name", "optimizer"),
    [("decayed", torch.optim.SGD), ("adam", torch.optim.Adam)],
)
def test_first_order_training_is_that_of_torch(name, optimizer, decay):
    program, rates = runs([0.01, 0.02, 0.05], [3, 4, 5], decay=decay), [0.01, 0.02, 0.05]
    network = ReversibleNetwork(MODEL, LOSS)
    found = engine.train(network, UPDATES[name], batches(12), program, after=LOSS)
    for run, rate in enumerate(rates):
        params = {n: p[run].clone().requires_grad_() for n, p in program.start.items()}
        frozen = {n: p[run] for n, p in program.frozen.items()}
        rule = optimizer(params.values(), lr=rate, weight_decay=decay)
        for step, (x, targets) in enumerate(batches(12)):
            value = LOSS.value(MODEL.apply({**params, **frozen}, x[run]), targets[run])
            np.testing.assert_allclose(found.loss[run, step], float(value.detach()), rtol=1e-9)
            rule.zero_grad()
            value.backward()
            rule.step()
            after = LOSS.value(MODEL.apply({**params, **frozen}, x[run]), targets[run])
            np.testing.assert_allclose(
                found.loss_after[run, step], float(after.detach()), rtol=1e-9
            )


@pytest.mark.parametrize("cross_term", [True, False])
def test_gauss_newton_training_follows_the_algorithm(cross_term):
    """Plain Gauss-Newton: errors are softmax - onehot of each sample, not divided by the batch."""
    program, rule = runs([0.1, 0.3], [3, 4], decay=0.05), Rule(rtol=1e-4)
    network = GaussNewtonNetwork(MODEL, LOSS, rule, cross_term)
    found = engine.train(network, UPDATES["decayed"], batches(7, seeds=(0, 1)), program)
    for run, rate in enumerate((0.1, 0.3)):
        params = {n: p[run].clone() for n, p in program.start.items()}
        frozen = {n: p[run] for n, p in program.frozen.items()}
        for step, (x, targets) in enumerate(batches(7, seeds=(0, 1))):
            both = {**params, **frozen}
            passed = MODEL.run(both, x[run])
            logits = passed.output @ frozen["readout"]
            error = (logits.softmax(1) - targets[run]) @ frozen["readout"].T
            value = LOSS.value(logits, targets[run])
            np.testing.assert_allclose(found.loss[run, step], float(value), rtol=1e-8)
            moved, _ = direction(MODEL, both, passed, error, rule, cross_term=cross_term)
            for name in params:
                params[name] = params[name] - rate * (moved[name] + 0.05 * params[name])


def test_the_error_of_regression_is_twice_the_residual_of_each_sample():
    """Mean squared error, one output: eps = 2 (z - y), not divided by the batch."""
    model, rule = RevMLP(8, 2, 40, 1), Rule(rtol=1e-4)
    program, targets = runs([0.1, 0.3], [3, 4], model=model), X[:, :1] ** 2
    network = GaussNewtonNetwork(model, LOSSES["mse"], rule)
    found = engine.train(network, UPDATES["decayed"], WholeSet(X, targets, 2), program)
    for run, rate in enumerate((0.1, 0.3)):
        both = {name: value[run] for name, value in {**program.start, **program.frozen}.items()}
        passed = model.run(both, X)
        error = passed.output @ both["readout"] - targets
        assert found.loss[run, 0] == pytest.approx(float(error.square().mean()))
        moved, _ = direction(model, both, passed, 2 * error @ both["readout"].T, rule)
        after = {name: both[name] - rate * moved[name] for name in moved}
        error = model.apply({**both, **after}, X) - targets
        assert found.loss[run, 1] == pytest.approx(float(error.square().mean()), rel=1e-8)


def test_gauss_newton_overtakes_gradient_descent_on_a_fixed_batch():
    """With features for every sample it follows gradient descent in function space, alpha = 0.1."""
    model, data = RevMLP(8, 2, 300, 3, first_block_linear=False), WholeSet(X, TARGETS, 80)
    program = runs([0.05, 0.05], [3, 4], model=model)
    network = GaussNewtonNetwork(model, LOSS, Rule(rtol=1e-4))
    fast = engine.train(network, UPDATES["decayed"], data, program)
    slow = engine.train(ReversibleNetwork(model, LOSS), UPDATES["decayed"], data, program)
    assert (fast.loss[:, -1] < 0.3 * slow.loss[:, -1]).all()
    for run in range(2):
        both = {name: value[run] for name, value in {**program.start, **program.frozen}.items()}
        logits = model.apply(both, X)
        for step in range(80):
            assert fast.loss[run, step] == pytest.approx(
                float(LOSS.value(logits, TARGETS)), rel=0.1
            )
            logits = logits - 0.1 * (logits.softmax(1) - TARGETS)


@pytest.mark.parametrize("mode", ["truncate", "damp", "noise"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_bits_of_a_run_do_not_depend_on_its_neighbours(mode, dtype):
    def train(which):
        program = runs([[0.1, 0.2, 0.3][i] for i in which], [[3, 4, 3][i] for i in which], dtype)
        network = GaussNewtonNetwork(MODEL, LOSS, Rule(mode))
        data = batches(6, dtype, seeds=which)
        return engine.train(network, UPDATES["decayed"], data, program).loss

    together = train([0, 1, 2])
    np.testing.assert_array_equal(train([0, 0])[0], together[0])
    np.testing.assert_array_equal(train([2, 1])[::-1], together[1:])


def test_a_run_that_diverges_is_recorded_and_leaves_the_others_alone():
    program = runs([0.1, 1e8, 0.3], [3, 4, 5])
    network = GaussNewtonNetwork(MODEL, LOSS, Rule())
    found = engine.train(network, UPDATES["decayed"], batches(60), program, after=LOSS)
    assert (found.diverged_at >= 0).tolist() == [False, True, False]
    assert np.isnan(found.loss[1, -1]) and np.isnan(found.loss_after[1, -1])
    calm = runs([0.1, 0.3], [3, 5])
    again = engine.train(network, UPDATES["decayed"], batches(60, seeds=(0, 2)), calm)
    np.testing.assert_array_equal(found.loss[[0, 2]], again.loss)


def test_looking_at_diagnostics_does_not_change_the_noise_of_the_training():
    program, rule = runs([0.1, 0.3], [3, 4]), Rule("noise")

    def train(look):
        network = GaussNewtonNetwork(MODEL, LOSS, rule)
        x, targets = X[:9].expand(2, 9, 8), TARGETS[:9].expand(2, 9, 3)

        def measure(state):
            if look:
                network.diagnostics(state.everything, x, targets)
            return {"nothing": state.gamma}

        watched = [engine.Observation(range(6), measure)]
        stream = batches(6, seeds=(0, 1))
        return engine.train(network, UPDATES["decayed"], stream, program, watched).loss

    np.testing.assert_array_equal(train(True), train(False))
