"""Exponents, curves and analyses of displacements, on made-up trajectories."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import xarray as xr

from regimes.studies.limiting_dynamics import displacement_curves as curves
from regimes.studies.limiting_dynamics.analyses import displacements, grid, lengths, sweeps
from regimes.studies.limiting_dynamics.exponents import (
    displacement_exponent,
    evenly_spaced,
    fit_line,
    fit_window,
)
from tests.studies.limiting_dynamics.planted_displacements import (
    BETA,
    ETA,
    SIZE,
    TRACE,
    analysed,
    geometry,
    made_converged,
    made_grid,
    made_long,
    made_sweeps,
    runs,
)


@pytest.fixture(scope="module")
def laptop():
    return analysed()


@pytest.fixture(scope="module")
def smoke():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return analysed(smoke=True)


# --- Exponents -----------------------------------------------------------------------------------


def power_laws(exponents, step):
    values = 3e-5 * step ** np.array(exponents)[:, None]
    return xr.DataArray(values, dims=("run", "step"), coords={"step": step})


@pytest.mark.parametrize("spacing", ["uniform", "log"])
@pytest.mark.parametrize("step", [np.arange(1, 2001), np.r_[1:20, 20:2001:10]])
def test_exponents_of_power_laws_are_exact(spacing, step):
    values = power_laws([0.3, 1.0, 1.7], step)
    found = displacement_exponent(values["step"], values, 200, 2000, spacing)
    assert found.values == pytest.approx([0.3, 1.0, 1.7], abs=1e-9)
    assert found.attrs["spacing"] == spacing
    assert np.exp(fit_line(values["step"], values, 200, 2000)["intercept"].values) == pytest.approx(
        3e-5
    )


def test_steps_outside_the_window_do_not_count():
    values = power_laws([1.0, 1.0], np.arange(1, 1001))
    bent = values.where((values["step"] >= 100) & (values["step"] <= 800), 7.0)
    for spacing in ("uniform", "log"):
        found = fit_line(values["step"], bent, 100, 800, spacing)
        assert found["slope"].values == pytest.approx(1, abs=1e-9)
    assert fit_line(values["step"], bent, 100, 800)["points"].values.tolist() == [701, 701]
    wider = displacement_exponent(values["step"], bent, 99, 800)
    assert abs(float(wider[0]) - 1) > 1e-3
    each = xr.DataArray([100.0, 200.0], dims="run")
    assert fit_line(values["step"], bent, each, 800)["points"].values.tolist() == [701, 601]


def test_uniform_spacing_weights_late_times_and_log_spacing_does_not():
    step = np.arange(1, 10_001)
    # Slope 1 on the first decade of the window, 2 on the second.
    line = np.where(step < 1000, np.log(step), np.log(1000) + 2 * np.log(step / 1000))
    values = xr.DataArray(np.exp(line), dims="step", coords={"step": step})
    uniform, log = (
        float(displacement_exponent(values["step"], values, 100, 10_000, spacing))
        for spacing in ("uniform", "log")
    )
    # Least squares on a dense even grid in ln k, written down directly.
    dense = np.linspace(np.log(100), np.log(10_000), 4001)
    kink = np.maximum(dense - np.log(1000), 0)
    assert log == pytest.approx(np.polyfit(dense, dense + kink, 1)[0], abs=0.03)
    assert log == pytest.approx(1.5, abs=0.03)
    every = slice(99, None)
    assert uniform == pytest.approx(np.polyfit(np.log(step[every]), line[every], 1)[0])
    assert uniform > 1.75


def test_fits_agree_with_a_polynomial_fit_and_leave_missing_steps_out():
    rng = np.random.default_rng(5)
    step = np.arange(1, 501)
    values = power_laws([1.1, 0.6], step) * np.exp(0.1 * rng.standard_normal((2, 500)))
    values[0, ::3] = np.nan
    values[1, 100] = 0.0
    found = displacement_exponent(values["step"], values, 50, 500)
    for i in range(2):
        y = values.values[i]
        used = (step >= 50) & (y > 0)
        expected = np.polyfit(np.log(step[used]), np.log(y[used]), 1)[0]
        assert float(found[i]) == pytest.approx(expected, abs=1e-9)


def test_too_few_points_and_unknown_spacings():
    values = power_laws([1.0], np.arange(1, 101))
    assert np.isnan(displacement_exponent(values["step"], values, 99, 100)).all()
    assert np.isnan(displacement_exponent(values["step"], values, 90, 20, "log")).all()
    assert np.isnan(displacement_exponent(values["step"], values, 50, 50, "log")).all()
    with pytest.raises(ValueError, match="neither"):
        displacement_exponent(values["step"], values, 1, 100, "linear")
    with pytest.raises(ValueError, match="dimensions"):
        displacement_exponent(values, values, 1, 100)


def test_windows_never_reach_into_the_transient():
    momentum = xr.DataArray([0.8, 0.9, 0.99, 0.999], dims="run")
    low, high = fit_window(8000.0, momentum, 0.01)
    assert low.values == pytest.approx([80, 80, 500, 5000])
    assert high.values.tolist() == [8000] * 4
    assert fit_window(8000.0, 0.99, 0.5)[0] == 4000


# --- Curves --------------------------------------------------------------------------------------


def test_shares_of_rising_increments_are_counted():
    step = np.arange(1, 501)
    up = step + 0.0
    # Falls over the last 5 of the 9 increments of 50 steps, and wiggles in between.
    down = np.where(step <= 250, step, 500 - step) + 30 * np.sin(step * 2 * np.pi / 25)
    values = xr.DataArray([up, down, np.nan * up], dims=("run", "step"), coords={"step": step})
    found = curves.rising_share(values).values
    assert found[:2] == pytest.approx([1, 4 / 9])
    assert np.isnan(found[2])
    coarse = values.isel(step=slice(249, None, 250))
    assert np.isnan(curves.rising_share(coarse)).all()  # increments of 250 steps are others
    coarsening = values.isel(step=np.r_[0:200, 249:500:250])
    assert np.isnan(curves.rising_share(coarsening)).all()
    regular = values.isel(step=slice(24, None, 25))
    assert curves.rising_share(regular).values[:2] == pytest.approx([1, 4 / 9])
    early = values.where(values["step"] <= 260)
    assert curves.rising_share(early).values[:2] == pytest.approx([1, 1])


def test_halves_of_a_ramp():
    step = np.arange(1, 101)
    values = xr.DataArray(step[None] + 0.0, dims=("run", "step"), coords={"step": step})
    low, high = (xr.DataArray([v], dims="run") for v in (20.0, 100.0))
    # 21..60 and 61..100.
    assert float(curves.half_ratio(values, low, high)[0]) == pytest.approx(40.5 / 80.5)


def test_thinned_curves_keep_their_ends():
    step = np.r_[1:20, 20:9001:10]
    values = xr.DataArray(step[None] + 0.5, dims=("run", "step"), coords={"step": step})
    even = curves.sampled(values)
    assert even.sizes["sample_step"] == 200
    assert np.ptp(np.diff(even["sample_step"].values)) <= 10
    assert int(even["sample_step"][-1]) == 9000
    log = curves.log_sampled(values)
    assert log["log_step"].values[:10].tolist() == list(range(1, 11))
    assert int(log["log_step"][-1]) == 9000
    assert log.sizes["log_step"] < 170
    assert (log.values == log["log_step"].values + 0.5).all()
    one = curves.log_sampled(values.isel(step=[0]))
    assert one["log_step"].values.tolist() == [1]


def test_noise_traces_belong_to_their_network():
    data = xr.concat(
        [runs({"seed": [0]}, model=model) for model in ("mlp", "resnet18", "vgg16")], "run"
    )
    known = xr.concat(
        [geometry(10.0), geometry(14.0), geometry(3.0, model="vgg16"), geometry(5.0, hidden=99.0)],
        "run",
    )
    found = curves.noise_trace(data, known).values
    assert found == pytest.approx([12, np.nan, 3], nan_ok=True)
    assert np.isnan(curves.noise_trace(data, None)).all()


# --- Analyses ------------------------------------------------------------------------------------


def test_converged_runs_recover_what_was_planted(laptop):
    data = laptop["displacements"]
    assert data["eta"].values == pytest.approx([5e-5, 2e-4, 1e-3])
    assert data["default"].values.tolist() == [0, 1, 0]
    assert data["exponent"].mean("seed").values == pytest.approx([1.40, 0.96, 0.43], abs=1e-6)
    assert data["exponent_log"].mean("seed").values == pytest.approx([1.40, 0.96, 0.43], abs=1e-6)
    assert data["exponent"].isel(case=0).values == pytest.approx([1.37, 1.39, 1.41, 1.43])
    # The last two thirds of steps 1000 to 10,000.
    assert float(data["window_low"].min()) == float(data["window_low"].max()) == 4000
    assert float(data["window_high"].max()) == 10_000
    assert data["points"].values.tolist() == [[6001] * 4] * 3
    level = np.array([5e-5, 2e-4, 1e-3]) ** 2 * 21.4 / (64 * 0.19)
    assert data["level_theory"].mean("seed").values == pytest.approx(level)
    assert data["level_ratio"].values == pytest.approx(1, abs=2e-3)
    assert abs(data["accuracy_change"].values) == pytest.approx(0.1)
    assert data["final_displacement"].notnull().all()


def test_sweeps_recover_levels_and_exponents(laptop):
    data = laptop["sweeps"]
    for name, value in {"eta": ETA, "batch_size": SIZE, "momentum": BETA}.items():
        assert float(data[f"default_{name}"]) == value
    assert data["level_ratio_eta"].mean("seed").values == pytest.approx([1] * 7 + [1.02], abs=2e-3)
    assert data["level_ratio_momentum"].mean("seed").values == pytest.approx(
        [1] * 5 + [0.985], abs=2e-3
    )
    assert data["calibrated_batch_size"].mean("seed").values == pytest.approx(
        [1.025] + [1] * 6, abs=2e-3
    )
    assert data["calibration"].values == pytest.approx(TRACE, rel=2e-3)
    exponent = 0.97 - 0.4 * np.log10(data["eta"].values / 2e-4)
    assert data["exponent_eta"].mean("seed").values == pytest.approx(exponent, abs=1e-6)
    # Half of 8000 steps outlasts every transient.
    assert (data["window_low_momentum"] == 4000).all()
    assert data["test_loss_eta"].isel(seed=0).values == pytest.approx(
        1.42 + 20 * data["eta"].values
    )


def test_without_a_measured_trace_levels_are_only_calibrated():
    data = sweeps.analyse(made_sweeps(steps=300, seeds=2))
    assert data["level_ratio_eta"].isnull().all()
    assert data["calibrated_eta"].mean("seed").values == pytest.approx([1] * 7 + [1.02], abs=0.02)


def test_sweeps_that_do_not_share_a_default_are_refused():
    made = made_sweeps(steps=60, seeds=1)
    made["sweep_eta"]["batch_size"] = made["sweep_eta"]["batch_size"] * 2
    with pytest.raises(ValueError, match="batch_size"):
        sweeps.analyse(made)


def test_the_grid_recovers_plateaus_and_rise(laptop):
    data = laptop["grid"]
    assert data["plateau_ratio"].values == pytest.approx(1, abs=3e-3)
    assert data["calibrated_ratio"].values == pytest.approx(1, abs=5e-3)
    assert data["rise"].values == pytest.approx(1, abs=0.04)
    assert float(data["default_eta"]) == 2e-4
    assert float(data["default_batch_size"]) == 64
    expected = 0.97 - 0.4 * np.log10(data["eta"] / 2e-4) + 0.2 * np.log10(data["batch_size"] / 64)
    expected = expected + 0.6 * np.log10((1 - data["momentum"]) / 0.1)
    assert abs(data["exponent"].mean("seed") - expected).max() < 1e-6
    assert data["early_step"].values.tolist() == list(range(1, 501))


def test_a_slower_rise_shows():
    data = made_grid(2000, 1, rates=(1e-4, 2e-4), sizes=(64,))
    beta, k = data["momentum"], data["step"].astype(float)
    late = (1 - beta**k) / (1 - beta ** (2 * k))
    data["local_displacement"] = data["local_displacement"] * late
    found = grid.analyse({"grid_eta_batch_beta": data})
    # Mean over k <= 50 of 1/(1 + .9^k).
    expected = np.mean(1 / (1 + 0.9 ** np.arange(1, 51)))
    assert found["rise"].sel(momentum=0.9).values == pytest.approx(expected, abs=0.02)


def test_exponents_follow_the_length(laptop):
    data = laptop["lengths"]
    assert data["length"].values.tolist() == [1e3, 2e3, 4e3, 8e3, 1.6e4, 4e4, 8e4]
    mean = data["exponent"].mean("seed")
    assert mean.sel(length=[1000, 2000]).values == pytest.approx(1.2, abs=1e-6)
    assert mean.sel(length=[8000, 80_000]).values == pytest.approx(0.5, abs=1e-6)
    assert 0.5 < float(mean.sel(length=4000)) < 1.2
    assert data["window_low"].sel(length=[1000, 80_000]).isel(seed=0).values == pytest.approx(
        [1000 / 3, 80_000 / 3]
    )
    # 16,000 steps on are all past the bend.
    assert data["share_exponent"].mean("seed").values == pytest.approx(0.5, abs=1e-6)


def test_a_window_with_two_cadences_counts_the_coarser_one():
    step = np.r_[1:100, 100:1001:10]
    line = np.log(step) + 0.3 * np.log(step) ** 2
    values = xr.DataArray(np.exp(line)[None], dims=("run", "step"), coords={"step": step})
    low, high = xr.DataArray([50.0], dims="run"), xr.DataArray([1000.0], dims="run")
    even = evenly_spaced(values, low, high)
    assert even.dropna("step")["step"].values.tolist() == list(range(50, 1001, 10))
    kept = np.arange(50, 1001, 10)
    expected = np.polyfit(np.log(kept), np.log(kept) + 0.3 * np.log(kept) ** 2, 1)[0]
    found = float(fit_line(values["step"], even, low, high)["slope"][0])
    assert found == pytest.approx(expected)
    assert found > float(fit_line(values["step"], values, low, high)["slope"][0]) + 0.05
    # Inside the dense part and inside the coarse part nothing is left out.
    for edges in ((10, 90), (200, 900)):
        part = evenly_spaced(values, *edges).dropna("step")["step"].values
        assert part.tolist() == [k for k in step if edges[0] <= k <= edges[1]]


def test_lengths_are_fitted_on_evenly_spaced_steps():
    data = made_long(4000, seeds=2)
    k = np.unique(np.r_[1:1001, 10:4001:10])
    curve = np.log(k) + 0.05 * np.log(k) ** 2
    data = data.drop_vars(["local_displacement", "global_displacement", "step"])
    data["global_displacement"] = (("run", "step"), np.exp(np.stack([curve, curve])))
    found = lengths.analyse({"very_long_resume": data.assign_coords(step=k)})
    kept = np.arange(670, 2001, 10)
    expected = np.polyfit(np.log(kept), np.log(kept) + 0.05 * np.log(kept) ** 2, 1)[0]
    assert found["exponent"].sel(length=2000).values == pytest.approx(expected)
    assert found["points"].sel(length=[1000, 2000]).isel(seed=0).values.tolist() == [667, 134]


def test_runs_that_end_early_have_no_exponent_at_greater_lengths():
    long = made_long(8000, seeds=2)
    long["global_displacement"] = long["global_displacement"].where(
        (long["seed"] == 0) | (long["step"] <= 4000)
    )
    data = lengths.analyse({"very_long_resume": long})
    assert np.isfinite(data["exponent"].sel(length=4000)).all()
    assert np.isfinite(data["exponent"].sel(length=8000)).values.tolist() == [True, False]
    assert lengths.lengths(40) == [3, 5, 10, 20, 40]
    assert lengths.lengths(19_600) == [1000, 2000, 4000, 8000, 16_000, 19_600]


def test_divergent_runs_have_neither_level_nor_exponent():
    data = made_converged(steps=500, seeds=2)
    data["diverged_at"] = data["diverged_at"].where(data["seed"] == 0, 400)
    late = data["step"] >= 400
    gone = (data["diverged_at"] >= 0) & late
    data["global_displacement"] = data["global_displacement"].where(~gone)
    found = displacements.analyse({"converged_long_resume": data})
    for name in ("exponent", "local_mean", "half_ratio", "rising_share"):
        known = found[name].notnull()
        assert known.sel(seed=0).all(), name
        assert not known.sel(seed=1).any(), name


def test_of_several_lengths_on_cifar_ten_epochs_are_used(laptop):
    data = laptop["cifar_displacements"]
    assert data["model"].values.tolist() == ["resnet18", "resnet34"]
    assert data["window_high"].values.ravel().tolist() == [1960, 1960]
    assert data["exponent"].values.ravel() == pytest.approx([1.54, 1.41])
    assert data["pretrained_test_accuracy"].values == pytest.approx([0.93, 0.919])
    # The trace of one of the two networks is known.
    assert data["level_ratio"].values[0] == pytest.approx(1, abs=0.01)
    assert data["level_theory"].values[0] == pytest.approx(1e-8 * TRACE / (256 * 0.19))
    assert np.isnan(data["level_theory"][1]).all()


def test_weight_decay_keeps_settings_apart(laptop):
    data = laptop["weight_decay"]
    assert data["weight_decay"].values == pytest.approx([1e-4, 1e-3, 1e-2, 1e-1, 1])
    # exp(-lambda k / K) averaged over halves.
    assert float(data["half_ratio"].sel(weight_decay=1).mean()) == pytest.approx(
        np.exp(0.5), rel=0.01
    )
    assert data["train_accuracy"].isel(evaluation_step=-1).sel(weight_decay=1).values == (
        pytest.approx(0.187, abs=2e-3)
    )


@pytest.mark.parametrize("kind", ["laptop", "smoke"])
def test_variables_say_what_they_are(kind, request):
    for name, data in request.getfixturevalue(kind).items():
        for variable in (*data.data_vars.values(), *data.coords.values()):
            assert variable.attrs["long_name"], (name, variable.name)
            assert variable.attrs["units"] == "1", (name, variable.name)
