"""Closed forms of the giant-step study against simulation, integration and special functions."""

from __future__ import annotations

from math import erfc, exp, inf, pi, sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.special import exp1

from regimes.studies.giant_step import theory
from regimes.studies.giant_step.functions import ACTIVATIONS, TARGETS, directions

by_hypothesis = settings(max_examples=25, deadline=None, database=None, derandomize=True)
leap_one = st.sampled_from(["he1", "A", "B", "he124", "minus", "plus", "example1", "chain"])


# --- Alignment --------------------------------------------------------------------------------


def first_gradient(target, d, n, p, rng, activation="relu"):
    """Rows on the sphere and the first gradient of Algorithm 1 with e_i = 1, times p."""
    w = rng.standard_normal((p, d))
    w /= np.linalg.norm(w, axis=1, keepdims=True)
    z = rng.standard_normal((n, d))
    y = TARGETS[target](*z[:, : directions(target)].T)
    return w, ACTIVATIONS[activation][1](z @ w.T).T @ (y[:, None] * z) / n


def test_alignment_leap1_values():
    """(2.1) at values worked out by hand: 1/3, 0.40, and the lengths of figures A.3 and A.4."""
    assert theory.alignment_leap1("he1", 1) == pytest.approx(1 / 3)
    assert theory.alignment_leap1("plus", 4) == pytest.approx(0.4)
    assert sqrt(theory.alignment_leap1("example1", 1)) == pytest.approx(0.546, abs=5e-4)
    assert sqrt(theory.alignment_leap1("minus", 1) / 2) == pytest.approx(0.267, abs=5e-4)
    exponents = np.array([0.5, 1, 1.5, 2]) - 1
    measured = theory.alignment_leap1("he1", 128.0**exponents)
    np.testing.assert_allclose(measured, [0.042, 0.333, 0.850, 0.985], atol=5e-4)
    assert theory.alignment_leap1("he1", inf) == 1


@pytest.mark.parametrize(("target", "ratio"), [("he1", 1), ("plus", 4), ("minus", 2)])
def test_alignment_and_spike_against_simulated_gradients(target, ratio):
    """(2.1), (2.2) and (2.5e) against first gradients of 40 batches at d = 128."""
    d, p, s = 128, 16, 1.0
    rng = np.random.default_rng(3)
    v, _ = theory.teacher_frame(target)
    cos2, rho, spike, overlap = [], [], [], []
    for _ in range(40):
        w, g = first_gradient(target, d, ratio * d, p, rng)
        plane = np.linalg.norm(g[:, : len(v)], axis=1) ** 2
        cos2.append(np.mean(plane / np.linalg.norm(g, axis=1) ** 2))
        stepped = w + s * g
        rho.append(np.mean(stepped[:, : len(v)] @ v / np.linalg.norm(stepped, axis=1)))
        chat = 2 * g.mean(axis=0)  # sigma' = 1/2 + odd part: the mean over rows is chat / 2
        spike.append(np.linalg.norm(chat) / 2)
        overlap.append(chat[: len(v)] @ v / np.linalg.norm(chat))
    assert np.mean(cos2) == pytest.approx(theory.alignment_leap1(target, ratio), abs=0.03)
    assert np.mean(rho) == pytest.approx(theory.row_alignment(target, ratio, s), abs=0.02)
    assert np.mean(spike) == pytest.approx(theory.spike_singular_value(target, ratio), rel=0.1)
    assert np.mean(overlap) == pytest.approx(theory.spike_overlap(target, ratio), abs=0.04)


def test_gs_supp_leap_scaling_l2_theory_mean():
    """E x/(x + pi/2) = 0.276 at n = d^2, in closed form and by Monte-Carlo over w."""
    value = theory.alignment_leap2(64, 64**2)
    assert 0.2755 < value < 0.2769
    closed = 1 - pi / 2 * exp(pi / 4) * erfc(sqrt(pi / 4))  # sqrt(pi/(2a)) = 1 at a = pi/2
    assert value == pytest.approx(closed, abs=1e-12)
    x = np.random.default_rng(0).chisquare(1, 1_000_000)
    assert value == pytest.approx(np.mean(x / (x + pi / 2)), abs=2e-3)


def test_in_plane_noise_agrees_with_the_refined_formula_and_sets_the_floor():
    n = np.array([256, 4096, 10**6])
    one = theory.alignment_leap2(128, n, 1, in_plane_noise=True)
    np.testing.assert_allclose(one, theory.alignment_refined(2, 128, n), rtol=1e-12)
    # E[f*^2 z_k^2] of (He2(z1) + He2(z2))/2 by sampling, then the floor 2 * 3 / (d + 4).
    z = np.random.default_rng(0).standard_normal((2, 10**6))
    f = (z[0] ** 2 + z[1] ** 2 - 2) / 2
    moment = np.mean(f**2 * z[0] ** 2)
    assert moment == pytest.approx(3, rel=0.03)
    floor = float(theory.alignment_leap2(256, 1, 2, in_plane_noise=True))
    assert floor == pytest.approx(2 * 3 / (256 + 4), rel=0.01)


def test_alignment_leap2_two_directions():
    """(He2 +- He2)/2: x/(x + pi d^2/n) over chi^2_2, inside the measured bands of figure 1."""
    d = 256
    a = pi / 4
    closed = 1 - a / 2 * exp(a / 2) * exp1(a / 2)
    assert theory.alignment_leap2(d, 4 * d**2, 2) == pytest.approx(closed, abs=1e-12)
    assert 0.28 < theory.alignment_leap2(d, d**2, 2) < 0.35
    assert 0.55 < theory.alignment_leap2(d, 4 * d**2, 2) < 0.61


def test_alignment_refined_values():
    """(2.1') at d = 128 for leap 2, and the floors 5/128 and 7/128 of leaps 2 and 3."""
    sizes = 128.0 ** np.array([1, 1.5, 2, 2.5])
    measured = theory.alignment_refined(2, 128, sizes)
    np.testing.assert_allclose(measured, [0.042, 0.083, 0.299, 0.654], atol=6e-4)
    np.testing.assert_allclose(theory.alignment_refined(3, 128, sizes), 7 / (7 + 127), atol=1e-10)
    assert theory.alignment_refined(2, 128, 1) == pytest.approx(5 / (5 + 127), abs=1e-3)
    first = 0.25 + 3 / 256
    assert theory.alignment_refined(1, 128, 128) == pytest.approx(first / (first + 127 / 256))


def test_alignment_refined_signal_against_random_rows():
    """S2 of the cubic activation at leap 3: the mean over rows of |c_3/2 C_3[w, w]|^2."""
    rng = np.random.default_rng(2)
    d, n = 64, 64**3
    w = rng.standard_normal(400_000) / sqrt(d)  # overlap of a row with w*
    signal = (theory.hermite_coefficients("cubic", 3)[3] / 2 * sqrt(6) * w**2) ** 2
    noise = 2.5 / n  # E[(1 + h + (h^2 - 1)/2)^2] = 1 + 1 + 1/2
    expected = np.mean((signal + 7 * noise) / (signal + (7 + d - 1) * noise))
    assert theory.alignment_refined(3, d, n, "cubic") == pytest.approx(expected, abs=2e-3)


def test_alignment_leap2_against_simulated_gradients():
    """(2.1') and (2.5c) at d = 48, n = d^2: rows are independent draws of x."""
    d, rng = 48, np.random.default_rng(5)
    cos2 = []
    for _ in range(6):
        _, g = first_gradient("he2", d, d**2, 256, rng)
        cos2.append(np.mean(g[:, 0] ** 2 / np.sum(g**2, axis=1)))
    assert np.mean(cos2) == pytest.approx(theory.alignment_refined(2, d, d**2), abs=0.04)


@by_hypothesis
@given(
    target=leap_one,
    ratio=st.floats(1e-3, 1e3),
    factor=st.floats(1.01, 100),
    scale=st.floats(0.01, 100),
)
def test_alignment_grows_with_the_batch(target, ratio, factor, scale):
    """A larger n never lowers an alignment, and all stay within [0, 1]."""
    d = 128.0
    pairs = [
        (theory.alignment_leap1(target, x), theory.spike_overlap(target, x))
        + (theory.row_alignment(target, x, scale),)
        + (theory.alignment_leap2(d, x * d), theory.alignment_refined(2, d, x * d))
        for x in (ratio, ratio * factor)
    ]
    assert np.all(np.diff(pairs, axis=0) >= -1e-12)
    assert np.all(np.array(pairs) >= 0) and np.all(np.array(pairs) <= 1 + 1e-12)


def test_row_alignment_formula():
    """(2.2) at eta = 2p, n/d -> infinity: 0.7071/sqrt(1.5); odd and zero in e_i."""
    assert theory.row_alignment("minus", inf, 2) == pytest.approx(sqrt(0.5 / 1.5))
    e = np.array([-1, -0.5, 0, 0.5, 1])
    rho = theory.row_alignment("minus", 4, 1, e)
    np.testing.assert_allclose(rho, -rho[::-1])
    c = 0.5 * sqrt(0.5) / 2
    assert rho[3] == pytest.approx(c / sqrt(1 + c**2 + 0.25 * 0.25 * 1.5 / 2))


def test_spike_table():
    """Formula columns of the table of section 2.5e."""
    ratios = np.array([1, 4, 16])
    sizes = theory.spike_singular_value("minus", ratios)
    np.testing.assert_allclose(sizes, [0.707, 0.468, 0.385], atol=6e-4)
    cosines = theory.spike_overlap("minus", ratios)
    np.testing.assert_allclose(cosines, [0.500, 0.756, 0.918], atol=6e-4)


def test_random_overlap():
    """0.113, 0.056, 0.028 at d = 50, 200, 800, and rows drawn on the sphere."""
    measured = theory.random_overlap([50, 200, 800])
    np.testing.assert_allclose(measured, [0.113, 0.056, 0.028], atol=5e-4)
    w = np.random.default_rng(0).standard_normal((50_000, 50))
    drawn = np.mean(np.abs(w[:, 0]) / np.linalg.norm(w, axis=1))
    assert theory.random_overlap(50) == pytest.approx(drawn, rel=0.02)


# --- Second step ------------------------------------------------------------------------------


def test_second_step_values():
    """(2.3): the checked point of section 2.6 and the ratio of figure 2."""
    u, s = theory.second_step("minus", 32, 1)
    assert (u, s) == (pytest.approx(0.265, abs=5e-4), pytest.approx(0.132, abs=5e-4))
    u, s = theory.second_step("minus", 4, 1)
    assert s / u == pytest.approx(0.464, abs=5e-4)


def test_gs_figA1_published_slope_theory():
    """Slope 0.211 at eta = 2p, d/n = 0 with the output neglected; -0.03 with it at n = 4d."""
    plus, minus = theory.second_step_slopes("minus", inf, 2, with_output=False)
    # c = A = 1/sqrt(2) and rho = 1/sqrt(3); the gradient is (A/2, rho B/sqrt(2 pi)) with B = 1.
    slope, rho, b = 1 / sqrt(2), 1 / sqrt(3), 2 / sqrt(2 * pi)
    assert plus == pytest.approx((slope - rho * b) / (slope + rho * b), abs=1e-12)
    assert 0.2109 < plus < 0.2112
    assert plus * minus == pytest.approx(1)
    assert theory.second_step_slopes("minus", 4, 2)[0] == pytest.approx(-0.031, abs=5e-4)


def test_second_step_leaves_the_diagonal_only_on_the_staircase():
    """B = 0 for plus and he124: both clusters stay on the 45-degree line."""
    for target in ("plus", "he124"):
        np.testing.assert_allclose(theory.second_step_slopes(target, 4, 2), 1, atol=1e-10)
    v, v_perp = theory.teacher_frame("minus")
    np.testing.assert_allclose([v, v_perp], np.array([[1, 1], [1, -1]]) / sqrt(2), atol=1e-12)


def test_second_step_refuses_what_it_does_not_cover():
    """Targets without linear part have no v*; slopes need a plane."""
    with pytest.raises(ValueError, match="no linear part"):
        theory.second_step("he2_pair", 4, 1)
    with pytest.raises(ValueError, match="3 teacher directions"):
        theory.second_step_slopes("chain", 4, 1)


@pytest.mark.parametrize("target", ["minus", "z1_z1z2"])
def test_second_step_against_two_simulated_steps(target):
    """(2.3) against Algorithm 1 at d = 128, n = 64d, both readout signs, with and without fhat."""
    d, n, half, s = 128, 64 * 128, 64, 1.0
    rng = np.random.default_rng(11)
    w = rng.standard_normal((half, d))
    w = np.tile(w / np.linalg.norm(w, axis=1, keepdims=True), (2, 1))  # symmetric start
    e = np.repeat([1.0, -1.0], half)
    frame = np.array(theory.teacher_frame(target))
    r = frame.shape[1]
    for step, with_output in ((1, True), (2, False), (2, True)):
        z = rng.standard_normal((n, d))
        y = TARGETS[target](*z[:, :r].T)
        h = z @ w.T
        residual = y - np.maximum(h, 0) @ e / (2 * half) if with_output else y
        g = e[:, None] * ((h > 0).T @ (residual[:, None] * z)) / n  # p times the gradient
        if step == 1:
            w = w + s * g
            continue
        u, perp = theory.second_step(target, n / d, s, with_output)
        clusters = [(g[e == sign, :r] @ frame.T).mean(axis=0) for sign in (1, -1)]
        np.testing.assert_allclose(clusters, [[u, perp], [-u, perp]], atol=0.035)


# --- Second layer -----------------------------------------------------------------------------


@pytest.mark.parametrize(("target", "published"), [("he124", 0.595), ("minus", 1.36)])
def test_frozen_feature_plateau(target, published):
    """Plateau at p/d = 1/2 within 0.04 of the published curves, and a function of p/d only."""
    plateau = theory.frozen_feature_plateau(target, 512, 256)
    assert plateau == pytest.approx(published, abs=0.04)
    small = theory.frozen_feature_plateau(target, 128, 64, draws=16, seed=1)
    assert plateau == pytest.approx(small, abs=2e-3)


def test_frozen_feature_plateau_in_the_large_limit():
    """Rows on the sphere have Marchenko-Pastur spectra: F as an integral over that density."""
    c_star_squared = 1 / 2 - 1 / (2 * pi) - 1 / 4
    shape = 1 / 2
    low, high = (1 - sqrt(shape)) ** 2, (1 + sqrt(shape)) ** 2

    def integrand(x):
        density = sqrt((high - x) * (x - low)) / (2 * pi * shape * x)
        return x / 4 / (x / 4 + c_star_squared) * density

    expected = 2 - shape * quad(integrand, low, high)[0]
    assert theory.frozen_feature_plateau("A", 400, 200) == pytest.approx(expected, abs=2e-3)


def test_frozen_feature_plateau_against_the_exact_kernel_of_features():
    """Population least squares on the features of one W, by the arc-cosine formula."""
    d, p, rng = 512, 256, np.random.default_rng(4)
    errors = []
    for _ in range(6):
        w = rng.standard_normal((p, d))
        w /= np.linalg.norm(w, axis=1, keepdims=True)
        cosine = np.clip(w @ w.T, -1, 1)
        angle = np.arccos(cosine)
        covariance = (np.sin(angle) + (pi - angle) * cosine) / (2 * pi)
        # E[f* sigma(<w, z>)] = <w, C_1> / 2 + w^T C_2 w / (2 sqrt(2 pi)) for `minus`
        label = (w[:, 0] + w[:, 1]) / 4 + (w[:, 0] ** 2 - w[:, 1] ** 2) / (2 * sqrt(2 * pi))
        errors.append(1.5 - label @ np.linalg.solve(covariance, label))
    plateau = theory.frozen_feature_plateau("minus", d, p)
    assert plateau == pytest.approx(np.mean(errors), abs=0.015)


@by_hypothesis
@given(u=st.floats(-4, 4), kappa=st.floats(-3, 3), s=st.floats(0.05, 3))
def test_surrogate_coefficients_are_conditional_moments(u, kappa, s):
    """m, b and cstar of (2.8) against adaptive integration with a break at the kink."""
    kink = float(np.clip(-kappa * u / s, -12, 12))

    def mean(function):
        def integrand(g):
            return function(g, max(kappa * u + s * g, 0.0)) * exp(-(g**2) / 2) / sqrt(2 * pi)

        return quad(integrand, -12, kink)[0] + quad(integrand, kink, 12)[0]

    m, b, cstar = theory.surrogate_coefficients(u, kappa, s)
    assert m == pytest.approx(mean(lambda g, value: value), abs=1e-7)
    assert b == pytest.approx(mean(lambda g, value: g * value), abs=1e-7)
    second = mean(lambda g, value: value**2)
    assert m**2 + b**2 + cstar**2 == pytest.approx(second, abs=1e-6)


def test_surrogate_coefficients_broadcast_and_limits():
    """Samples by neurons; without spike the Hermite coefficients, far from the kink linear."""
    u, kappa = np.linspace(-2, 2, 5)[:, None], np.array([0.0, 1.0, -1.0])
    m, b, cstar = theory.surrogate_coefficients(u, kappa, np.ones(3))
    assert m.shape == b.shape == cstar.shape == (5, 3)
    c_0, c_1 = theory.hermite_coefficients("relu", 1)
    np.testing.assert_allclose(m[:, 0], c_0)
    np.testing.assert_allclose(b[:, 0], c_1)
    np.testing.assert_allclose(cstar[:, 0] ** 2, 0.090845, atol=1e-6)
    np.testing.assert_allclose(m[:, 1] - m[::-1, 1], u[:, 0], atol=1e-12)
    far = theory.surrogate_coefficients(20.0, 1.0, 0.5)
    np.testing.assert_allclose(far, [20, 0.5, 0], atol=1e-6)
