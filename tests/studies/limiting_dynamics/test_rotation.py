"""Rotation of single modes: autocovariance, circulation and spectrum of made-up runs."""

from __future__ import annotations

import numpy as np
import pytest

from regimes.claims import measure
from regimes.studies.limiting_dynamics import oscillator_fit, stationary, theory
from regimes.studies.limiting_dynamics.analyses import clouds, oscillations
from regimes.studies.limiting_dynamics.claims_clouds import CLOUDS
from regimes.studies.limiting_dynamics.rotation import autocovariances, circulation
from tests.studies.limiting_dynamics import planted_clouds as planted
from tests.studies.limiting_dynamics.planted_clouds import (
    BATCH,
    DECAY,
    ETA,
    MOMENTUM,
    SIGMA2,
    exact,
)

FIRST, LATER = (exact(planted.spectrum(30)[i]) for i in (0, 29))


def run_of(x, u) -> stationary.Resumed:
    return stationary.resumed(planted.sgd_runs(x, u))


def test_autocovariance_is_the_mean_product_of_pairs_within_a_block():
    u = np.random.default_rng(1).standard_normal((1, 400, 2)) + 3
    values = autocovariances(run_of(u, u))["autocovariance"][0]
    cut = stationary.blocks(run_of(u, u).velocity)
    centred = (cut - cut.mean(["block", "inside"])).transpose("seed", "block", "mode", "inside")
    one = centred.values[0, 2, 1]
    for lag in (0, 1, 5):
        expected = np.mean(one[: one.size - lag] * one[lag:])
        assert float(values.sel(lag=lag, pair=1)[0, 2]) == pytest.approx(expected)


def test_circulation_has_a_sign_and_the_exact_value():
    rho = planted.spectrum(30)[[0, 29]]
    x, u = planted.simulate(rho, SIGMA2 * rho, 30_000, 2)
    clockwise = circulation(run_of(x, u))["circulation"][0].mean(["seed", "block"])
    assert clockwise.values == pytest.approx([FIRST["circulation"], LATER["circulation"]], rel=0.06)
    # Backwards in time the loops turn the other way.
    backwards = circulation(run_of(x[:, ::-1], u[:, ::-1]))["circulation"][0]
    assert (backwards.mean(["seed", "block"]) < 0).all()


@pytest.mark.parametrize("rho", [0.148, 0.526, 5.0, 100.0])
def test_circulation_of_the_discrete_process_does_not_depend_on_curvature(rho):
    """Var_u (1 + beta - eta h/2) with the exact Var_u is (1 + beta)/2 of the continuous 2 Var_u."""
    settings = (rho, SIGMA2 * rho, ETA, MOMENTUM, BATCH, DECAY)
    velocity = theory.discrete_stationary(*settings)[1]
    found = exact(rho)["circulation"]  # from the Lyapunov equation
    assert found == pytest.approx(velocity * (1 + MOMENTUM - ETA * (rho + DECAY) / 2))
    continuous = 2 * theory.stationary_variances(*settings)[1]
    assert found == pytest.approx((1 + MOMENTUM) / 2 * continuous)


def test_drawn_level_of_the_spectrum_is_that_of_the_discrete_process():
    """Against noise through the filter of the recursion, as complex numbers."""
    rho = 0.526
    gamma, omega = theory.mode_constants(rho, ETA, MOMENTUM, DECAY)[:2]
    continuous = theory.stationary_variances(rho, SIGMA2 * rho, ETA, MOMENTUM, BATCH, DECAY)[1]
    phase = np.linspace(0.003, 0.1, 100)
    z = np.exp(-1j * phase)
    transfer = (1 - z) / ((1 - z) * (1 - MOMENTUM * z) + ETA * (rho + DECAY) * z)
    drawn = theory.velocity_spectrum(oscillator_fit.phase_frequency(phase, ETA), gamma, omega)
    drawn *= 4 * gamma / ETA * continuous
    assert drawn == pytest.approx(SIGMA2 * rho / BATCH * abs(transfer) ** 2, rel=3e-3)


def test_wrong_curvature_is_noticed():
    data = planted.experiments(modes=30, steps=20_000)
    data["start_geometry"]["eigenvalue"] = 2 * data["start_geometry"]["eigenvalue"]
    found = {"oscillations": oscillations.analyse(data), "clouds": clouds.analyse(data)}

    def value(name):
        return measure(CLOUDS[name], found).value

    assert value("ld_fig6_autocorrelation") > 0.08
    assert value("ld_fig6_first_zero") > 1
    assert value("ld_fig6_frequency_q1") == pytest.approx(np.sqrt(0.5), abs=0.05)
    assert value("ld_fig6_rates_differ") == pytest.approx(1, abs=0.12)
    assert value("ld_fig4_equipartition") > 1.6


@pytest.mark.parametrize("rho", [0.526, 0.148])
def test_fit_recovers_the_frequency_from_the_exact_discrete_spectrum(rho):
    """The filter of the recursion, evaluated as complex numbers, under- and overdamped."""
    phase = np.linspace(0.002, np.pi, 2000)
    z = np.exp(-1j * phase)
    power = abs((1 - z) / ((1 - z) * (1 - MOMENTUM * z) + ETA * rho * z)) ** 2
    omega = np.sqrt(2 * rho / (ETA * (1 + MOMENTUM)))
    gamma = (1 - MOMENTUM) / (ETA * (1 + MOMENTUM))
    frequency = oscillator_fit.phase_frequency(phase, ETA)
    assert oscillator_fit.fit_frequency(frequency, power, gamma) == pytest.approx(omega, rel=2e-3)
    level = oscillator_fit.amplitude(frequency, 7 * power, omega, gamma)
    assert level == pytest.approx(7 * oscillator_fit.amplitude(frequency, power, omega, gamma))
    assert np.isnan(oscillator_fit.fit_frequency(frequency[:2], power[:2], gamma))
    assert np.isnan(oscillator_fit.fit_frequency(frequency, power * np.nan, gamma))


def test_periodogram_of_white_noise_and_of_a_wave():
    noise = np.random.default_rng(2).standard_normal((40, 512)) * 3 + 5
    phase, power = oscillator_fit.periodogram(noise)
    assert power.mean() == pytest.approx(9, rel=0.05)
    assert phase[-1] == pytest.approx(np.pi)
    wave = np.cos(2 * np.pi * 50 / 512 * np.arange(512))
    phase, power = oscillator_fit.periodogram(wave)
    assert phase[np.argmax(power)] == pytest.approx(2 * np.pi * 50 / 512)
