"""The Gauss-Newton direction against dense Jacobians in float64."""

import numpy as np
import pytest
import torch
from torch.func import jacrev

from regimes.nn.revmlp import RevMLP
from regimes.optim.gauss_newton import direction, expansion_factors
from regimes.optim.pseudo_inverse import Rule
from tests.nn.test_revmlp import inputs, stream

FULL = Rule(rtol=1e-13, atol=0, route="svd")  # no truncation


def network(activation="tanh", seed=0, outputs=None, blocks=3, width=40, linear=False):
    """Toy network of the specification: C entries N(0, 1), weights N(0, 0.3^2)."""
    model = RevMLP(8, blocks, width, outputs, activation, first_block_linear=linear)
    frozen = model.frozen(stream(seed), expansion_std=1.0)
    drawn = model.initial(stream(seed), 0.3) | frozen
    return model, {name: torch.from_numpy(value) for name, value in drawn.items()}


def jacobian(model, params, x):
    """Jacobian of all states x_L with respect to every trained tensor: dict of (n d, size)."""
    trained = {name: params[name] for name in model.shapes()}
    found = jacrev(lambda p: model.run({**params, **p}, x).output.flatten())(trained)
    return {name: value.flatten(1) for name, value in found.items()}


def flat(update, names):
    """Tensors of these names, one after the other."""
    return torch.cat([update[name].flatten() for name in names])


def setting(activation="tanh", seed=0, **more):
    """Network, batch, error, direction and Jacobian."""
    model, params = network(activation, seed, **more)
    x, error = inputs(model, 6, seed), inputs(model, 6, seed + 100)
    found, _ = direction(model, params, model.run(params, x), error, FULL)
    return model, params, x, error, found, jacobian(model, params, x)


def of_block(model, block):
    """Names of the trained tensors of a block."""
    return [name for name in model.shapes() if name[1:-1] == str(block)]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("activation", "tolerance"), [("tanh", 1e-10), ("relu", 1e-7)])
def test_the_stack_over_the_blocks_is_a_right_inverse(activation, tolerance, seed):
    """J Delta = E (proposition 4.4)."""
    model, _, _, error, found, jac = setting(activation, seed)
    moved = sum(jac[name] @ found[name].flatten() for name in jac) / model.blocks
    assert (moved - error.flatten()).norm() <= tolerance * error.norm()


def test_each_block_alone_makes_the_whole_change_with_the_smallest_step():
    """A block's update is the Moore-Penrose solution of its own Jacobian (appendix N)."""
    model, _, _, error, found, jac = setting()
    for block in range(1, model.blocks + 1):
        names = of_block(model, block)
        own = torch.cat([jac[name] for name in names], 1)
        expected = torch.linalg.pinv(own, rtol=1e-13) @ error.flatten()
        assert (flat(found, names) - expected).norm() <= 1e-10 * expected.norm()


def test_the_stack_is_not_the_minimum_norm_solution():
    model, _, _, error, found, jac = setting()
    whole = torch.cat(list(jac.values()), 1)
    smallest = torch.linalg.pinv(whole, rtol=1e-13) @ error.flatten()
    stack = flat(found, list(jac)) / model.blocks
    assert stack.norm() > 1.5 * smallest.norm()
    # Any two right inverses differ by something that changes nothing.
    assert (whole @ (stack - smallest)).norm() <= 1e-9 * error.norm()


def test_without_the_cross_term_it_is_no_right_inverse():
    model, params, x, error, _, jac = setting()
    wrong, _ = direction(model, params, model.run(params, x), error, FULL, cross_term=False)
    moved = sum(jac[name] @ wrong[name].flatten() for name in jac) / model.blocks
    assert (moved - error.flatten()).norm() > 0.5 * error.norm()


@pytest.mark.parametrize("blocks", [1, 2])
def test_with_truncation_g_makes_up_for_what_f_really_does(blocks):
    """The cross term uses the realised change of F: G meets its part of the target exactly."""
    model, params = network(blocks=blocks, width=40)
    x, error = inputs(model, 6), inputs(model, 6, 1)
    rule = Rule(rtol=0.3, atol=0)  # drops many singular values
    passed = model.run(params, x)
    found, diagnostics = direction(model, params, passed, error, rule)
    assert (diagnostics.rank_kept < 6).any() and (diagnostics.residual_fraction > 0.01).any()
    name = f"{blocks}g"
    of_g = torch.cat([passed.halves[-1].features, torch.ones(6, 1, dtype=torch.float64)], 1)
    of_f = torch.cat([passed.halves[-2].features, torch.ones(6, 1, dtype=torch.float64)], 1)
    change = torch.cat([found[f"w{blocks}f"], found[f"b{blocks}f"][None]])
    pushed = model.push(params, name, passed.halves[-1], of_f @ change)
    wanted = error[:, 4:] - pushed
    expected = torch.linalg.pinv(of_g, rtol=0.3) @ wanted
    np.testing.assert_allclose(found[f"w{name}"], expected[:-1], atol=1e-9)


def test_linear_blocks_take_the_narrow_route_to_the_same_update():
    model, params = network("relu", linear=True, width=60)
    x, error = inputs(model, 12), inputs(model, 12, 1)
    passed = model.run(params, x)
    factors = expansion_factors(model, params)
    assert set(factors) == {"1f", "1g"}
    rule = Rule(rtol=1e-4, atol=0)
    plain, rank = direction(model, params, passed, error, rule)
    quick, narrow = direction(model, params, passed, error, rule, factors=factors)
    for name in plain:
        np.testing.assert_allclose(quick[name], plain[name], rtol=1e-5, atol=1e-7)
    assert torch.equal(rank.rank_kept, narrow.rank_kept)
    assert narrow.rank_kept[:2].tolist() == [5, 5]  # h + 1, less than the 12 samples
    assert expansion_factors(RevMLP(8, 2, None, 3), {}) == {}


def test_the_error_of_logits_reaches_them_through_the_readout():
    """A small step moves the logits against the lifted error, U^T U = 1."""
    model, params = network(outputs=3)
    x, error = inputs(model, 6), inputs(model, 6, 1)[:, :3]
    found, _ = direction(model, params, model.run(params, x), model.lift(params, error), FULL)
    step = 1e-6
    moved = {name: params[name] - step / model.blocks * found[name] for name in found}
    change = (model.apply({**params, **moved}, x) - model.apply(params, x)) / step
    np.testing.assert_allclose(change, -error, atol=1e-3)


def test_diagnostics_count_and_measure():
    model, params = network()
    x, error = inputs(model, 6), inputs(model, 6, 1)
    passed = model.run(params, x)
    found, diagnostics = direction(model, params, passed, error, FULL)
    for index, half in enumerate(model.halves):
        features = passed.halves[index].features.numpy()
        values = np.linalg.svd(np.c_[features, np.ones(6)], compute_uv=False)
        assert diagnostics.rank_kept[index] == 6
        assert diagnostics.largest[index] == pytest.approx(values[0])
        assert diagnostics.smallest_kept[index] == pytest.approx(values[-1])
        assert diagnostics.residual_fraction[index] < 1e-9
        both = torch.cat([found[f"w{half}"], found[f"b{half}"][None]])
        assert diagnostics.update_norm[index] == pytest.approx(float(both.norm()))


def test_many_runs_at_once_are_the_single_ones():
    model, _ = network()
    runs = [network(seed=seed)[1] for seed in range(3)]
    together = {name: torch.stack([run[name] for run in runs]) for name in runs[0]}
    x = torch.stack([inputs(model, 6, seed) for seed in range(3)])
    error = torch.stack([inputs(model, 6, seed + 9) for seed in range(3)])
    rule = Rule(rtol=1e-4)
    batched, _ = direction(model, together, model.run(together, x), error, rule)
    for seed, params in enumerate(runs):
        alone, _ = direction(model, params, model.run(params, x[seed]), error[seed], rule)
        for name in alone:
            np.testing.assert_allclose(batched[name][seed], alone[name], rtol=1e-6, atol=1e-9)
