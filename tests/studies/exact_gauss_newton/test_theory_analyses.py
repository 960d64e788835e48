"""Analyses, claims and figures of the theory on toys and on made-up trained runs."""

from __future__ import annotations

import importlib
import math

import matplotlib as mpl
import numpy as np
import pytest
import xarray as xr

from regimes import claims, store
from regimes.jobs import with_hyperparameters
from regimes.plot import style
from regimes.studies.exact_gauss_newton import theory
from regimes.studies.exact_gauss_newton.analyses import flow, identities, ranks
from regimes.studies.exact_gauss_newton.claims_theory import THEORY, at
from regimes.studies.exact_gauss_newton.comparisons import median
from regimes.studies.exact_gauss_newton.reading import CASE, TEXTS
from regimes.studies.exact_gauss_newton.toy_experiments import TOY_TRAIN
from regimes.studies.exact_gauss_newton.toy_settings import TOY_KINDS

TOY = {"inputs": 8, "blocks": 3, "width": 40, "samples": 6, "weight_std": 0.3}
SEEDS = (0, 1, 2)
FIGURES = ("supp_identities", "supp_flow", "supp_rank")
ALPHAS = {0.25: 80, 1.0: 20}  # updates up to alpha t = 20


def toys(kind, *points):
    runs = [TOY_KINDS[kind].model_validate(p | {"seed": s}) for p in points for s in SEEDS]
    return with_hyperparameters(TOY_TRAIN[kind](runs), kind, runs)


def trained(variables, **settings):
    """Made-up trained runs; what is not given is the same in all of them."""
    count = len(settings["seed"])
    base = {name: "" if name in TEXTS else np.nan for name in CASE} | {"then_epochs": 0}
    coords = base | settings
    full = {
        name: ("run", np.full(count, value) if np.ndim(value) == 0 else np.asarray(value))
        for name, value in coords.items()
    }
    return xr.Dataset(variables).assign_coords(full)


def recursion_runs(excess=lambda alpha, seed, time: 0.0, reached=20):
    """Losses of the recursion, times one plus an excess at alpha t."""
    random, losses, logits, labels = np.random.default_rng(0), [], [], []
    pairs = [(alpha, seed) for alpha in ALPHAS for seed in SEEDS]
    longest = max(ALPHAS.values())
    for alpha, seed in pairs:
        steps = round(reached / alpha)
        z, y = random.standard_normal((12, 10)), random.integers(10, size=12)
        loss = theory.function_space_recursion(z, y, alpha, steps)
        loss *= 1 + np.array([excess(alpha, seed, alpha * k) for k in range(steps + 1)])
        losses.append(np.pad(loss, (0, longest - steps), constant_values=np.nan))
        logits.append(z)
        labels.append(y.astype(float))
    return trained(
        {
            "train_loss": (("run", "epoch"), losses),
            "initial_logits": (("run", "sample", "class"), logits),
            "label": (("run", "sample"), labels),
        },
        seed=[seed for _, seed in pairs],
        alpha_eff=[alpha for alpha, _ in pairs],
        epochs=[round(reached / alpha) for alpha, _ in pairs],
    ).assign_coords(epoch=np.arange(longest + 1))


def inverse_runs(errors, optimizers):
    """Made-up inversion errors after one epoch; there is none at the start, as in real runs."""
    errors = np.stack([np.full(len(errors), np.nan), errors], axis=1)
    seeds = [optimizers[:i].count(name) for i, name in enumerate(optimizers)]
    return trained(
        {"inversion_error": (("run", "epoch"), errors)},
        seed=seeds,
        optimizer=optimizers,
        epochs=1,
        alpha_eff=0.3,
    ).assign_coords(epoch=[0, 1])


@pytest.fixture(scope="module")
def runs():
    gaussian = {"data": "gaussian", "inputs": 40, "samples": 60, "width": 90}
    digits = {"data": "digits", "samples": 90, "width": 150, "rtol": 0.01}
    return {
        "right_inverse_toy": toys(
            "identities", TOY | {"activation": "tanh"}, TOY | {"activation": "relu"}
        ),
        "gn_architecture_counts": toys("counts", {"inputs": 3072, "blocks": 6, "width": 8000},
                                       {"inputs": 784, "blocks": 2, "width": 8000})
        .isel(run=[0, 3]),
        "squared_loss_flow_toy": toys("flow", *[
            TOY | {"weight_std": std, "alpha": alpha, "activation": "tanh"}
            for std in (0.3, 1e-3) for alpha in (0.2, 0.02)
        ]),
        "feature_rank": toys(
            "rank",
            digits | {"activation": "relu"},
            digits | {"activation": "linear"},
            gaussian | {"activation": "linear", "rtol": 1e-9},
        ),
        "function_space_recursion": recursion_runs(),
        "mini_batch_hard": inverse_runs([2e-12, 4e-12, 5e-3], ["gn", "gn", "adam"]),
    }  # fmt: skip


def analysed(runs):
    modules = {"identities": identities, "flow": flow, "ranks": ranks}
    return {name: module.analyse(runs) for name, module in modules.items()}


@pytest.fixture(scope="module")
def analyses(runs):
    return analysed(runs)


# --- Analyses -------------------------------------------------------------------------------------


def test_analyses_can_be_stored(analyses, tmp_path):
    for name, data in analyses.items():
        store.write_netcdf(tmp_path / f"{name}.nc", data, {})
        back = store.read_netcdf(tmp_path / f"{name}.nc")
        for variable in data.data_vars:
            np.testing.assert_array_equal(back[variable], data[variable])


def test_slopes_are_those_of_planted_powers(runs):
    toy = runs["right_inverse_toy"].copy(deep=True)
    powers = 1 + np.arange(toy.sizes["run"]) / 4
    toy["output_difference"][:] = 7.0 * toy["alpha"].values ** powers[:, None]
    found = identities.analyse(runs | {"right_inverse_toy": toy})["output_slope"]
    np.testing.assert_allclose(found, powers.reshape(2, 3), rtol=1e-12)


def test_inverses_are_those_of_gn_after_its_last_epoch(analyses):
    assert analyses["identities"]["inversion_error"].values.tolist() == [2e-12, 4e-12]


def test_a_run_that_diverged_has_no_inverse_after_its_last_epoch(runs):
    lost = inverse_runs([2e-12, np.nan], ["gn", "gn"])
    found = identities.analyse(runs | {"mini_batch_hard": lost})
    np.testing.assert_array_equal(found["inversion_error"], [2e-12, np.nan])
    assert math.isnan(measured("gn_supp_inverse_round_trip", {"identities": found}).value)


def test_without_trained_runs_there_is_no_inverse(runs):
    rest = {name: data for name, data in runs.items() if name != "mini_batch_hard"}
    assert identities.analyse(rest)["inversion_error"].isnull().all()


def test_sizes_are_sorted_with_their_formula(analyses):
    found = analyses["identities"]
    assert found["inputs"].values.tolist() == [784, 3072]
    assert found["counted"].values.tolist() == [12_545_568, 147_474_432]
    np.testing.assert_array_equal(found["counted"], found["formula"])


def test_squared_losses_end_at_the_step_of_time_one(runs, analyses):
    toy = runs["squared_loss_flow_toy"]
    ends = analyses["flow"]["end_ratio"]
    for run in range(toy.sizes["run"]):
        one = toy.isel(run=run)
        cell = ends.sel({n: one[n].item() for n in ("weight_std", "alpha", "seed")})
        last = round(1 / float(one["alpha"]))
        assert float(cell) == float(one["loss"][last] / one["loss"][0])


def test_planted_deviations_from_the_recursion_are_found(runs):
    def excess(alpha, seed, time):
        return {(0.25, 0, 5.0): -0.2, (1.0, 2, 20.0): 0.3}.get((alpha, seed, time), 0.0)

    found = flow.analyse(runs | {"function_space_recursion": recursion_runs(excess)})["deviation"]
    expected = xr.zeros_like(found)
    expected.loc[{"alpha_eff": 0.25, "trained_seed": 0, "alpha_time": 5}] = 0.2
    expected.loc[{"alpha_eff": 1.0, "trained_seed": 2, "alpha_time": 20}] = 0.3
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_deviations_at_times_that_were_not_reached_are_unknown(runs):
    short = recursion_runs(reached=4)
    found = flow.analyse(runs | {"function_space_recursion": short})["deviation"]
    reached = found["alpha_time"] <= 4
    assert found.sel(alpha_time=found["alpha_time"][reached]).max() < 1e-12
    assert found.sel(alpha_time=found["alpha_time"][~reached]).isnull().all()


def test_a_pair_of_settings_without_a_run_is_unknown(runs):
    fewer = runs["function_space_recursion"].isel(run=slice(0, 5))
    found = flow.analyse(runs | {"function_space_recursion": fewer})
    lost = {"alpha_eff": 1.0, "trained_seed": 2}
    assert found["recursion"].sel(lost).isnull().all()
    assert found["deviation"].drop_sel(trained_seed=2).notnull().all()


def test_ranks_are_compared_with_those_of_linear_features(analyses):
    found = analyses["ranks"]
    gaussian = found.sel(data="gaussian", activation="linear")
    assert gaussian["rank"].values.tolist() == [21] * 3
    assert gaussian["excess_rank"].values.tolist() == [0] * 3
    assert found["excess_rank"].sel(data="digits", activation="relu").min() > 0
    assert found["excess_rank"].sel(data="digits", activation="linear").max() <= 0
    assert found["rank"].sel(data="gaussian", activation="relu").isnull().all()
    np.testing.assert_array_equal(found["relative_value"].isel(index=0).sum(), 9)


# --- Claims ---------------------------------------------------------------------------------------


def measured(name, analyses):
    return claims.measure(THEORY[name], analyses)


def test_every_claim_is_measured(analyses):
    found = {name: measured(name, analyses) for name in THEORY}
    assert all(math.isfinite(each.value) for each in found.values())
    medians = [n for n, rule in THEORY.items() if rule.interval == "bootstrap"]
    assert all(found[name].low <= found[name].value <= found[name].high for name in medians)


def test_claims_read_what_their_quantity_says(analyses):
    same = {
        "gn_supp_right_inverse_tanh": analyses["identities"]["residual"].sel(activation="tanh"),
        "gn_supp_block_moore_penrose": analyses["identities"]["block_error"].sel(activation="tanh"),
    }
    for name, values in same.items():
        assert measured(name, analyses).value == float(values.max())
    toy = analyses["identities"].sel(activation="tanh")
    for name, variable in {
        "gn_supp_not_minimum_norm": "norm_ratio",
        "gn_supp_uncorrected_fails": "residual_uncorrected",
        "gn_supp_same_first_order": "output_slope",
    }.items():
        assert measured(name, analyses).value == float(toy[variable].median())
    relu = analyses["identities"]["residual"].sel(activation="relu")
    assert measured("gn_supp_right_inverse_relu", analyses).value == float(relu.median())
    assert measured("gn_supp_inverse_round_trip", analyses).value == pytest.approx(3e-12)
    assert measured("gn_supp_parameters_mnist", analyses).value == 12_545_568
    assert measured("gn_supp_parameters_cifar", analyses).value == 147_474_432
    assert measured("gn_supp_linear_block_rank", analyses).value == 0
    relu_rank = analyses["ranks"]["rank"].sel(data="digits", activation="relu")
    assert measured("gn_supp_rank_relu_digits", analyses).value == pytest.approx(
        float(relu_rank.mean())
    )


def test_flow_claims_on_planted_ends(analyses):
    ends = analyses["flow"]["end_ratio"].copy(deep=True)
    limit = math.exp(-2)
    for alpha, errors in ((0.2, [0.5, -0.1, 0.3]), (0.02, [-0.02, 0.05, 0.03])):
        ends.loc[{"weight_std": 0.3, "alpha": alpha}] = limit + np.array(errors)
    ends.loc[{"weight_std": 1e-3, "alpha": 0.02}] = limit * np.array([1.01, 0.98, 1.05])
    planted = {"flow": analyses["flow"].assign(end_ratio=ends)}
    assert measured("gn_supp_flow_final", planted).value == pytest.approx(limit + 0.03)
    assert measured("gn_supp_flow_convergence", planted).value == pytest.approx(0.03 / 0.3)
    assert measured("gn_supp_flow_small_weights", planted).value == pytest.approx(0.02)


def test_recursion_claims_average_the_largest_deviation_of_each_seed(runs):
    def excess(alpha, seed, time):
        return {(0, 1.0): 0.01, (0, 2.0): -0.03, (1, 10.0): 0.06}.get((seed, time), 0.0) * alpha

    planted = {"flow": flow.analyse(runs | {"function_space_recursion": recursion_runs(excess)})}
    one, quarter = ("gn_supp_recursion_unit_step", "gn_supp_recursion_small_step")
    assert measured(one, planted).value == pytest.approx(0.03, rel=1e-6)
    assert measured(quarter, planted).value == pytest.approx(0.03 / 4, rel=1e-6)
    assert measured(one, planted).seeds == 3


def test_what_was_not_run_makes_a_claim_unknown(analyses, runs):
    lost = {
        "identities": analyses["identities"].sel(activation=["relu"]).isel(inputs=[0]),
        "flow": analyses["flow"].sel(alpha=[0.2], alpha_eff=[0.25]),
        "ranks": analyses["ranks"].sel(data=["digits"], activation=["linear"]),
    }
    unknown = {name for name in THEORY if math.isnan(measured(name, lost).value)}
    assert unknown == {name for name in THEORY} - {
        "gn_supp_right_inverse_relu",
        "gn_supp_inverse_round_trip",
        "gn_supp_parameters_mnist",
        "gn_supp_recursion_small_step",
        "gn_fig3_start_recursion",
    }


def failed(toys, /, **settings):
    """Toys of which those with these settings left nothing behind."""
    gone = np.all([toys[name].values == value for name, value in settings.items()], axis=0)
    kept = xr.DataArray(~gone, dims="run")
    return toys.assign({n: v.where(kept) for n, v in toys.data_vars.items() if "run" in v.dims})


def test_failed_toys_make_their_claims_unknown(runs):
    lost = runs | {
        "right_inverse_toy": failed(runs["right_inverse_toy"], activation="tanh", seed=1),
        "squared_loss_flow_toy": failed(runs["squared_loss_flow_toy"], alpha=0.02, seed=1),
        "feature_rank": failed(runs["feature_rank"], data="gaussian", seed=2),
    }
    found = analysed(lost)
    unknown = {name for name in THEORY if math.isnan(measured(name, found).value)}
    assert unknown == {
        "gn_supp_right_inverse_tanh",
        "gn_supp_block_moore_penrose",
        "gn_supp_not_minimum_norm",
        "gn_supp_uncorrected_fails",
        "gn_supp_same_first_order",
        "gn_supp_flow_final",
        "gn_supp_flow_convergence",
        "gn_supp_flow_small_weights",
        "gn_supp_linear_block_rank",
    }


def test_draws_that_were_not_made_are_left_out(runs):
    toy = runs["right_inverse_toy"]
    fewer = toy.isel(run=np.flatnonzero(~((toy["activation"] == "tanh") & (toy["seed"] == 1))))
    found = {"identities": identities.analyse(runs | {"right_inverse_toy": fewer})}
    one = measured("gn_supp_not_minimum_norm", found)
    assert math.isfinite(one.value)
    assert one.seeds == 2


@pytest.mark.parametrize("first", [0, 1, 30])
def test_a_network_that_fails_makes_its_deviation_unknown(first, runs):
    data = recursion_runs()
    gone = (data["alpha_eff"] == 0.25) & (data["seed"] == 1) & (data["epoch"] >= first)
    data["train_loss"] = data["train_loss"].where(~gone)
    found = {"flow": flow.analyse(runs | {"function_space_recursion": data})}
    assert math.isnan(measured("gn_supp_recursion_small_step", found).value)
    assert measured("gn_supp_recursion_unit_step", found).seeds == 3


def test_an_unknown_draw_makes_the_median_unknown():
    assert math.isnan(median(xr.DataArray([1.0, np.nan, 2.0], dims="seed")))


def test_values_are_found_up_to_rounding():
    values = xr.DataArray([1.0, 2.0], dims="alpha", coords={"alpha": [0.1, 0.3]})
    assert float(at(values, alpha=0.1 + 0.2)) == 2
    assert math.isnan(at(values, alpha=0.2))


# --- Figures --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FIGURES)
@pytest.mark.parametrize("case", ["all", "least"])
@pytest.mark.filterwarnings("error")
def test_figures_draw(name, case, analyses, runs, tmp_path):
    if case == "least":
        short = recursion_runs(reached=1)
        rest = {n: data for n, data in runs.items() if n != "mini_batch_hard"}
        analyses = analysed(rest | {"function_space_recursion": short})
        analyses["ranks"] = analyses["ranks"].isel(data=[1])
    module = importlib.import_module(f"regimes.studies.exact_gauss_newton.figures.{name}")
    with style.applied(), mpl.rc_context({"savefig.dpi": 60}):
        figure = module.draw(analyses)
        style.footer(figure, "smoke", [[1, 3]], "0" * 32)
        style.save(figure, tmp_path / "figure.png")
    assert (tmp_path / "figure.png").stat().st_size > 5000
