"""Analyses, claims and figures on the theory: planted numbers and full-size runs."""

from __future__ import annotations

import math

import matplotlib as mpl
import numpy as np
import pytest
import xarray as xr

from regimes.claims import measure
from regimes.jobs import with_hyperparameters
from regimes.plot import style
from regimes.store import read_netcdf, write_netcdf
from regimes.studies.limiting_dynamics import theory_checks
from regimes.studies.limiting_dynamics.analyses import ou, power_law, single_modes, spectrum
from regimes.studies.limiting_dynamics.claims_theory import THEORY
from regimes.studies.limiting_dynamics.figures import (
    fig3,
    fig7_spectrum,
    supp_powerlaw_modes,
    supp_theory_checks,
)
from regimes.studies.limiting_dynamics.theory_experiments import THEORY_TRAIN
from regimes.studies.limiting_dynamics.theory_settings import THEORY_KINDS

FIGURES = {
    fig3: "ou",
    fig7_spectrum: "spectrum",
    supp_powerlaw_modes: "power_law",
    supp_theory_checks: "single_modes",
}
OU = {
    "start": (0.09, 0.0), "drift_eigenvalues": (4, 1), "drift_bias": (-0.1, 0.05),
    "diffusion_diagonal": (4, 1),
}  # fmt: skip
SURROGATE = {
    "top": 52.8, "exponent": 0.5, "noise_trace": 6177, "offset_norm": 1, "weight_decay": 1e-4,
}  # fmt: skip
BASE = {"eta": 1e-4, "batch_size": 256, "momentum": 0.9}
POINTS = [
    *({"eta": value} for value in (1e-5, 6.2e-5, 1e-4, 1e-3)),
    *({"batch_size": value} for value in (32, 136, 1024)),
    *({"momentum": value} for value in (0.8, 0.99)),
]


def trained(kind: str, points: list[dict]) -> xr.Dataset:
    runs = [THEORY_KINDS[kind].model_validate({"seed": 0} | point) for point in points]
    return with_hyperparameters(THEORY_TRAIN[kind](runs), kind, runs)


def processes(steps, eta, walkers, walker_steps, burn_in, seeds) -> dict[str, xr.Dataset]:
    path = [{**OU, "steps": steps, "eta": eta, "seed": seed} for seed in range(seeds)]
    ensemble = {
        **OU, "steps": walker_steps, "eta": 1e-2, "walkers": walkers, "burn_in_times": burn_in,
    }  # fmt: skip
    return {
        "ou_2d_path": trained("ou_path", path),
        "ou_2d_ensemble": trained(
            "ou_ensemble", [{**ensemble, "seed": seed} for seed in range(seeds)]
        ),
    }


def modes(momenta, steps, relaxation, drift_relaxation, curvatures) -> dict[str, xr.Dataset]:
    base = {"eta": 1e-3, "steps": steps}
    points = []
    for beta in momenta:
        one = base | {"momentum": beta}
        points.append(one | {"case": "flat", "curvature": 0.0})
        points.append(one | {"case": "saturating", "relaxation_steps": relaxation})
        late = {"case": "drift", "relaxation_steps": drift_relaxation, "noise": 0, "offset": 1}
        points.append(one | late)
    turning = {"case": "oscillating", "curvature": 919.61, "eta": 1e-5, "noise": 0, "offset": 1}
    points += [turning | {"momentum": beta, "steps": 392} for beta in (0.9, 0.99, 0.999)]
    mlp = {"case": "double_sum", "eta": 0.01, "momentum": 0.9, "steps": 100}
    points += [mlp | {"curvature": rho} for rho in curvatures]
    return {"toy_mode_recursions": trained("mode_recursion", points)}


@pytest.fixture(scope="module")
def full() -> dict[str, xr.Dataset]:
    """Analyses of the settings that the claims are stated for; fewer walkers."""
    surrogate = {**SURROGATE, "modes": 10**7, "bins": 110, "fit_from": 5005, "fit_to": 10010}
    power = {"eta": 1e-3, "momentum": 0.9, "fit_from": 1000, "fit_to": 100_000, "fit_points": 60}
    runs = {
        **processes(20_000, 5e-4, 1000, 3000, 10.0, 3),
        "surrogate_spectrum": trained("spectrum", [surrogate | BASE | point for point in POINTS]),
        "powerlaw_modes": trained(
            "power_law_modes",
            [power | {"modes": 200_000, "exponent": a} for a in (0.5, 1, 1.5, 2, 3)],
        ),
        **modes((0.8, 0.9, 0.98, 0.99), 100_000, 1e3, 1e5, (0.148, 0.526)),
    }
    return analysed(runs)


@pytest.fixture(scope="module")
def tiny() -> dict[str, xr.Dataset]:
    """Analyses of runs as short as those of the smallest scale; much is missing."""
    surrogate = {**SURROGATE, "modes": 100, "bins": 10, "fit_from": 20, "fit_to": 40}
    power = {"eta": 1e-3, "momentum": 0.9, "fit_from": 10, "fit_to": 1000, "fit_points": 5}
    runs = {
        **processes(200, 1e-2, 10, 150, 1.0, 1),
        "surrogate_spectrum": trained(
            "spectrum", [surrogate | BASE | point for point in ({}, {"eta": 1e-3})]
        ),
        "powerlaw_modes": trained("power_law_modes", [power | {"modes": 30, "exponent": 2}]),
        **modes((0.8,), 200, 20.0, 100.0, (0.526,)),
    }
    return analysed(runs)


def analysed(runs: dict[str, xr.Dataset]) -> dict[str, xr.Dataset]:
    return {
        "ou": ou.analyse(runs),
        "spectrum": spectrum.analyse(runs),
        "power_law": power_law.analyse(runs),
        "single_modes": single_modes.analyse(runs),
    }


def value(name: str, analyses: dict[str, xr.Dataset]) -> float:
    return measure(THEORY[name], analyses).value


# --- Claims at full size --------------------------------------------------------------------------

# Derived or measured independently for the specification: an interval for each.
KNOWN = {
    "ld_fig3_identities": (0, 1e-12),
    "ld_fig3_current_tangent": (0, 1e-12),
    "ld_fig3_covariance": (1e-5, 0.04),
    "ld_fig3_circulation": (0.94, 1.06),
    "ld_fig3_cloud_axis": (26.5, 31),
    "ld_fig3_decay_to_minimum": (0, 0.2),
    "ld_fig7_spectrum_values": (0, 0.002),
    "ld_fig7_spectrum_trends": (8, 8),
    "ld_powerlaw_exponents": (0, 0.01),
    "ld_powerlaw_inverse_law": (1.02, 1.06),
    "ld_theory_identities": (0, 1e-11),
    "ld_theory_propagator": (0, 1e-10),
    "ld_theory_stability": (1 - 1e-12, 1 + 1e-12),
    "ld_theory_unshifted_error": (0.0545, 0.0555),
    "ld_theory_half_step": (0.0075, 0.0085),
    "ld_theory_flat_mode": (0.9998, 0.9999),
    "ld_theory_saturation": (0.9999, 1.0001),
    "ld_theory_drift": (1.95, 2.1),
    "ld_theory_rise": (0, 1e-12),
    "ld_theory_initial_slope": (2.29, 2.31),
    "ld_theory_double_sum": (0.001, 0.02),
}

# Settings that a claim names were not run.
UNKNOWN_OF_TINY_RUNS = {
    "ld_fig7_spectrum_values",
    "ld_fig7_spectrum_trends",
    "ld_powerlaw_exponents",
    "ld_theory_flat_mode",
    "ld_theory_drift",
    "ld_theory_initial_slope",
}


def test_every_claim_is_measured(full, tiny):
    assert sorted(KNOWN) == sorted(THEORY)
    for name, (low, high) in KNOWN.items():
        found = measure(THEORY[name], full)
        assert low <= found.value <= high, (name, found)
        assert math.isfinite(found.low) and found.low <= found.value <= found.high
    unknown = {name for name in THEORY if math.isnan(value(name, tiny))}
    assert unknown == UNKNOWN_OF_TINY_RUNS


def test_results_can_be_stored(full, tiny, tmp_path):
    for analyses in (full, tiny):
        for name, dataset in analyses.items():
            write_netcdf(tmp_path / f"{name}.nc", dataset, {})
            assert set(read_netcdf(tmp_path / f"{name}.nc").variables) == set(dataset.variables)


@pytest.mark.parametrize("size", ["full", "tiny"])
@pytest.mark.parametrize("figure", FIGURES, ids=lambda module: module.__name__.split(".")[-1])
@pytest.mark.filterwarnings("error")
def test_figures_draw(figure, size, tmp_path, request):
    analyses = request.getfixturevalue(size)
    name = FIGURES[figure]
    with style.applied(), mpl.rc_context({"savefig.dpi": 60}):
        drawn = figure.draw({name: analyses[name]})
        style.footer(drawn, "test", [[1, 2]], "0" * 32)
        style.save(drawn, tmp_path / "figure.png")
    assert (tmp_path / "figure.png").stat().st_size > 5000


# --- Two-dimensional process ----------------------------------------------------------------------


def test_maps_are_those_of_the_potential(full):
    data = full["ou"]
    drift, bias = np.array([[2.5, -1.5], [-1.5, 2.5]]), np.array([-0.1, 0.05])
    mu = np.linalg.solve(drift, bias)
    np.testing.assert_allclose(data["minimum"], mu, atol=1e-15)
    corner = np.array([-0.1, 0.1])

    def phi(x):
        return x @ drift @ x / 2 - bias @ x

    found = float(data["potential"].isel(grid_1=0, grid_2=-1))
    assert found == pytest.approx(phi(corner) - phi(mu))
    # In the eigenbasis of A: Q_ij = D_ij (s_i - s_j)/(s_i + s_j).
    basis = np.linalg.eigh(drift)
    inside = basis.eigenvectors.T @ np.diag([4.0, 1.0]) @ basis.eigenvectors
    s = basis.eigenvalues
    ratio = (s[:, None] - s) / (s[:, None] + s)
    expected = basis.eigenvectors @ (inside * ratio) @ basis.eigenvectors.T
    np.testing.assert_allclose(data["rotation"], expected, atol=1e-14)
    assert float(data["potential_angle"]) == pytest.approx(45)
    assert float(data["modified_loss_angle"]) == pytest.approx(28.69, abs=0.01)


def test_current_turns_as_the_walkers_do(full):
    data = full["ou"]
    one, two = data["current"].sel(component=1), data["current"].sel(component=2)
    about = [data[f"grid_{i}"] - float(data["minimum"][i - 1]) for i in (1, 2)]
    turning = about[0] * two - about[1] * one
    assert float(turning.min()) >= 0 < float(data["circulation_theory"])


def test_statistics_of_planted_walkers():
    runs = processes(100, 1e-3, 5, 150, 1.0, 2)
    before = ou.analyse(runs)
    wanted = before["covariance_theory"].values
    walkers = runs["ou_2d_ensemble"].copy(deep=True)
    walkers["covariance"][0] = wanted
    walkers["covariance"][1] = 1.5 * wanted
    walkers["circulation"][:] = [-2 * float(before["circulation_theory"]), 0.0]
    path = runs["ou_2d_path"].copy(deep=True)
    path["late_mean"][0] = before["minimum"].values
    path["late_mean"][1] = path["path"].isel(run=1, path_step=0).values
    found = ou.analyse({"ou_2d_path": path, "ou_2d_ensemble": walkers})
    np.testing.assert_allclose(found["covariance_error"], [0, 0.5], atol=1e-14)
    np.testing.assert_allclose(found["circulation"], [-2, 0])
    np.testing.assert_allclose(found["remaining_distance"], [0, 1], atol=1e-14)
    np.testing.assert_allclose(found["cloud_angle"], float(found["modified_loss_angle"]))
    angles = ou._long_axis(np.array([np.diag([2.0, 1.0]), [[1, 0.5], [0.5, 1]]]))
    np.testing.assert_allclose(angles, [0, 45], atol=1e-12)


# --- Spectra --------------------------------------------------------------------------------------


def planted_spectrum(changes: dict[int, float]) -> xr.Dataset:
    """Surrogate runs at the points of the claim that grow as k^c with chosen exponents."""
    surrogate = {**SURROGATE, "modes": 50, "bins": 5, "fit_from": 30, "fit_to": 60}
    runs = trained("spectrum", [surrogate | BASE | point for point in POINTS]).copy(deep=True)
    exponents = [1.284, 1.062, 0.968, 0.196, 0.783, 0.883, 1.217, 1.096, 0.198]
    for index, c in changes.items():
        exponents[index] = c
    k = runs["step"].values.astype(float)
    runs["global_displacement"][:] = 3 * k ** np.array(exponents)[:, None]
    return runs


def test_claims_on_planted_exponents():
    kept = {"spectrum": spectrum.analyse({"surrogate_spectrum": planted_spectrum({})})}
    assert value("ld_fig7_spectrum_values", kept) == pytest.approx(0, abs=1e-9)
    assert value("ld_fig7_spectrum_trends", kept) == 8
    line = spectrum.sweep(kept["spectrum"], "batch_size")
    assert list(line["batch_size"].values) == [32, 136, 256, 1024]
    np.testing.assert_allclose(line, [0.783, 0.883, 0.968, 1.217], atol=1e-9)
    # A default above its neighbour at smaller eta: two signs of eta, S and beta change.
    wrong = planted_spectrum({2: 1.25})
    broken = {"spectrum": spectrum.analyse({"surrogate_spectrum": wrong})}
    assert value("ld_fig7_spectrum_values", broken) == pytest.approx(1.25 - 0.968, abs=1e-9)
    assert value("ld_fig7_spectrum_trends", broken) == 8 - 3


def test_level_of_the_surrogate_is_stationary(full):
    np.testing.assert_allclose(full["spectrum"]["level"], 1, atol=0.01)


def test_planted_power_laws():
    points = [
        {"exponent": a, "modes": 20, "eta": 1e-3, "momentum": 0.9, "fit_from": 10, "fit_to": 1000,
         "fit_points": 8}
        for a in (2, 0.5)
    ]  # fmt: skip
    runs = trained("power_law_modes", points).copy(deep=True)
    k = runs["step"].values.astype(float)
    runs["global_displacement"][0] = 5 * k**0.4
    runs["global_displacement"][1] = 0.2 * k**1.1
    found = power_law.analyse({"powerlaw_modes": runs})
    assert list(found["spectral_exponent"].values) == [0.5, 2]
    np.testing.assert_allclose(found["diffusion_exponent"], [1.1, 0.4])
    np.testing.assert_allclose(np.exp(found["intercept"]), [0.2, 5])
    assert value("ld_powerlaw_inverse_law", {"power_law": found}) == pytest.approx(0.8)


# --- Single modes ---------------------------------------------------------------------------------


def test_single_mode_numbers_notice_wrong_recursions():
    runs = modes((0.9,), 2000, 100.0, 1e5, (0.526,))["toy_mode_recursions"].copy(deep=True)
    right = single_modes.analyse({"toy_mode_recursions": runs})
    wrong = runs.copy(deep=True)
    wrong["var_position"] = wrong["var_position"] * wrong["step"] ** 0.1
    wrong["var_velocity"] = wrong["var_velocity"] * 1.01
    wrong["mean_position"] = wrong["mean_position"] * 1.02
    found = single_modes.analyse({"toy_mode_recursions": wrong})
    assert (right["rise_error"] < 1e-12).all()
    np.testing.assert_allclose(found["rise_error"], 0.01)
    np.testing.assert_allclose(found["initial_slope"] - right["initial_slope"], 0.1)
    ratio = (found["flat_displacement"] / found["flat_law"]).isel(flat_step=-1)
    np.testing.assert_allclose(ratio, 0.993 * 2000**0.1, rtol=5e-3)
    errors = [data["half_step_error"].sel(form="half a step later") for data in (right, found)]
    assert (errors[1] > errors[0]).all()


def test_half_step_errors_are_those_of_the_specification(full):
    found = full["single_modes"]["half_step_error"]
    np.testing.assert_allclose(found.sel(form="plain"), [0.034, 0.051, 0.055], atol=6e-4)
    shifted = found.sel(form="half a step later")
    np.testing.assert_allclose(shifted, [0.0012, 0.0047, 0.0079], atol=6e-5)


def test_stationary_displacement_of_the_discrete_process():
    """Against a simulation that starts from a stationary state."""
    rho, noise, eta, beta = 0.5, 2.0, 0.1, 0.8
    rng = np.random.default_rng(0)
    theta, buffer = np.zeros(20_000), np.zeros(20_000)

    def advance():
        nonlocal theta, buffer
        gradient = rho * theta + math.sqrt(noise) * rng.standard_normal(theta.size)
        buffer = beta * buffer + gradient
        theta = theta - eta * buffer

    for _ in range(150):
        advance()
    start, values = theta, []
    for k in range(1, 31):
        advance()
        if k in (1, 5, 30):
            values.append(np.mean((theta - start) ** 2))
    found = theory_checks.stationary_displacement([1, 5, 30], rho, noise, eta, beta)
    np.testing.assert_allclose(found, values, rtol=0.05)


def test_checks_fail_for_wrong_formulas(monkeypatch):
    """The checks compare two computations: spoiling either is noticed."""
    theory = theory_checks.theory
    right = theory.stationary_variances
    with monkeypatch.context() as patch:
        patch.setattr(
            theory, "stationary_variances", lambda *a: (right(*a)[0] * 1.001, right(*a)[1])
        )
        found = theory_checks.identity_residuals()
        assert found["equipartition"] == pytest.approx(1e-3)
        assert found["fluctuation_dissipation"] > 1e-6
        assert found["drift"] < 1e-11
    plain = theory.propagator
    with monkeypatch.context() as patch:
        patch.setattr(theory, "propagator", lambda t, g, w: plain(t, g * 1.0001, w))
        assert min(theory_checks.propagator_errors().values()) > 1e-6
    with monkeypatch.context() as patch:
        patch.setattr(theory, "stability_limit", lambda rho, beta, decay: 2 * (1 + beta) / rho)
        assert np.min(theory_checks.stability_ratios()) < 0.9
