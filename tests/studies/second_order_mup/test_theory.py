"""Orders against dense numerics, tables against numbers by hand, kernels against sampling."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from regimes.nn import abc_parameterization as abc
from regimes.studies.second_order_mup import theory

HALF = Fraction(1, 2)


def power(matrix, exponent):
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * values**exponent) @ vectors.T


def dense_change(random, width, role, powers, output_exponent):
    """Mean |dW h| of one dense update, damped in proportion to the largest eigenvalues."""
    samples, inputs, outputs = 4, 6, 3
    fan_in = inputs if role == "input" else width
    fan_out = outputs if role == "output" else width
    h = random.standard_normal((samples, fan_in))
    delta = random.standard_normal((samples, fan_out))
    if role != "output":
        delta *= width**-output_exponent
    left, right = h.T @ h / samples, delta.T @ delta / samples
    for factor in (left, right):
        factor += 0.3 * np.linalg.eigvalsh(factor)[-1] * np.eye(len(factor))
    e_a, e_b = powers
    update = power(left, -e_a) @ (h.T @ delta / samples) @ power(right, -e_b)
    return np.abs(h @ update).mean()


@pytest.mark.parametrize("output_exponent", [0.5, 1.0])
@pytest.mark.parametrize("powers", [(0, 0), (0.5, 0.5), (1, 1), (1, 0), (0.3, 0.8)])
def test_orders_are_those_of_dense_updates(powers, output_exponent):
    random = np.random.default_rng(3)
    widths = [32, 64, 128, 256]
    found = []
    for role in abc.ROLES:
        changes = [
            np.mean([dense_change(random, m, role, powers, output_exponent) for _ in range(8)])
            for m in widths
        ]
        found.append(np.polyfit(np.log(widths), np.log(changes), 1)[0])
    wanted = theory.push_through_orders(abc.Powers(*powers), output_exponent)
    np.testing.assert_allclose(found, wanted, atol=0.12)


@pytest.mark.parametrize(
    ("optimizer", "parameterization", "slopes"),
    [
        ("sgd", "sp", (-0.5, 0.5, 1)),
        ("shampoo", "sp", (-0.5, 0, 0.5)),
        ("kfac", "sp", (-0.5, -0.5, 0)),
        ("foof", "sp", (-0.5, -0.5, 0)),
        ("sgd", "up", (-0.5, -0.5, 0)),
        ("shampoo", "up", (-0.5, -0.5, 0)),
        ("kfac", "up", (-0.5, -0.5, 0)),
        ("adam", "sp", (0, 1, 1)),
    ],
)
def test_slopes_of_named_optimizers(optimizer, parameterization, slopes):
    assert theory.optimizer_slopes(optimizer, parameterization) == slopes


@pytest.mark.parametrize("optimizer", [*abc.POWERS, "adam"])
def test_mup_leaves_no_slope(optimizer):
    assert theory.optimizer_slopes(optimizer, "mup") == (0, 0, 0)


def test_a_larger_output_layer_brings_slopes_back_in_mup():
    found = theory.predicted_slopes(abc.POWERS["sgd"], "mup", HALF)
    assert found == (HALF, HALF, 0)


def test_adam_has_no_uniform_row():
    with pytest.raises(KeyError):
        theory.optimizer_slopes("adam", "up")


def test_code_shares_the_published_table():
    for (optimizer, parameterization), row in theory.PUBLISHED.items():
        assert abc.initial_exponents(parameterization) == row.initial
        assert abc.learning_rate_exponents(optimizer, parameterization) == row.rates
    for (optimizer, parameterization, factor), row in theory.PUBLISHED_DAMPING.items():
        last = abc.initial_exponents(parameterization)[-1]
        assert abc.damping_exponents(optimizer, last)[factor] == row


# --- Kernels --------------------------------------------------------------------------------------


def test_arc_cosine_step_is_a_gaussian_mean():
    random = np.random.default_rng(0)
    root = np.array([[1.0, 0.0], [0.6, 0.5]])
    covariance = root @ root.T
    u = np.maximum(random.standard_normal((2_000_000, 2)) @ root.T, 0)
    variances = np.diag(covariance)
    found = theory.arc_cosine_step(covariance, variances, variances)
    np.testing.assert_allclose(found, u.T @ u / len(u), atol=4e-3)


@pytest.mark.parametrize(("correlation", "value"), [(1, 0.5), (0, 1 / (2 * np.pi)), (-1, 0)])
def test_arc_cosine_step_at_known_angles(correlation, value):
    one = np.ones(1)
    found = theory.arc_cosine_step(np.array([[correlation]], dtype=float), one, one)
    assert found.item() == pytest.approx(value, abs=1e-15)


def test_rounding_and_zeros_stay_in_the_domain():
    found = theory.arc_cosine_step(
        np.array([[1 + 1e-15, 0.0]]), np.array([1.0]), np.array([1.0, 0.0])
    )
    np.testing.assert_allclose(found, [[0.5, 0.0]], atol=1e-12)


def test_kernel_of_a_wide_network_approaches_the_recursion():
    random = np.random.default_rng(1)
    x = random.standard_normal((5, 7))
    h = x
    for width in (4000, 4000):
        weights = random.standard_normal((h.shape[1], width)) / np.sqrt(h.shape[1])
        h = np.maximum(h @ weights, 0)
    layers = theory.nngp_layers(x, hidden_layers=2)
    np.testing.assert_allclose(h @ h.T / h.shape[1], layers[-1], atol=0.05 * layers[-1].max())
    np.testing.assert_array_equal(theory.nngp_kernel(x), layers[-1])


def test_recursion_halves_the_diagonal_and_takes_leading_axes():
    random = np.random.default_rng(2)
    x, other = random.standard_normal((3, 4, 9)), random.standard_normal((3, 2, 9))
    layers = theory.nngp_layers(x, hidden_layers=4)
    diagonals = np.diagonal(layers, axis1=-2, axis2=-1)
    np.testing.assert_allclose(diagonals[1:] / diagonals[:-1], 0.5, rtol=1e-12)
    cross = theory.nngp_layers(x, other, hidden_layers=4)
    assert cross.shape == (5, 3, 4, 2)
    both = np.concatenate([x, other], 1)
    whole = theory.nngp_layers(both, hidden_layers=4)
    np.testing.assert_allclose(cross, whole[..., :4, 4:], atol=1e-14)


def test_inputs_of_other_dimension_are_refused():
    with pytest.raises(ValueError, match="equal dimension"):
        theory.nngp_layers(np.ones((2, 3)), np.ones((2, 4)))


# --- Ridge ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("relative", [True, False])
def test_ridge_predictor_is_ridge_regression_on_features(relative):
    random = np.random.default_rng(5)
    h, test = random.standard_normal((2, 6, 3)), random.standard_normal((2, 4, 3))
    y = random.standard_normal((2, 6, 2))
    ridge = np.array([0.02, 0.5])
    found = theory.ridge_predictor(
        h @ h.swapaxes(1, 2), test @ h.swapaxes(1, 2), y, ridge, relative
    )
    for run in range(2):
        strength = ridge[run] * (np.sum(h[run] ** 2) if relative else 1)
        weights = np.linalg.solve(h[run].T @ h[run] + strength * np.eye(3), h[run].T @ y[run])
        np.testing.assert_allclose(found[run], test[run] @ weights, rtol=1e-10)


def test_negative_ridges_are_refused():
    with pytest.raises(ValueError, match="negative"):
        theory.ridge_predictor(np.eye(2), np.eye(2), np.ones((2, 1)), -0.1)


def test_relative_distance():
    f = np.array([[[3.0], [4.0]], [[1.0], [0.0]]])
    g = np.array([[[3.0], [0.0]], [[0.0], [0.0]]])
    np.testing.assert_array_equal(theory.relative_distance(f, g), [4 / 3, np.inf])
