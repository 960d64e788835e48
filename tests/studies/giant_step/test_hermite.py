"""Quadrature, Hermite tensors, staircase and floors against routes that share no code with them."""

from __future__ import annotations

from math import erfc, exp, pi, sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.special import exp1
from scipy.stats import ortho_group

from regimes.studies.giant_step import hermite
from regimes.studies.giant_step.functions import ACTIVATIONS, TARGETS, directions
from regimes.studies.giant_step.quadrature import chi_square_rule, gaussian_grid, two_sided_rule

EXACT = 1e-6  # the project's band for deterministic quantities
DIAGONAL = np.ones((2, 1)) / sqrt(2)

by_hypothesis = settings(max_examples=25, deadline=None, database=None, derandomize=True)
seeds = st.integers(0, 2**32 - 1)
in_three = st.sampled_from(["z1_z2z3", "chain", "product"])
in_any = st.sampled_from(sorted(TARGETS))


def random_frame(r, seed):
    """Return a random orthogonal matrix; r = 1 is a sign."""
    if r == 1:
        return np.array([[1.0 if seed % 2 else -1.0]])
    return ortho_group.rvs(r, random_state=seed)


# --- Quadrature rules -------------------------------------------------------------------------


def test_gaussian_grid_has_the_moments_of_a_normal_vector():
    """Mixed moments up to degree 8, and the one-point rule of zero dimensions."""
    z, weights = gaussian_grid(3, 24)
    assert weights @ (z[:, 0] ** 4 * z[:, 1] ** 2) == pytest.approx(3, abs=1e-10)
    assert weights @ z[:, 2] ** 8 == pytest.approx(105, abs=1e-8)
    assert np.abs(weights @ z).max() < 1e-13
    points, one = gaussian_grid(0, 80)
    assert points.shape == (1, 0) and one.tolist() == [1.0]


def test_two_sided_rule_handles_kinks_and_jumps():
    """E|x| and P(x > 0), where Gauss-Hermite converges slowly."""
    x, weights = two_sided_rule()
    assert weights.sum() == pytest.approx(1, abs=1e-12)
    assert weights @ np.abs(x) == pytest.approx(sqrt(2 / pi), abs=1e-12)
    assert weights @ (x > 0) == pytest.approx(0.5, abs=1e-12)


@pytest.mark.parametrize("a", [1e-8, 1e-3, 1.0, 30.0])
def test_chi_square_rule_against_special_functions(a):
    """E[x / (x + a)] through the complementary error function and the exponential integral."""
    x, weights = chi_square_rule(1)
    closed = 1 - a * sqrt(pi / (2 * a)) * exp(a / 2) * erfc(sqrt(a / 2))
    assert weights @ (x / (x + a)) == pytest.approx(closed, abs=1e-12)
    x, weights = chi_square_rule(2)
    closed = 1 - a / 2 * exp(a / 2) * exp1(a / 2)
    assert weights @ (x / (x + a)) == pytest.approx(closed, abs=1e-12)
    assert weights @ x == pytest.approx(2, abs=1e-12)


# --- Hermite coefficients, leap index, staircase ----------------------------------------------


def test_gs_supp_leap_scaling_relu_c3():
    """Odd ReLU coefficients from the third on vanish; c_4 = -1/sqrt(2 pi)."""
    c = hermite.hermite_coefficients("relu", 5)
    k = 1 / sqrt(2 * pi)
    np.testing.assert_allclose(c, [k, 0.5, k, 0, -k, 0], atol=1e-12)


def test_activation_coefficients_against_scipy_integration():
    """Hermite coefficients of every activation against adaptive integration with a break at 0."""
    he = [np.polynomial.hermite_e.HermiteE.basis(k) for k in range(6)]
    for name, (value, _) in ACTIVATIONS.items():
        for k, coefficient in enumerate(hermite.hermite_coefficients(name, 5)):

            def integrand(x, k=k, value=value):
                return value(x) * he[k](x) * exp(-(x**2) / 2) / sqrt(2 * pi)

            expected = quad(integrand, -12, 0)[0] + quad(integrand, 0, 12)[0]
            assert coefficient == pytest.approx(expected, abs=1e-8), (name, k)


def test_hermite_tensors_known_by_hand():
    """C_k of targets whose Hermite expansion can be read off."""
    np.testing.assert_allclose(hermite.hermite_tensor("he124", 1), [0.5, 0.5], atol=1e-12)
    np.testing.assert_allclose(hermite.hermite_tensor("he124", 2), np.eye(2) / 2, atol=1e-12)
    assert np.abs(hermite.hermite_tensor("he124", 3)).max() < 1e-11
    fourth = hermite.hermite_tensor("he124", 4)
    assert fourth[0, 0, 0, 0] == pytest.approx(0.5) and fourth.sum() == pytest.approx(1)
    chain = [[0, 1, 0], [1, 0, 1], [0, 1, 0]]
    np.testing.assert_allclose(hermite.hermite_tensor("chain", 2), chain, atol=1e-12)
    third = hermite.hermite_tensor("product", 3)
    assert third[0, 1, 2] == third[2, 0, 1] == pytest.approx(1) and third.sum() == pytest.approx(6)
    assert hermite.hermite_tensor("minus", 0) == pytest.approx(0, abs=1e-12)
    assert hermite.hermite_tensor("example1", 0) == pytest.approx(0.5)


@pytest.mark.parametrize("target", sorted(TARGETS))
def test_hermite_tensors_are_mean_derivatives(target):
    """C_1 and C_2 against Monte-Carlo means of finite differences: Stein's lemma the other way."""
    r, step = directions(target), 1e-3
    rng = np.random.default_rng(1)
    half = rng.standard_normal((40_000, r))
    z = np.concatenate([half, -half])
    z /= z.std(axis=0)  # first and second moments exact: less Monte-Carlo noise
    f = TARGETS[target]
    gradient, hessian = hermite.hermite_tensor(target, 1), hermite.hermite_tensor(target, 2)
    shifts = step * np.eye(r)
    for i in range(r):
        plus, minus = f(*(z + shifts[i]).T), f(*(z - shifts[i]).T)
        assert np.mean(plus - minus) / (2 * step) == pytest.approx(gradient[i], abs=0.05)
        for j in range(r):
            both = f(*(z + shifts[i] + shifts[j]).T) - f(*(z + shifts[i] - shifts[j]).T)
            both -= f(*(z - shifts[i] + shifts[j]).T) - f(*(z - shifts[i] - shifts[j]).T)
            assert np.mean(both) / (4 * step**2) == pytest.approx(hessian[i, j], abs=0.05)


def test_leap_indices():
    """Smallest order with a nonzero tensor, and the error where the search ends without one."""
    expected = dict.fromkeys(TARGETS, 1) | {"he2": 2, "square": 2, "he2_pair": 2, "he3": 3}
    assert {target: hermite.leap_index(target) for target in TARGETS} == expected
    with pytest.raises(ValueError, match="he3"):
        hermite.leap_index("he3", largest=2)


def test_leap_index_of_a_new_line_in_the_table(monkeypatch):
    """A target added to the table has its theory at once."""
    monkeypatch.setitem(TARGETS, "triple", lambda z1, z2, z3: 2 * z1 * z2 * z3)
    assert hermite.leap_index("triple") == 3
    assert hermite.tensor_span("triple", 3).shape == (3, 3)
    assert hermite.staircase("triple", 4).shape == (3, 0)
    assert hermite.linear_floor("triple") == pytest.approx(4)


def test_tensor_spans():
    """Directions seen by C_l: a line for the linear part, the plane for the quadratic one."""
    np.testing.assert_allclose(np.abs(hermite.tensor_span("plus", 1)), DIAGONAL, atol=1e-12)
    assert hermite.tensor_span("he2_pair", 2).shape == (2, 2)
    assert hermite.tensor_span("he2_pair", 1).shape == (2, 0)
    np.testing.assert_allclose(np.abs(hermite.tensor_span("B", 2)), [[0], [1]], atol=1e-12)


@pytest.mark.parametrize(
    ("target", "dimensions"),
    [
        ("minus", [0, 1, 2, 2]),
        ("plus", [0, 1, 1, 1]),
        ("he124", [0, 1, 1, 1]),
        ("z1_z1z2", [0, 1, 2, 2]),
        ("z1_z2z3", [0, 1, 1, 1]),
        ("he3", [0, 0, 0, 0]),
        ("chain", [0, 1, 2, 3]),
        ("product", [0, 1, 2, 3]),
        ("B", [0, 1, 1, 1]),
    ],
)
def test_gs_table1_staircase_dims(target, dimensions):
    """Dimension of the staircase subspace after 0, 1, 2, 3 steps; the bases are nested."""
    bases = [hermite.staircase(target, steps) for steps in range(4)]
    assert [basis.shape[1] for basis in bases] == dimensions
    for before, after in zip(bases[:-1], bases[1:], strict=True):
        np.testing.assert_allclose(after[:, : before.shape[1]], before)
        np.testing.assert_allclose(after.T @ after, np.eye(after.shape[1]), atol=1e-12)


def test_staircase_directions():
    """The directions come in the order of the steps: v*, v_perp; z1, z2, z3."""
    frame = np.array([[1, 1], [1, -1]]) / sqrt(2)
    np.testing.assert_allclose(hermite.staircase("minus", 2), frame, atol=1e-12)
    np.testing.assert_allclose(hermite.staircase("chain", 3), np.eye(3), atol=1e-12)


# --- Target constants and floors --------------------------------------------------------------


def test_gs_table1_floors_linear():
    """Variance, linear part and linear floor of the five targets of section 2.7."""
    expected = {
        "he124": (37 / 48, 1 / 2, 13 / 48),
        "minus": (3 / 2, 1 / 2, 1),
        "plus": (3 / 2, 1 / 2, 1),
        "A": (2, 1, 1),
        "B": (2, 1, 1),
    }
    for target, values in expected.items():
        measured = [
            constant(target)
            for constant in (hermite.variance, hermite.linear_part, hermite.linear_floor)
        ]
        np.testing.assert_allclose(measured, values, atol=EXACT, err_msg=target)


def test_gs_table1_floors_onestep():
    """Floors after one step; he124 = (h(z1) + h(z2))/2 from its expansion in (u, s) by hand."""
    # He4(z1) + He4(z2) = (He4(u) + 6 He2(u) He2(s) + He4(s)) / 2 and He2(z1) + He2(z2) =
    # He2(u) + He2(s): above degree 1 in s stay He2(s)/4, He2(u)He2(s)/16 and He4(s)/96.
    he124 = 2 / 16 + 6**2 * 4 / 96**2 + 24 / 96**2
    expected = {"minus": 0, "plus": 0.5, "A": 0, "B": 1, "he2_pair": 1, "he3": 1, "he124": he124}
    for target, floor in expected.items():
        assert hermite.one_step_floor(target) == pytest.approx(floor, abs=EXACT), target


def test_subspace_floor_against_nested_integration():
    """The floor of he124 given v*, both degrees, by adaptive integration over u and s."""

    def h(x):
        return x + (x**2 - 1) / 2 + (x**4 - 6 * x**2 + 3) / 24

    def density(x):
        return exp(-(x**2) / 2) / sqrt(2 * pi)

    def mean(function):
        return quad(lambda x: function(x) * density(x), -10, 10, epsabs=1e-9)[0]

    def f(u, s):
        return (h((u + s) / sqrt(2)) + h((u - s) / sqrt(2))) / 2

    def conditional_square(power):
        return mean(lambda u: mean(lambda s: f(u, s) * s**power) ** 2)

    total = mean(lambda x: h(x) ** 2) / 2
    bounded = total - conditional_square(0)
    assert hermite.subspace_floor("he124", DIAGONAL, 0) == pytest.approx(bounded, abs=1e-7)
    linear = bounded - conditional_square(1)
    assert hermite.subspace_floor("he124", DIAGONAL, 1) == pytest.approx(linear, abs=1e-7)


def test_subspace_floor_known_by_hand():
    """Mixed terms are reached by linear width, not by a bounded one; the whole space leaves 0."""
    first = np.eye(3)[:, :1]
    assert hermite.subspace_floor("chain", first, 1) == pytest.approx(1)
    assert hermite.subspace_floor("chain", first, 0) == pytest.approx(2)
    assert hermite.subspace_floor("product", first, 1) == pytest.approx(1)
    assert hermite.subspace_floor("product", np.eye(3)[:, :2], 1) == pytest.approx(0, abs=1e-12)
    for target in TARGETS:
        whole = np.eye(directions(target))
        assert hermite.subspace_floor(target, whole, 0) == pytest.approx(0, abs=1e-12)


def test_subspace_floor_refuses_bad_input():
    """A basis of wrong shape or not orthonormal, and a degree beyond 1."""
    with pytest.raises(ValueError, match="orthonormal"):
        hermite.subspace_floor("minus", np.ones((2, 1)))
    with pytest.raises(ValueError, match="shape"):
        hermite.subspace_floor("minus", np.eye(3))
    with pytest.raises(ValueError, match="degree"):
        hermite.subspace_floor("minus", DIAGONAL, degree=2)


@by_hypothesis
@given(target=in_three, dimension=st.integers(1, 3), degree=st.integers(0, 1), seed=seeds)
def test_floor_depends_on_the_subspace_not_on_its_basis(target, dimension, degree, seed):
    """Rotating the basis within U leaves the floor unchanged."""
    basis = random_frame(3, seed)[:, :dimension]
    rotated = basis @ random_frame(dimension, seed + 1 if seed < 2**32 - 1 else 0)
    before = hermite.subspace_floor(target, basis, degree)
    assert hermite.subspace_floor(target, rotated, degree) == pytest.approx(before, abs=1e-10)


@by_hypothesis
@given(target=in_any, degree=st.integers(0, 1), seed=seeds)
def test_floors_shrink_as_the_subspace_grows(target, degree, seed):
    """From U = {0} (variance or linear floor) down to the teacher space (nothing left)."""
    frame = random_frame(directions(target), seed)
    floors = [hermite.subspace_floor(target, frame[:, :k], degree) for k in range(len(frame) + 1)]
    start = (hermite.variance, hermite.linear_floor)[degree](target)
    assert floors[0] == pytest.approx(start, abs=1e-10)
    assert floors[-1] == pytest.approx(0, abs=1e-10)
    assert np.all(np.diff(floors) <= 1e-10)


@by_hypothesis
@given(target=in_any)
def test_linear_floor_is_what_variance_and_linear_part_leave(target):
    """|P_{>1} f*|^2 = Var f* - |C_1|^2, and one step never raises it."""
    left = hermite.variance(target) - hermite.linear_part(target)
    assert hermite.linear_floor(target) == pytest.approx(left, abs=1e-10)
    assert hermite.one_step_floor(target) <= hermite.linear_floor(target) + 1e-10
