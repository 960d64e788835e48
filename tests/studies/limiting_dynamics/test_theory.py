"""Closed forms and recursions against matrix exponentials, Lyapunov equations and simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import linalg
from scipy.integrate import quad

from regimes.studies.limiting_dynamics import theory

by_hypothesis = settings(max_examples=40, deadline=None, database=None, derandomize=True)


def logarithmic(low: float, high: float):
    return st.floats(math.log(low), math.log(high)).map(math.exp)


# One mode: curvature, weight decay, noise, rate, momentum, batch size.
modes = st.fixed_dictionaries(
    {
        "rho": logarithmic(1e-3, 20),
        "noise": logarithmic(1e-2, 10),
        "eta": logarithmic(1e-4, 0.05),
        "momentum": st.floats(0, 0.99),
        "batch_size": st.integers(1, 500),
        "weight_decay": st.sampled_from([0.0, 1e-4, 0.3]),
    }
)


def plain_drift(rho, eta, momentum, weight_decay=0.0):
    """Drift of (theta, u) written down from (2.2)."""
    inertia = eta * (1 + momentum) / 2
    return np.array([[0, -1], [(rho + weight_decay) / inertia, (1 - momentum) / inertia]])


def plain_map(rho, eta, momentum, weight_decay=0.0):
    """One deterministic step of (theta - mu, u) written down from (2.1)."""
    h = rho + weight_decay
    return np.array([[1 - eta * h, eta * momentum], [-h, momentum]])


def only(mode, *names):
    return {name: mode[name] for name in names}


def shape_of(mode):
    return theory.mode_constants(**only(mode, "rho", "eta", "momentum", "weight_decay"))


# --- One oscillator -------------------------------------------------------------------------------


@by_hypothesis
@given(mode=modes)
def test_constants_are_those_of_the_drift_matrix(mode):
    found = shape_of(mode)
    drift = plain_drift(**only(mode, "rho", "eta", "momentum", "weight_decay"))
    assert 2 * found.damping == pytest.approx(np.trace(drift), rel=1e-12)
    assert found.frequency**2 == pytest.approx(np.linalg.det(drift), rel=1e-12)
    assert found.ratio == pytest.approx(found.damping / found.frequency)
    roots = np.linalg.eigvals(drift)
    turning = abs(roots[0].imag)
    if turning > 1e-3 * abs(roots[0]):
        assert mode["eta"] > found.critical_rate
        assert found.period_steps == pytest.approx(2 * np.pi / (mode["eta"] * turning), rel=1e-6)
    elif turning == 0:
        assert found.period_steps == np.inf or found.ratio == pytest.approx(1, abs=1e-6)
    at = theory.mode_constants(
        mode["rho"], found.critical_rate, mode["momentum"], mode["weight_decay"]
    )
    assert at.ratio == pytest.approx(1, rel=1e-12)


def test_constants_of_flat_and_negative_modes():
    found = theory.mode_constants(np.array([0.0, -0.3, 1.0]), 0.1, 0.9)
    assert found.frequency[0] == 0 and found.ratio[0] == found.critical_rate[0] == np.inf
    assert np.isnan([found.frequency[1], found.ratio[1], found.critical_rate[1]]).all()
    assert np.isfinite([values[2] for values in found]).all()
    np.testing.assert_allclose(found.damping, 0.1 / (0.1 * 1.9))


@by_hypothesis
@given(
    ratio=st.one_of(
        logarithmic(1e-2, 50),
        st.sampled_from([1.0, 1 - 1e-12, 1 + 1e-12, 1 - 1e-6, 1 + 1e-6, 1 + 1e-3]),
    ),
    frequency=logarithmic(1e-2, 1e2),
    phase=logarithmic(1e-6, 30),
)
def test_propagator_is_the_matrix_exponential(ratio, frequency, phase):
    damping, time = ratio * frequency, phase / frequency
    drift = np.array([[0, -1], [frequency**2, 2 * damping]])
    unit = np.array([[1, frequency], [1 / frequency, 1]])  # entries where omega = 1
    error = theory.propagator(time, damping, frequency) - linalg.expm(-drift * time)
    assert np.max(np.abs(error) * unit) < 1e-11


@by_hypothesis
@given(ratio=logarithmic(1e-3, 1e3), frequency=logarithmic(1e-3, 1e3), phase=logarithmic(1e-3, 10))
def test_propagators_form_a_group_with_the_right_determinant(ratio, frequency, phase):
    damping, time = ratio * frequency, phase / frequency / max(ratio, 1)
    once = theory.propagator(time, damping, frequency)
    twice = theory.propagator(2 * time, damping, frequency)
    unit = np.array([[1, frequency], [1 / frequency, 1]])
    assert np.max(np.abs(once @ once - twice) * unit) < 1e-11
    assert np.linalg.det(once) == pytest.approx(math.exp(-2 * damping * time), rel=1e-6)


def test_propagator_at_extreme_times_and_flat_modes():
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        late = theory.propagator(1e9, np.array([50.0, 1.0, 0.1]), np.array([1e-4, 1.0, 5.0]))
        flat = theory.propagator(np.array([0.0, 0.5, 1e9]), 2.0, 0.0)
    # Slow rate omega^2/(2 gamma) = 1e-10 for the first mode, to relative 1e-10.
    assert late[0, 0, 0] == pytest.approx(math.exp(-0.1), rel=1e-9)
    assert (late[1:] == 0).all()
    assert (flat[:, 0, 0] == 1).all() and (flat[:, 1, 0] == 0).all()
    np.testing.assert_allclose(flat[:, 0, 1], [0, (1 - math.exp(-2)) / 4, 0.25])
    np.testing.assert_allclose(flat[:, 1, 1], [1, math.exp(-2), 0])


def test_broadcasting_agrees_with_single_calls():
    time, ratio = np.linspace(0, 9, 7)[:, None], np.array([0.2, 1.0, 3.0])
    together = theory.propagator(time, ratio, 1.0)
    assert together.shape == (7, 3, 2, 2)
    for i in range(7):
        for j in range(3):
            alone = theory.propagator(time[i, 0], ratio[j], 1.0)
            np.testing.assert_array_equal(together[i, j], alone)


def test_mean_path_solves_the_equation_of_motion():
    drift = plain_drift(2.0, 0.01, 0.9)
    constants = theory.mode_constants(2.0, 0.01, 0.9)
    for time in (0.0, 0.3, 4.0):
        expected = linalg.expm(-drift * time) @ [0.7, -1.3]
        found = theory.mean_path(time, constants.damping, constants.frequency, 0.7, -1.3)
        np.testing.assert_allclose(found, expected, atol=1e-12)


@by_hypothesis
@given(mode=modes)
def test_stationary_covariance_solves_the_lyapunov_equation(mode):
    drift = plain_drift(**only(mode, "rho", "eta", "momentum", "weight_decay"))
    # Squared noise amplitude of (2.2): (2/(1+beta))^2 Sigma/(eta S).
    force = (2 / (1 + mode["momentum"])) ** 2 * mode["noise"] / (mode["eta"] * mode["batch_size"])
    expected = linalg.solve_continuous_lyapunov(drift, np.diag([0, force]))
    position, velocity = theory.stationary_variances(**mode)
    np.testing.assert_allclose([position, velocity], np.diag(expected), rtol=1e-7)
    assert abs(expected[0, 1]) < 1e-7 * math.sqrt(position * velocity)
    assert shape_of(mode).frequency ** 2 * position == pytest.approx(velocity, rel=1e-12)


@by_hypothesis
@given(mode=modes, phase=logarithmic(1e-2, 20))
def test_covariance_integrates_the_noise(mode, phase):
    """Against the matrix fraction of Van Loan, which knows nothing of the stationary state."""
    constants = shape_of(mode)
    time = phase / max(constants.frequency, constants.damping)
    drift = plain_drift(**only(mode, "rho", "eta", "momentum", "weight_decay"))
    force = (2 / (1 + mode["momentum"])) ** 2 * mode["noise"] / (mode["eta"] * mode["batch_size"])
    block = np.block([[drift, np.diag([0, force])], [np.zeros((2, 2)), -drift.T]])
    # The block holds growing exponentials: a short time, doubled again and again.
    doublings = max(0, math.ceil(math.log2(np.abs(drift).max() * time)))
    powers = linalg.expm(-block * time / 2**doublings)
    step = linalg.expm(-drift * time / 2**doublings)
    expected = -powers[:2, 2:] @ step.T
    for _ in range(doublings):
        expected, step = expected + step @ expected @ step.T, step @ step
    variances = theory.stationary_variances(**mode)
    found = theory.covariance(time, constants.damping, constants.frequency, *variances)
    scale = np.sqrt(np.outer(variances, variances))
    assert np.max(np.abs(found - expected) / scale) < 1e-7
    np.testing.assert_array_equal(found[0, 1], found[1, 0])


def test_covariance_at_early_times_has_no_cancellation():
    # u gains noise at a constant rate f: Var x = f t^3/3, Cov = f t^2/2, Var u = f t.
    constants = theory.mode_constants(1.0, 0.01, 0.9)
    variances = theory.stationary_variances(1.0, 1.0, 0.01, 0.9, 1)
    force = 4 * constants.damping * variances[1]
    time = 1e-5 / constants.damping
    found = theory.covariance(time, constants.damping, constants.frequency, *variances)
    expected = force * np.array([[time**3 / 3, time**2 / 2], [time**2 / 2, time]])
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_velocity_spectrum_is_the_transform_of_the_autocorrelation():
    for ratio in (0.2, 1.0, 3.0):
        area = quad(theory.velocity_spectrum, 0, np.inf, args=(ratio, 1.0))[0]
        assert 2 * area == pytest.approx(np.pi / (2 * ratio), rel=1e-6)
    time = np.linspace(0, 400, 400_001)
    correlation = theory.propagator(time, 0.2, 1.0)[:, 1, 1]
    for w in (0.3, 1.0, 2.5):
        transform = 2 * np.trapezoid(correlation * np.cos(w * time), time)
        # The transform of a correlation integrates to 2 pi over all w.
        expected = 4 * 0.2 * theory.velocity_spectrum(w, 0.2, 1.0)
        assert transform == pytest.approx(expected, rel=1e-5)


def test_autocorrelation_is_that_of_the_stationary_recursion():
    """In the limit of small eta h; the discrete one is corrected by terms of order eta h."""
    rho, eta, beta, lag = 0.5, 1e-4, 0.99, np.array([0, 30, 100, 400])
    step = plain_map(rho, eta, beta)
    position, velocity, cross = theory.discrete_stationary(rho, 1.0, eta, beta, 1)
    start = np.array([[position, cross], [cross, velocity]])
    discrete = [(np.linalg.matrix_power(step, int(k)) @ start)[1, 1] / velocity for k in lag]
    found = theory.velocity_autocorrelation(lag, rho, eta, beta)
    np.testing.assert_allclose(found, discrete, atol=3e-3)
    assert found[0] == 1


# --- Exact discrete moments -----------------------------------------------------------------------


@by_hypothesis
@given(mode=modes)
def test_discrete_stationary_moments_solve_the_discrete_lyapunov_equation(mode):
    step = plain_map(**only(mode, "rho", "eta", "momentum", "weight_decay"))
    kick = np.array([-mode["eta"], -1.0])
    noise = np.outer(kick, kick) * mode["noise"] / mode["batch_size"]
    expected = linalg.solve_discrete_lyapunov(step, noise)
    position, velocity, cross = theory.discrete_stationary(**mode)
    found = np.array([[position, cross], [cross, velocity]])
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    # To first order in eta h these are the moments of the continuous model.
    first = mode["eta"] * (mode["rho"] + mode["weight_decay"]) / (2 * (1 + mode["momentum"]))
    continuous = np.array(theory.stationary_variances(**mode))
    np.testing.assert_allclose([position, velocity], continuous / (1 - first), rtol=1e-9)


@by_hypothesis
@given(mode=modes, offset=st.floats(-2, 2))
def test_moment_recursion_is_the_power_of_the_map(mode, offset):
    steps = 25
    step = plain_map(**only(mode, "rho", "eta", "momentum", "weight_decay"))
    kick = np.array([-mode["eta"], -1.0])
    noise = np.outer(kick, kick) * mode["noise"] / mode["batch_size"]
    found = theory.moment_recursion(steps, **mode, offset=offset)
    mean, spread = np.array([offset, 0.0]), np.zeros((2, 2))
    for k in range(1, steps + 1):
        mean, spread = step @ mean, step @ spread @ step.T + noise
        moments = [values[k] for values in found]
        expected = [spread[0, 0], spread[1, 1], spread[0, 1], mean[0] - offset, mean[1]]
        np.testing.assert_allclose(moments, expected, rtol=1e-8, atol=1e-12)


def simulate(rng, walkers, steps, rho, noise, eta, momentum, batch_size, weight_decay, offset):
    """The optimizer as written in (2.1), on a quadratic loss with constant noise."""
    theta = np.full((walkers, np.size(rho)), 1.0) * offset
    buffer = np.zeros_like(theta)
    start, path = theta.copy(), []
    for _ in range(steps):
        gradient = rho * theta + np.sqrt(noise / batch_size) * rng.standard_normal(theta.shape)
        buffer = momentum * buffer + gradient + weight_decay * theta
        theta = theta - eta * buffer
        path.append((theta - start, -buffer))
    return np.array([p[0] for p in path]), np.array([p[1] for p in path])


def test_recursions_agree_with_simulated_optimizers():
    rho, noise, offset = (
        np.array([2.0, 0.3, 0.0]),
        np.array([1.0, 0.5, 2.0]),
        np.array([0.3, -1, 0]),
    )
    common = {"eta": 0.05, "momentum": 0.8, "batch_size": 4, "weight_decay": 0.0}
    x, u = simulate(
        np.random.default_rng(0), 20_000, 60, rho=rho, noise=noise, offset=offset, **common
    )
    found = theory.moment_recursion(60, rho, noise, **common, offset=offset)
    # Errors of variances of Gaussians: sqrt(2/20000) = 1 %.
    for k in (1, 4, 20, 60):
        np.testing.assert_allclose(x[k - 1].var(0), found.var_x[k], rtol=0.05)
        np.testing.assert_allclose(u[k - 1].var(0), found.var_v[k], rtol=0.05)
        deviation = np.sqrt(found.var_x[k] / 20_000)
        assert (np.abs(x[k - 1].mean(0) - found.mean_x[k]) < 5 * deviation).all()
        cross = np.mean((x[k - 1] - x[k - 1].mean(0)) * (u[k - 1] - u[k - 1].mean(0)), axis=0)
        scale = np.sqrt(found.var_x[k] * found.var_v[k])
        np.testing.assert_allclose(cross / scale, found.cov_xv[k] / scale, atol=0.04)
    summed = theory.displacement_recursion(
        [1, 4, 60], rho, noise, np.ones(3), **common, offset=offset
    )
    for i, k in enumerate((1, 4, 60)):
        far = (x[k - 1] ** 2).sum(1).mean()
        near = common["eta"] ** 2 * (u[k - 1] ** 2).sum(1).mean()
        assert summed.global_[i] == pytest.approx(far, rel=0.05)
        assert summed.local[i] == pytest.approx(near, rel=0.05)


def test_displacement_recursion_groups_modes_and_broadcasts_settings():
    rho = np.array([1.0, 1.0, 1.0, 0.2])
    eta = np.array([0.01, 0.1])[:, None]
    record = [0, 1, 7, 40]
    single = theory.displacement_recursion(record, rho, rho, np.ones(4), eta, 0.9, 8, 1e-3, 0.5)
    grouped = theory.displacement_recursion(
        record, [1.0, 0.2], [1.0, 0.2], [3, 1], eta, 0.9, 8, 1e-3, 0.5
    )
    moments = theory.moment_recursion(40, rho, rho, eta, 0.9, 8, 1e-3, 0.5)
    far = (moments.var_x + moments.mean_x**2).sum(-1)[record].T
    near = (eta**2 * (moments.var_v + moments.mean_v**2)).sum(-1)[record].T
    for found in (single, grouped):
        assert found.global_.shape == (2, 4)
        np.testing.assert_allclose(found.global_, far, rtol=1e-12)
        np.testing.assert_allclose(found.local, near, rtol=1e-12)
    for wrong in ([], [3, 3], [5, 2], [-1, 2]):
        with pytest.raises(ValueError, match="increasing"):
            theory.displacement_recursion(wrong, rho, rho, 1, 0.1, 0.9, 8)


@by_hypothesis
@given(rho=logarithmic(0.01, 10), beta=st.floats(0, 0.95), decay=st.sampled_from([0.0, 0.1]))
def test_modes_diverge_beyond_the_stability_limit_only(rho, beta, decay):
    edge = theory.stability_limit(rho, beta, decay)
    for share, stable in ((0.999, True), (1.001, False)):
        radius = np.abs(np.linalg.eigvals(plain_map(rho, share * edge, beta, decay))).max()
        assert (radius < 1) == stable
        variance = theory.discrete_stationary(rho, 1.0, share * edge, beta, 1, decay)[1]
        assert np.isfinite(variance) == stable
    assert theory.stability_limit(0.0, beta) == np.inf


# --- Displacements --------------------------------------------------------------------------------


@by_hypothesis
@given(mode=modes, k=st.integers(1, 3000), offset=st.floats(-1, 1))
def test_displacements_are_those_of_the_moments(mode, k, offset):
    """Sums written as in (2.5), which lose digits only where little has happened."""
    constants, time = shape_of(mode), mode["eta"] * k
    position, velocity = theory.stationary_variances(**mode)
    e = theory.propagator(time, constants.damping, constants.frequency)
    stationary = 2 * position * (1 - e[0, 0])
    rest = offset**2 * (1 - e[0, 0]) ** 2
    rest += position * (1 - e[0, 0] ** 2) - e[0, 1] ** 2 * velocity
    scale = 1e-9 * position
    found = theory.displacement_stationary(k, **mode)
    assert found == pytest.approx(stationary, rel=1e-9, abs=scale)
    assert theory.displacement_from_rest(k, **mode, offset=offset) == pytest.approx(
        rest, rel=1e-9, abs=scale
    )


def test_displacements_tend_to_the_exact_recursion():
    """The continuous model is exact as eta -> 0 and beta -> 1; steps are small here."""
    rho, noise = np.array([1.0, 0.1, 0.0]), np.array([1.0, 0.5, 0.2])
    offset = np.array([0.0, 0.01, 0.0])
    k = np.array([200, 1000, 10_000])
    common = {"eta": 1e-4, "momentum": 0.99, "batch_size": 16}
    exact = theory.displacement_recursion(k, rho, noise, 1, **common, offset=offset).global_
    close = theory.displacement_from_rest(k, rho, noise, **common, offset=offset)
    np.testing.assert_allclose(close, exact, rtol=0.02)
    assert abs(close[-1] / exact[-1] - 1) < 1e-3


def test_flat_modes_diffuse_without_division_by_zero():
    k = np.array([1e3, 1e6])
    with np.errstate(all="raise", under="ignore"):
        rest = theory.displacement_from_rest(k, 0.0, 2.0, 0.01, 0.9, 8, offset=3.0)
        stationary = theory.displacement_stationary(k, np.zeros(2), 1.0, 0.01, 0.9, 8)
    law = 0.01**2 * 2 * k / (8 * 0.1**2)
    np.testing.assert_allclose(rest, law, rtol=0.03)
    np.testing.assert_allclose([rest[1], stationary[1]], law[1], rtol=1e-4)
    # Continuous down to zero and into negative curvature.
    for found in (
        theory.displacement_from_rest(k, 1e-13, 2.0, 0.01, 0.9, 8),
        theory.displacement_from_rest(k, -1e-13, 2.0, 0.01, 0.9, 8),
    ):
        np.testing.assert_allclose(found, rest, rtol=1e-6)


def test_sums_over_many_modes_do_not_depend_on_blocks(monkeypatch):
    rng = np.random.default_rng(1)
    rho, offset = rng.uniform(0.01, 2, 300), rng.standard_normal(300)
    eta = np.array([1e-3, 1e-2])[:, None, None]
    k = np.array([1, 10, 100, 1000])
    wanted = np.array(
        [
            sum(
                theory.displacement_from_rest(k, r, r, e, 0.9, 4, offset=o)
                for r, o in zip(rho, offset, strict=True)
            )
            for e in (1e-3, 1e-2)
        ]
    )
    whole = theory.displacement_from_rest(k, rho, rho, eta, 0.9, 4, offset=offset)
    monkeypatch.setattr(theory, "LARGEST_BLOCK", 50)
    pieces = theory.displacement_from_rest(k, rho, rho, eta, 0.9, 4, offset=offset)
    assert whole.shape == (2, 4)
    np.testing.assert_allclose(whole, wanted, rtol=1e-10)
    np.testing.assert_allclose(pieces, whole, rtol=1e-12)
    twice = theory.displacement_stationary(k, rho, rho, 1e-3, 0.9, 4, counts=2)
    once = theory.displacement_stationary(k, rho, rho, 1e-3, 0.9, 4)
    np.testing.assert_allclose(twice, 2 * once, rtol=1e-12)


def test_double_sum_as_written():
    rho, noise = np.array([0.5, 0.05]), np.array([1.0, 2.0])
    eta, beta, size, decay = 0.02, 0.9, 8, 1e-3
    found = theory.displacement_double_sum([0, 1, 5, 60], rho, noise, eta, beta, size, decay)
    for k, value in zip([0, 1, 5, 60], found, strict=True):
        total = 0.0
        for r, q in zip(rho, noise, strict=True):
            sums = sum(
                (k - j) * theory.velocity_autocorrelation(j, r, eta, beta, decay)
                for j in range(1, k + 1)
            )
            total += q * (k + 2 * sums)
        assert value == pytest.approx(eta**2 / (size * (1 - beta**2)) * total, rel=1e-12)


def test_local_displacement_is_the_stationary_velocity():
    noise = np.array([1.0, 0.2, 3.0])
    velocity = theory.stationary_variances(noise, noise, 0.01, 0.9, 16)[1]
    level = theory.local_displacement(noise.sum(), 0.01, 0.9, 16)
    assert level == pytest.approx(0.01**2 * velocity.sum())
    steps = theory.displacement_recursion([400], 0 * noise, noise, 1, 0.01, 0.9, 16)
    assert steps.local[0] == pytest.approx(level)
