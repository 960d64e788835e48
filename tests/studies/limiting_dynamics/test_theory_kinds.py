"""Simulated OU processes and expectations over spectra against plain computations."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError
from scipy import linalg

from regimes import store
from regimes.data.streams import numpy_stream
from regimes.jobs import with_hyperparameters
from regimes.studies.limiting_dynamics import theory
from regimes.studies.limiting_dynamics.theory_experiments import (
    THEORY_TRAIN,
    grouped_spectrum,
    recorded,
)
from regimes.studies.limiting_dynamics.theory_settings import THEORY_KINDS

OU = {
    "eta": 1e-2, "steps": 60, "start": (0.09, 0.0), "drift_eigenvalues": (4, 1),
    "drift_bias": (-0.1, 0.05), "diffusion_diagonal": (4, 1),
}  # fmt: skip
DRIFT = np.array([[2.5, -1.5], [-1.5, 2.5]])  # V^-1 diag(4, 1) V with V = [[-1, 1], [1, 1]]
SURROGATE = {
    "modes": 40, "bins": 400, "top": 5.0, "exponent": 0.5, "noise_trace": 30.0,
    "offset_norm": 0.5, "eta": 0.01, "batch_size": 8, "momentum": 0.9, "weight_decay": 1e-3,
    "fit_from": 20, "fit_to": 40,
}  # fmt: skip
POWER = {
    "exponent": 1.5, "modes": 50, "eta": 1e-2, "momentum": 0.9, "fit_from": 10, "fit_to": 200,
    "fit_points": 5,
}  # fmt: skip
SINGLE = {"case": "flat", "curvature": 0.4, "eta": 0.05, "momentum": 0.8, "steps": 300}
EXAMPLES = {
    "ou_path": OU,
    "ou_ensemble": OU | {"walkers": 7, "burn_in_times": 0.1},
    "spectrum": SURROGATE,
    "power_law_modes": POWER,
    "mode_recursion": SINGLE,
}


def trained(kind, *changes, seeds=None):
    seeds = seeds or [0] * len(changes)
    runs = [
        THEORY_KINDS[kind].model_validate(EXAMPLES[kind] | change | {"seed": seed})
        for change, seed in zip(changes, seeds, strict=True)
    ]
    return with_hyperparameters(THEORY_TRAIN[kind](runs), kind, runs)


# --- All kinds ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", EXAMPLES)
def test_runs_can_be_stored_and_do_not_depend_on_their_neighbours(kind, tmp_path):
    shorter = {
        "spectrum": {"fit_to": 30}, "power_law_modes": {"fit_to": 100},
    }.get(kind, {"steps": 50})  # fmt: skip
    both = trained(
        kind, {}, shorter, {"momentum": 0.5} if "ou" not in kind else {}, seeds=[3, 4, 5]
    )
    store.write_netcdf(tmp_path / "runs.nc", both, {})
    back = store.read_netcdf(tmp_path / "runs.nc")
    assert list(back["seed"].values) == [3, 4, 5]
    alone = trained(kind, {}, seeds=[3])
    for name in alone.data_vars:
        wanted = alone[name].isel(run=0)
        found = both[name].isel(run=0)
        if "step" in found.dims:
            found = found.sel(step=alone["step"])
        if "path_step" in found.dims:
            found = found.sel(path_step=alone["path_step"])
        np.testing.assert_array_equal(found.values, wanted.values, err_msg=name)


@pytest.mark.parametrize(
    ("kind", "change", "message"),
    [
        ("ou_path", {"eta": 0.6}, "below 2"),
        ("ou_ensemble", {"burn_in_times": 10.0}, "burn-in"),
        ("spectrum", {"fit_to": 20}, "larger than"),
        ("power_law_modes", {"fit_to": 10}, "larger than"),
        ("mode_recursion", {"relaxation_steps": 10.0}, "either"),
        ("mode_recursion", {"curvature": None}, "either"),
    ],
)
def test_impossible_settings_are_refused(kind, change, message):
    with pytest.raises(ValidationError, match=message):
        THEORY_KINDS[kind].model_validate(EXAMPLES[kind] | change | {"seed": 0})


def test_recorded_steps_are_dense_and_then_logarithmic():
    steps = recorded(10, 1000, per_decade=5)
    assert list(steps[:11]) == list(range(11)) and steps[-1] == 1000
    np.testing.assert_allclose(np.diff(np.log10(steps[10:])), 0.2, atol=0.03)
    assert list(recorded(10, 4)) == [0, 1, 2, 3, 4]


# --- OU process -----------------------------------------------------------------------------------


def plain_path(seed, walkers, steps, eta, start):
    """The update of the specification, one matrix product at a time."""
    noise = numpy_stream(seed, "ou", walkers).standard_normal((steps, walkers, 2))
    x = np.tile(start, (walkers, 1)).astype(float)
    path = [x]
    for z in noise:
        x = x - eta * (x @ DRIFT.T - [-0.1, 0.05]) - eta * z * np.sqrt([4, 1])
        path.append(x)
    return np.array(path)


def test_path_is_the_update_of_the_specification():
    found = trained("ou_path", {"every": 3}, {"every": 3}, seeds=[1, 2])
    for run, seed in enumerate((1, 2)):
        path = plain_path(seed, 1, 60, 1e-2, (0.09, 0.0))[:, 0]
        one = found.isel(run=run)
        np.testing.assert_allclose(one["path"], path[::3], atol=1e-14)
        assert list(one["path_step"].values) == list(range(0, 61, 3))
        np.testing.assert_allclose(one["late_mean"], path[31:].mean(axis=0), atol=1e-14)
    np.testing.assert_allclose(found["drift"].isel(run=0), DRIFT, atol=1e-15)


def test_ensemble_averages_after_its_burn_in():
    found = trained("ou_ensemble", {"burn_in_times": 0.2}, seeds=[5]).isel(run=0)
    assert found["burn_in"] == 20
    path = plain_path(5, 7, 60, 1e-2, (0.09, 0.0))
    mu = np.linalg.solve(DRIFT, [-0.1, 0.05])
    kept = path[21:]
    covariance = np.mean([np.cov(x.T) for x in kept], axis=0)
    np.testing.assert_allclose(found["covariance"], covariance, rtol=1e-10)
    before, after = path[20:-1] - mu, path[21:] - mu
    step = after - before
    turning = np.mean(before[..., 0] * step[..., 1] - before[..., 1] * step[..., 0]) / 1e-2
    assert float(found["circulation"]) == pytest.approx(turning, rel=1e-9)


def test_walkers_reach_the_exact_covariance_of_the_discrete_process():
    found = trained(
        "ou_ensemble", {"walkers": 1000, "steps": 1500, "burn_in_times": 5.0}, seeds=[0]
    ).isel(run=0)
    step = np.eye(2) - 1e-2 * DRIFT
    expected = linalg.solve_discrete_lyapunov(step, 1e-4 * np.diag([4.0, 1.0]))
    assert np.linalg.norm(found["covariance"] - expected) < 0.03 * np.linalg.norm(expected)
    # E[x_k x x_(k+1)] of the exact process.
    turning = (step @ expected)[1, 0] - (step @ expected)[0, 1]
    assert turning > 0
    assert float(found["circulation"]) == pytest.approx(turning / 1e-2, rel=0.05)


# --- Spectra --------------------------------------------------------------------------------------


def test_grouped_spectrum_keeps_modes_and_trace():
    rho, counts = grouped_spectrum(10_000, 110, 52.8, 0.5)
    full = 52.8 * np.arange(1.0, 10_001) ** -0.5
    assert counts.sum() == 10_000 and rho.size <= 110 and (np.diff(rho) < 0).all()
    assert rho[0] == 52.8
    assert np.sum(counts * rho) == pytest.approx(full.sum(), rel=1e-3)
    alone, ones = grouped_spectrum(30, 5000, 2.0, 1.0)
    np.testing.assert_allclose(alone, 2 / np.arange(1, 31))
    assert (ones == 1).all()


def test_surrogate_is_the_sum_over_all_modes():
    """More bins than modes: nothing is grouped."""
    found = trained("spectrum", {}, {"batch_size": 64}, {"eta": 0.03, "momentum": 0.5})
    assert found["step"].values[0] == 1
    assert set(range(20, 41)) <= set(found["step"].values)
    rho = 5 * np.arange(1.0, 41) ** -0.5
    for run, (eta, size, beta) in enumerate([(0.01, 8, 0.9), (0.01, 64, 0.9), (0.03, 8, 0.5)]):
        moments = theory.moment_recursion(
            40, rho, rho * 30 / rho.sum(), eta, beta, size, 1e-3, 0.5 / np.sqrt(40)
        )
        far = (moments.var_x + moments.mean_x**2).sum(axis=1)
        near = eta**2 * (moments.var_v + moments.mean_v**2).sum(axis=1)
        steps = found["step"].values
        np.testing.assert_allclose(found["global_displacement"][run], far[steps], rtol=1e-10)
        np.testing.assert_allclose(found["local_displacement"][run], near[steps], rtol=1e-10)


def test_power_law_displacement_is_the_sum_as_written():
    found = trained("power_law_modes", {}, {"exponent": 0.5})
    inside = found["step"].where(found["step"] >= 10, drop=True)
    assert inside.size == 5 and found["step"].values[0] == 1
    for run, a in enumerate((1.5, 0.5)):
        rho = np.arange(1.0, 51) ** -a
        constants = theory.mode_constants(rho, 1e-2, 0.9)
        position, _ = theory.stationary_variances(rho, rho, 1e-2, 0.9, 1)
        for k in found["step"].values:
            e11 = theory.propagator(1e-2 * k, constants.damping, constants.frequency)[:, 0, 0]
            expected = np.sum(2 * position * (1 - e11))
            value = float(found["global_displacement"].isel(run=run).sel(step=k))
            assert value == pytest.approx(expected, rel=1e-9)


def test_single_modes_are_those_of_the_recursion():
    relaxed = {"case": "saturating", "curvature": None, "relaxation_steps": 40.0, "offset": 0.7}
    found = trained("mode_recursion", {"dense_steps": 20}, relaxed | {"dense_steps": 20})
    assert float(found["rho"][1]) == pytest.approx(0.2 / (0.05 * 40))
    moments = theory.moment_recursion(300, found["rho"].values, 1.0, 0.05, 0.8, 1, 0.0, [0.0, 0.7])
    steps = found["step"].values
    assert steps[-1] == 300 and list(steps[:21]) == list(range(21))
    names = {"var_position": moments.var_x, "var_velocity": moments.var_v,
             "mean_position": moments.mean_x, "mean_velocity": moments.mean_v}  # fmt: skip
    for name, values in names.items():
        np.testing.assert_allclose(found[name].values.T, values[steps], rtol=1e-12, err_msg=name)
