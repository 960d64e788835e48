"""Smoothing, plateau ends and tail exponents on curves whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from regimes.studies.feature_strength.plateaus import (
    largest_excursion,
    log_binned,
    plateau_end,
    smoothed,
    tail_exponent,
)


def curves(*values, step=None) -> xr.DataArray:
    """Losses (run, step)."""
    values = np.array(values, dtype=float)
    step = np.arange(values.shape[1]) if step is None else step
    return xr.DataArray(values, dims=("run", "step"), coords={"step": step})


def drop(length: float, steps: int, width: float = 0.15) -> np.ndarray:
    """Loss 0.1 that falls to 0.02 and passes 0.085 at ``length``."""
    share = 0.15 / 0.8
    scale = np.log(share / (1 - share))
    rate = (np.arange(steps) - length) / (width * length)
    return 0.1 - 0.08 / (1 + np.exp(-(rate + scale)))


def test_smoothing_leaves_straight_lines_alone():
    line = curves(3.0 - 0.1 * np.arange(20), np.full(20, 0.1))
    xr.testing.assert_allclose(smoothed(line), line)


def test_window_shrinks_towards_both_ends():
    impulse = curves(np.eye(1, 9, 4)[0], np.eye(1, 9, 1)[0])
    found = smoothed(impulse, half=2)
    assert found[0].values == pytest.approx([0, 0, 0.2, 0.2, 0.2, 0.2, 0.2, 0, 0])
    assert found[1].values == pytest.approx([0, 1 / 3, 0.2, 0.2, 0, 0, 0, 0, 0])


def test_smoothing_does_not_cross_a_divergence():
    loss = np.full(30, 0.1)
    loss[10] = 1e29
    loss[15:] = np.nan
    found = smoothed(curves(loss), half=2)[0].values
    assert found[3:7] == pytest.approx(0.1)
    assert np.isnan(found[13:]).all()
    assert found[7] == pytest.approx(0.1) and found[8] > 1e28


@pytest.mark.parametrize("length", [7, 33, 82, 161, 307])
def test_plateau_ends_where_the_loss_passes_the_fraction(length):
    assert float(plateau_end(curves(drop(length, 1000)), 0.1)[0]) == pytest.approx(length, abs=1.1)


def test_batch_noise_does_not_end_a_plateau_early():
    rng = np.random.default_rng(0)
    clean = drop(161, 1000)
    # None while f = 0, at the end of the plateau four times the scatter of batches of 64.
    noise = 0.04 * rng.standard_normal((100, 1000)) * np.minimum((0.1 - clean) / 0.015, 1)
    noisy = curves(*(clean * (1 + noise)))
    ends = plateau_end(noisy, 0.1)
    assert float(abs(ends / 161 - 1).max()) < 0.05
    raw = plateau_end(noisy, 0.1, half=0)
    assert float(raw.mean()) < float(ends.mean()) < 161.5
    # Even so smoothing shortens the measured plateau by less than 2 %.
    assert float(ends.mean()) == pytest.approx(161, rel=0.02)


def test_no_end_for_a_loss_that_stays_or_diverges():
    diverged = np.append(np.full(10, 0.1), np.full(90, np.nan))
    found = plateau_end(curves(np.full(100, 0.1), diverged, drop(30, 100)), 0.1)
    assert np.isnan(found.values[:2]).all()
    assert found.values[2] == pytest.approx(30, abs=1)


def test_initial_loss_and_step_coordinate_count():
    loss = curves(drop(20, 100), 10 * drop(20, 100), step=5 * np.arange(100))
    ends = plateau_end(loss, xr.DataArray([0.1, 1.0], dims="run"))
    assert ends.values == pytest.approx([100, 100], abs=5)


def test_excursion_covers_only_the_steps_up_to_the_end():
    loss = 0.1 * np.ones(50)
    loss[5:10] = 0.103
    loss[20:] = 0.05
    found = largest_excursion(curves(loss, loss), 0.1, xr.DataArray([12.0, np.nan], dims="run"))
    assert float(found[0]) == pytest.approx(0.03)
    assert np.isnan(float(found[1]))


def test_log_bins_hold_the_means_of_their_steps():
    loss = curves(np.arange(1001.0))
    binned = log_binned(loss, per_decade=1)
    assert binned.values[0] == pytest.approx([5, 54.5, 549.5, 1000])
    centres = [np.exp(np.log(np.arange(10**k, 10 ** (k + 1))).mean()) for k in range(3)]
    assert binned["log_step"].values == pytest.approx([*centres, 1000])


def test_log_bins_of_short_runs():
    assert log_binned(curves(np.ones(3)))["log_step"].values == pytest.approx([1, 2])
    assert log_binned(curves([0.1])).sizes == {"run": 1, "log_step": 0}


@pytest.mark.parametrize("exponent", [0.0, 0.03, 0.5, 2.0])
def test_tail_exponent_of_power_laws(exponent):
    step = np.arange(8000)
    early = np.where(step < 500, 7.0, 0.06 * (step + 1e-9) ** -exponent)
    rng = np.random.default_rng(1)
    noisy = early * (1 + 0.04 * rng.standard_normal(8000))
    found = tail_exponent(curves(early, noisy))
    assert float(found[0]) == pytest.approx(exponent, abs=0.002 + 0.005 * exponent)
    assert float(found[1]) == pytest.approx(exponent, abs=0.02)


def test_tail_exponent_of_binned_and_missing_losses():
    step = np.geomspace(1, 30000, 200)
    diverged = np.where(step < 100, 0.1, np.nan)
    found = tail_exponent(curves(0.1 * step**-0.3, diverged, step=step))
    assert float(found[0]) == pytest.approx(0.3, abs=1e-3)
    assert np.isnan(float(found[1]))
