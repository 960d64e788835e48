from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from regimes.observe import kernels
from tests.observe.networks import Task, draw, joined, mlp, split

SEEDS = st.integers(0, 10_000)


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def literal_alignment(first, second):
    """CKA of two kernels by its formula."""
    count = len(first)
    centre = np.eye(count) - np.ones((count, count)) / count
    first, second = centre @ np.asarray(first) @ centre, centre @ np.asarray(second) @ centre
    return (first * second).sum() / np.linalg.norm(first) / np.linalg.norm(second)


def test_layer_kernel_has_inner_products():
    features = normal(2, 5, 3, 4)
    kernel = kernels.layer_kernel(features)
    assert kernel[1, 2, 3] == pytest.approx((features[1, 2] * features[1, 3]).sum().item())


# More features than points, fewer, and both.
@pytest.mark.parametrize(("wide", "other"), [(3, 4), (30, 2), (2, 30), (25, 40)])
def test_alignment_by_its_formula(wide, other):
    first, second = normal(3, 12, wide) + 0.5, normal(3, 12, other, seed=1) - 1
    first[:, :, :2] += second[:, :, :2]
    one, two = kernels.layer_kernel(first), kernels.layer_kernel(second)
    expected = [literal_alignment(one[run], two[run]) for run in range(3)]
    assert kernels.centred_alignment(one, two).numpy() == pytest.approx(expected, rel=1e-12)
    assert kernels.feature_alignment(first, second).numpy() == pytest.approx(expected, rel=1e-12)


def test_alignment_with_labels_that_all_runs_share():
    labels = torch.eye(4)[torch.arange(20) % 4]  # single precision, as stored
    features = normal(3, 20, 7)
    target = labels @ labels.T
    one = kernels.layer_kernel(features)
    expected = [literal_alignment(one[run], target) for run in range(3)]
    assert kernels.centred_alignment(one, target.double()).numpy() == pytest.approx(expected)
    assert kernels.centred_alignment(target.double(), one).numpy() == pytest.approx(expected)
    assert kernels.feature_alignment(features, labels).numpy() == pytest.approx(expected)
    assert kernels.feature_alignment(features.float(), labels).numpy() == pytest.approx(
        expected, rel=1e-5
    )


def test_random_features_have_the_alignment_of_a_wishart_matrix():
    """sqrt((C - 1) d / (n (n + d))) for d independent features, n points, C balanced classes."""
    labels = torch.eye(10)[torch.arange(600) % 10].double()
    value = kernels.feature_alignment(normal(10, 600, 200), labels)
    assert value.mean().item() == pytest.approx((9 * 200 / (600 * 800)) ** 0.5, rel=0.02)


@settings(max_examples=40, deadline=None)
@given(SEEDS, st.integers(2, 9), st.integers(1, 12), st.floats(1e-3, 1e3))
def test_alignment_is_a_cosine_that_scaling_rotation_and_shift_leave(seed, count, wide, factor):
    first, second = normal(2, count, wide, seed=seed), normal(2, count, 3, seed=seed + 1)
    value = kernels.feature_alignment(first, second)
    assert ((value >= 0) & (value <= 1 + 1e-12)).all()
    rotation = torch.linalg.qr(normal(wide, wide, seed=seed + 2))[0]
    changed = factor * first @ rotation + normal(2, 1, wide, seed=seed + 3)
    assert torch.allclose(kernels.feature_alignment(changed, second), value, rtol=1e-6, atol=1e-9)
    assert torch.allclose(kernels.feature_alignment(second, first), value, rtol=1e-9)
    itself = kernels.feature_alignment(first, changed)
    assert torch.allclose(itself, torch.ones_like(itself), rtol=1e-6)


def test_dead_constant_and_broken_layers_have_no_alignment():
    features = normal(5, 30, 7).float()
    features[1] = 0
    features[2] = normal(7, seed=3).float()  # constant over the points, dead up to the biases
    features[3, 4, 2] = torch.inf
    labels = torch.eye(3)[torch.arange(30) % 3]
    by_features = kernels.feature_alignment(features, labels)
    by_kernels = kernels.centred_alignment(kernels.layer_kernel(features), labels @ labels.T)
    for value in (by_features, by_kernels):
        assert value.isnan().tolist() == [False, True, True, True, False]


def explicit_tangent_kernel(task, run):
    """J J^T summed over the outputs, with J from the flat parameters."""
    extras = [item[run] for item in task.extras]
    jacobian = torch.func.jacrev(lambda v: task.outputs(split(v, task.params), *extras))(
        joined(task.params, run)
    )
    return torch.einsum("icp,jcp->ij", jacobian, jacobian)


@pytest.mark.parametrize("block", [10, 4, 1])
def test_tangent_kernel_against_the_jacobian(block):
    task = Task(3, (5, 7, 6, 3), 10, "mse")
    budget = 2 * block * sum(value.nbytes for value in task.params.values())

    def apply(params, x, gamma):
        return mlp(params, x) / gamma

    kernel = kernels.tangent_kernel(apply, task.params, task.x, task.extras[:1], budget=budget)
    for run in range(3):
        expected = explicit_tangent_kernel(task, run)
        assert torch.allclose(kernel[run], expected, rtol=1e-10)


def test_tangent_kernel_of_a_linear_model_is_the_layer_kernel_for_each_output():
    params = draw(2, (4, 3))
    x = normal(6, 4)
    kernel = kernels.tangent_kernel(lambda p, points: points @ p["w1"] + p["b1"], params, x)
    assert torch.allclose(kernel, (3 * (x @ x.T + 1)).expand(2, 6, 6))


def test_relative_move_and_mean_output():
    initial = {"w1": torch.full((2, 3, 4), 2.0), "w2": torch.ones(2, 5), "b1": torch.zeros(2, 4)}
    params = {name: value.clone() for name, value in initial.items()}
    params["w1"][1] *= 1.5
    params["w2"][0] = -1
    moves = kernels.relative_move(params, initial, ["w1", "w2"])
    assert torch.allclose(moves, torch.tensor([[0, 2], [0.5, 0]]).double())
    outputs = torch.tensor([[[1.0, -3.0]], [[0.0, 0.5]]])
    assert kernels.mean_absolute(outputs).tolist() == [2, 0.25]


@pytest.mark.parametrize("count", [16, 13])
def test_bits_of_a_run_do_not_depend_on_the_others(count):
    every = []
    labels = torch.eye(3)[torch.arange(count) % 3]
    for runs in (2, 3, 5):
        task = Task(runs, (5, 7, 6, 3), count, "mse", same=True, dtype=torch.float32)
        features = task.x.expand(runs, count, 5).contiguous()
        every.append(
            [
                kernels.tangent_kernel(mlp, task.params, task.x),
                kernels.layer_kernel(features),
                kernels.feature_alignment(features, labels),
                kernels.centred_alignment(kernels.layer_kernel(features), labels @ labels.T),
                kernels.relative_move(task.params, draw(runs, (5, 7, 6, 3), same=True), ["w2"]),
                kernels.mean_absolute(task.extras[1]),
            ]
        )
    for results in zip(*every, strict=True):
        assert all(torch.equal(results[0][0], lane) for result in results for lane in result)
