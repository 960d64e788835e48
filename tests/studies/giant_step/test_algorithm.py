from __future__ import annotations

from math import pi, sqrt

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from regimes.studies.giant_step import algorithm
from regimes.studies.giant_step.functions import ACTIVATIONS, TARGETS
from regimes.studies.giant_step.surrogate import surrogate_coefficients, surrogate_features

TARGET_OF_RUN = ("minus", "plus", "he124")


def problem(samples=37, dimension=9, width=8, symmetric=False, seeds=(0, 1, 2), readout="uniform"):
    """Start and data of three runs in float64, targets differ."""

    def stack(function, *arguments):
        return torch.from_numpy(np.stack([function(seed, *arguments) for seed in seeds]))

    teacher = stack(algorithm.teacher_directions, 2, dimension)
    rows = stack(algorithm.initial_rows, "sphere", width, dimension, symmetric)
    a = stack(algorithm.initial_readout, readout, width, symmetric)
    z = torch.from_numpy(np.random.default_rng(7).standard_normal((3, samples, dimension)))
    return teacher, rows, a, z


def labels_of(teacher):
    return lambda samples: algorithm.target_labels(samples, teacher, TARGET_OF_RUN)


def autograd(rows, readout, z, y, activation, residual="full"):
    """Negative gradient of (1/2n) sum (y - fhat)^2, run by run."""
    rows = rows.clone().requires_grad_()
    loss = 0.0
    for w, a, samples, targets in zip(rows, readout, z, y, strict=True):
        output = ACTIVATIONS[activation][0](samples @ w.T) @ a / sqrt(len(a))
        if residual == "full":
            loss = loss + (targets - output).square().mean() / 2
        else:
            loss = loss - (targets * output).mean()
    return -torch.autograd.grad(loss, rows)[0]


# ------------------------------------------------------------------------------- start and labels


def test_teacher_directions_are_orthonormal_and_nested():
    three = algorithm.teacher_directions(4, 3, 20)
    assert np.allclose(three @ three.T, np.eye(3), atol=1e-12)
    assert np.allclose(three[:1], algorithm.teacher_directions(4, 1, 20), atol=1e-12)


def test_initial_rows():
    sphere = algorithm.initial_rows(0, "sphere", 10, 30, symmetric=True)
    assert np.allclose(np.linalg.norm(sphere, axis=1), 1)
    assert np.array_equal(sphere, sphere[::-1])
    gauss = algorithm.initial_rows(0, "gauss", 200, 300, symmetric=False)
    assert abs(gauss.std() * sqrt(300) - 1) < 0.02


@pytest.mark.parametrize(
    "width, symmetric, block", [(64, False, 20), (128, True, 20), (8, True, 1)]
)
def test_hypercube_readout(width, symmetric, block):
    a = algorithm.initial_readout(3, "hypercube", width, symmetric) * sqrt(width)
    assert np.allclose(np.abs(a), 1)
    assert (a[:block] > 0).all() and (a[block : 2 * block] < 0).all()
    if symmetric:
        assert np.array_equal(a, -a[::-1])


def test_readout_laws():
    uniform = algorithm.initial_readout(0, "uniform", 4000, False) * sqrt(4000)
    gauss = algorithm.initial_readout(0, "gauss", 4000, False) * sqrt(4000)
    assert abs(uniform).max() <= 1 and abs(uniform.var() - 1 / 3) < 0.02
    assert abs(gauss.var() - 1) < 0.08


@pytest.mark.parametrize("dimension, expected", [(50, 0.113), (200, 0.056), (800, 0.028)])
def test_initial_overlap_is_the_random_level(dimension, expected):
    overlaps = [
        np.abs(
            algorithm.initial_rows(seed, "sphere", 2048, dimension, symmetric=False)
            @ algorithm.teacher_directions(seed, 1, dimension).T
        ).mean()
        for seed in range(10)
    ]
    assert np.mean(overlaps) == pytest.approx(expected, abs=1.5e-3)
    assert sqrt(2 / (pi * dimension)) == pytest.approx(expected, abs=1e-3)


def test_labels_follow_the_target_of_each_run():
    teacher, _, _, z = problem()
    y = algorithm.target_labels(z, teacher, TARGET_OF_RUN)
    for run, target in enumerate(TARGET_OF_RUN):
        arguments = (z[run] @ teacher[run].T).unbind(dim=1)
        assert torch.allclose(y[run], TARGETS[target](*arguments))


def test_preprocessed_labels_have_no_linear_part_left():
    teacher, _, _, z = problem(samples=400)
    raw = labels_of(teacher)
    linear = algorithm.linear_part(z.split(64, dim=1), raw)
    y = raw(z)
    assert torch.allclose(linear.mean, y.mean(dim=1))
    assert torch.allclose(linear.slope, torch.einsum("rn,rnd->rd", y, z) / 400)
    expected = y - linear.mean[:, None] - torch.einsum("rd,rnd->rn", linear.slope, z)
    assert torch.allclose(algorithm.without(linear, raw)(z), expected)
    assert algorithm.without(None, raw) is raw


# ----------------------------------------------------------------------------------- giant steps


@pytest.mark.parametrize("activation", ["relu", "cubic"])
@pytest.mark.parametrize("residual", ["full", "labels"])
def test_gradient_against_autograd(activation, residual):
    teacher, rows, a, z = problem()
    labels = labels_of(teacher)
    found = algorithm.negative_gradient(rows, a, [z], labels, activation, residual)
    expected = autograd(rows, a, z, labels(z), activation, residual)
    assert torch.allclose(found.negative, expected, atol=1e-12)
    output = algorithm.network_output(z, rows, a, activation)
    assert torch.allclose(found.error, (labels(z) - output).square().mean(dim=1))
    assert torch.allclose(found.spike, torch.einsum("rn,rnd->rd", labels(z), z) / z.shape[1])


@settings(max_examples=30, deadline=None)
@given(
    samples=st.integers(1, 60),
    dimension=st.integers(2, 12),
    width=st.integers(1, 9),
    chunk=st.integers(1, 60),
    activation=st.sampled_from(["relu", "cubic"]),
)
def test_chunking_does_not_change_the_gradient(samples, dimension, width, chunk, activation):
    teacher, rows, a, z = problem(samples, dimension, width)
    labels = labels_of(teacher)
    whole = algorithm.negative_gradient(rows, a, [z], labels, activation)
    parts = algorithm.negative_gradient(rows, a, z.split(chunk, dim=1), labels, activation)
    for one, other in zip(whole, parts, strict=True):
        assert torch.allclose(one, other, atol=1e-12)


@settings(max_examples=30, deadline=None)
@given(
    dimension=st.integers(2, 20),
    half=st.integers(1, 40),
    readout=st.sampled_from(["uniform", "gauss", "hypercube"]),
    activation=st.sampled_from(["relu", "cubic"]),
)
def test_symmetric_start_has_zero_output(dimension, half, readout, activation):
    _, rows, a, z = problem(30, dimension, 2 * half, symmetric=True, readout=readout)
    assert algorithm.network_output(z, rows, a, activation).abs().max() < 1e-12


@pytest.mark.parametrize("activation", ["relu", "cubic"])
def test_mirrored_gradient_is_the_gradient_at_the_symmetric_start(activation):
    teacher, rows, a, z = problem(symmetric=True)
    labels = labels_of(teacher)
    half = algorithm.mirrored_gradient(rows, a, [z], labels, activation)
    full = algorithm.negative_gradient(rows, a, [z], labels, activation)
    for one, other in zip(half, full, strict=True):
        assert torch.allclose(one, other, atol=1e-12)


def test_single_precision_is_close_to_double():
    teacher, rows, a, z = problem(samples=500)
    single = algorithm.negative_gradient(
        rows.float(), a.float(), z.float().split(100, dim=1), labels_of(teacher.float())
    )
    double = algorithm.negative_gradient(rows, a, [z], labels_of(teacher))
    difference = (single.negative.double() - double.negative).norm() / double.negative.norm()
    assert difference < 1e-5


# ------------------------------------------------------------------------------ ridge regression


@pytest.mark.parametrize("samples", [5, 7, 8, 9, 40])
def test_second_stage_against_a_dense_solution(samples):
    teacher, rows, a, z = problem(samples)
    labels, strengths = labels_of(teacher), (1e-2, 1.0)
    moved = rows + 0.1
    maps = [algorithm.features(w) for w in (rows, moved)]
    stage = algorithm.ridge_coefficients(maps, z.split(6, dim=1), labels, samples, 8, strengths)
    test = torch.randn(3, 50, 9, dtype=torch.float64)
    errors = algorithm.generalization_error(
        maps, stage.coefficients.unsqueeze(2), test.split(16, dim=1), [labels]
    )
    for m, w in enumerate((rows, moved)):
        for run in range(3):
            phi = (z[run] @ w[run].T).relu() / sqrt(8)
            test_phi = (test[run] @ w[run].T).relu() / sqrt(8)
            y, test_y = labels(z)[run], labels(test)[run]
            for s, strength in enumerate(strengths):
                system = phi.T @ phi + strength * torch.eye(8, dtype=torch.float64)
                coefficients = torch.linalg.solve(system, phi.T @ y)
                assert torch.allclose(stage.coefficients[m, run, s], coefficients, atol=1e-9)
                train_error = (y - phi @ coefficients).square().mean()
                assert torch.allclose(stage.train_error[m, run, s], train_error, atol=1e-9)
                test_error = (test_y - test_phi @ coefficients).square().mean()
                assert torch.allclose(errors[m, run, 0, s], test_error, atol=1e-9)


# ------------------------------------------------------------------------------------- surrogate


@pytest.mark.parametrize("activation", ["relu", "cubic"])
def test_surrogate_coefficients_by_quadrature(activation):
    stream = torch.Generator().manual_seed(0)
    u, kappa = torch.randn(2, 20, generator=stream, dtype=torch.float64)
    s = torch.rand(20, generator=stream, dtype=torch.float64) + 0.3
    g = torch.linspace(-9, 9, 400_001, dtype=torch.float64)
    weight = torch.exp(-(g**2) / 2) / sqrt(2 * pi) * (g[1] - g[0])
    m, b, cstar = surrogate_coefficients(u, kappa, s, activation)
    for index in range(20):
        sigma = ACTIVATIONS[activation][0](kappa[index] * u[index] + s[index] * g)
        mean, slope = (weight * sigma).sum(), (weight * g * sigma).sum()
        rest = (weight * sigma**2).sum() - mean**2 - slope**2
        assert m[index].item() == pytest.approx(mean.item(), abs=1e-7)
        assert b[index].item() == pytest.approx(slope.item(), abs=1e-7)
        assert cstar[index].item() ** 2 == pytest.approx(rest.item(), abs=1e-7)


def test_surrogate_has_the_conditional_moments_of_the_features():
    _, rows, _, z = problem(samples=40_000, dimension=6, width=4)
    spike = torch.randn(3, 6, dtype=torch.float64)
    noise = [torch.randn(3, 40_000, 4, dtype=torch.float64)]
    replaced = surrogate_features(rows, spike, noise)(z)
    real = algorithm.features(rows)(z)
    u = torch.einsum("rnd,rd->rn", z, spike)
    for subset in (u > 0.5, u < -0.5):
        for run in range(3):
            one, other = real[run, subset[run]], replaced[run, subset[run]]
            assert torch.allclose(one.mean(dim=0), other.mean(dim=0), atol=0.04)
            assert torch.allclose(one.var(dim=0), other.var(dim=0), rtol=0.1, atol=0.03)


def test_mirrored_surrogate_neurons_are_copies():
    _, rows, _, z = problem(width=8, symmetric=True)
    noise = torch.randn(3, 37, 8, dtype=torch.float64)
    spike = torch.randn(3, 9, dtype=torch.float64)
    phi = surrogate_features(rows, spike, [noise], mirrored=True)(z)
    assert torch.allclose(phi, phi.flip(2), atol=1e-6)
