"""Variants of GN: numbers and figures from curves whose answers are known."""

from __future__ import annotations

import importlib
import math

import numpy as np
import pytest
import xarray as xr

from regimes import claims
from regimes.plot import style
from regimes.studies.exact_gauss_newton.claims_variants import VARIANTS
from regimes.studies.exact_gauss_newton.variants import late_share
from tests.studies.exact_gauss_newton import planted_variants as planted
from tests.studies.exact_gauss_newton.planted_variants import FIGURES, READ, case, runs

MODULE = "regimes.studies.exact_gauss_newton"


def analysed(experiments: dict[str, xr.Dataset], names=READ) -> dict[str, xr.Dataset]:
    """Results of analyses, each given the experiments that it reads."""
    return {
        name: importlib.import_module(f"{MODULE}.analyses.{name}").analyse(
            {e: experiments[e] for e in READ[name] if e in experiments}
        )
        for name in names
    }


def measured(analyses: dict[str, xr.Dataset], claim: str) -> claims.Measurement:
    return claims.measure(VARIANTS[claim], analyses)


@pytest.fixture(scope="module")
def laptop():
    return analysed(planted.laptop())


# Per seed all ratios are the same (the seeds differ by a factor), so each is known by hand.
ADAM_30, ADAM_50, ADAM_60 = (3 * math.exp(-e / 30) for e in (30, 50, 60))
GN_50, GN_60 = 0.8 + 30**2 / 400, 0.8 + 40**2 / 400
EXPECTED = {
    # -10 + 0.1 e over -2 or -1 - 0.05 e; they change places at epoch 20, where GN is at -8
    "gn_fig3_ratio_early": 4.0,
    # -9.45 over -2
    "gn_fig3_gap_early": 9.45 / 2,
    # lead in epochs 55-60: -10 + 1 + (0.1 + 0.05) e, 0.15 * 57.5 - 9; largest at epoch 1: -7.9
    "gn_fig3_gap_shrinks": (9 - 0.15 * 57.5) / 7.9,
    "gn_fig3_gap_persists": 1.0,
    "gn_fig7_gn_after_adam_floor": 1.1,
    "gn_fig7_gn_after_adam_vs_adam": 3 * ADAM_30 / ADAM_50,
    "gn_fig7_gn_after_adam_vs_gn": 3 * ADAM_30 / GN_50,
    "gn_fig8_train_spread": 1.04 / 0.98,
    "gn_fig8_larger_sigma": 0.98 / 1.04,
    # epoch 5
    "gn_fig12_slower": 2.5 * math.exp(-0.2) / (0.8 + 15**2 / 400),
    "gn_fig12_earlier": 16.0,
    "gn_fig12_higher": 1.5,
    "gn_fig12_still_above_adam": 2.5 * math.exp(-60 / 25) / ADAM_60,
    "gn_fig13_train": 0.03,
    "gn_fig14_damping_better": 0.9,
    "gn_fig14_noise_less": 1.05 / 0.94,
    "gn_fig14_truncation_above_adam": GN_60 / ADAM_60,
    "gn_fig14_adam_best": 0.94 * GN_60 / ADAM_60,
    "gn_supp_uncorrected_same_loss": 0.94,
    "gn_supp_all_relu_lower": 0.75,
}


@pytest.mark.parametrize("claim", EXPECTED)
def test_planted_numbers_are_found(laptop, claim):
    found = measured(laptop, claim)
    assert found.value == pytest.approx(EXPECTED[claim], rel=1e-9)
    assert found.low == pytest.approx(found.high, rel=1e-6)
    assert found.seeds == 3


def test_level_of_adam_after_gn_is_the_mean_over_seeds(laptop):
    found = measured(laptop, "gn_fig7_adam_after_gn_level")
    assert found.value == pytest.approx(0.8 * math.exp(-2) * (1 + 2 + 4) / 3)
    assert found.low < found.value < found.high


def test_claims_of_image_data_are_unknown_on_other_data(laptop):
    assert math.isnan(measured(laptop, "gn_fig3_start").value)
    assert math.isnan(measured(laptop, "gn_fig12_no_cure").value)


def test_first_update_is_read_at_the_step_of_the_paper():
    data = planted.mini_batch_hard()
    data = data.assign_coords(data=("run", ["cifar10"] * 9), alpha_eff=("run", [0.6] * 9))
    found = measured(analysed({"mini_batch_hard": data}, ["per_update"]), "gn_fig3_start")
    assert found.value == pytest.approx(-12)
    other = data.assign_coords(alpha_eff=("run", [0.3] * 9))
    found = measured(analysed({"mini_batch_hard": other}, ["per_update"]), "gn_fig3_start")
    assert math.isnan(found.value)


def test_seed_means_come_before_the_smallest_lead():
    """Ratios of means and means of ratios differ when seeds do not only differ by a factor."""
    gn, adam, sgd = ({s: level for s, level in zip((42, 43), pair, strict=True)} for pair in (
        (-8.0, -4.0), (-1.0, -3.0), (-0.5, -0.5),
    ))  # fmt: skip

    def change(levels):
        return lambda e, s: np.where(e > 0, levels[s], np.nan)

    data = runs(
        [
            {"pct_change_mean": change(gn)},
            {"pct_change_mean": change(adam), "optimizer": "adam"},
            {"pct_change_mean": change(sgd), "optimizer": "sgd"},
        ],
        seeds=(42, 43),
    )
    results = analysed({"mini_batch_hard": data}, ["per_update"])
    assert measured(results, "gn_fig3_ratio_early").value == pytest.approx(6 / 2)
    assert measured(results, "gn_fig3_gap_early").value == pytest.approx((8 + 4 / 3) / 2)


def test_share_of_epochs_counts_those_where_gn_is_below_both():
    def crossing(e, s):
        return np.where(e > 0, np.where(e <= 12, -5.0, -1.0), np.nan)

    data = runs(
        [
            {"pct_change_mean": crossing, "epochs": 20},
            {"pct_change_mean": planted.percent(-0.5), "optimizer": "adam", "epochs": 20},
            {"pct_change_mean": planted.percent(-0.6), "optimizer": "sgd", "epochs": 20},
        ],
        seeds=(42, 43),
    )
    results = analysed({"mini_batch_hard": data}, ["per_update"])
    # The first 16 of 20 epochs; SGD is at -0.6 (42) and -1.2 (43), below GN from epoch 13 on.
    assert results["per_update"]["lead_share"].values == pytest.approx([1.0, 12 / 16])
    assert measured(results, "gn_fig3_gap_persists").value == pytest.approx(28 / 32)


# --- Which runs are compared ---------------------------------------------------------------------


def images():
    """Experiments with their own GN and Adam runs, beside a larger model of other length."""
    hard = planted.mini_batch_hard()
    large = hard.assign_coords(
        data=("run", ["cifar10"] * 9), blocks=("run", [6] * 9), alpha_eff=("run", [0.6] * 9)
    )
    flat = planted.constant
    return {
        "mini_batch_hard": large,
        "init_std": planted.on_images([
            case(planted.falling(2.5, 1 / 5, 1.7), sigma=1e-2),
            case(planted.falling(2.5, 1 / 10, 1.9), sigma=1e-6),
        ]),
        "gn_lr": planted.on_images([
            case(planted.falling(2.5, 1 / 20, 1.5), lr_code=1e-3),
            case(planted.falling(2.5, 1 / 50, 2.0), lr_code=1e-4),
        ]),
        "gn_weight_decay": planted.on_images([case(flat(2.0), weight_decay=1e-2)]),
        "pinv_regularization": planted.on_images([
            case(flat(1.7), inverse="damp"),
            case(flat(1.75), inverse="noise"),
        ]),
        "optimizer_switch": planted.on_images([
            case(flat(1.6), optimizer="adam", lr_code=1e-4, then="gn", then_lr_code=0.1) | HALVES,
            case(flat(1.0), then="adam", then_lr_code=1e-4) | HALVES,
        ]),
    }  # fmt: skip


HALVES = {"epochs": 20, "then_epochs": 20}


def at(start, rate, floor, epoch=40):
    return floor + (start - floor) * math.exp(-rate * epoch)


OWN_GN, OWN_ADAM = at(2.5, 1 / 5, 1.8), at(2.5, 1 / 20, 0.9)


@pytest.mark.parametrize(
    ("claim", "expected"),
    [
        ("gn_fig7_gn_after_adam_vs_adam", 1.6 / OWN_ADAM),
        ("gn_fig7_gn_after_adam_vs_gn", 1.6 / OWN_GN),
        ("gn_fig7_adam_after_gn", 1.0 / OWN_GN),
        ("gn_fig8_larger_sigma", at(2.5, 1 / 5, 1.7) / at(2.5, 1 / 10, 1.9)),
        ("gn_fig8_worse_than_adam", at(2.5, 1 / 5, 1.7) / OWN_ADAM),
        # x = exp(-2) at half time for the slowest: (x - x^2) / (1 - x^2)
        ("gn_fig8_all_saturate", (math.exp(-2) - math.exp(-4)) / (1 - math.exp(-4))),
        ("gn_fig12_slower", at(2.5, 1 / 20, 1.5, 5) / at(2.5, 1 / 5, 1.8, 5)),
        ("gn_fig12_no_cure", at(2.5, 1 / 20, 1.5) / OWN_GN),
        ("gn_fig13_train_images", 2.0 / OWN_GN - 1),
        ("gn_fig13_no_cure", 2.0 / OWN_ADAM),
        ("gn_fig14_damping_better", 1.7 / OWN_GN),
        ("gn_fig14_noise_less", 1.75 / 1.7),
        ("gn_fig14_adam_best", 1.7 / OWN_ADAM),
    ],
)
def test_reference_runs_of_the_own_experiment_win(claim, expected):
    analysis = VARIANTS[claim].analysis
    found = measured(analysed(images(), [analysis]), claim)
    assert found.value == pytest.approx(expected, rel=1e-9)


def without(data: xr.Dataset, seed: int, **settings) -> xr.Dataset:
    """Leave out the runs of a seed with given settings."""
    gone = data["seed"] == seed
    for name, value in settings.items():
        gone = gone & (data[name] == value)
    return data.isel(run=np.flatnonzero(~gone.values))


def test_missing_seeds_are_left_out_and_diverged_runs_are_not():
    experiments = planted.laptop()
    hard = experiments["mini_batch_hard"]
    fewer = {**experiments, "mini_batch_hard": without(hard, 43, optimizer="adam")}
    results = analysed(fewer, ["pinv"])
    assert measured(results, "gn_fig14_adam_best").seeds == 2
    assert measured(results, "gn_fig14_adam_best").value == pytest.approx(0.94 * GN_60 / ADAM_60)
    assert measured(results, "gn_fig14_noise_less").seeds == 3

    def diverging(inverse, after):
        data = experiments["pinv_regularization"]
        hit = (data["seed"] == 43) & (data["inverse"] == inverse) & (data["epoch"] > after)
        lost = {name: values.where(~hit) for name, values in data.items()}
        return analysed({**experiments, "pinv_regularization": data.assign(lost)}, ["pinv"])

    results = diverging("noise", 50)
    assert math.isnan(measured(results, "gn_fig14_noise_less").value)
    assert measured(results, "gn_fig14_damping_better").value == pytest.approx(0.9)
    # Which one would have been the smallest is not known.
    assert math.isnan(measured(results, "gn_fig14_adam_best").value)
    number = results["pinv"]["smallest_over_adam"].values
    assert number == pytest.approx(0.94 * GN_60 / ADAM_60 * np.array([1, np.nan, 1]), nan_ok=True)


@pytest.mark.parametrize("first", [0, 1, 5])
def test_a_run_that_fails_early_makes_numbers_unknown(first):
    """A percent change has no value at epoch 0: a run lost in epoch 1 leaves none at all."""
    experiments = planted.laptop()
    data = experiments["mini_batch_hard"]
    gone = (data["seed"] == 43) & (data["optimizer"] == "gn") & (data["epoch"] >= first)
    curves = {n: v.where(~gone) for n, v in data.items() if "epoch" in v.dims}
    results = analysed({**experiments, "mini_batch_hard": data.assign(curves)})
    assert results["per_update"]["ran"].values.tolist() == [[1, 1, 1]] * 3
    for claim in ("gn_fig3_ratio_early", "gn_fig3_gap_early", "gn_fig3_gap_shrinks"):
        assert math.isnan(measured(results, claim).value), claim
    # Epochs that GN does not have are not led; without any there is no share.
    share = measured(results, "gn_fig3_gap_persists").value
    assert math.isnan(share) if first < 2 else share == pytest.approx((1 + 1 + 4 / 48) / 3)
    # Neither the minimum of GN nor the epoch of it was seen.
    for claim in ("gn_fig12_earlier", "gn_fig12_higher", "gn_fig7_adam_after_gn"):
        assert math.isnan(measured(results, claim).value), claim
    assert measured(results, "gn_fig12_still_above_adam").seeds == 3


def test_changes_that_are_no_decrease_are_no_lead():
    """Twice the rise of the others is no lead, and without a lead none can shrink."""

    def analysed_with(gn, adam, sgd):
        names = {"gn": gn, "adam": adam, "sgd": sgd}
        data = runs(
            [{"optimizer": n, "pct_change_mean": planted.percent(v)} for n, v in names.items()]
        )
        return analysed({"mini_batch_hard": data}, ["per_update"])

    results = analysed_with(gn=4.0, adam=2.0, sgd=3.0)
    assert math.isnan(measured(results, "gn_fig3_ratio_early").value)
    assert math.isnan(measured(results, "gn_fig3_gap_early").value)
    assert results["per_update"]["lead_late"].values.tolist() == [math.inf] * 3
    results = analysed_with(gn=-4.0, adam=-2.0, sgd=3.0)
    assert measured(results, "gn_fig3_gap_early").value == pytest.approx(2)
    assert measured(results, "gn_fig3_gap_shrinks").value == pytest.approx(1)


def test_a_variant_that_was_not_run_makes_its_claims_unknown():
    experiments = planted.laptop()
    data = experiments["pinv_regularization"]
    kept = data.isel(run=np.flatnonzero(data["inverse"].values == "noise"))
    results = analysed({**experiments, "pinv_regularization": kept}, ["pinv"])
    for claim in ("gn_fig14_damping_better", "gn_fig14_noise_less", "gn_fig14_adam_best"):
        found = measured(results, claim)
        assert math.isnan(found.value), claim
        assert claims.verdict((1, math.inf), found.low, found.high) == claims.INCONCLUSIVE


def test_share_of_the_decrease_is_negative_where_the_loss_rises():
    epoch = np.arange(41)
    loss = np.where(epoch <= 20, 3 - 0.1 * epoch, 1 + 0.05 * (epoch - 20))
    rising = np.where(epoch <= 20, 3 - 0.1 * epoch, 1 + 0.15 * (epoch - 20))
    curves = xr.Dataset(
        {"running_loss": (("variant", "seed", "epoch"), np.stack([loss, rising])[:, None])},
        coords={"variant": ["a", "b"], "seed": [0], "epoch": epoch},
    )
    # From 1 to 2 after a fall from 3 to 1.
    assert late_share(curves, "a", 40).values == pytest.approx([-1.0])
    assert late_share(curves, "a", 20).values == pytest.approx([0.5])
    # -3 over a decrease of -1 would read like a share of 3, and one of zero like none.
    assert late_share(curves, "b", 40).values.tolist() == [math.inf]
    flat = curves.where(curves["epoch"] < 0, 1.0)
    assert late_share(flat, "a", 40).values.tolist() == [math.inf]
    assert np.isnan(late_share(curves.where(curves["epoch"] < 30), "b", 40)).all()


# --- Every shape of data -------------------------------------------------------------------------


def smoke():
    """Three epochs, two seeds."""
    cut = {}
    for name, data in planted.laptop().items():
        first = data["seed"].values < 44
        short = data.isel(run=np.flatnonzero(first), epoch=slice(0, 4))
        length = np.minimum(short["epochs"].values, 2)
        second = np.minimum(short["then_epochs"].values, 1)
        cut[name] = short.assign_coords(
            epochs=("run", length), then_epochs=("run", second)
        )  # fmt: skip
    return cut


CASES = {"laptop": planted.laptop, "images": images, "smoke": smoke, "nothing": dict}


@pytest.mark.parametrize("shape", CASES)
@pytest.mark.filterwarnings("error")
def test_analyses_claims_and_figures_of_every_shape(shape, tmp_path):
    results = analysed(CASES[shape]())
    for claim in VARIANTS:
        measured(results, claim)
    for data in results.values():
        for name, variable in data.variables.items():
            if name != "epoch":
                assert variable.attrs.get("long_name"), name
        assert all(data[name].attrs["units"] for name in data.data_vars)
    for figure, analysis in FIGURES.items():
        with style.applied():
            drawn = importlib.import_module(f"{MODULE}.figures.{figure}").draw(
                {analysis: results[analysis]}
            )
            if shape != "nothing":
                assert any(axes.lines for axes in drawn.axes), figure
            style.save(drawn, tmp_path / f"{figure}.png")


def test_figures_show_each_variant_that_was_run_once(laptop):
    labels = {
        "fig3": 3, "fig7": 5, "fig8": 4, "fig12": 5, "fig13": 3, "fig14": 4,
        "supp_update_variants": 4,
    }  # fmt: skip
    for figure, count in labels.items():
        with style.applied():
            drawn = importlib.import_module(f"{MODULE}.figures.{figure}").draw(
                {FIGURES[figure]: laptop[FIGURES[figure]]}
            )
            texts = [text.get_text() for text in drawn.legends[0].get_texts()]
        assert len(texts) == len(set(texts)) == count, figure
