"""Least-squares solutions against numpy's pseudo-inverse, by all routes and modes."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from regimes.optim.pseudo_inverse import ROUTES, Rule, solve

F64 = torch.float64


def drawn(*shape, seed=0, dtype=F64):
    """Standard normal numbers."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def with_ones(features):
    """[phi, 1] in numpy."""
    return np.concatenate([features.numpy(), np.ones((*features.shape[:-1], 1))], -1)


def check(found, solution, a, target, tolerance=1e-9):
    """Compare weights, bias, realised change and residual with a dense solution."""
    np.testing.assert_allclose(found.weight, solution[:-1], rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(found.bias, solution[-1], rtol=tolerance, atol=tolerance)
    realised = a @ solution
    np.testing.assert_allclose(found.realised, realised, rtol=tolerance, atol=tolerance)
    missed = np.linalg.norm(target - realised) / np.linalg.norm(target)
    assert found.residual == pytest.approx(missed, abs=1e-8)


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("shape", [(6, 20), (20, 6), (9, 8), (17, 17)])
def test_truncation_is_the_pseudo_inverse_at_that_tolerance(route, shape):
    features, target = drawn(*shape), drawn(shape[0], 3, seed=1).numpy()
    a = with_ones(features)
    values = np.linalg.svd(a, compute_uv=False)
    rtol = float(np.sqrt(values[2] * values[3]) / values[0])  # three are kept
    found = solve(features, torch.from_numpy(target), Rule(rtol=rtol, atol=0, route=route))
    check(found, np.linalg.pinv(a, rcond=rtol) @ target, a, target)
    assert found.rank == 3
    assert found.largest == pytest.approx(values[0])
    assert found.smallest_kept == pytest.approx(values[2])


@given(st.integers(1, 12), st.integers(1, 12), st.integers(0, 99))
@settings(max_examples=25, deadline=None)
def test_without_truncation_it_is_the_pseudo_inverse(samples, width, seed):
    features, target = drawn(samples, width, seed=seed), drawn(samples, 2, seed=seed + 1)
    a = with_ones(features)
    if np.linalg.cond(a) > 1e4:
        return
    found = solve(features, target, Rule(rtol=0, atol=0, route="svd"))
    check(found, np.linalg.pinv(a) @ target.numpy(), a, target.numpy(), 1e-7)
    gram = solve(features, target, Rule(rtol=1e-5, atol=0, route="gram"))
    np.testing.assert_allclose(gram.weight, found.weight, rtol=1e-5, atol=1e-6)


def test_both_thresholds_hold_and_the_absolute_one_can_drop_everything():
    features, target = 1e-9 * drawn(5, 9), drawn(5, 2, seed=1)
    only_ones = solve(features, target, Rule(rtol=0, atol=1e-5, route="svd"))
    assert only_ones.rank == 1
    np.testing.assert_allclose(only_ones.realised, target.mean(0).expand(5, 2), atol=1e-6)
    nothing = solve(features, target, Rule(rtol=0, atol=10, route="svd"))
    assert nothing.rank == 0 and nothing.smallest_kept.isnan() and nothing.residual == 1
    assert not nothing.weight.any() and not nothing.realised.any()


@pytest.mark.parametrize("route", ["auto", "gram64", "svd"])
@pytest.mark.parametrize("shape", [(6, 20), (20, 6)])
def test_damping_shifts_every_singular_value(route, shape):
    features, target = drawn(*shape), drawn(shape[0], 3, seed=1).numpy()
    a = with_ones(features)
    left, values, right = np.linalg.svd(a, full_matrices=False)
    solution = (right.T / (values + 0.05 * values[0])) @ left.T @ target
    rule = Rule("damp", damping=0.05, route=route)
    check(solve(features, torch.from_numpy(target), rule), solution, a, target)


def test_damping_leaves_directions_without_features_alone():
    """Features of rank two: no update along the seven directions that are rounding errors."""
    features = drawn(8, 2) @ drawn(2, 12, seed=1)
    found = solve(features, drawn(8, 3, seed=2), Rule("damp", damping=0.01))
    assert found.rank == 3  # two features and the ones
    basis = np.linalg.svd(features.numpy())[2][2:]  # weights that change nothing
    assert np.abs(basis @ found.weight.numpy()).max() < 1e-6


def test_noise_is_that_of_the_run_and_the_realised_change_that_of_the_true_features():
    features, target = drawn(6, 20), drawn(6, 3, seed=1)
    a = with_ones(features)
    rule = Rule("noise", noise=0.1)
    found = solve(features, target, rule, generators=[torch.Generator().manual_seed(5)])
    noise = torch.randn(6, 21, generator=torch.Generator().manual_seed(5)).double().numpy()
    noisy = a + 0.1 * a.std(ddof=1) * noise
    check(found, np.linalg.pinv(noisy) @ target.numpy(), a, target.numpy(), 1e-8)
    both = [torch.Generator().manual_seed(5)] * 2
    pair = solve(features.expand(2, 6, 20), target.expand(2, 6, 3), rule, generators=both)
    assert torch.equal(pair.weight[0], pair.weight[1])
    with pytest.raises(ValueError, match="1 runs need as many generators"):
        solve(features, target, rule)


@pytest.mark.parametrize("width", [300, 40])
def test_a_narrow_factor_gives_the_same_solution(width):
    """Linear features u C: [u R, 1] with R R^T = C C^T has the same Gram matrix."""
    source, expansion = drawn(30, 5), drawn(5, width, seed=1)
    target = drawn(30, 4, seed=2)
    factor = torch.linalg.cholesky(expansion @ expansion.T)
    narrow = torch.cat([source @ factor, torch.ones(30, 1, dtype=F64)], 1)
    plain = solve(source @ expansion, target, Rule(route="svd"))
    quick = solve(source @ expansion, target, Rule(), factor=narrow)
    for name in ("weight", "bias", "realised", "rank", "largest", "smallest_kept"):
        np.testing.assert_allclose(getattr(quick, name), getattr(plain, name), atol=1e-9)


def test_single_precision_agrees_at_the_truncation_of_the_paper():
    features = torch.relu(drawn(64, 20, seed=3) @ drawn(20, 300, seed=4))
    target = drawn(64, 10, seed=5)
    exact = solve(features, target, Rule(route="svd"))
    fast = solve(features.float(), target.float(), Rule())
    error = (fast.weight - exact.weight).norm() / exact.weight.norm()
    assert error < 1e-3
    assert fast.rank == exact.rank


def test_routes_are_chosen_by_what_they_resolve():
    single, double = torch.float32, torch.float64
    assert Rule().route_for(single) == "gram"
    assert Rule(rtol=1e-4).route_for(single) == "gram64"
    assert Rule(rtol=1e-4).route_for(double) == "gram"
    assert Rule(rtol=1e-9).route_for(single) == Rule(rtol=1e-9).route_for(double) == "svd"
    assert Rule("damp").route_for(single) == Rule("noise").route_for(single) == "gram64"
    assert Rule("noise", route="svd").route_for(single) == "svd"


@pytest.mark.parametrize("route", ROUTES)
def test_numbers_that_are_not_finite_stay_with_their_run(route):
    features, target = drawn(3, 6, 20), drawn(3, 6, 2, seed=1)
    features[1, 2, 3] = torch.inf
    found = solve(features, target, Rule(route=route))
    assert found.weight[1].isnan().all() and found.realised[1].isnan().all()
    alone = solve(features[[0, 2]], target[[0, 2]], Rule(route=route))
    assert torch.equal(found.weight[[0, 2]], alone.weight)


@pytest.mark.parametrize("rule", [Rule(), Rule("damp"), Rule(route="svd")])
def test_a_target_of_zero_and_features_of_zero(rule):
    found = solve(torch.zeros(6, 20, dtype=F64), drawn(6, 2), rule)
    assert found.rank == 1 and not found.weight.any()  # the ones are left
    none = solve(drawn(6, 20), torch.zeros(6, 2, dtype=F64), rule)
    assert not none.weight.any() and none.residual == 0


@pytest.mark.parametrize("route", ["gram", "gram64", "svd"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(7, 13), (13, 7), (37, 101)])
def test_a_run_has_the_same_bits_beside_any_others(route, dtype, shape):
    features, target = drawn(5, *shape, dtype=dtype), drawn(5, shape[0], 3, seed=1, dtype=dtype)
    together = solve(features, target, Rule(route=route))
    for pair in ([0, 1], [3, 2], [4, 0]):
        some = solve(features[pair], target[pair], Rule(route=route))
        for name in together._fields:
            expected, got = getattr(together, name)[pair], getattr(some, name)
            assert torch.equal(got, expected), name


def test_unknown_modes_and_routes_are_refused():
    for wrong in ({"mode": "clip"}, {"route": "qr"}):
        with pytest.raises(ValueError, match="modes are truncate, damp, noise"):
            Rule(**wrong)
