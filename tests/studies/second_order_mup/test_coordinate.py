"""Coordinate checks, factors and dampings: numbers and figures from curves with known powers."""

from __future__ import annotations

import importlib
import math
import warnings

import matplotlib as mpl
import numpy as np
import pytest
import xarray as xr
from matplotlib import pyplot as plt
from scipy import stats

from regimes import claims
from regimes.nn.abc_parameterization import POWERS
from regimes.plot import style
from regimes.studies.second_order_mup.analyses.coordinate_check import (
    damped_slopes,
    overdamped_slopes,
)
from regimes.studies.second_order_mup.claims_coordinate import COORDINATE
from regimes.studies.second_order_mup.coordinate_panels import log_axes, power_text
from regimes.studies.second_order_mup.factor_orders import damping_orders, eigenvalue_orders
from regimes.studies.second_order_mup.theory import predicted_slopes
from regimes.studies.second_order_mup.width_cases import choose, gather
from regimes.studies.second_order_mup.width_fits import pooled_slopes, slopes_of_means
from tests.studies.made import check_stored
from tests.studies.second_order_mup import planted_widths as planted
from tests.studies.second_order_mup.planted_widths import case, power, runs

MODULE = "regimes.studies.second_order_mup"
ANALYSES = ("coordinate_check", "damping_order", "factor_order")
FIGURES = {
    "fig1": "coordinate_check",
    "fig2": "factor_order",
    "figA2": "coordinate_check",
    "figA3": "coordinate_check",
    "figA5": "coordinate_check",
    "supp_damping_order": "damping_order",
    "supp_output_multiplier": "coordinate_check",
}


def analysed(experiments: dict[str, xr.Dataset], names=ANALYSES) -> dict[str, xr.Dataset]:
    return {
        name: importlib.import_module(f"{MODULE}.analyses.{name}").analyse(experiments)
        for name in names
    }


def measured(analyses: dict[str, xr.Dataset], claim: str) -> claims.Measurement:
    return claims.measure(COORDINATE[claim], analyses)


def figure(name: str, analyses: dict[str, xr.Dataset]):
    return importlib.import_module(f"{MODULE}.figures.{name}").draw(
        {FIGURES[name]: analyses[FIGURES[name]]}
    )


@pytest.fixture(scope="module")
def laptop():
    return analysed(planted.laptop())


# --- Fits -----------------------------------------------------------------------------------------


def scattered(widths=(64, 128, 256, 512), seeds=3):
    generator = np.random.default_rng(5)
    logs = 0.7 * np.log(widths)[:, None] + 0.1 * generator.standard_normal((len(widths), seeds))
    return xr.DataArray(
        np.exp(logs), dims=("width", "seed"), coords={"width": list(widths), "seed": range(seeds)}
    )


def test_pooled_slope_and_interval_are_those_of_a_linear_regression():
    values = scattered()
    fit = pooled_slopes(values, 128)
    wide = values.sel(width=slice(128, None))
    x = np.repeat(np.log(wide["width"].values), 3)
    other = stats.linregress(x, np.log(wide.values.ravel()))
    half = stats.t.ppf(0.975, 9 - 2) * other.stderr
    assert fit["slope"].item() == pytest.approx(other.slope)
    assert fit["slope_low"].item() == pytest.approx(other.slope - half)
    assert fit["slope_high"].item() == pytest.approx(other.slope + half)
    assert fit["points"] == 9


def test_slope_of_geometric_means_is_the_mean_of_the_slopes_of_seeds():
    values = scattered()
    own = [np.polyfit(np.log(values["width"]), np.log(values.isel(seed=i)), 1)[0] for i in range(3)]
    assert slopes_of_means(values, 1.0).item() == pytest.approx(np.mean(own))
    assert pooled_slopes(values, 1.0)["slope"].item() == pytest.approx(np.mean(own))


@pytest.mark.parametrize("bad", [np.inf, 0.0])
def test_what_is_lost_makes_the_slope_unknown_and_what_is_missing_does_not(bad):
    values = scattered()
    values[3, 1] = bad
    assert math.isnan(slopes_of_means(values, 1.0))
    assert math.isnan(pooled_slopes(values, 1.0)["slope"])
    # Outside the window it does not matter.
    values[3, 1], values[0, 1] = 3.0, bad
    assert math.isfinite(slopes_of_means(values, 128))
    values[0, 1] = math.nan
    assert math.isfinite(slopes_of_means(values, 1.0))
    assert pooled_slopes(values, 1.0)["points"] == 11


def test_a_window_without_two_widths_has_no_slope():
    values = scattered((16, 32, 64))
    assert math.isnan(slopes_of_means(values))
    assert math.isnan(pooled_slopes(values)["slope"])
    assert math.isnan(slopes_of_means(scattered((64, 128))))


# --- Cases ----------------------------------------------------------------------------------------


def test_cases_hold_the_runs_with_their_settings_wherever_they_stand():
    data = planted.coord_check_main()
    order = np.random.default_rng(0).permutation(data.sizes["run"])
    mixed = choose_all(gather({"main": data.isel(run=order)}, ["dWh", "dh"]))
    for each in choose_all(gather({"main": data}, ["dWh", "dh"])):
        settings = {n: each[n].item() for n in ("optimizer", "parameterization", "activation")}
        same = [
            other
            for other in mixed
            if all(other[n].item() == v for n, v in settings.items())
            and np.isclose(other["damping"], each["damping"], equal_nan=True)
            and other["fisher"] == each["fisher"]
            and other["damping_rule"] == each["damping_rule"]
            and other["steps"] == each["steps"]
        ]
        assert len(same) == 1
        np.testing.assert_array_equal(same[0]["dWh"].values, each["dWh"].values)
    run = data.isel(run=7)
    found = choose(
        gather({"main": data}, ["dWh"]),
        **{n: run[n].item() for n in ("optimizer", "parameterization", "steps", "activation")},
    )
    at = found["dWh"].sel(width=int(run["width"]), seed=int(run["seed"])).squeeze("case")
    np.testing.assert_array_equal(at.values, run["dWh"].values)


def choose_all(data):
    return [data.isel(case=i) for i in range(data.sizes["case"])]


def test_diverged_runs_are_infinite_after_the_divergence_only():
    data = runs(
        [case(power(0, 0, 0), steps=5), case(power(0, 0, 0), steps=1)], layer_steps=(0, 1, 2, 3, 5)
    )
    lost = int(np.flatnonzero((data["width"] == 256) & (data["steps"] == 5))[0])
    data["diverged_at"][lost] = 2
    data["dWh"][lost, 3:] = math.nan
    found = gather({"main": data}, ["dWh"])["dWh"].sel(case=0, width=256, seed=0, layer=0)
    assert np.isfinite(found.sel(layer_step=[0, 1, 2])).all()
    assert np.isposinf(found.sel(layer_step=[3, 5])).all()
    short = gather({"main": data}, ["dWh"])["dWh"].sel(case=1)
    assert short.sel(layer_step=[2, 3, 5]).isnull().all()


def test_two_runs_with_the_same_settings_are_refused():
    data = runs([case(power(0, 0, 0))])
    twice = xr.concat([data, data.isel(run=[0])], "run")
    with pytest.raises(ValueError, match="2 runs share"):
        gather({"main": twice}, ["dWh"])


# --- Predictions, from networks -------------------------------------------------------------------

SCHEMES = {"sp": 0.5, "mup": 1.0}
NETWORKS = (256, 512, 1024, 2048)
EXAMPLES, INPUTS, CLASSES = 24, 20, 4


def network(width: int, exponent: float, seed: int):
    """Activations and GGN signals per layer of a tanh network with std(W_L) = M^-b_L."""
    g = np.random.default_rng(seed)
    x = g.standard_normal((EXAMPLES, INPUTS))
    first = g.standard_normal((INPUTS, width)) / math.sqrt(INPUTS)
    hidden = g.standard_normal((width, width)) / math.sqrt(width)
    last = g.standard_normal((width, CLASSES)) / width**exponent
    h1 = np.tanh(x @ first)
    h2 = np.tanh(h1 @ hidden)
    top = np.broadcast_to(np.eye(CLASSES), (EXAMPLES, CLASSES, CLASSES))
    second = (top @ last.T) * (1 - h2**2)[:, None]
    below = (second @ hidden.T) * (1 - h1**2)[:, None]
    inputs = [x, h1, h2]
    signals = [s.reshape(EXAMPLES * CLASSES, -1) for s in (below, second, top)]
    return inputs, signals, g.standard_normal((EXAMPLES, CLASSES))


def powers_of(measure, exponent: float) -> np.ndarray:
    """Log-log slopes over widths of what ``measure`` makes of a network, mean over draws."""
    logs = np.array(
        [
            np.mean([np.log(measure(*network(m, exponent, seed))) for seed in (0, 1)], axis=0)
            for m in NETWORKS
        ]
    )
    flat = np.polyfit(np.log(NETWORKS), logs.reshape(len(NETWORKS), -1), 1)[0]
    return flat.reshape(logs.shape[1:])


def largest(samples: np.ndarray) -> float:
    """Largest eigenvalue of the mean outer product of rows, counted per example."""
    return np.linalg.norm(samples, 2) ** 2 / EXAMPLES


@pytest.mark.parametrize("scheme", SCHEMES)
def test_orders_of_kfac_factors_and_dampings_are_those_of_networks(scheme):
    exponent = SCHEMES[scheme]

    def eigenvalues(inputs, signals, _):
        return np.array([[largest(h) for h in inputs], [largest(s) for s in signals]])

    def heuristic(inputs, signals, _):
        mean = [[(z**2).sum() / EXAMPLES / z.shape[1] for z in side] for side in (inputs, signals)]
        pi = np.sqrt(np.array(mean[0]) / np.array(mean[1]))
        return np.array([pi, 1 / pi])

    np.testing.assert_allclose(
        powers_of(eigenvalues, exponent), eigenvalue_orders("kfac", exponent), atol=0.12
    )
    np.testing.assert_allclose(
        powers_of(heuristic, exponent), damping_orders("kfac", "heuristic", exponent), atol=0.08
    )


def test_orders_of_products_are_those_of_networks():
    def eigenvalues(inputs, signals, chi):
        found = []
        for h, s in zip(inputs, signals, strict=True):
            delta = (s.reshape(EXAMPLES, CLASSES, -1) * chi[:, :, None]).sum(1)
            found.append(np.linalg.norm((h.T @ delta) / EXAMPLES, 2) ** 2)
        return np.array(found)

    def newton(inputs, signals, _):
        repeated = [np.repeat(h, CLASSES, axis=0) for h in inputs]
        pairs = zip(repeated, signals, strict=True)
        return np.array([np.linalg.norm((h @ h.T) * (s @ s.T), 2) for h, s in pairs])

    for measure, name in ((eigenvalues, "shampoo"), (newton, "layerwise_gn")):
        np.testing.assert_allclose(
            powers_of(measure, 1.0), eigenvalue_orders(name, 1.0)[0], atol=0.15
        )
    assert np.isnan(eigenvalue_orders("layerwise_gn")[1]).all()
    assert np.isnan(eigenvalue_orders("sgd")).all()


@pytest.mark.parametrize("scheme", SCHEMES)
def test_overdamped_changes_are_those_of_the_plain_gradient(scheme):
    def changes(inputs, signals, chi):
        found = []
        for h, s in zip(inputs, signals, strict=True):
            delta = (s.reshape(EXAMPLES, CLASSES, -1) * chi[:, :, None]).sum(1)
            found.append(np.abs(h @ (h.T @ delta) / EXAMPLES).mean())
        return np.array(found)

    found = powers_of(changes, SCHEMES[scheme])
    # K-FAC has no learning-rate exponents in either parameterization.
    predicted = np.array(overdamped_slopes(POWERS["kfac"], scheme), dtype=float)
    np.testing.assert_allclose(found, predicted, atol=0.12)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("rule", ["heuristic", "absolute"])
def test_changes_at_dampings_of_other_orders_are_those_of_the_limit(scheme, rule):
    exponent = SCHEMES[scheme]
    orders = damping_orders("kfac", rule, exponent)
    # A damping that leaves its factor behind is far above it from the start, or far below.
    ahead = np.sign(orders - eigenvalue_orders("kfac", exponent))

    few = 8  # an undamped inverse for more examples needs wider networks

    def changes(inputs, signals, chi):
        width, found = inputs[1].shape[1], []
        # Derivatives are combinations of the signals of their example.
        combined = np.einsum("ij,ik->ijk", np.eye(few), chi[:few]).reshape(few, -1)
        for layer, (h, s) in enumerate(zip(inputs, signals, strict=True)):
            rho_a, rho_b = 0.1 * 10.0 ** (4 * ahead[:, layer]) * width ** orders[:, layer]
            h, s = h[:few], s[: few * CLASSES]
            left = h @ h.T / few
            left = left @ np.linalg.inv(left + rho_a * np.eye(few))
            right = np.linalg.solve(s @ s.T / few + rho_b * np.eye(len(s)), s)
            found.append(np.abs(left @ combined @ right).mean())
        return np.array(found)

    predicted = np.array(damped_slopes("kfac", rule, scheme), dtype=float)
    np.testing.assert_allclose(powers_of(changes, exponent), predicted, atol=0.12)


def test_limits_of_damped_updates():
    # The input layer's A alone is outgrown by the heuristic damping (section 2.6).
    assert damped_slopes("kfac", "heuristic", "mup") == (-1, 0, 0)
    for optimizer, rule in (("kfac", "rescaled"), ("shampoo", "largest"), ("sgd", "none")):
        assert damped_slopes(optimizer, rule, "sp") == predicted_slopes(POWERS[optimizer], "sp")
    assert np.isnan(damped_slopes("shampoo", "absolute", "mup")).all()


def test_rules_in_proportion_to_the_factor_and_the_absolute_one():
    for rule in ("rescaled", "largest"):
        np.testing.assert_array_equal(damping_orders("kfac", rule, 1.0), [[0, 1, 1], [-1, -1, 0]])
    assert (damping_orders("kfac", "absolute") == 0).all()
    assert np.isnan(damping_orders("sgd", "none")).all()


# --- Claims ---------------------------------------------------------------------------------------

EXPECTED = {
    "so_fig1_shampoo_mup_flat": 0.04,
    "so_fig1_kfac_rescaled_mup_flat": 0.05,
    "so_fig1_kfac_mc_mup_flat": 0.09,
    "so_fig1_sgd_slopes": 0.1,
    "so_fig1_shampoo_sp_slopes": 0.02,
    "so_fig1_kfac_sp_slopes": 0.02,
    "so_fig1_mup_dh_flat": 0.11,
    "so_fig1_heuristic_input_slope": -0.8,
    "so_fig1_heuristic_input_limit": -0.99,
    "so_fig1_heuristic_hidden_slope": -0.08,
    # Five times -0.014, 0.01 and -0.13: the last, which does not drift.
    "so_fig1_five_steps": 0.13,
    # 0.1 and 32 steps of 0.004.
    "so_fig2_trA_exponents": 0.1 + 32 * 0.004,
    "so_fig2_trB_exponents": 0.12,
    "so_fig2_parallel_curves": 32 * 0.004,
    "so_figA2_activations": 0.08,
    "so_figA3_foof_slopes": 0.03,
    "so_figA3_layerwise_gn_mup_flat": 0.06,
    "so_figA3_cross_entropy_slopes": 0.05,
    "so_figA5_up_slopes": 0.09,
    "so_figA5_kfac_up_equals_sp": 2e-9,
    "so_supp_damping_heuristic": 0.0,
    "so_supp_damping_rescaled": 0.0,
    "so_supp_damping_product_factors": 0.2,
    "so_supp_damping_sp_trB": 0.07,
    # -0.2 for SGD and (-0.4 - 0.3 - 0.5) / 3 for K-FAC.
    "so_supp_output_multiplier_shift": -0.3,
}


def test_every_claim_is_planted():
    assert EXPECTED.keys() == COORDINATE.keys()


@pytest.mark.parametrize("claim", EXPECTED)
def test_planted_numbers_are_found(laptop, claim):
    found = measured(laptop, claim)
    assert found.value == pytest.approx(EXPECTED[claim], rel=1e-6, abs=1e-12)
    assert found.low <= found.value <= found.high < math.inf
    seeds = {"so_figA5_kfac_up_equals_sp": 1}.get(claim, 2 if "fig2" in claim else 3)
    assert found.seeds == seeds


def changed(analysis, **settings):
    """Analysis in which layer 0 of the cases with given settings has a power 0.4 more."""
    experiments = planted.laptop()
    for name, data in experiments.items():
        hit = np.ones(data.sizes["run"], dtype=bool)
        for key, wanted in settings.items():
            if key == "experiment":
                hit &= name == wanted
            else:
                hit &= data[key].values == wanted
        steeper = data["width"].astype(float) ** 0.4
        for variable in data.data_vars:
            if "layer" in data[variable].dims:
                other = data[variable] * xr.where(data["layer"] == 0, steeper, 1.0)
                data[variable] = data[variable].where(~xr.DataArray(hit, dims="run"), other)
    return analysed(experiments, [analysis])


# Which cases a claim reads: with 0.4 more in the first layer it moves, or it does not.
READS = [
    ("so_fig1_shampoo_mup_flat", {"optimizer": "shampoo", "parameterization": "mup"}, 0.4),
    ("so_fig1_shampoo_mup_flat", {"optimizer": "shampoo", "parameterization": "sp"}, 0.04),
    ("so_fig1_shampoo_mup_flat", {"experiment": "coord_check_activations"}, 0.04),
    ("so_fig1_shampoo_mup_flat", {"optimizer": "shampoo", "steps": 5}, 0.04),
    ("so_fig1_kfac_rescaled_mup_flat", {"fisher": "mc"}, 0.05),
    ("so_fig1_kfac_mc_mup_flat", {"fisher": "mc", "parameterization": "mup"}, 0.49),
    ("so_fig1_sgd_slopes", {"optimizer": "sgd", "parameterization": "sp"}, 0.4),
    ("so_fig1_sgd_slopes", {"optimizer": "sgd", "parameterization": "mup"}, 0.37),
    ("so_fig1_five_steps", {"optimizer": "sgd", "steps": 5, "parameterization": "mup"}, 0.33),
    ("so_fig1_five_steps", {"steps": 1}, 0.13),
    ("so_fig1_mup_dh_flat", {"optimizer": "kfac", "experiment": "coord_check_main"}, 0.42),
    ("so_figA2_activations", {"activation": "identity", "optimizer": "kfac"}, 0.4),
    ("so_figA2_activations", {"activation": "relu", "steps": 5}, 0.08),
    ("so_figA3_foof_slopes", {"optimizer": "foof", "parameterization": "mup"}, 0.4),
    ("so_figA3_layerwise_gn_mup_flat", {"optimizer": "layerwise_gn", "damping": 0.01}, 0.4),
    ("so_figA3_cross_entropy_slopes", {"loss": "cross_entropy", "optimizer": "shampoo"}, 0.4),
    ("so_figA5_up_slopes", {"parameterization": "up", "optimizer": "kfac"}, 0.42),
    ("so_figA5_up_slopes", {"parameterization": "sp"}, 0.09),
    ("so_supp_damping_rescaled", {"damping_rule": "heuristic"}, 0.0),
    ("so_supp_damping_sp_trB", {"parameterization": "sp"}, 0.45),
    ("so_supp_damping_product_factors", {"optimizer": "shampoo"}, 0.4),
    ("so_supp_output_multiplier_shift", {"output_multiplier": 1.0, "optimizer": "sgd"}, -0.7 / 3),
]  # fmt: skip


@pytest.mark.parametrize(("claim", "settings", "expected"), READS)
def test_claims_read_their_own_cases(claim, settings, expected):
    found = measured(changed(COORDINATE[claim].analysis, **settings), claim)
    assert found.value == pytest.approx(expected, abs=1e-9)


def test_claims_without_their_runs_are_unknown():
    experiments = planted.laptop()
    main = experiments["coord_check_main"]
    kept = (main["optimizer"] != "sgd") | (main["parameterization"] != "sp")
    experiments["coord_check_main"] = main.isel(run=np.flatnonzero(kept))
    results = analysed(experiments, ["coordinate_check"])
    assert math.isnan(measured(results, "so_fig1_sgd_slopes").value)
    assert measured(results, "so_fig1_shampoo_sp_slopes").value == pytest.approx(0.02)
    up = planted.coord_check_up()
    fewer = {**experiments, "coord_check_up": up.isel(run=np.flatnonzero(up["width"] != 512))}
    results = analysed(fewer, ["coordinate_check"])
    assert math.isnan(measured(results, "so_figA5_kfac_up_equals_sp").value)


def test_a_diverged_run_leaves_its_claim_inconclusive():
    experiments = planted.laptop()
    main = experiments["coord_check_main"]
    hit = (main["optimizer"] == "sgd") & (main["width"] == 1024) & (main["steps"] == 5)
    hit = np.flatnonzero(hit & (main["parameterization"] == "mup") & (main["seed"] == 1))
    main["diverged_at"][hit] = 3
    main["dWh"][hit, -1] = math.nan
    results = analysed(experiments, ["coordinate_check"])
    found = measured(results, "so_fig1_five_steps")
    assert claims.verdict((0, 0.22), found.low, found.high) == claims.INCONCLUSIVE
    assert measured(results, "so_fig1_sgd_slopes").value == pytest.approx(0.1)


def test_exponents_of_perceptrons_do_not_use_convolutional_networks():
    experiments = planted.laptop()
    cnn = runs(
        [case(power(0.3, 0, 0), model="cnn", base_width=8, **planted.SHAMPOO)], widths=(8, 16, 32)
    )
    experiments["coord_check_main"] = xr.concat(
        [experiments["coord_check_main"], cnn.reindex(layer_step=[0, 1, 2, 3, 5])], "run"
    )
    results = analysed(experiments, ["coordinate_check"])
    assert measured(results, "so_fig1_shampoo_mup_flat").value == pytest.approx(0.04)
    case_of_cnn = choose(results["coordinate_check"], model="cnn")
    assert case_of_cnn["first_width"].item() == 16
    slope = case_of_cnn["slope"].sel(window="wide", change="dWh", layer_step=1, layer=0).item()
    assert slope == pytest.approx(0.3)
    with style.applied():
        assert len(figure("fig1", results).axes) == 25


# --- Every shape of data --------------------------------------------------------------------------

CASES = {"laptop": planted.laptop, "smoke": planted.smoke, "nothing": dict}


@pytest.mark.parametrize("shape", CASES)
@pytest.mark.filterwarnings("error")
def test_analyses_claims_and_figures_of_every_shape(shape, tmp_path):
    results = analysed(CASES[shape]())
    for claim in COORDINATE:
        measured(results, claim)
    for data in results.values():
        for name, variable in data.variables.items():
            assert variable.attrs.get("long_name") and variable.attrs.get("units"), name
    check_stored(results, tmp_path)
    for name in FIGURES:
        with style.applied(), mpl.rc_context({"savefig.dpi": 60}):
            drawn = figure(name, results)
            if shape != "nothing":
                assert any(axes.lines for axes in drawn.axes), name
            style.save(drawn, tmp_path / f"{name}.png")


def test_panels_print_fitted_and_predicted_exponents(laptop):
    with style.applied():
        drawn = figure("fig1", laptop)
        texts = [text.get_text() for text in drawn.axes[1].texts]
        # Second panel: Shampoo under SP, printed from the lowest line up.
        assert [text.split("±")[0] for text in texts[:3]] == ["0.50", "0.00", "−0.52"]
        assert [text.split()[-1] for text in texts[:3]] == ["(½)", "(0)", "(−½)"]
        # Very large damping by the heuristic rule: the limit -1.
        assert any(text.get_text().endswith("(−1)") for text in drawn.axes[19].texts)


def test_ticks_below_a_thousandth_are_powers_of_ten():
    assert power_text(1e-4) == "$10^{-4}$"
    assert power_text(3e-5) == r"$3\!\cdot\!10^{-5}$"
    with style.applied():
        for scale, form in ((1e-4, "10^{"), (1.0, "0.")):
            _, axes = plt.subplots()
            axes.plot([64, 128, 256], np.array([0.3, 1, 8]) * scale)
            log_axes(axes)
            axes.figure.canvas.draw()
            low, high = axes.get_ylim()
            ticks = zip(axes.get_yticks(), axes.get_yticklabels(), strict=True)
            texts = [text.get_text() for value, text in ticks if low <= value <= high]
            assert len(texts) > 1
            assert all(("10^{" in text) == (form == "10^{") for text in texts)


@pytest.mark.parametrize("name", FIGURES)
def test_figures_say_what_was_trained(name, laptop):
    with style.applied():
        title = figure(name, laptop)._suptitle.get_text()
    samples = "64 samples"
    assert title.startswith(f"MLP, 8×8 digits, {samples}")
    assert name != "fig2" or title.endswith("32 updates in batches of 128")


def test_panels_of_missing_runs_say_so():
    experiments = planted.laptop()
    del experiments["coord_check_foof_gn"]
    results = analysed(experiments, ["coordinate_check"])
    with style.applied():
        drawn = figure("figA3", results)
        texts = [" ".join(text.get_text() for text in axes.texts) for axes in drawn.axes]
    assert ["no runs" in text for text in texts] == [True] * 3 + [False] * 2


def test_the_same_value_everywhere_is_drawn_as_a_flat_line():
    with style.applied(), warnings.catch_warnings():
        warnings.simplefilter("error")
        _, axes = plt.subplots()
        axes.plot([64, 128, 256], np.array([1, 1 + 1e-15, 1 - 1e-15]) * 1e-4)
        log_axes(axes)
        low, high = axes.get_ylim()
    assert low < 0.4e-4 and high > 2.5e-4
