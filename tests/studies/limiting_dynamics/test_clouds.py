"""Clouds, oscillations and phase portraits on made-up runs with known answers."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import xarray as xr
from matplotlib import pyplot as plt
from scipy import stats

from regimes.claims import measure
from regimes.plot import style
from regimes.studies.limiting_dynamics import (
    cloud_panels,
    panels,
    stationary,
)
from regimes.studies.limiting_dynamics.analyses import (
    cifar_clouds,
    clouds,
    fc_portraits,
    oscillations,
)
from regimes.studies.limiting_dynamics.claims_clouds import CLOUDS, of_blocks
from regimes.studies.limiting_dynamics.cloud_shapes import noise_correlation
from regimes.studies.limiting_dynamics.figures import (
    cifar_fig4,
    cifar_fig5,
    cifar_fig6,
    fig4,
    fig5,
    fig6,
    supp_fc_portraits,
)
from tests.studies.limiting_dynamics import planted_clouds as planted
from tests.studies.limiting_dynamics.planted_clouds import (
    BATCH,
    DECAY,
    ETA,
    MOMENTUM,
    SIGMA2,
    exact,
)

MODES = 34
FIRST, LATER = (exact(planted.spectrum(30)[i]) for i in (0, 29))
ANALYSES = {
    "clouds": clouds,
    "oscillations": oscillations,
    "cifar_clouds": cifar_clouds,
    "fc_portraits": fc_portraits,
}
FIGURES = [fig4, fig5, fig6, cifar_fig4, cifar_fig5, cifar_fig6, supp_fc_portraits]


def analysed(**sizes) -> dict[str, xr.Dataset]:
    """All analyses of the group; the CIFAR-10 stand-in is the same run."""
    data = planted.experiments(**sizes)
    data["cifar_resume"] = data["stationary_cloud_resume"]
    data["cifar_geometry"] = data["start_geometry"]
    rho = planted.spectrum(4)
    runs = []
    for batch in (32, 64):
        x, u = planted.simulate(rho, SIGMA2 * rho, sizes["steps"] // 20, 1, 0, 0.99, batch)
        runs.append(planted.sgd_runs(x, u, momentum=0.99, batch=batch))
    data["cifar_fc_portraits"] = xr.concat(runs, "run")
    return {name: module.analyse(data) for name, module in ANALYSES.items()}


@pytest.fixture(scope="module")
def laptop():
    return analysed(modes=MODES, steps=40_000, seeds=2)


@pytest.fixture(scope="module")
def smoke():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return analysed(modes=6, steps=200, seeds=1, known=20)


# --- Reading runs --------------------------------------------------------------------------------


def test_blocks_are_contiguous_and_end_with_the_run():
    values = xr.DataArray(np.arange(1001.0), dims="projection_step")
    cut = stationary.blocks(values, count=16)
    assert cut.sizes == {"block": 16, "inside": 59}  # (1001 - 51) // 16
    assert cut.values.ravel() == pytest.approx(np.arange(1001 - 16 * 59, 1001))
    assert stationary.blocks(values[:20]).sizes == {"block": 4, "inside": 4}


def test_runs_that_differ_or_end_early_are_left_out():
    x = np.random.default_rng(0).standard_normal((5, 41, 3))
    runs = planted.sgd_runs(x, x, seeds=[4, 5, 6, 7, 8])
    runs["model"][3] = "resnet34"
    runs["position"][1, 30:] = np.nan  # diverged
    runs["position"][2] = np.nan  # recorded no projections
    runs["position"][:, :, 2] = np.nan  # a mode that nobody has
    kept = stationary.resumed(runs.isel(run=[1, 2, 0, 3, 4]))
    assert kept.position["seed"].values.tolist() == [4, 8]
    assert kept.position["mode"].values.tolist() == [1, 2]
    assert kept.position.values == pytest.approx(x[[0, 4]][:, :, :2], rel=1e-6)
    assert kept.network["model"].values.tolist() == ["mlp"]
    assert (kept.eta, kept.batch_size) == (ETA, BATCH)


def test_projections_must_exist_and_be_dense():
    x = np.ones((1, 40, 2))
    runs = planted.sgd_runs(x, x)
    with pytest.raises(ValueError, match="every step"):
        stationary.resumed(runs.isel(projection_step=slice(None, None, 10)))
    with pytest.raises(ValueError, match="no run has projections"):
        stationary.resumed(runs.where(runs["projection_step"] < 0))
    with pytest.raises(ValueError, match="no geometry of network 'vgg16'"):
        other = stationary.resumed(planted.sgd_runs(x, x, model="vgg16"))
        stationary.start_point(planted.geometry(np.ones(2), np.ones(2), np.ones(2), 2), other)


def test_start_points_are_those_of_the_same_network():
    x = np.ones((2, 40, 2))
    runs = planted.sgd_runs(x, x).assign_coords(hidden=("run", [24, 64]), data=("run", ["a", "a"]))
    wide, narrow = (
        planted.geometry(rho * np.ones(2), np.ones(2), np.ones(2), 2).assign_coords(
            hidden=("run", [hidden])
        )
        for rho, hidden in ((3.0, 64.0), (2.0, 24.0))
    )
    both = xr.concat([wide, narrow], "run")  # its data set was not recorded
    run = stationary.resumed(runs)
    assert run.position.sizes["seed"] == 1  # the other run is of another width
    assert stationary.start_point(both, run)["eigenvalue"].values.tolist() == [2, 2]
    run = stationary.resumed(runs.isel(run=[1, 0]))
    assert stationary.start_point(both, run)["eigenvalue"].values.tolist() == [3, 3]
    elsewhere = both.assign_coords(data=("run", ["b", "b"]))
    with pytest.raises(ValueError, match="no geometry of network 'mlp 64 a'"):
        stationary.start_point(elsewhere, run)


@pytest.mark.parametrize(("modes", "pair"), [(60, [1, 30]), (6, [1, 6]), (1, [1, 1])])
def test_later_mode_is_thirty_or_the_last(modes, pair):
    assert stationary.plotted_pair(xr.DataArray(np.arange(1, modes + 1), dims="mode")) == pair


def test_blocks_take_the_place_of_seeds(laptop):
    stacked = of_blocks(laptop["clouds"], ["position_mean"])
    assert stacked["position_mean"].sizes == {"mode": MODES, "seed": 32}


# --- Clouds --------------------------------------------------------------------------------------


def test_claims_on_clouds_give_the_planted_numbers(laptop):
    found = {name: measure(rule, laptop) for name, rule in CLOUDS.items()}

    def value(name):
        return found[name].value

    ratio = planted.spectrum(30)[0] / planted.spectrum(30)[29]
    assert value("ld_fig4_position_isotropic") == pytest.approx(
        np.sqrt(FIRST["position"] / LATER["position"]), rel=0.06
    )
    assert value("ld_fig5_velocity_ratio") == pytest.approx(
        np.sqrt(FIRST["velocity"] / LATER["velocity"] / ratio), rel=0.03
    )
    assert value("ld_fig4_loss_anisotropic") == pytest.approx(np.sqrt(ratio))
    assert value("ld_fig4_loss_rise_q1") == pytest.approx(1.1)
    assert value("ld_fig4_loss_rise_q30") == pytest.approx(1.1)
    assert value("ld_fig4_noise_follows_hessian") == pytest.approx(1)
    assert value("ld_fig4_not_interpolating") == 0.586
    assert value("ld_fig4_eigenvector_residual") == pytest.approx(30e-6)
    assert value("ld_fig4_equipartition") == pytest.approx(1, abs=0.04)
    assert value("ld_fig4_position_sd_paper") == pytest.approx(
        np.sqrt(FIRST["position"] / (ETA * 0.6 / (2 * BATCH * 0.1))), rel=0.04
    )
    assert value("ld_fig5_ellipse_aligned") < 2
    assert value("ld_fig6_circulation") == pytest.approx(
        FIRST["circulation"] / (2 * SIGMA2 * 0.526 / (BATCH * (1 - MOMENTUM**2))), rel=0.05
    )
    assert found["ld_fig4_position_isotropic"].seeds == 32
    assert all(np.isfinite([m.low, m.high]).all() for m in found.values())


def test_interval_over_blocks_is_the_spread_over_runs():
    """Blocks leave as much doubt about a ratio of spreads as independent runs show."""
    rho = planted.spectrum(30)[[0, 29]]
    x, u = planted.simulate(rho, SIGMA2 * rho, 15_000, 24)
    one = planted.geometry(rho, SIGMA2 * rho, np.zeros(2), 2)
    rule = CLOUDS["ld_fig4_position_isotropic"]
    found = []
    for i in range(24):
        runs = planted.sgd_runs(x[i : i + 1], u[i : i + 1])
        data = clouds.analyse({"stationary_cloud_resume": runs, "start_geometry": one})
        found.append(measure(rule, {"clouds": data}))
    truth = np.sqrt(FIRST["position"] / LATER["position"])
    assert sum(m.low <= truth <= m.high for m in found) >= 19
    half = stats.t.ppf(0.975, 15)
    error = np.sqrt(np.mean([((m.high - m.low) / 2 / half) ** 2 for m in found]))
    assert error == pytest.approx(np.std([m.value for m in found], ddof=1), rel=0.4)


def test_angle_of_a_turned_velocity_cloud():
    rng = np.random.default_rng(3)
    u = rng.standard_normal((1, 20_001, 2)) * [1.0, 0.4]
    angle = np.deg2rad(25)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    rho = np.array([1.0, 0.5])
    data = clouds.analyse(
        {
            "stationary_cloud_resume": planted.sgd_runs(u, u @ turn + [5.0, -3.0]),
            "start_geometry": planted.geometry(rho, rho, np.zeros(2), 2),
        }
    )
    found = measure(CLOUDS["ld_fig5_ellipse_aligned"], {"clouds": data})
    assert found.value == pytest.approx(25, abs=0.5)
    assert found.low < 25 < found.high
    # Without pre-training runs, the accuracy at the start point counts.
    assert float(data["train_accuracy"]) == 0.59


def test_noise_correlation_takes_the_top_modes_with_positive_curvature():
    mode = np.arange(1, 401)
    rho = xr.DataArray(np.where(mode <= 200, 400.0 - mode, 1e-3), dims="all_mode")
    noise = rho**2
    noise[200:] = 1e9  # not among the top modes
    rho[7] = -1.0
    assert float(noise_correlation(rho, noise)) == pytest.approx(1)
    assert float(noise_correlation(rho, 1 / rho)) == pytest.approx(-1)
    assert np.isnan(noise_correlation(rho[:2], noise[:2]))


def test_minimum_and_settings_are_stored(laptop):
    data = laptop["clouds"]
    assert data["minimum"].values == pytest.approx([0.02, -0.01])
    assert (float(data["momentum"]), float(data["weight_decay"])) == (MOMENTUM, DECAY)
    # The cloud lies about the predicted minimum, not about the start.
    centre = data["position_mean"].mean(["seed", "block"]).sel(mode=[1, 30])
    assert centre.values == pytest.approx([0.02, -0.01], abs=0.004)
    assert data["path_position"].sizes["path_step"] <= stationary.PATH_POINTS
    assert data["path_position"].isel(path_step=0).values == pytest.approx([0, 0])


# --- Oscillations --------------------------------------------------------------------------------


def test_oscillation_claims_on_oscillators(laptop):
    def value(name):
        return measure(CLOUDS[name], laptop).value

    assert value("ld_fig6_autocorrelation") < 0.06
    assert value("ld_fig6_first_zero") < 1
    assert value("ld_fig6_frequency_q1") == pytest.approx(1, abs=0.04)
    assert value("ld_fig6_frequency_q30") == pytest.approx(1, abs=0.06)
    assert value("ld_fig6_rates_differ") == pytest.approx(1, abs=0.07)
    data = laptop["oscillations"]
    fitted = [value(f"ld_fig6_frequency_q{i}") for i in (1, 30)]
    assert (data["fitted_frequency"] / data["natural_frequency"]).values == pytest.approx(fitted)


# --- CIFAR-10 repeats ----------------------------------------------------------------------------


def test_repeats_see_a_drift_as_anisotropy_and_keep_the_sign_of_loops(laptop):
    def value(name, data):
        return measure(CLOUDS[name], {"cifar_clouds": data}).value

    isotropic, round_velocity = (
        value(name, laptop["cifar_clouds"])
        for name in ("ld_cifar_fig4_not_isotropic", "ld_cifar_fig5_round")
    )
    assert isotropic < 0.08
    assert round_velocity == pytest.approx(np.sqrt(FIRST["velocity"] / LATER["velocity"]), rel=0.03)
    loops = (FIRST["circulation"]) / (
        2 * 0.526 / (ETA * 1.9) * FIRST["position"] + FIRST["velocity"]
    )
    assert value("ld_cifar_fig6_loops", laptop["cifar_clouds"]) == pytest.approx(loops, rel=0.06)
    data = planted.experiments(modes=30, steps=3000)
    drifting = data["stationary_cloud_resume"]
    push = xr.DataArray(np.where(np.arange(30) == 29, 1e-3, 0), dims="mode")
    drifting["position"] = drifting["position"] + push * drifting["projection_step"]
    repeat = cifar_clouds.analyse(
        {"cifar_resume": drifting.transpose("run", "projection_step", "mode"),
         "cifar_geometry": data["start_geometry"]}
    )  # fmt: skip
    assert value("ld_cifar_fig4_not_isotropic", repeat) > 1


# --- Portraits and figures -----------------------------------------------------------------------


def test_portraits_hold_the_last_steps_of_every_batch_size(laptop):
    data = laptop["fc_portraits"]
    assert data["position"].sizes == {"batch_size": 2, "seed": 1, "last_step": 2000, "mode": 3}
    assert data["last_step"].values[[0, -1]].tolist() == [1, 2000]
    assert float(data["momentum"]) == 0.99


def test_everything_stored_has_a_name_and_units(laptop, smoke):
    for data in (*laptop.values(), *smoke.values()):
        for variable in data.variables.values():
            assert variable.attrs["long_name"]
            assert variable.attrs["units"] == "1"


@pytest.mark.parametrize("module", FIGURES, ids=lambda m: m.__name__.rsplit(".", 1)[-1])
@pytest.mark.parametrize("scale", ["laptop", "smoke"])
def test_figures_draw_without_warnings(module, scale, request):
    data = request.getfixturevalue(scale)
    with warnings.catch_warnings(), style.applied():
        warnings.simplefilter("error")
        figure = module.draw(data)
        figure.canvas.draw()
    drawn = {module.__name__.rsplit(".", 1)[-1]: len(figure.axes)}
    expected = {"fig4": 6, "fig5": 2, "fig6": 4, "cifar_fig4": 6, "cifar_fig5": 2, "cifar_fig6": 2}
    assert drawn == {k: expected.get(k, 7) for k in drawn}


def test_figures_draw_where_losses_were_not_mapped():
    """Image nets: few modes, no full spectrum, no maps of the loss."""
    data = planted.experiments(modes=10, steps=400, known=10)
    start = data["start_geometry"]
    for name in ("train_loss_grid", "test_loss_grid", "grid_offset", "loss_rise"):
        start[name] = start[name] * np.nan
    start["eigenvalue"][0, 9] = -0.1
    found = {
        "clouds": clouds.analyse(data),
        "oscillations": oscillations.analyse(data),
    }
    with warnings.catch_warnings(), style.applied():
        warnings.simplefilter("error")
        assert len(fig4.draw(found).axes) == 4  # one colour bar
        fig5.draw(found).canvas.draw()
        fig6.draw(found).canvas.draw()
    assert np.isnan(measure(CLOUDS["ld_fig4_loss_rise_q1"], found).value)
    assert np.isnan(measure(CLOUDS["ld_fig4_loss_anisotropic"], found).value)
    assert np.isnan(measure(CLOUDS["ld_fig4_equipartition"], found).value)


def test_contours_of_loss_are_ellipses_and_of_the_modified_loss_circles(laptop):
    data = laptop["clouds"]
    grid, psi = cloud_panels.position_part(data, 0.15)
    eta, beta = ETA, MOMENTUM
    expected = (grid[:, None] - 0.02) ** 2 + (grid[None, :] + 0.01) ** 2
    assert psi == pytest.approx(expected / (eta * (1 + beta)), rel=1e-3)
    loss = data["train_loss"].values
    assert np.ptp(loss[:, 20]) / np.ptp(loss[20]) > 2  # steeper along the first mode


def test_heat_map_has_its_first_axis_along_x():
    x, y = np.linspace(0, 1, 5), np.linspace(0, 3, 7)
    values = x[:, None] + 0 * y
    _, axes = plt.subplots()
    mesh = panels.heat_map(axes, x, y, values, "Reds", contours=[0.5])
    assert np.asarray(mesh.get_array()).reshape(7, 5)[3] == pytest.approx(x)
    lines = [c for c in axes.collections if c is not mesh]
    assert lines[0].get_paths()[0].vertices[:, 0] == pytest.approx(0.5)
    levels = panels.quadratic_levels(np.ma.array([1.0, 17.0]), 3)
    assert levels == pytest.approx([2, 5, 10])
    plt.close("all")


def test_moving_average_and_spread_ellipse():
    values = np.array([[1.0], [2.0], [6.0], [3.0]])
    assert panels.moving_average(values, 2).ravel() == pytest.approx([1.5, 4, 4.5])
    assert panels.moving_average(values, 9).ravel() == pytest.approx([3])
    points = np.random.default_rng(4).multivariate_normal([1, 2], [[4, 1], [1, 1]], 5000).T
    ellipse = cloud_panels.spread_ellipse(*points)
    assert ellipse.mean(1) == pytest.approx([1, 2], abs=0.15)
    assert ellipse[0].max() - 1 == pytest.approx(2 * 2, rel=0.05)
    assert ellipse[1].max() - 2 == pytest.approx(2 * 1, rel=0.1)


def test_phase_portrait_has_the_common_view_and_tolerates_missing_points():
    figure = plt.figure()
    axes = panels.three_d_axes(figure)
    time = np.arange(10.0)
    gone = np.where(time < 5, time, np.nan)
    panels.phase_portrait(
        axes, [panels.PhaseCurve(time, time, gone), panels.PhaseCurve(time, -time, time, wall=None)]
    )
    assert (axes.elev, axes.azim) == (35, -45)
    assert axes.get_ylim() == (0, 9)
    assert axes.get_xlim() == pytest.approx((-9.9, 9.9))
    assert len(axes.lines) == 4  # two paths, two projections of the first
    panels.phase_portrait(
        panels.three_d_axes(figure), [panels.PhaseCurve(gone * np.nan, gone, gone)]
    )
    figure.canvas.draw()
    plt.close("all")


def test_colours_of_settings_and_nets():
    colours = panels.value_colours([0.1, 0.01, 0.1, 1.0])
    assert list(colours) == [0.01, 0.1, 1.0]
    assert len(set(colours.values())) == 3
    assert panels.net_colour("resnet18") != panels.net_colour("vgg16")
    assert panels.net_colour("unknown") == style.GREY
    assert panels.net_name("resnet18") == "ResNet-18"
    assert len(set(panels.setting_colours(18))) == 18
