"""Closed forms against plain loops, limits and independent integration."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import integrate, optimize

from regimes.studies.exact_gauss_newton import theory


def plain_loss(logits, labels):
    total = 0.0
    for z, y in zip(logits, labels, strict=True):
        total -= math.log(math.exp(z[y]) / sum(math.exp(v) for v in z))
    return total / len(labels)


@pytest.fixture
def drawn():
    random = np.random.default_rng(4)
    return random.normal(size=(3, 7, 5)), random.integers(5, size=(3, 7))


def test_cross_entropy_is_that_of_a_plain_loop(drawn):
    logits, labels = drawn
    wanted = [plain_loss(z, y) for z, y in zip(logits, labels, strict=True)]
    np.testing.assert_allclose(theory.cross_entropy(logits, labels), wanted, rtol=1e-13)


def test_large_logits_do_not_overflow():
    logits = np.array([[1000.0, 0.0], [1000.0, 0.0]])
    assert theory.cross_entropy(logits, np.array([0, 1])) == pytest.approx(500.0)
    np.testing.assert_array_equal(theory.softmax(logits), [[1.0, 0.0]] * 2)


def test_recursion_is_that_of_a_plain_loop_with_an_alpha_of_its_own_per_run(drawn):
    logits, labels = drawn
    alphas = np.array([0.1, 0.7, 2.0])
    found = theory.function_space_recursion(logits, labels.astype(float), alphas, 4)
    assert found.shape == (3, 5)
    for run, alpha in enumerate(alphas):
        z = logits[run].copy()
        for step in range(5):
            assert found[run, step] == pytest.approx(plain_loss(z, labels[run]), rel=1e-12)
            for row, label in zip(z, labels[run], strict=True):
                shares = np.exp(row) / np.exp(row).sum()
                shares[label] -= 1
                row -= alpha * shares


def test_recursion_leaves_the_given_logits_alone(drawn):
    logits, labels = drawn
    kept = logits.copy()
    theory.function_space_recursion(logits, labels, 0.5, 3)
    np.testing.assert_array_equal(logits, kept)


def test_small_steps_follow_the_flow(drawn):
    """dz/dt = y - softmax(z), integrated by an adaptive method."""
    logits, labels = drawn[0][0], drawn[1][0]
    target = np.eye(5)[labels]

    def velocity(_, z):
        shares = np.exp(z.reshape(7, 5))
        return (target - shares / shares.sum(1, keepdims=True)).ravel()

    flow = integrate.solve_ivp(velocity, (0, 3), logits.ravel(), rtol=1e-10, atol=1e-10)
    wanted = plain_loss(flow.y[:, -1].reshape(7, 5), labels)
    coarse, fine = (
        theory.function_space_recursion(logits, labels, alpha, round(3 / alpha))[-1]
        for alpha in (0.02, 0.01)
    )
    assert fine == pytest.approx(wanted, rel=0.01)
    assert abs(fine - wanted) == pytest.approx(abs(coarse - wanted) / 2, rel=0.05)


@pytest.mark.parametrize("classes", [2, 10])
@pytest.mark.parametrize("alpha", [0.25, 1.0])
def test_equal_logits_end_on_the_asymptote(classes, alpha):
    losses = theory.function_space_recursion(np.zeros((1, classes)), np.array([0]), alpha, 4000)
    assert losses[0] == pytest.approx(math.log(classes))
    late = alpha * 4000
    assert losses[-1] == pytest.approx(theory.symmetric_asymptote(late, classes), rel=0.02)


def test_missing_logits_make_the_loss_of_their_run_unknown(drawn):
    logits, labels = drawn
    logits[1, 2, 3] = np.nan
    found = theory.function_space_recursion(logits, labels, 0.5, 2)
    assert np.isnan(found[1]).all()
    assert np.isfinite(found[[0, 2]]).all()


@pytest.mark.parametrize("wrong", [-1, 5, 0.5, np.nan])
@pytest.mark.filterwarnings("ignore:invalid value")
def test_labels_that_are_no_class_are_refused(drawn, wrong):
    labels = drawn[1].astype(float)
    labels[0, 0] = wrong
    with pytest.raises(ValueError, match="whole numbers from 0 to 4"):
        theory.function_space_recursion(drawn[0], labels, 0.5, 1)


def test_first_step_change_agrees_with_first_order_for_a_small_step():
    """The loss falls by alpha |softmax - y|^2 per sample; of two classes this is a 1-D integral."""

    def over_gap(function):  # z_wrong - z_right is N(0, 2)
        density = lambda g: math.exp(-(g**2) / 4) / math.sqrt(4 * math.pi)  # noqa: E731
        return integrate.quad(lambda g: function(g) * density(g), -30, 30)[0]

    loss = over_gap(lambda g: np.logaddexp(0, g))
    fall = over_gap(lambda g: 2 / (1 + math.exp(-g)) ** 2)
    found = theory.first_step_change(1e-3, 2, 400_000)
    assert found == pytest.approx(-100 * 1e-3 * fall / loss, rel=0.02)


def test_first_step_change_depends_on_the_draw_only_a_little():
    one, other = (theory.first_step_change(0.6, 10, 100_000, seed) for seed in (1, 2))
    assert one != other
    assert one == pytest.approx(other, abs=0.5)


def test_gn_fig3_start_recursion():
    assert -23 <= theory.first_step_change(0.6, 10, 100_000) <= -20


def test_squared_loss_flow_solves_its_equation():
    flow = integrate.solve_ivp(lambda _, eps: -eps, (0, 1.5), [2.0, -1.0], rtol=1e-10, atol=1e-12)
    ratio = (flow.y[:, -1] ** 2).sum() / 5
    assert theory.squared_loss_flow(1.5) == pytest.approx(ratio, rel=1e-8)


def test_gn_supp_parameters():
    assert theory.parameter_count(784, 2, 8000) == 12_545_568
    assert theory.parameter_count(3072, 6, 8000) == 147_474_432
    assert theory.parameter_count(6, 1, None) == 2 * (9 + 3)


def test_linear_features_reach_their_rank_and_no_more():
    random = np.random.default_rng(0)
    features = random.normal(size=(30, 5)) @ random.normal(size=(5, 50))
    features = np.column_stack([features, np.ones(30)])
    assert np.linalg.matrix_rank(features, rtol=1e-9) == theory.linear_feature_rank(10)


def test_asymptote_is_the_solution_of_its_own_recursion():
    """(K-1) e^-m = ((K-1)/K)/(alpha t) makes dm/dt = alpha K e^-m."""
    classes, alpha = 7, 0.3

    def margin(t):
        level = theory.symmetric_asymptote(alpha * t, classes) / (classes - 1)
        return -math.log(level)

    slope = optimize.approx_fprime([50.0], lambda t: margin(t[0]), 1e-5)[0]
    assert slope == pytest.approx(alpha * classes * math.exp(-margin(50.0)), rel=1e-4)
