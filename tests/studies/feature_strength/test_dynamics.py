"""Analyses, measures and figures on dynamics, on made-up trajectories with known answers."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import xarray as xr

from regimes.claims import measure
from regimes.plot import style
from regimes.studies.feature_strength import reading, theory, trajectories
from regimes.studies.feature_strength.analyses import (
    alignment,
    catapults,
    staircase,
)
from regimes.studies.feature_strength.catapult import largest_surviving
from regimes.studies.feature_strength.claims_dynamics import DYNAMICS
from regimes.studies.feature_strength.figures import fig4, figA2, figA3, figA5, figA9
from tests.studies.feature_strength.planted_dynamics import (
    analysed,
    made_alignment,
    made_catapults,
    made_staircase,
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


# --- Trajectories --------------------------------------------------------------------------------


def sparse(values, steps=(0, 10, 20, 40)):
    return xr.DataArray(
        np.array(values, dtype=float), dims=("run", "step"), coords={"step": list(steps)}
    )


def test_values_between_steps_are_interpolated_and_never_extrapolated():
    values = sparse([[0, 1, 3, 5], [0, np.nan, 4, 8], [np.nan] * 4])
    where = xr.DataArray([5.0, 10.0, 10.0], dims="run")
    assert trajectories.at_step(values, "step", where).values == pytest.approx(
        [0.5, 2.0, np.nan], nan_ok=True
    )
    assert np.isnan(trajectories.at_step(values, "step", 41.0)).all()
    assert np.isnan(trajectories.at_step(values, "step", np.nan)).all()


def test_first_above_interpolates_and_tells_never_from_unknown():
    values = sparse([[0, 1, 3, 5], [2, 0, 0, 5], [0, 0, 0, 0], [np.nan] * 4])
    level = xr.DataArray([2.0, 1.0, 1.0, 1.0], dims="run")
    found = trajectories.first_above(values, level, "step").values
    assert found[:2] == pytest.approx([15, 0])
    assert np.isposinf(found[2])
    assert np.isnan(found[3])


def test_largest_between_includes_both_interpolated_ends():
    values = sparse([[0, 10, 0, 0], [0, 10, 0, 0], [0, 10, 0, 0]])
    start, stop = (xr.DataArray(v, dims="run") for v in ([5.0, 12.0, np.nan], [30.0, 18.0, 18.0]))
    found = trajectories.largest_between(values, "step", start, stop).values
    assert found == pytest.approx([10, 8, np.nan], nan_ok=True)


def test_binned_losses_of_long_runs_read_like_those_of_every_step():
    bins = np.array([0.0, 1.5, 20.0])
    data = runs({"seed": [0, 1]})
    data["train_loss_binned"] = (("run", "bin"), np.array([[3.0, 2, 1]] * 2))
    data["bin_step"] = (("run", "bin"), np.array([bins, bins]))
    loss = trajectories.online_loss(data)
    assert loss["step"].values.tolist() == bins.tolist()
    assert trajectories.smoothing(loss) == 0
    assert trajectories.smooth(loss).values.tolist() == loss.values.tolist()
    data["bin_step"] = data["bin_step"] * xr.DataArray([1, 2], dims="run")
    with pytest.raises(ValueError, match="different length"):
        trajectories.online_loss(data)


# --- Analyses ------------------------------------------------------------------------------------


def test_catapults_recover_what_was_put_in(laptop):
    data = laptop["catapults"].sel(loss="mse")
    assert data["sharpness_start"].sel(log10_gamma=-2).values == pytest.approx(
        np.repeat(data["multiple"].values[:, None], 3, 1)
    )
    catapulted = data.sel(multiple=[1.5, 2, 4], log10_gamma=[-3, -2])
    assert catapulted["sharpness_end"].values == pytest.approx(0.7)
    # The fall exp(-t / 30) sets in before the rise has reached 0.3 m / gamma^2.
    expected = 0.3 * catapulted["multiple"] / 100.0 ** catapulted["log10_gamma"]
    assert float(abs(np.log(catapulted["peak"] / expected) + 0.4).max()) < 0.8
    largest = catapulted["relative_loss"].max("step").astype(float)
    assert float(abs(catapulted["peak"] / largest - 1).max()) < 1e-5
    # exp(t (m - 1)) passes 10 at t = 2.3 / (m - 1): steps 5, 3 and (growth is capped at 2) 2.
    middle = catapulted["first_overshoot"].median("seed").sel(log10_gamma=-2)
    assert middle.values == pytest.approx([5, 3, 2], abs=1)
    assert np.isposinf(data["first_overshoot"].sel(multiple=0.8)).all()
    assert data["largest_multiple"].mean("seed").values == pytest.approx([6, 6, 8])
    assert data["diverges"].sel(multiple=8).mean("seed").values.tolist() == [1, 1, 0]
    assert laptop["catapults"].sel(loss="cross_entropy", log10_gamma=-1).peak.isnull().all()


def test_nothing_survives_above_a_divergent_multiple():
    diverges = xr.DataArray(
        [[0, 0, 1, 0], [0, 0, 0, 0], [1, 0, 0, 0], [0, np.nan, 0, np.nan], [np.nan] * 4],
        dims=("seed", "multiple"),
        coords={"multiple": [1.0, 2.0, 4.0, 8.0]},
    )
    found = largest_surviving(diverges).values
    assert found == pytest.approx([2, 8, np.nan, 4, np.nan], nan_ok=True)


def test_alignment_recovers_the_order_of_events(laptop):
    data = laptop["alignment"]
    end = 15 * 10 ** (data["log10_gamma"] / 3) * (1 + 0.02 * data["seed"])
    assert float(abs(data["plateau_end"] / end - 1).max()) < 0.1
    # 1.25 times the start where 1 / (1 + x^-6) = 0.25 * 0.12 / 0.66, x = step / (0.9 end).
    begin = 0.9 * end * (0.66 / 0.03 - 1) ** (-1 / 6)
    assert float(abs(data["aligned_at"] / begin - 1).max()) < 0.06
    assert data["cka_start"].isel(layer=-1).values == pytest.approx(0.12)
    at_end = 0.12 + 0.66 / (1 + 0.9**6)
    assert float(abs(data["cka_plateau_end"].isel(layer=-1) - at_end).max()) < 0.06
    assert data["edge_after_drop"].values == pytest.approx(1 / (1 + (0.8 / 3) ** 4), abs=0.01)
    assert not data["diverges"].any()


def test_alignment_that_never_comes_is_later_than_any_drop():
    data = made_alignment((3,))
    data["cka_label"] = 0 * data["cka_label"] + 0.1
    found = alignment.analyse({"alignment_mlp": data})
    assert np.isposinf(found["order"]).all()


def test_runs_that_stay_on_their_plateau_have_no_order():
    found = alignment.analyse({"alignment_mlp": made_alignment((4,), steps=60)})
    for name in ("plateau_end", "cka_plateau_end", "edge_after_drop", "order"):
        assert found[name].isnull().all(), name


def test_collapse_recovers_the_common_time(laptop):
    data = laptop["collapse"]
    assert data["plateau_end_rescaled"].values == pytest.approx(150, rel=0.05)
    power = data.sel(rule="power")
    assert power["plateau_end_ratio"].values == pytest.approx(10, rel=0.1)
    assert float(power["plateau_end_rescaled_ratio"].max()) < 1.1
    assert float(data["plateau_end_ratio"].sel(rule="gamma").max()) < 1.1
    for name in ("loss_score", "output_score"):
        score = data[name].sel(rule="power")
        assert float(score.sel(time="rescaled").max()) < 0.05
        assert float(score.sel(time="raw").min()) > 0.5
    # With eta = gamma raw and rescaled time are the same.
    same = data["loss_score"].sel(rule="gamma")
    assert same.sel(time="raw").values == pytest.approx(same.sel(time="rescaled").values)
    early = data["early_output"].sel(rule="gamma", log10_gamma=3)
    assert early.values == pytest.approx(0.0075 * 50 * 1.003, rel=1e-3)


def test_staircase_recovers_level_and_length_of_the_second_plateau(laptop):
    data = laptop["staircase"]
    assert data["plateau_level"].sel(log10_gamma=3).values == pytest.approx(0.08)
    # On [0.078, 0.082] from 158 (falling) to 780 + 2/7 * 32 = 789.
    assert data["plateau_steps"].sel(log10_gamma=3).values == pytest.approx(632, abs=2)
    assert (data["plateau_steps"].sel(log10_gamma=0) < 5).all()
    assert float(data["exact_level"]) == pytest.approx(0.08)


def test_the_level_of_the_super_class_predictor_is_exact():
    labels = np.eye(10)
    predictor = np.kron(np.eye(2), np.full((5, 5), 0.2))
    assert ((labels - predictor) ** 2).mean() == pytest.approx(theory.superclass_plateau())


@pytest.mark.parametrize("kind", ["laptop", "smoke"])
def test_variables_say_what_they_are(kind, request):
    for name, data in request.getfixturevalue(kind).items():
        if name == "toy_staircase":
            continue
        for variable in (*data.data_vars.values(), *data.coords.values()):
            assert variable.attrs["long_name"], (name, variable.name)
            assert variable.attrs["units"] == "1", (name, variable.name)


# --- Claims --------------------------------------------------------------------------------------


def test_every_measure_gives_a_number(laptop):
    for name, rule in DYNAMICS.items():
        found = measure(rule, laptop)
        assert np.isfinite(found.value), name
        assert found.low <= found.value <= found.high, name
        assert found.seeds == (1 if name.startswith("fs_figA3") else 3), name


def test_measures_recover_what_was_put_in(laptop):
    values = {name: measure(rule, laptop).value for name, rule in DYNAMICS.items()}
    assert values["fs_fig4_catapult_divergence"] == 6
    assert values["fs_fig4_catapult_gamma01"] == 0
    assert values["fs_fig4_catapult_lands_flat"] == pytest.approx(0.7)
    assert values["fs_fig4_catapult_fast"] == pytest.approx(3, abs=1)
    assert 1 < values["fs_fig4_catapult_below"] < 1.4
    assert values["fs_fig4_catapult_above"] == pytest.approx(0.3 * 1.5 * 1e4, rel=0.5)
    assert values["fs_fig4_align_before_drop"] == pytest.approx(0.9 * 21 ** (-1 / 6), abs=0.05)
    assert values["fs_fig4_edge_at_drop"] == pytest.approx(1, abs=0.02)
    assert values["fs_fig4_align_during_plateau"] == pytest.approx(0.55 / 0.12, abs=0.3)
    assert values["fs_figA2_same_alignment"] < 0.06
    assert values["fs_figA5_tau_collapse"] == pytest.approx(1, abs=0.1)
    assert values["fs_figA5_common_time"] == pytest.approx(1, abs=0.1)
    assert values["fs_figA5_output_collapse"] == pytest.approx(1e-3, rel=0.05)
    assert values["fs_figA9_second_plateau"] == pytest.approx(0.08)
    assert values["fs_figA9_no_staircase_gamma1"] < 0.01


def test_divergent_and_unaligned_runs_count_against_their_claims():
    worse = made_catapults()
    weak = (worse["eta_factor"] == 2) & (worse["log10_gamma"] == -2) & (worse["seed"] == 1)
    worse["peak_loss"] = worse["peak_loss"].where(~weak, worse["initial_loss"])
    worse["train_loss"] = worse["train_loss"].where(~weak, worse["initial_loss"])
    analyses = {"catapults": catapults.analyse({"catapult_mlp": worse})}
    analyses["catapult_cnn"] = analyses["catapults"].isel(seed=[0])
    assert measure(DYNAMICS["fs_fig4_catapult_above"], analyses).value < 300
    late = made_alignment()
    late["cka_label"] = late["cka_label"].where(late["log10_gamma"] < 4, 0.1)
    found = {"alignment": alignment.analyse({"alignment_mlp": late})}
    with np.errstate(invalid="ignore"):  # no interval around an infinite value
        assert np.isposinf(measure(DYNAMICS["fs_fig4_align_before_drop"], found).value)


def test_catapult_claims_are_about_the_cnn_where_it_has_several_seeds(laptop):
    cnn = laptop["catapults"].copy()
    cnn["sharpness_end"] = cnn["sharpness_end"] * 0.5
    claim = DYNAMICS["fs_fig4_catapult_lands_flat"]
    assert measure(claim, {**laptop, "catapult_cnn": cnn}).value == pytest.approx(0.35)
    assert measure(claim, laptop).value == pytest.approx(0.7)


def cells(values, gammas=(1.0, 2.0, 3.0)) -> xr.DataArray:
    """Values of shape (log10_gamma, seed)."""
    values = np.array(values, dtype=float)
    coords = {"log10_gamma": list(gammas)[: len(values)], "seed": range(values.shape[1])}
    return xr.DataArray(values, dims=("log10_gamma", "seed"), coords=coords)


def test_a_missing_cell_makes_a_number_unknown_and_a_missing_seed_does_not():
    nan = np.nan
    one_seed = cells([[1, 3], [4, nan], [2, 2]])
    assert reading.mean_of_cells(one_seed) == pytest.approx(8 / 3)
    assert reading.largest_cell(one_seed) == 4
    assert reading.range_of_cells(one_seed) == 2
    one_cell = cells([[1, 3], [nan, nan], [2, 2]])
    for statistic in (reading.mean_of_cells, reading.largest_cell, reading.range_of_cells):
        assert np.isnan(statistic(one_cell))
    assert np.isnan(reading.range_of_cells(cells([[1, 3]])))


@pytest.mark.parametrize(
    ("values", "known"),
    [
        ([1, 2, 3], True),
        ([1, 2, np.nan], False),  # two points
        ([1, 2, 3, np.nan], True),
        ([1, 2, 3, np.nan, np.nan], False),  # fewer than two thirds
        ([1, 2], True),  # the window holds two
        ([1, np.nan], False),
        ([], False),
    ],
)
def test_slopes_need_three_gammas_and_two_thirds_of_the_window(values, known):
    found = reading.slopes(
        xr.DataArray(
            np.array(values, dtype=float),
            dims="log10_gamma",
            coords={"log10_gamma": np.arange(float(len(values)))},
        )
    )
    assert (float(found) == pytest.approx(1)) if known else np.isnan(found)


def test_a_gamma_on_its_plateau_leaves_no_number(laptop):
    short = {n: data.copy() for n, data in laptop.items()}
    for analysis, names in {
        "alignment": ("order", "edge_after_drop", "cka_plateau_end"),
        "collapse": ("plateau_end", "plateau_end_rescaled", "early_output"),
    }.items():
        for name in names:
            values = short[analysis][name]
            short[analysis][name] = values.where(values["log10_gamma"] < 4)
    for name, rule in DYNAMICS.items():
        if name.startswith(("fs_fig4_align", "fs_fig4_edge", "fs_figA2", "fs_figA5")):
            assert np.isnan(measure(rule, short).value), name


def test_divergent_runs_are_no_catapults():
    made = made_catapults()
    lost = (made["eta_factor"] == 4) & (made["log10_gamma"] == -2) & (made["seed"] == 1)
    made["diverged_at"] = made["diverged_at"].where(~lost, 7)
    made["peak_loss"] = made["peak_loss"].where(~lost, 1e30)
    late = made["sharpness_step"] > 0
    made["sharpness"] = made["sharpness"].where(~(lost & late))
    found = catapults.analyse({"catapult_mlp": made})
    assert np.isnan(found["peak"].sel(loss="mse", log10_gamma=-2, multiple=4, seed=1))
    assert float(found["peak"].max()) < 1e10
    analyses = {"catapults": found, "catapult_cnn": found.isel(seed=[0])}
    for name in ("fs_fig4_catapult_above", "fs_fig4_catapult_lands_flat"):
        assert np.isnan(measure(DYNAMICS[name], analyses).value)
    every = made.copy()
    every["diverged_at"] = xr.full_like(made["diverged_at"], 7)
    every["sharpness"] = made["sharpness"].where(~late)
    gone = catapults.analyse({"catapult_mlp": every})
    assert gone["sharpness_end"].isnull().all()  # never the sharpness of an earlier step
    analyses = {"catapults": gone, "catapult_cnn": gone.isel(seed=[0])}
    assert measure(DYNAMICS["fs_fig4_catapult_divergence"], analyses).value == 0


def test_a_share_of_seeds_has_a_binomial_interval(laptop):
    found = measure(DYNAMICS["fs_fig4_catapult_gamma01"], laptop)
    assert (found.value, found.low) == (0, 0)
    assert found.high == pytest.approx(1 - 0.025 ** (1 / 3))  # Clopper and Pearson, 0 of 3
    assert DYNAMICS["fs_fig4_catapult_divergence"].interval == "bootstrap"


# --- Figures -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["laptop", "smoke"])
@pytest.mark.parametrize("figure", [fig4, figA2, figA3, figA5, figA9])
def test_figures_draw(figure, kind, request, tmp_path):
    with style.applied(), warnings.catch_warnings():
        warnings.simplefilter("error")
        drawn = figure.draw(request.getfixturevalue(kind))
        drawn.savefig(tmp_path / "figure.png", dpi=50)
        assert drawn.get_figwidth() == style.PAGE


def test_fig_a9_draws_the_cnn_where_it_was_run(laptop):
    cnn = made_staircase((2, 3, 4), seeds=1, steps=2000)
    found = staircase.analyse({"staircase_mlp": made_staircase(), "staircase_cnn": cnn})
    assert found["test_loss_cnn"].dims == ("log10_gamma_cnn", "seed", "test_step_cnn")
    with style.applied():
        drawn = figA9.draw({**laptop, "staircase": found})
        assert [axes.get_title() for axes in drawn.axes][2] == "CNN"
        assert len(drawn.axes[2].lines) == 3
