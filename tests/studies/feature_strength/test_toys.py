"""Vectorized toy simulators against plain loops, the flow, exact arithmetic and identities."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy.integrate import solve_ivp
from scipy.special import expit

from regimes.jobs import with_hyperparameters
from regimes.studies.feature_strength import theory, toys
from regimes.studies.feature_strength.toy_experiments import TOY_TRAIN
from regimes.studies.feature_strength.toy_settings import TOY_KINDS, OneWeight, axis

by_hypothesis = settings(max_examples=25, deadline=None, database=None, derandomize=True)
LOSSES = ["mse", "cross_entropy"]
P1 = math.e / (1 + math.e)


def plain_loss(loss, f):
    """Excess loss and derivative as written in the specification."""
    if loss == "mse":
        return (f - 1) ** 2 / 2, f - 1
    lowest = P1 * math.log(1 + math.exp(-1)) + (1 - P1) * math.log(1 + math.e)
    value = P1 * np.logaddexp(0, -f) + (1 - P1) * np.logaddexp(0, f)
    return value - lowest, expit(f) - P1


def plain_one_weight(gamma, eta, depth, loss, steps, sign):
    """One cell, one weight, one step at a time; None once the weight is beyond 1e6."""
    w, path = 1.0, [plain_loss(loss, 0.0)[0]]
    for _ in range(steps):
        gradient = plain_loss(loss, (w**depth - 1) / gamma)[1] * depth * w ** (depth - 1) / gamma
        w -= eta * (np.sign(gradient) if sign else gradient)
        if abs(w - 1) > 1e6:
            return None
        path.append(plain_loss(loss, (w**depth - 1) / gamma)[0])
    last = max(steps // 10, 1)
    return {
        "final_loss": path[-1],
        "late_loss": np.mean(path[-last:]),
        "mean_loss": np.mean(path[1:]),
        "peak_loss": np.max(path),
        "weight": w,
    }


# --- Losses ---------------------------------------------------------------------------------------


@by_hypothesis
@given(loss=st.sampled_from(LOSSES), f=st.floats(-30, 30))
def test_losses_agree_with_their_definition(loss, f):
    value, slope = toys.LOSSES[loss](np.array(f))
    expected = plain_loss(loss, f)
    assert float(value) == pytest.approx(expected[0], abs=1e-13)
    assert float(slope) == pytest.approx(expected[1], abs=1e-13)


@pytest.mark.parametrize("f", [-1e300, -800.0, 800.0, 1e300])
def test_cross_entropy_does_not_overflow(f):
    with np.errstate(all="raise", under="ignore"):
        value, slope = toys.cross_entropy(np.array(f))
    share = toys.P0 if f > 0 else toys.P1
    assert float(value) == pytest.approx(share * abs(f), rel=1e-2)
    assert abs(float(slope)) == pytest.approx(share)


# --- One weight -----------------------------------------------------------------------------------


@pytest.mark.parametrize("sign", [False, True])
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize(("depth", "steps"), [(2, 130), (3, 7), (5, 100)])
def test_grid_agrees_with_a_plain_loop(depth, steps, loss, sign):
    """Cells that converge early, that diverge and that are slow, in one grid."""
    gamma = np.array([0.3, 1.0, 20.0])[:, None]
    size = gamma / 50 if sign else theory.eta_crit(gamma, depth, loss)
    eta = size * np.array([1e-3, 0.1, 0.5, 0.9, 1.02, 1e4])
    end = toys.one_weight(gamma, eta, depth, loss, steps, sign=sign)
    diverged = 0
    for cell in np.ndindex(eta.shape):
        expected = plain_one_weight(
            float(gamma[cell[0], 0]), float(eta[cell]), depth, loss, steps, sign
        )
        if expected is None:
            assert all(np.isnan(values[cell]) for values in vars(end).values())
            diverged += 1
            continue
        for name, value in expected.items():
            assert getattr(end, name)[cell] == pytest.approx(value, rel=1e-7, abs=1e-12), name
    assert sign or diverged


def test_divergence_is_nan_without_warnings():
    with np.errstate(all="raise", under="ignore", over="ignore", invalid="ignore"):
        end = toys.one_weight(np.array([1e-5, 1.0]), np.array([1e6, 1e6]), 5, "mse", 200)
    for values in vars(end).values():
        assert np.isnan(values).all()


@by_hypothesis
@given(
    cells=st.lists(st.tuples(st.floats(-4, 4), st.floats(-6, 2)), min_size=2, max_size=6),
    loss=st.sampled_from(LOSSES),
)
def test_a_cell_does_not_depend_on_its_neighbours(cells, loss):
    gamma, eta = 10.0 ** np.array(cells).T
    together = toys.one_weight(gamma, eta, 3, loss, 120)
    for i in range(len(cells)):
        alone = toys.one_weight(gamma[i : i + 1], eta[i : i + 1], 3, loss, 120)
        for name, values in vars(together).items():
            np.testing.assert_array_equal(values[i], getattr(alone, name)[0])


def test_lazy_output_keeps_its_relative_precision():
    """Three steps at gamma = 1e-5 in exact rational arithmetic."""
    gamma, eta, depth = Fraction(1, 10**5), Fraction(1, 10**13), 3
    w = Fraction(1)
    for _ in range(3):
        w -= eta * ((w**depth - 1) / gamma - 1) * depth * w ** (depth - 1) / gamma
    exact = float(((w**depth - 1) / gamma - 1) ** 2 / 2 - Fraction(1, 2))
    end = toys.one_weight(np.array(1e-5), np.array(1e-13), depth, "mse", 3)
    assert float(end.final_loss) - 0.5 == pytest.approx(exact, rel=1e-9)
    output, _ = toys.one_weight_output(np.array(float(w - 1)), np.array(1e-5), depth)
    assert float(output) == pytest.approx(float((w**depth - 1) / gamma), rel=1e-14)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("gamma", [1e-2, 1.0, 1e3])
def test_small_steps_follow_the_flow(loss, gamma):
    depth, steps = 3, 4000
    # Rich: until shortly before the escape; lazy: until most of the loss is gone.
    time = 4 * gamma**2 / 9 if gamma <= 1 else 0.25 * gamma / theory.initial_slope(loss)
    eta = time / steps
    end = toys.one_weight(np.array(gamma), np.array(eta), depth, loss, steps)
    flow = solve_ivp(
        lambda _, w: -plain_loss(loss, (w[0] ** 3 - 1) / gamma)[1] * 3 * w**2 / gamma,
        (0, eta * steps), [1.0], rtol=1e-10, atol=1e-13,
    )  # fmt: skip
    assert float(end.weight) - 1 == pytest.approx(flow.y[0, -1] - 1, rel=5e-3)


@by_hypothesis
@given(log10_eta=st.floats(-6, -2), log10_gamma=st.floats(-3, 3))
def test_sign_descent_stays_on_a_lattice(log10_eta, log10_gamma):
    eta = 10**log10_eta
    end = toys.one_weight(np.array(10.0**log10_gamma), np.array(eta), 3, "mse", 60, sign=True)
    sites = (float(end.weight) - 1) / eta
    assert sites == pytest.approx(round(sites), abs=1e-6)
    assert abs(sites) < 60.5


def test_curvature_decides_stability():
    """Just below 2/H the minimiser attracts, just above it does not (L = 3, both losses)."""
    for loss in LOSSES:
        gamma = np.array([1e-3, 1e-2])
        eta = theory.eta_crit(gamma, 3, loss)
        stable = toys.one_weight(gamma, 0.98 * eta, 3, loss, 3000).final_loss
        unstable = toys.one_weight(gamma, 1.02 * eta, 3, loss, 3000).final_loss
        assert (stable < 1e-10).all()
        assert not (unstable < 1e-4).any()


# --- Two weights ----------------------------------------------------------------------------------


def plain_pair(gamma, eta, loss, steps):
    u, v, path = 1.0, 0.0, []
    for step in range(steps + 1):
        if step:
            rate = eta * plain_loss(loss, u * v / gamma)[1] / gamma
            u, v = u - rate * v, v - rate * u
        path.append((plain_loss(loss, u * v / gamma)[0], u * u + v * v))
    return np.array(path).T


@pytest.mark.parametrize("loss", LOSSES)
def test_two_weights_agree_with_a_plain_loop(loss):
    gamma, steps = 0.1, 60
    eta = theory.pair_threshold(gamma, loss) * np.array([0.3, 0.9, 1.4, 1.8])
    grid = toys.two_weights(np.array([[gamma]]), eta, loss, steps)
    excess, square = toys.pair_path(gamma, eta, loss, steps)
    durations = toys.catapult_steps(gamma, eta, loss, steps)
    for i, rate in enumerate(eta):
        path = plain_pair(gamma, float(rate), loss, steps)
        np.testing.assert_allclose(excess[i], path[0], rtol=1e-6, atol=1e-12)
        np.testing.assert_allclose(square[i], path[1], rtol=1e-8)
        assert grid["final_loss"][0, i] == pytest.approx(path[0, -1], rel=1e-6, abs=1e-12)
        assert grid["peak_loss"][0, i] == pytest.approx(path[0].max(), rel=1e-6)
        stable = np.flatnonzero(rate * path[1] < theory.pair_threshold(gamma, loss))
        assert stable.size
        assert durations[i] == stable[0]


@pytest.mark.parametrize("loss", LOSSES)
def test_fs_figA6_tail_identity(loss):
    """u^2 - v^2 shrinks by 1 - (eta l'/gamma)^2, with l' from the output of the plain loop."""
    gamma = 0.02
    for multiple in (0.5, 1.3, 1.9):
        eta = multiple * theory.pair_threshold(gamma, loss)
        pair = toys.pair_start((1,), np.array(gamma), loss)
        checked = 0
        for _ in range(200):
            after = toys.pair_step(pair, gamma, eta, loss)
            first, second = (float(((p.u - p.v) * (p.u + p.v))[0]) for p in (pair, after))
            if min(abs(first), abs(second)) > 1e-3:
                slope = plain_loss(loss, float((pair.u * pair.v)[0]) / gamma)[1]
                expected = 1 - (eta * slope / gamma) ** 2
                assert second / first == pytest.approx(expected, rel=1e-8)
                deviation = toys.tail_deviation(pair, after, np.array(gamma), eta)
                assert float(deviation[0]) < 1e-8
                checked += 1
            pair = after
        assert checked > 10


def test_tail_deviation_sees_a_wrong_step():
    gamma, eta = np.array(0.05), 1e-3
    pair = toys.pair_start((1,), gamma, "mse")
    wrong = toys.pair_step(pair, gamma, 1.01 * eta, "mse")
    assert float(toys.tail_deviation(pair, wrong, gamma, eta)[0]) > 1e-6


def test_catapults_that_diverge_or_take_too_long_have_no_duration():
    gamma = 1e-2
    eta = theory.pair_threshold(gamma, "mse") * np.array([0.5, 1.2, 3.0])
    found = toys.catapult_steps(gamma, eta, "mse", 500)
    assert found[0] == 0
    assert found[1] > 0
    assert np.isnan(found[2])
    assert np.isnan(toys.catapult_steps(gamma, eta[1:2], "mse", 1)).all()


# --- Modes ----------------------------------------------------------------------------------------


def test_modes_are_one_weight_models():
    """The mode with target 1 is the one-weight model; targets scale with gamma."""
    gamma, eta, steps = 30.0, 0.05, 200
    outputs = toys.modes(gamma, eta, 3, np.array([1.0, 0.25]), steps)
    single = toys.one_weight(np.array(gamma), np.array(eta), 3, "mse", steps)
    assert (outputs[-1, 0] - 1) ** 2 / 2 == pytest.approx(float(single.final_loss), rel=1e-9)
    # f/s with gamma' = s gamma and eta' = s^2 eta obeys the same recursion with target 1.
    scaled = toys.modes(0.25 * gamma, 0.25**2 * eta, 3, np.array([1.0]), steps)
    np.testing.assert_allclose(outputs[:, 1] / 0.25, scaled[:, 0], rtol=1e-9)


# --- Settings and training ------------------------------------------------------------------------


def test_axis_is_rounded_and_closed():
    np.testing.assert_array_equal(axis((-0.1, 0.2, 0.1)), [-0.1, 0.0, 0.1, 0.2])
    assert set(axis((-15, 6, 0.05))) >= set(axis((-9, 4, 0.5)))


SMALL = {
    "one_weight": {
        "depth": 3, "loss": "mse", "steps": 20, "grid_shifts": 2,
        "log10_gamma_range": (-2, 2, 2), "log10_eta_range": (-3, 1, 1),
    },
    "two_weights": {
        "loss": "mse", "steps": 20, "log10_gamma_range": (-2, -1, 1),
        "log10_eta_range": (-5, 0, 1), "shown_log10_gamma": -1, "shown_multiples": (1.5, 0.5),
        "shown_steps": 5, "duration_log10_gamma": -2, "duration_range": (-1, -0.5, 0.5),
        "duration_steps": 50,
    },
    "staircase_toy": {
        "depth": 3, "log10_gamma": 1, "targets": (1, 0.3), "edge_share": 0.1, "steps": 30,
    },
}  # fmt: skip


@pytest.mark.parametrize("limits", [(1, 0, 0.1), (0, 1, 0), (0, 1, -0.1), (0, 1, 1e-5)])
def test_ranges_must_increase_and_be_of_moderate_size(limits):
    with pytest.raises(ValidationError, match="log10_eta_range"):
        OneWeight(seed=0, **{**SMALL["one_weight"], "log10_eta_range": limits})


@pytest.mark.parametrize("kind", list(TOY_KINDS))
def test_runs_are_labelled_deterministic_and_take_hyperparameters(kind):
    base = TOY_KINDS[kind](seed=0, **SMALL[kind])
    longer = base.model_copy(update={"steps": base.steps + 7})
    runs = [base, longer]
    trained = TOY_TRAIN[kind](runs, "cpu")
    assert trained.sizes["run"] == 2
    for variable in trained.variables.values():
        assert {"long_name", "units"} <= set(variable.attrs)
    labelled = with_hyperparameters(trained, kind, runs)
    assert list(labelled["steps"].values) == [base.steps, longer.steps]
    again = TOY_TRAIN[kind]([longer], None)
    for name in again.data_vars:
        both = again[name].isel(run=0), trained[name].isel(run=1)
        np.testing.assert_array_equal(both[0].values, both[1].reindex_like(both[0]).values)


def test_shifts_of_the_grid_are_learning_rates_between_its_values():
    kind = "one_weight"
    run = TOY_TRAIN[kind]([OneWeight(seed=0, **SMALL[kind])]).isel(run=0)
    assert list(run["eta_shift"].values) == [0.0, 0.5]
    direct = toys.one_weight(np.array(100.0), np.array(10.0**0.5), 3, "mse", 20)
    cell = run["final_loss"].sel(shift=1, log10_gamma=2, log10_eta=0)
    assert float(cell) == pytest.approx(float(direct.final_loss), rel=1e-12)
