"""Analyses, measures and figures of losses, curvature and universality on made-up runs."""

from __future__ import annotations

import importlib
import math

import matplotlib as mpl
import numpy as np
import pytest
import xarray as xr

from regimes.claims import measure
from regimes.plot import style
from regimes.studies.feature_strength import claims_spectra as claims
from regimes.studies.feature_strength import trajectories
from regimes.studies.feature_strength.analyses import curvature, loss_curves, universality
from regimes.studies.feature_strength.claims_spectra import SPECTRA
from regimes.studies.feature_strength.figures import fig5
from tests.studies.feature_strength import planted_spectra as planted

mpl.use("Agg")

NEEDS = {
    "loss_curves": "loss_curves",
    "equal_time": "accuracy_equal_time",
    "equal_time_mnist1d": "accuracy_mnist1d",
    "curvature": "hessian_mlp",
    "curvature_cnn": "hessian_cnn",
    "curvature_vit": "hessian_vit",
    "universality": "universality",
    "plateau_vit": "plateau_vit",
}
DRAWN = {
    "fig2": ["loss_curves", "equal_time", "equal_time_mnist1d"],
    "fig3": ["curvature", "curvature_cnn"],
    "fig5": ["universality"],
    "figA4": ["plateau_vit"],
    "figA10": ["curvature", "curvature_vit"],
}
SHAPES = ["laptop", "smoke"]


def analysed(data: dict[str, xr.Dataset]) -> dict[str, xr.Dataset]:
    package = "regimes.studies.feature_strength.analyses"
    return {
        name: importlib.import_module(f"{package}.{name}").analyse({needed: data[needed]})
        for name, needed in NEEDS.items()
    }


@pytest.fixture(scope="module")
def analyses():
    return {shape: analysed(planted.experiments(shape)) for shape in SHAPES}


def value(name: str, analyses: dict) -> float:
    return measure(SPECTRA[name], analyses["laptop"]).value


# --- Everything runs ----------------------------------------------------------------------------


@pytest.mark.parametrize("shape", SHAPES)
def test_results_are_labelled_and_can_be_stored(analyses, shape, tmp_path):
    for name, result in analyses[shape].items():
        for variable in result.data_vars.values():
            assert variable.attrs.get("long_name"), f"{name}.{variable.name}"
            assert variable.attrs.get("units") == "1", f"{name}.{variable.name}"
        result.to_netcdf(tmp_path / f"{name}.nc")
        xr.testing.assert_equal(xr.load_dataset(tmp_path / f"{name}.nc"), result)


@pytest.mark.parametrize("name", SPECTRA)
def test_every_measure_evaluates(analyses, name):
    assert math.isfinite(value(name, analyses))
    found = measure(SPECTRA[name], analyses["smoke"])
    assert isinstance(found.value, float)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("figure", DRAWN)
def test_figures_draw(analyses, figure, shape, tmp_path):
    module = importlib.import_module(f"regimes.studies.feature_strength.figures.{figure}")
    with style.applied():
        drawn = module.draw({name: analyses[shape][name] for name in DRAWN[figure]})
        style.footer(drawn, shape, [(2, 3)], "0" * 16)
        drawn.savefig(tmp_path / "figure.png", dpi=60)
    assert (tmp_path / "figure.png").stat().st_size > 3000


def test_everything_runs_when_the_richest_runs_have_diverged():
    data = planted.experiments("laptop")
    for name, runs in data.items():
        lost = runs["log10_gamma"] > 2.5
        kept = {"eta", "initial_loss", "diverged_at", "peak_loss"}
        gone = {n: v.where(~lost) for n, v in runs.items() if n not in kept}
        data[name] = runs.assign(gone)
    results = analysed(data)
    for name in SPECTRA:
        measure(SPECTRA[name], results)
    # Cells that a claim names are missing, so that it has no number.
    for name in ("fs_fig5_r_ultrarich", "fs_fig5_cka_flat", "fs_fig2_plateau_flat"):
        assert math.isnan(measure(SPECTRA[name], results).value)
    with style.applied():
        for figure, needed in DRAWN.items():
            module = importlib.import_module(f"regimes.studies.feature_strength.figures.{figure}")
            module.draw({name: results[name] for name in needed}).draw_without_rendering()


# --- Loss curves ---------------------------------------------------------------------------------


def test_plateau_growth_is_recovered(analyses):
    assert value("fs_fig2_plateau_growth", analyses) == pytest.approx(1 / 3, abs=0.01)
    fit = analyses["laptop"]["loss_curves"]
    assert float(fit["growth_slope"]) == pytest.approx(1 / 3, abs=0.01)
    assert fit["growth_window"].values.tolist() == [1, 4]
    assert float(fit["growth_theory"]) == pytest.approx(1 / 3)


def test_excursion_and_tails_are_those_planted(analyses):
    scaled = 0.5 / 0.9
    planted_change = (1 - 1 / (1 + scaled**5 / 6)) * 0.5
    assert value("fs_fig2_plateau_flat", analyses) == pytest.approx(planted_change, abs=0.003)
    tails = analyses["laptop"]["loss_curves"]["tail_exponent"].mean("seed")
    assert tails.sel(log10_gamma=[-2, -1, 0, 2]).values == pytest.approx(
        [0.01, 0.05, 0.2, 0.2], abs=0.005
    )


def test_binned_losses_of_long_runs_give_the_same():
    whole = planted.loss_curves("laptop")
    steps = whole.sizes["step"]
    edges = np.unique(np.round(np.geomspace(1, steps + 1, 201)).astype(int)) - 1
    counts = np.diff(edges)
    bins = np.add.reduceat(whole["train_loss"].values, edges[:-1], axis=1) / counts
    step = np.add.reduceat(np.arange(steps), edges[:-1]) / counts
    binned = whole.drop_vars(["train_loss", "step"]).assign(
        train_loss_binned=(("run", "bin"), bins),
        bin_step=(("run", "bin"), np.tile(step, (len(bins), 1))),
    )
    expected = loss_curves.analyse({"loss_curves": whole})
    found = loss_curves.analyse({"loss_curves": binned})
    rich = slice(1, 4)
    assert found["plateau_end"].sel(log10_gamma=rich).values == pytest.approx(
        expected["plateau_end"].sel(log10_gamma=rich).values, rel=0.06
    )
    assert found["tail_exponent"].values == pytest.approx(
        expected["tail_exponent"].values, abs=0.02
    )


def test_best_candidate_has_no_lost_seed():
    loss = xr.DataArray(
        [[[0.1, 0.3], [0.2, 0.4]], [[0.3, 0.1], [0.4, np.nan]], [[np.nan] * 2, [0.5, 0.2]]],
        dims=("log10_gamma", "seed", "candidate"),
    )
    # Third gamma: the first seed was not run.
    assert loss_curves.best_candidate(loss).values.tolist() == [0, 0, 1]


def test_equal_time_chooses_the_planted_rate_and_budgets(analyses):
    found = analyses["laptop"]["equal_time"]
    assert found["budget"].values.tolist() == [100, 1000, 8000]
    clear = found["choice"].sel(budget=8000)
    assert (clear == 1).all()  # the second of the four factors is 1
    assert value("fs_fig2_acc_rises", analyses) == pytest.approx(1)
    assert value("fs_fig2_acc_short_time", analyses) > 0.3
    loss = found["test_loss"].sel(budget=8000).mean("seed")
    expected = float(loss.sel(log10_gamma=-2) / loss.sel(log10_gamma=0))
    assert value("fs_fig2_lazy_worse", analyses) == pytest.approx(expected)


def test_rank_correlation_falls_when_one_seed_is_out_of_order():
    accuracy = xr.DataArray(
        [[0.6, 0.6], [0.7, 0.9], [0.8, 0.85]],
        dims=("log10_gamma", "seed"),
        coords={"log10_gamma": [-2.0, -1.0, 0.0], "seed": [0, 1]},
    ).expand_dims(budget=[100])
    data = xr.Dataset({"accuracy": accuracy})
    found = measure(SPECTRA["fs_fig2_acc_rises"], {"equal_time": data})
    assert found.value == pytest.approx(0.75)


def test_vit_kernel_counts_below_the_critical_rate_only(analyses):
    assert value("fs_figA4_vit_lazy", analyses) == pytest.approx(0.01)
    every = analyses["laptop"]["plateau_vit"]["kernel_change"].sel(log10_gamma=-2)
    assert float(every.max()) == pytest.approx(0.7)
    growth = value("fs_figA4_vit_plateau_grows", analyses)
    assert growth == pytest.approx(10 ** (4 / 3), rel=0.06)


def test_plateau_growth_stops_at_gammas_that_all_seeds_leave():
    end = xr.DataArray(
        [[10.0, 12.0], [40.0, 44.0], [90.0, np.nan]],
        dims=("log10_gamma", "seed"),
        coords={"log10_gamma": [0.0, 1.0, 2.0], "seed": [0, 1]},
    )
    rule = SPECTRA["fs_figA4_vit_plateau_grows"]
    found = measure(rule, {"plateau_vit": xr.Dataset({"plateau_end": end})})
    assert found.value == pytest.approx(42 / 11)


# --- Curvature -----------------------------------------------------------------------------------


def test_sharpness_exponents_are_recovered(analyses):
    assert value("fs_fig3_init_lazy", analyses) == pytest.approx(-2, abs=0.03)
    assert value("fs_fig3_final_lazy", analyses) == pytest.approx(-2, abs=0.03)
    assert value("fs_fig3_init_rich", analyses) == pytest.approx(-1, abs=0.03)
    assert value("fs_fig3_final_rich", analyses) == pytest.approx(-2 / 3, abs=0.03)
    assert value("fs_figA10_final_rich_depths", analyses) < 0.03
    fits = analyses["laptop"]["curvature"]["fit_slope"]
    assert fits.sel(fit="end_rich").values == pytest.approx([-1, -2 / 3, -1 / 2], abs=0.03)


def test_edge_ratio_uses_width_and_rate(analyses):
    assert value("fs_fig3_final_at_edge", analyses) == pytest.approx(0.9, abs=0.02)
    assert value("fs_figA10_edge_depths", analyses) == pytest.approx(0.89, abs=0.03)


def test_extreme_eigenvalue_keeps_its_sign(analyses):
    found = analyses["laptop"]["curvature"]
    rich = found["extreme_start"].sel(depth=3, log10_gamma=2, seed=0)
    assert float(rich) == pytest.approx(-6e-5)
    assert float(found["sharpness_start"].sel(depth=3, log10_gamma=2, seed=0)) > 0


def test_last_step_is_each_runs_own():
    values = xr.DataArray(
        [[1.0, 2.0, np.nan], [3.0, np.nan, 4.0], [5.0, np.nan, np.nan]],
        dims=("run", "sharpness_step"),
        coords={"sharpness_step": [0, 10, 20]},
    )
    steps = xr.DataArray([10, 20, 20], dims="run")
    found = trajectories.at_last_step(values, steps, "sharpness_step").values
    assert found[:2].tolist() == [2, 4]
    assert np.isnan(found[2])


def test_sharpening_compares_with_the_first_half_of_the_plateau(analyses):
    data = planted.hessian("laptop", depths=(3,))
    found = curvature.describe(data)
    for gamma in (2, 4):
        cell = found.sel(depth=3, log10_gamma=gamma, seed=0)
        early = cell["sharpness"].where(cell["sharpness_step"] <= float(cell["plateau_end"]) / 2)
        assert float(cell["early_sharpness"]) == pytest.approx(float(early.max()))
    assert value("fs_fig3_rich_sharpens", analyses) > 3


def test_spectra_show_the_planted_outliers(analyses):
    assert value("fs_fig3_lazy_outliers", analyses) == 10
    assert value("fs_fig3_rich_many_large", analyses) == 50
    change = value("fs_fig3_lazy_constant", analyses)
    assert change == pytest.approx(0.1, abs=0.01)
    assert analyses["laptop"]["curvature"]["spectrum_depth"].values.tolist() == [3]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([100.0, 1.0, 0.9, 0.3, 0.25, 0.2], 3),
        ([1.0, 0.9, 0.8, 0.1, -0.001, -2.0], 3),
        ([1.0, -1.0, -1.0, -1.0, -1.0, -2.0], np.nan),
    ],
)
def test_gap_rank(values, expected):
    spectrum = xr.DataArray(values, dims="rank", coords={"rank": np.arange(1, 7)})
    assert float(curvature.gap_rank(spectrum)) == pytest.approx(expected, nan_ok=True)


def test_unknown_eigenvalues_leave_no_count():
    data = planted.hessian("laptop", depths=(3,))
    last = data["spectrum_step"] == data["spectrum_step"].max()
    first_seed = data["seed"] == 0
    lost = last & first_seed & (data["rank"] == 35)
    found = curvature.describe(data.assign(spectrum=data["spectrum"].where(~lost)))
    for name in ("large_count", "outliers"):
        assert found[name].sel(seed=0, log10_gamma=slice(0, None)).isnull().all()
        assert found[name].sel(seed=1).notnull().all()
    assert found["outliers"].sel(seed=0).isnull().all()
    assert found["spectrum_change"].notnull().all()  # of the first ten


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1.0, 0.5, 0.05, 0.01], 2),
        ([1.0, 0.5, 0.05, np.nan], 2),  # what follows a small eigenvalue is small
        ([1.0, 0.5, 0.4, np.nan], np.nan),
        ([1.0, np.nan, 0.05, 0.01], np.nan),
        ([np.nan, 0.5, 0.05, 0.01], np.nan),
    ],
)
def test_large_count(values, expected):
    spectrum = xr.DataArray(values, dims="rank", coords={"rank": np.arange(1, 5)})
    assert float(curvature.large_count(spectrum)) == pytest.approx(expected, nan_ok=True)


def test_slopes_are_of_positive_values_and_magnitudes_where_asked():
    gammas = np.arange(1.0, 4.0)
    values = xr.DataArray(
        -(10.0**-gammas)[:, None] * np.ones(2),
        dims=("log10_gamma", "seed"),
        coords={"log10_gamma": gammas, "seed": [0, 1]},
    )
    assert math.isnan(claims.slope(values))
    assert claims.slope(abs(values)) == pytest.approx(-1)
    data = xr.Dataset({"extreme_start": values.expand_dims(depth=[3])})
    assert measure(SPECTRA["fs_fig3_init_rich"], {"curvature": data}).value == pytest.approx(-1)


def test_a_catapulting_gamma_is_not_named_and_an_unknown_one_is():
    dims, gammas = ("log10_gamma", "seed"), [-3.0, -2.0]
    coords = {"log10_gamma": gammas, "seed": [0, 1, 2]}

    def found(change, peak):
        data = xr.Dataset(
            {
                "spectrum_change": (("spectrum_depth", *dims), [np.outer(change, np.ones(3))]),
                "peak_ratio": (("depth", *dims), [np.outer(peak, np.ones(3))]),
            },
            coords=coords | {"depth": [3], "spectrum_depth": [3]},
        )
        return measure(SPECTRA["fs_fig3_lazy_constant"], {"curvature": data}).value

    assert found([0.1, 0.9], [1, 2]) == pytest.approx(0.1)
    assert math.isnan(found([0.1, np.nan], [1, 1]))


def test_catapulting_runs_do_not_count_as_lazy_spectra(analyses):
    result = analyses["laptop"]["curvature"].copy()
    result["peak_ratio"] = xr.full_like(result["peak_ratio"], 5.0)
    assert math.isnan(measure(SPECTRA["fs_fig3_lazy_constant"], {"curvature": result}).value)


# --- Universality ---------------------------------------------------------------------------------


def test_correlations_are_those_planted(analyses):
    assert value("fs_fig5_r_ultrarich", analyses) == pytest.approx(0.97, abs=0.006)
    assert value("fs_fig5_r_one_ultrarich", analyses) == pytest.approx(0.97, abs=0.006)
    assert value("fs_fig5_r_lazy_rich", analyses) == pytest.approx(0.6, abs=0.03)
    assert value("fs_fig5_r_gap", analyses) == pytest.approx(0.37, abs=0.02)
    pairs = analyses["laptop"]["universality"]["output_correlation"].sel(
        log10_gamma=-2, other_log10_gamma=-2, seed=0, other_seed=1
    )
    assert pairs.values == pytest.approx(0.65, abs=0.03)


def test_networks_of_one_seed_are_no_pair(analyses):
    data = analyses["laptop"]["universality"].copy()
    same = data["seed"] == data["other_seed"]
    names = ["r_ultrarich", "r_one_ultrarich", "r_gap", "r_lazy_rich", "kernel_agreement"]
    before = {name: value(f"fs_fig5_{name}", analyses) for name in names}
    for variable in ("output_correlation", "kernel_similarity"):
        data[variable] = data[variable].where(~same, -5.0)
    for name in names:
        found = measure(SPECTRA[f"fs_fig5_{name}"], {"universality": data})
        assert found.value == pytest.approx(before[name])
    assert (fig5.pair_means(data["output_correlation"].sel(depth=3)) > 0).all()


def test_a_network_does_not_count_as_its_own_partner():
    gammas, seeds = [-2.0, 2.0], [0, 1, 2]
    pairs = xr.DataArray(
        np.full((2, 3, 2, 3), 0.5),
        dims=("log10_gamma", "seed", "other_log10_gamma", "other_seed"),
        coords={
            "log10_gamma": gammas,
            "seed": seeds,
            "other_log10_gamma": gammas,
            "other_seed": seeds,
        },
    )
    for gamma in gammas:
        for seed in seeds:
            same = {"other_log10_gamma": gamma, "other_seed": seed}
            pairs.loc[{"log10_gamma": gamma, "seed": seed, **same}] = 1.0
    # Everything of seed 2 disagrees with the others: leaving it out leaves none of its pairs.
    for dims in (("seed", "other_seed"), ("other_seed", "seed")):
        pairs.loc[{dims[0]: 2, dims[1]: [0, 1]}] = 0.1
    data = xr.Dataset({"output_correlation": pairs.expand_dims(depth=[3])})
    rule = SPECTRA["fs_fig5_r_ultrarich"]
    assert measure(rule, {"universality": data}).value == pytest.approx(0.1)
    without = data.sel(seed=[0, 1])
    assert measure(rule, {"universality": without}).value == pytest.approx(0.5)
    assert measure(rule, {"universality": data}).seeds == 3


def test_alignment_is_that_of_the_last_hidden_layer(analyses):
    found = analyses["laptop"]["universality"]["alignment_end"].mean("seed")
    assert float(found.sel(depth=2, log10_gamma=2)) == pytest.approx(0.31, abs=0.01)
    assert float(found.sel(depth=3, log10_gamma=2)) == pytest.approx(0.78, abs=0.01)
    assert value("fs_fig5_cka_ratio", analyses) == pytest.approx(6.5, abs=0.05)
    assert value("fs_fig5_cka_ratio_l2", analyses) == pytest.approx(1.82, abs=0.02)
    assert value("fs_fig5_cka_flat", analyses) < 0.01


def test_kernels_fall_into_two_clusters(analyses):
    assert value("fs_fig5_kernel_agreement", analyses) > 0.4


def test_rescaled_time(analyses):
    found = analyses["laptop"]["universality"]
    cell = found.sel(depth=3, log10_gamma=3, seed=0)
    assert float(cell["tau"].sel(kernel_step=100)) == pytest.approx(100 * 100 / 1000)


def test_scatters_hold_the_named_pairs(analyses):
    found = analyses["laptop"]["universality"]
    assert found["scatter_log10_gamma"].values.tolist() == [[2, 3], [0, 3], [-2, 2]]
    assert found["scatter_seed"].values.tolist() == [0, 2]
    assert found.sizes["point"] == universality.SCATTER_POINTS
    for pair, expected in zip(found["pair"].values, found["scatter_correlation"], strict=True):
        x, y = found["scatter"].sel(pair=pair).values
        assert np.corrcoef(x, y)[0, 1] == pytest.approx(float(expected), abs=0.05)


# --- Parts of an analysis -------------------------------------------------------------------------


def test_a_gamma_that_was_not_run_is_nan():
    values = xr.DataArray([1.0, 2.0], dims="log10_gamma", coords={"log10_gamma": [-1.0, 1.0]})
    assert math.isnan(float(claims.at(values, -2.0)))
    assert float(claims.at(values, 1.1)) == 2
    assert claims.between(values, (2.0, 3.0)).isnull().all()
    assert claims.between(values, (1.0, 3.0)).values.tolist() == [2]
