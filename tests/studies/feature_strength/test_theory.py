"""Closed forms of the feature-strength toys against differentiation and integration."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import solve_ivp

from regimes.studies.feature_strength import theory, toys

by_hypothesis = settings(max_examples=25, deadline=None, database=None, derandomize=True)
losses = st.sampled_from(theory.LOSS_NAMES)
depths = st.integers(min_value=2, max_value=6)
P1 = math.e / (1 + math.e)


def slope_of(loss, f):
    """l'(f) as in the specification, written independently of the package."""
    return f - 1 if loss == "mse" else 1 / (1 + math.exp(-f)) - P1


def torch_loss(loss, f):
    if loss == "mse":
        return (f - 1) ** 2 / 2
    return P1 * torch.nn.functional.softplus(-f) + (1 - P1) * torch.nn.functional.softplus(f)


# --- Losses ---------------------------------------------------------------------------------------


def test_cross_entropy_has_the_documented_minimum():
    assert theory.P0 == pytest.approx(0.2689414, abs=1e-7)
    assert theory.XENT_MINIMUM == pytest.approx(0.5822031, abs=1e-7)
    assert theory.initial_loss("cross_entropy") == pytest.approx(math.log(2) - 0.5822031, abs=1e-7)
    assert theory.initial_loss("mse") == 0.5
    assert theory.initial_slope("cross_entropy") == pytest.approx(P1 - 0.5)


# --- One weight -----------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", theory.LOSS_NAMES)
@pytest.mark.parametrize("depth", [2, 3, 4, 5])
def test_fs_fig6_curvature_identity(loss, depth):
    """d2l/dw2 at w* by automatic differentiation in float64 against the closed form."""
    for log10_gamma in np.arange(-3, 5.5, 0.5):
        gamma = 10.0**log10_gamma
        w = torch.tensor(theory.minimiser(gamma, depth), dtype=torch.float64, requires_grad=True)
        value = torch_loss(loss, (w**depth - 1) / gamma)
        (first,) = torch.autograd.grad(value, w, create_graph=True)
        (second,) = torch.autograd.grad(first, w)
        ideal = theory.one_weight_curvature(gamma, depth, loss)
        assert float(second) == pytest.approx(ideal, rel=1e-6)
        assert theory.eta_crit(gamma, depth, loss) == pytest.approx(2 / float(second), rel=1e-6)


@by_hypothesis
@given(loss=losses, depth=depths)
def test_threshold_tends_to_its_limits_and_exponents(loss, depth):
    for regime, log10_gamma in (("lazy", -9.0), ("rich", 9.0)):
        gamma = 10.0**log10_gamma
        exact = theory.eta_crit(gamma, depth, loss)
        assert theory.eta_crit_asymptote(gamma, depth, loss, regime) == pytest.approx(
            exact, rel=1e-6
        )
        local = math.log10(theory.eta_crit(10 * gamma, depth, loss) / exact)
        assert local == pytest.approx(theory.exponent("eta_crit", loss, regime, depth), abs=1e-6)


@pytest.mark.parametrize("loss", theory.LOSS_NAMES)
@pytest.mark.parametrize("depth", [3, 4, 5])
def test_escape_is_the_blow_up_of_the_early_flow(loss, depth):
    """dw/dtau = -L w^(L-1) l'(0) reaches infinity at the closed form, whatever gamma."""
    slope = -slope_of(loss, 0.0)

    def reached(_, w):
        return w[0] - 1e4

    reached.terminal = True
    ideal = theory.escape_time(1e3, depth, loss)
    flow = solve_ivp(
        lambda _, w: depth * w ** (depth - 1) * slope, (0, 2 * ideal), [1.0], events=reached,
        rtol=1e-9, method="LSODA",
    )  # fmt: skip
    assert flow.t_events[0][0] == pytest.approx(ideal, rel=2e-4)
    assert theory.escape_time(1e3, depth, loss) == theory.escape_time(1e5, depth, loss)


@pytest.mark.parametrize("loss", theory.LOSS_NAMES)
def test_escape_at_depth_two_takes_a_logarithm(loss):
    gamma = 1e5
    ideal = theory.escape_time(gamma, 2, loss)
    flow = solve_ivp(lambda _, w: -2 * w * slope_of(loss, 0.0), (0, ideal), [1.0], rtol=1e-10)
    assert flow.y[0, -1] == pytest.approx(math.sqrt(gamma), rel=1e-6)


def remaining_after(gamma, depth, loss, eta, steps):
    """Share of the excess loss left by the function-space flow of section 2.2."""

    def velocity(_, f):
        return (
            -eta * depth**2 / gamma**2 * (1 + gamma * f) ** (2 - 2 / depth) * slope_of(loss, f[0])
        )

    flow = solve_ivp(velocity, (0, steps), [0.0], rtol=1e-9, atol=1e-14, method="LSODA")
    return float(toys.LOSSES[loss](flow.y[0, -1])[0]) / theory.initial_loss(loss)


@pytest.mark.parametrize("loss", theory.LOSS_NAMES)
@pytest.mark.parametrize("depth", [2, 3, 4])
def test_lower_edge_halves_the_loss_lazy(loss, depth):
    gamma, steps = 1e-5, 1000
    eta = theory.eta_min(gamma, depth, loss, steps, "lazy")
    assert remaining_after(gamma, depth, loss, eta, steps) == pytest.approx(0.5, abs=1e-4)


@pytest.mark.parametrize("loss", theory.LOSS_NAMES)
@pytest.mark.parametrize("depth", [3, 4])
def test_lower_edge_lies_at_the_drop_rich(loss, depth):
    """Three per cent below the edge nothing has happened yet, three above all has."""
    gamma, steps = 1e9, 1000
    eta = theory.eta_min(gamma, depth, loss, steps, "rich")
    assert remaining_after(gamma, depth, loss, 0.97 * eta, steps) > 0.95
    assert remaining_after(gamma, depth, loss, 1.03 * eta, steps) < 0.1


@pytest.mark.parametrize(("gamma", "depth"), [(1e3, 3), (1.0, 3), (50.0, 2)])
def test_staircase_half_steps_against_the_integrated_flow(gamma, depth):
    targets, eta = [1.0, 0.3, 0.1], 1e-2
    ideal = theory.staircase_half_steps(gamma, depth, targets, eta)
    for target, steps in zip(targets, ideal, strict=True):

        def velocity(_, f, s=target):
            push = (s - f) * (1 + gamma * f) ** (2 - 2 / depth)
            return eta * depth**2 / gamma**2 * push

        flow = solve_ivp(velocity, (0, steps), [0.0], rtol=1e-10, atol=1e-13, method="LSODA")
        assert (flow.y[0, -1] - target) ** 2 == pytest.approx(target**2 / 2, rel=1e-6)


def test_staircase_tends_to_one_over_three_targets():
    """Section 6.2: tau = eta t/gamma -> 1/(3 s) at L = 3."""
    targets = np.array([1.0, 0.3, 0.1])
    gamma = 1e12
    tau = theory.staircase_half_steps(gamma, 3, targets, 1.0) / gamma
    np.testing.assert_allclose(tau, 1 / (3 * targets), rtol=1e-3)


# --- Exponents ------------------------------------------------------------------------------------


def test_exponents_are_table_1():
    quantities = ("eta_min", "eta_crit", "eta_max")
    table = {
        (loss, regime): [theory.exponent(q, loss, regime, 3) for q in quantities]
        for loss in theory.LOSS_NAMES
        for regime in theory.REGIMES
    }
    assert table["mse", "lazy"] == [2, 2, 2]
    assert table["cross_entropy", "lazy"] == [2, 2, 1]
    for loss in theory.LOSS_NAMES:
        assert table[loss, "rich"] == pytest.approx([1, 2 / 3, 2 / 3])


@by_hypothesis
@given(loss=losses, depth=depths, quantity=st.sampled_from(["eta_min", "eta_crit", "eta_max"]))
def test_sign_descent_keeps_its_band(loss, depth, quantity):
    for regime, expected in (("lazy", 1.0), ("rich", 1 / depth)):
        assert theory.exponent(quantity, loss, regime, depth, "sign") == expected


@pytest.mark.parametrize(
    "names",
    [
        ("eta_mid", "mse", "lazy", 3),
        ("eta_min", "hinge", "lazy", 3),
        ("eta_min", "mse", "idle", 3),
        ("eta_min", "mse", "lazy", 3, "adam"),
    ],
)
def test_unknown_names_are_refused(names):
    with pytest.raises(ValueError, match="valid"):
        theory.exponent(*names)


@by_hypothesis
@given(depth=depths)
def test_triangle_closes_where_its_sides_meet(depth):
    """gamma/T = gamma^(2/L) at gamma = T^(L/(L-2)); never at L = 2."""
    closing = (depth - 2) / depth
    assert theory.plateau_exponent(depth) == pytest.approx(closing, abs=1e-12)


@by_hypothesis
@given(slope=st.floats(-3, 3), x=st.floats(-5, 5), y=st.floats(-10, 10))
def test_guide_passes_through_its_anchor(slope, x, y):
    at, line = theory.guide(np.array([x, x + 1]), slope, (x, y))
    assert line[0] == pytest.approx(y)
    assert line[1] - line[0] == pytest.approx(slope, abs=1e-9)
    assert at[0] == x


@pytest.mark.parametrize(("regime", "expected"), [("lazy", -2), ("rich", -0.5)])
def test_sharpness_is_the_inverse_of_the_threshold(regime, expected):
    assert theory.sharpness_exponent(regime, 4) == expected


# --- Two weights and hierarchical labels ----------------------------------------------------------


def test_catapult_thresholds_have_the_documented_levels():
    gamma = 1e-3
    assert theory.pair_threshold(gamma, "mse") == pytest.approx(2 * gamma**2)
    assert theory.pair_divergence(gamma, "mse") == pytest.approx(4 * gamma**2)
    assert theory.pair_threshold(gamma, "cross_entropy") == pytest.approx(
        10.172 * gamma**2, rel=1e-4
    )
    assert theory.pair_divergence(gamma, "cross_entropy") == pytest.approx(5.086 * gamma, rel=1e-4)


@pytest.mark.parametrize("loss", theory.LOSS_NAMES)
def test_overshoot_returns_to_the_initial_loss(loss):
    """One step of size `pair_overshoot` gamma^2 from u = 1, v = 0 leaves the loss unchanged."""
    gamma = 1e-3
    eta = theory.pair_overshoot(loss) * gamma**2
    v = -eta * slope_of(loss, 0.0) / gamma
    after = float(toys.LOSSES[loss](np.array(v / gamma))[0])
    assert v / gamma > 1
    assert after == pytest.approx(theory.initial_loss(loss), rel=1e-9)
    assert eta <= theory.pair_threshold(gamma, loss) * (1 + 1e-12)


@pytest.mark.parametrize(("classes", "per_super_class"), [(10, 5), (12, 3), (4, 1)])
def test_plateau_level_is_that_of_the_superclass_mean(classes, per_super_class):
    labels = np.eye(classes)
    groups = np.repeat(np.arange(classes // per_super_class), per_super_class)
    means = np.stack([labels[groups == g].mean(axis=0) for g in groups])
    level = np.mean((means - labels) ** 2)
    assert theory.superclass_plateau(classes, per_super_class) == pytest.approx(level)
    assert theory.superclass_plateau() == pytest.approx(0.08)
