"""Full-batch and mini-batch curves: made-up runs with planted answers."""

from __future__ import annotations

import functools
import math

import matplotlib as mpl
import numpy as np
import pytest
import xarray as xr

from regimes import claims
from regimes.plot import style
from regimes.studies.exact_gauss_newton import reading
from regimes.studies.exact_gauss_newton.analyses import (
    full_batch,
    long_training,
    mini_batch,
    no_bottleneck,
    regression,
)
from regimes.studies.exact_gauss_newton.claims_curves import CURVES
from regimes.studies.exact_gauss_newton.figures import fig1, fig2, fig5, fig6, fig15
from tests.studies.exact_gauss_newton.made_curves import SEEDS, runs

ADAM = {"optimizer": "adam", "lr_code": 1e-3}
SGD = {"optimizer": "sgd", "lr_code": 0.1}


def constant(value):
    return lambda t, seed: np.full(len(t), float(value))


def straight(start, end, over):
    """From one value to another, linearly over a number of epochs."""
    return lambda t, seed: start + (end - start) * t / over


def measured(claim: str, analyses: dict[str, xr.Dataset]) -> claims.Measurement:
    return claims.measure(CURVES[claim], analyses)


# --- Cases and curves ----------------------------------------------------------------------------


def two_experiments() -> xr.Dataset:
    first = runs(
        [
            {"running_loss": straight(2, 1, 60)},
            ADAM | {"running_loss": straight(2, 0.5, 60), "test_accuracy": constant(0.7)},
            {"then": "adam", "then_epochs": 5, "epochs": 9, "running_loss": constant(3)},
        ]
    )
    second = runs(
        [
            {"running_loss": straight(2, 1.5, 10), "epochs": 10},
            {"width": math.nan, "running_loss": constant(4)},
        ],
        seeds=(43, 44, 45, 46),
    )
    return reading.cases(
        {"long": first, "short": second}, ["running_loss", "test_accuracy", "cka_initial"]
    )


def test_cases_keep_every_run_in_its_place():
    data = two_experiments()
    assert data["seed"].values.tolist() == [42, 43, 44, 45, 46]
    assert data["experiment"].values.tolist() == ["long"] * 3 + ["short"] * 2
    assert data["running_loss"].sizes == {"case": 5, "seed": 5, "epoch": 61}
    known = data["running_loss"].notnull().sum(("seed", "epoch")).values
    assert known.tolist() == [3 * 61, 3 * 61, 3 * 15, 4 * 11, 4 * 61]
    assert data["running_loss"].sel(case=3, seed=45, epoch=5).item() == pytest.approx(1.75)
    assert data["test_accuracy"].notnull().any(("seed", "epoch")).values.tolist() == [
        False,
        True,
        False,
        False,
        False,
    ]
    assert bool(data["cka_initial"].isnull().all())
    assert data["alpha_eff"].values[0] == pytest.approx(0.3)
    assert all({"long_name", "units"} <= set(v.attrs) for v in data.variables.values())


def test_pick_prefers_an_experiment_and_else_the_longest_run():
    data = two_experiments()
    longest = reading.pick(data["running_loss"], optimizer="gn", width=800)
    assert str(longest["experiment"].item()) == "long"
    assert longest["seed"].values.tolist() == list(SEEDS)
    own = reading.pick(data["running_loss"], prefer="short", optimizer="gn", width=800)
    assert own["seed"].values.tolist() == [43, 44, 45, 46]
    assert reading.final(own).values == pytest.approx([1.5] * 4)
    assert reading.pick(data, optimizer="gn", then="adam")["running_loss"].sizes["seed"] == 3
    bare = reading.pick(data["running_loss"], optimizer="gn", width=None)
    assert reading.final(bare).values == pytest.approx([4] * 4)
    with pytest.raises(ValueError, match="differ in width"):
        reading.pick(data, optimizer="gn")


def test_a_case_that_was_not_run_is_unknown():
    data = two_experiments()
    for found in (
        reading.pick(data["running_loss"], optimizer="sgd"),
        reading.pick(reading.cases({}, ["running_loss"])["running_loss"], optimizer="gn"),
    ):
        assert found.dims == ("seed", "epoch")
        assert bool(found.isnull().all())
        for number in (
            reading.final(found),
            reading.minimum_epoch(found),
            reading.minimum(found),
        ):
            assert number.dims == ("seed",)
            assert math.isnan(reading.over_seeds(number))


def test_numbers_of_a_curve():
    def dip(t, seed):
        return np.where((seed == 44) & (t > 50), np.nan, 1 + (t - 20 - (seed == 43)) ** 2 / 100)

    data = reading.cases({"a": runs([{"running_loss": dip}])}, ["running_loss"])
    curve = reading.pick(data["running_loss"], optimizer="gn")
    # A run that diverged might have come lower.
    assert reading.minimum_epoch(curve).values == pytest.approx([20, 21, np.nan], nan_ok=True)
    assert reading.minimum(curve).values == pytest.approx([1, 1, np.nan], nan_ok=True)
    assert reading.minimum_epoch(reading.window(curve, 1, 50)).values.tolist() == [20, 21, 20]
    assert reading.last_finite_epoch(curve).values.tolist() == [60, 60, 50]
    assert reading.at_epoch(curve, 30).values.tolist() == pytest.approx([2.0, 1.81, 2.0])
    assert bool(reading.at_epoch(curve, 61).isnull().all())
    # Second differences of a parabola are constant: the mean of three lies 2/3 of one above it.
    smooth = reading.smooth(curve.sel(seed=[42, 43]), 3)
    assert smooth["epoch"].values.tolist() == list(range(1, 60))
    assert (smooth - curve).values == pytest.approx(2 / 300, abs=1e-12)
    assert reading.smooth(reading.window(curve, 1, 2), 3).sizes["epoch"] == 0


def test_a_window_ends_with_its_case():
    """Longer cases beside it leave NaN beyond, which is no sign of a failure."""
    data = two_experiments()
    short = reading.pick(data["running_loss"], prefer="short", optimizer="gn", width=800)
    assert reading.window(short, 5, 60)["epoch"].values.tolist() == [5, 6, 7, 8, 9, 10]
    assert reading.minimum(reading.window(short, 1, 60)).values == pytest.approx([1.5] * 4)


def test_runs_that_left_no_value_are_told_from_those_that_do_not_exist():
    def lost(t, seed):
        return np.where(seed == 43, np.nan, t)

    first = runs([{"running_loss": lost}, ADAM | {"running_loss": lost}])
    fewer = first.isel(run=[0, 1, 2, 3, 4])  # Adam lacks seed 44
    data = reading.cases({"a": fewer, "b": runs([SGD | {"epochs": 5}])}, ["running_loss"])
    assert data["ran"].values.tolist() == [[1, 1, 1], [1, 1, 0], [1, 1, 1]]
    picked = {name: reading.pick(data, optimizer=name) for name in ("gn", "adam", "sgd")}
    seeds = {name: one["seed"].values.tolist() for name, one in picked.items()}
    assert seeds == {"gn": [42, 43, 44], "adam": [42, 43], "sgd": [42, 43, 44]}
    assert reading.final(picked["gn"]["running_loss"]).isnull().values.tolist() == [0, 1, 0]
    both = reading.members(reading.side_by_side(picked, "name")["running_loss"], "name", ["adam"])
    assert both["seed"].values.tolist() == [42, 43]
    none = reading.pick(data, optimizer="other")
    assert none["ran"].values.tolist() == [0, 0, 0]


def test_a_run_that_diverged_leaves_the_mean_unknown():
    def lost(t, seed):
        return np.where((seed == 43) & (t > 30), np.nan, 1.0)

    data = reading.cases({"a": runs([{"running_loss": lost}])}, ["running_loss"])
    curve = reading.pick(data["running_loss"], optimizer="gn")
    assert curve.sizes["seed"] == 3
    assert reading.last_epoch(curve) == 60
    assert math.isnan(reading.over_seeds(reading.final(curve)))
    assert reading.over_seeds(reading.at_epoch(curve, 30)) == 1


# --- Figure 1 ------------------------------------------------------------------------------------


def recursion_by_hand(logits, label, rate, steps):
    """Cross-entropy of gradient descent on each sample's logits, one sample at a time."""
    losses = np.zeros(steps + 1)
    for z, y in zip(np.array(logits, dtype=float), label, strict=True):
        for step in range(steps + 1):
            p = np.exp(z - z.max())
            p /= p.sum()
            losses[step] -= np.log(p[y]) / len(label)
            z = z - rate * (p - np.eye(len(z))[y])
    return losses


@functools.cache
def full_batch_runs(factor: float = 0.8, steps: int = 100) -> dict[str, xr.Dataset]:
    """Two data sets of 16 and 12 samples; GN follows the recursion at a share of its rate."""
    rng = np.random.default_rng(0)
    logits = {s: rng.standard_normal((16, 10)) for s in SEEDS}
    label = {s: rng.integers(0, 10, 16) for s in SEEDS}

    def follows(alpha, samples):
        cut = slice(None, samples)
        return lambda t, s: recursion_by_hand(logits[s][cut], label[s][cut], factor * alpha, steps)

    def known_from(step):
        return lambda t, seed: np.where(t >= step + (seed == 43), 1.0, 0.5)

    def case(loss, first, **settings):
        both = {"train_loss": loss, "train_accuracy": known_from(first), "epochs": steps}
        return {"batch_size": math.nan} | both | settings

    def stored(cases, samples):
        rows = [s for _ in cases for s in SEEDS]
        z = np.stack([logits[s][:samples] for s in rows])
        y = np.stack([label[s][:samples] for s in rows]).astype(float)
        kept = {"initial_logits": (("sample", "class"), z), "label": (("sample",), y)}
        return runs([c | {"samples": samples} for c in cases], **kept)

    easy = [
        case(follows(2 * lr, 16), 10, blocks=2, lr_code=lr, data="digits") for lr in (0.5, 1.0, 2.0)
    ]
    for settings, end, first in (
        ({"optimizer": "adam", "lr_code": 1e-4}, 0.5, 200),
        ({"optimizer": "adam", "lr_code": 1e-3}, -0.75, 40),  # crosses 0.1 at step 77
        ({"optimizer": "sgd", "lr_code": 0.1}, 0.0, 90),  # crosses 0.1 at step 97
        ({"optimizer": "sgd", "lr_code": 1.0}, 0.05, 70),
    ):
        loss = straight(3.0, end, 100)
        easy.append(case(loss, first, blocks=2, data="digits", **settings))
    hard = [
        case(follows(1.0, 12), 20, lr_code=1 / 3),
        case(straight(3.0, 1.0, 100), 200, **ADAM),
        case(straight(3.0, 0.0, 100), 25, optimizer="sgd", lr_code=0.3),
    ]
    return {"full_batch_easy": stored(easy, 16), "full_batch_hard": stored(hard, 12)}


@pytest.fixture(scope="module")
def full() -> dict[str, xr.Dataset]:
    return {"full_batch": full_batch.analyse(full_batch_runs())}


def test_recursion_and_its_rate_are_recovered(full):
    data = full["full_batch"]
    experiments = full_batch_runs(factor=1.0)
    exact = full_batch.analyse(experiments)
    gn = exact["optimizer"].values == "gn"
    loss, theory = exact["train_loss"].values[gn], exact["recursion"].values[gn]
    np.testing.assert_allclose(theory, loss, rtol=1e-9)
    np.testing.assert_allclose(exact["rate_factor"].values[gn], 1.0, atol=1e-3)
    np.testing.assert_allclose(data["rate_factor"].values[gn], 0.8, atol=1e-3)
    assert bool(exact["rate_factor"].isel(case=~gn).isnull().all())
    assert measured("gn_fig1_rate_factor_hard", full).value == pytest.approx(0.8, abs=1e-3)


def test_rate_is_unknown_for_a_run_that_is_too_short():
    short = full_batch.analyse(full_batch_runs(steps=30))
    assert bool(short["rate_factor"].isnull().all())
    assert short["recursion"].notnull().any("epoch").sum() == 4 * len(SEEDS)


def test_full_batch_claims(full):
    data = full["full_batch"]
    loss = data["train_loss"]
    gn = loss.isel(case=0)  # lr 0.5
    steps = [int(np.flatnonzero(row <= 0.1)[0]) for row in gn.values]
    expected = np.mean([97 / step for step in steps])  # Adam 1e-4 counts with 100, SGD with 97
    assert measured("gn_fig1_speed_easy", full).value == pytest.approx(expected)
    hard = loss.sel(case=7)
    steps = [int(np.flatnonzero(row <= 0.1)[0]) for row in hard.values]
    expected = np.mean([97 / step for step in steps])
    assert measured("gn_fig1_speed_hard", full).value == pytest.approx(expected)
    at10 = loss.sel(epoch=10)
    best_of_others = 3 - 3.75 * 0.1
    assert measured("gn_fig1_step10_easy", full).value == pytest.approx(
        float((at10.sel(case=1) / best_of_others).mean())
    )
    two = [hard.sel(epoch=10) / 2.8, hard.sel(epoch=20) / 2.6]
    assert measured("gn_fig1_step10_20_hard", full).value == pytest.approx(
        float(np.maximum(*two).mean())
    )
    # Easy: Adam at 40 minus GN at 10; hard: SGD at 25 minus GN at 20; seed 43 is late in all.
    assert measured("gn_fig1_accuracy_first", full).value == pytest.approx(5)
    found = measured("gn_fig1_initial_loss", full)
    assert found.value == pytest.approx(float(loss.sel(epoch=0).mean()))
    assert found.seeds == len(SEEDS)
    asymptote = measured("gn_fig1_asymptote", full).value
    products = [alpha * 100 * loss.sel(case=i, epoch=100) for i, alpha in enumerate((1, 2, 4))]
    assert asymptote == pytest.approx(float(np.mean(products)))
    assert asymptote == pytest.approx(0.9 / 0.8, rel=0.05)  # symmetric limit at the planted rate
    for name in ("easy", "hard"):
        assert measured(f"gn_fig1_tail_slope_{name}", full).value == pytest.approx(-1, abs=0.15)


LATER = slice(None, 3)  # runs of the first case of an experiment of `full_batch_runs`


def broken(name: str, first: int, runs: slice = LATER, seed: int = 43) -> dict[str, xr.Dataset]:
    """Full-batch runs, some of which are lost from a step on."""
    experiments = dict(full_batch_runs())
    data = experiments[name]
    chosen = np.zeros(data.sizes["run"], dtype=bool)
    chosen[runs] = True
    hit = xr.DataArray(chosen, dims="run") & (data["seed"] == seed) & (data["epoch"] >= first)
    curves = {n: data[n].where(~hit) for n in ("train_loss", "train_accuracy")}
    experiments[name] = data.assign(curves)
    return {"full_batch": full_batch.analyse(experiments)}


def test_speed_with_runs_that_break_off(full):
    loss = full["full_batch"]["train_loss"].sel(case=7)
    steps = [int(np.flatnonzero(row <= 0.1)[0]) for row in loss.values]
    # SGD of seed 43, the faster one, ends at step 4 instead of reaching the level at 97.
    found = broken("full_batch_hard", 5, slice(6, 9))
    expected = np.mean([97 / steps[0], 4 / steps[1], 97 / steps[2]])
    assert measured("gn_fig1_speed_hard", found).value == pytest.approx(expected)
    # GN before it gets there, and after.
    found = broken("full_batch_hard", steps[1])
    assert math.isnan(measured("gn_fig1_speed_hard", found).value)
    found = broken("full_batch_hard", steps[1] + 1)
    expected = measured("gn_fig1_speed_hard", full).value
    assert measured("gn_fig1_speed_hard", found).value == pytest.approx(expected)


def test_accuracy_with_runs_that_break_off(full):
    assert math.isnan(measured("gn_fig1_accuracy_first", broken("full_batch_hard", 15)).value)
    # SGD of seed 43 would have been there at step 26, five after GN; it ends at 9, before GN.
    found = broken("full_batch_hard", 10, slice(6, 9))
    assert measured("gn_fig1_accuracy_first", found).value == pytest.approx((5 + 10 - 21 + 5) / 3)


@pytest.mark.parametrize("first", [0, 1, 60, 100])
def test_a_tail_is_unknown_where_a_step_is_missing(full, first):
    found = broken("full_batch_hard", first)
    assert math.isnan(measured("gn_fig1_tail_slope_hard", found).value)
    assert math.isnan(measured("gn_fig1_rate_factor_hard", found).value) == (first <= 60)
    assert math.isnan(measured("gn_fig1_initial_loss", found).value) == (first == 0)
    easy = measured("gn_fig1_tail_slope_easy", full).value
    assert measured("gn_fig1_tail_slope_easy", found).value == easy


def test_a_missing_seed_of_gn_is_left_out(full):
    experiments = dict(full_batch_runs())
    experiments["full_batch_hard"] = experiments["full_batch_hard"].isel(run=[0, 2, *range(3, 9)])
    found = {"full_batch": full_batch.analyse(experiments)}
    for claim in ("gn_fig1_tail_slope_hard", "gn_fig1_rate_factor_hard", "gn_fig1_speed_hard"):
        assert measured(claim, found).seeds == 2, claim
        assert math.isfinite(measured(claim, found).value), claim


# --- Figures 2 and 6 -----------------------------------------------------------------------------


def wedge(lowest, at, rise):
    """Falls from 2.7 linearly to a minimum at an epoch, rises from there."""
    return lambda t, seed: np.where(
        t <= at, 2.7 + (lowest - 2.7) * t / at, lowest + rise * (t - at)
    )


def mini_batch_runs(epochs: int = 60) -> dict[str, xr.Dataset]:
    def case(loss, test, accuracy, **settings):
        found = {"running_loss": loss, "train_loss": loss, "test_loss": test}
        return found | {"test_accuracy": constant(accuracy), "epochs": epochs} | settings

    def adam(t, seed):
        # Below GN in the first epoch, above it up to 26, below from 27 on (28 for seed 43).
        return np.where(t <= 1, 2.0, np.where(t < 27 + (seed == 43), 2.65, 0.4))

    hard = [
        case(wedge(0.8, 20, 0.02), wedge(1.5, 15, 0.05), 0.41),
        case(adam, wedge(1.2, 30, 0.01), 0.60, **ADAM),
        case(straight(2.7, 1.2, 60), wedge(1.4, 60, 0), 0.46, **SGD),
    ]
    easy = [
        case(straight(2.7, 0.05, 60), constant(0.2), 0.99, data="digits", blocks=2),
        case(straight(2.7, 0.01, 60), constant(0.2), 0.98, data="digits", blocks=2, **ADAM),
        case(straight(2.7, 0.10, 60), constant(0.2), 0.97, data="digits", blocks=2, **SGD),
    ]
    return {"mini_batch_easy": runs(easy), "mini_batch_hard": runs(hard)}


def test_mini_batch_claims():
    experiments = mini_batch_runs()
    analyses = {
        "mini_batch": mini_batch.analyse(experiments),
        "long_training": long_training.analyse({"mini_batch_hard": experiments["mini_batch_hard"]}),
    }
    expected = {
        "gn_fig2_early_lead_laptop": 1,
        "gn_fig2_early_lead": 0.5,  # on the easy data Adam is below GN from the start
        "gn_fig2_gn_minimum": 0.8,
        "gn_fig2_gn_minimum_epoch": 21,  # of the mean over three epochs: the fall is steeper
        "gn_fig2_adam_crossing": (27 + 28 + 27) / 3,
        "gn_fig2_adam_below_hard": 0.4 / 1.6,
        "gn_fig2_adam_below_easy": 0.2,
        "gn_fig2_sgd_above_easy": 2,
        "gn_fig2_stronger_on_hard": 1.2 - 0.04,
        "gn_fig2_test_accuracy": 19,
        "gn_fig6_rise_laptop": 2,
        "gn_fig6_no_gain": 1.6 / 1.4,
        "gn_fig6_sgd_overtakes": 1.2 / 1.6,
    }
    for claim, value in expected.items():
        assert measured(claim, analyses).value == pytest.approx(value), claim
    # The steeper side of the wedge moves the minimum of the wide mean to its flat side.
    assert 20 <= measured("gn_fig6_rise_epoch", analyses).value <= 24
    assert math.isnan(measured("gn_fig2_plateau", analyses).value)  # no epoch 100


@pytest.mark.parametrize("first", [0, 1, 25])
def test_mini_batch_claims_with_a_gn_run_that_breaks_off(first):
    experiments = mini_batch_runs()
    hard = experiments["mini_batch_hard"]
    gone = (hard["optimizer"] == "gn") & (hard["seed"] == 43) & (hard["epoch"] >= first)
    lost = hard.assign({n: v.where(~gone) for n, v in hard.data_vars.items()})
    analyses = {
        "mini_batch": mini_batch.analyse(experiments | {"mini_batch_hard": lost}),
        "long_training": long_training.analyse({"mini_batch_hard": lost}),
    }
    for claim in CURVES:
        if (
            claim.startswith(("gn_fig2", "gn_fig6"))
            and "_easy" not in claim
            and "lead" not in claim
        ):
            assert math.isnan(measured(claim, analyses).value), claim
    led = max(first - 2, 0) / 19 if first < 20 else 1
    lead = measured("gn_fig2_early_lead_laptop", analyses).value
    assert lead == pytest.approx((2 + led) / 3)


def test_plateau_of_a_longer_run():
    hard = runs([{"running_loss": wedge(0.8, 20, 0.001), "epochs": 100}])
    analyses = {"mini_batch": mini_batch.analyse({"mini_batch_hard": hard})}
    found = measured("gn_fig2_plateau", analyses).value
    assert found == pytest.approx(0.05 / (2.7 - 0.88))


def test_long_runs_are_read_where_they_exist():
    long = runs([{"running_loss": wedge(0.5, 150, 0.001), "epochs": 300}])
    experiments = mini_batch_runs() | {"mini_batch_long": long}
    experiments.pop("mini_batch_easy")
    data = long_training.analyse(experiments)
    assert set(data["experiment"].values) == {"mini_batch_long"}
    found = measured("gn_fig6_rise_epoch", {"long_training": data}).value
    assert found == pytest.approx(150, abs=5)


# --- Figure 5 ------------------------------------------------------------------------------------


def bare_runs() -> dict[str, xr.Dataset]:
    def lost(t, seed):
        return np.where((t > 40) & (seed == 44), np.nan, 0.1)

    both = {"width": math.nan, "batch_size": math.nan, "samples": 128}
    full = [
        both | {"lr_code": 1 / 3, "train_loss": straight(2.7, 0.9, 60)},  # 2.1 at step 20
        both | ADAM | {"lr_code": 1e-3, "train_loss": straight(2.7, 0.6, 60)},  # 2.0
        both | ADAM | {"lr_code": 1e-2, "train_loss": straight(2.7, 1.2, 60)},
        both | SGD | {"lr_code": 0.3, "train_loss": straight(2.7, 1.5, 60)},  # 2.3
        both | SGD | {"lr_code": 3.0, "train_loss": lost},  # diverges
    ]
    curves = [({}, 1.9, 1.6), (ADAM, 1.8, 1.4), (SGD, 1.9, 1.5)]
    mini = []
    for settings, quarter, end in curves:

        def loss(t, seed, quarter=quarter, end=end):
            return np.interp(t, [0, 5, 20], [2.7, quarter, end])

        curve = {"running_loss": loss, "train_loss": loss, "test_loss": loss, "epochs": 20}
        mini.append({"width": math.nan} | curve | settings)
    return {"no_bottleneck_full": runs(full), "no_bottleneck_mini": runs(mini)}


def test_no_bottleneck_claims():
    data = no_bottleneck.analyse(bare_runs())
    assert data["best"].values.tolist() == [1, 1, 0, 1, 0, 1, 1, 1]
    analyses = {"no_bottleneck": data}
    assert measured("gn_fig5_full_batch", analyses).value == pytest.approx(2.1 / 2.0)
    assert measured("gn_fig5_gn_flattest", analyses).value == pytest.approx(0.3 / 0.4)
    assert measured("gn_fig5_gn_highest", analyses).value == pytest.approx(1.6 / 1.5)


def test_a_learning_rate_lost_at_the_start_is_not_the_best():
    experiments = bare_runs()
    full = experiments["no_bottleneck_full"]
    gone = (full["optimizer"] == "adam") & (full["lr_code"] < 5e-3) & (full["seed"] == 42)
    lost = full.assign(train_loss=full["train_loss"].where(~gone))
    data = no_bottleneck.analyse(experiments | {"no_bottleneck_full": lost})
    assert data["best"].values.tolist() == [1, 0, 1, 1, 0, 1, 1, 1]


@pytest.mark.parametrize("end", [1.8, 2.0])
def test_gn_is_not_the_flattest_where_another_does_not_fall(end):
    experiments = bare_runs()
    mini = experiments["no_bottleneck_mini"]
    rising = (mini["optimizer"] == "adam") & (mini["epoch"] > 5)
    experiments["no_bottleneck_mini"] = mini.assign(
        running_loss=mini["running_loss"].where(~rising, end)
    )
    select = CURVES["gn_fig5_gn_flattest"].select
    found = select(no_bottleneck.analyse(experiments))
    assert found.values.tolist() == [math.inf] * 3


# --- Figure 15 -----------------------------------------------------------------------------------

TABLE_SEEDS = (42, 43, 44, 45, 46)


def regression_runs(lost: int) -> dict[str, xr.Dataset]:
    """Wine and diabetes; GN diverges on diabetes with the first ``lost`` seeds."""

    def unstable(t, seed):
        rises = np.where(t > 20, 3.0, np.interp(t, [0, 5, 20], [4, 0.4, 0.5]))
        return np.where((t > 50) & (seed < 42 + lost), np.nan, rises)

    def case(train, test, **settings):
        curves = {"running_loss": train, "train_loss": train, "test_loss": test}
        return curves | settings

    def tables(settings, wine, diabetes, test):
        wine_case = case(wine, test, data="wine", blocks=2, **settings)
        return [wine_case, case(diabetes, test, data="diabetes", blocks=2, **settings)]

    def stagnating(t, seed):
        return np.where(t < 4, 0.3, np.where(t == 4, 0.1, 0.12))

    mini = tables({}, constant(0.01), unstable, stagnating)
    mini += tables(ADAM, constant(0.1), straight(4, 0.1, 60), constant(0.06))
    mini += tables(SGD, constant(0.2), constant(0.8), constant(0.1))
    gone = {s: 500 if s < 42 + lost else -1 for s in TABLE_SEEDS}
    rows = [gone[s] if i == 1 else -1 for i in range(len(mini)) for s in TABLE_SEEDS]
    full = tables({"batch_size": math.nan}, constant(0.1), constant(0.5), constant(1))
    full += tables(ADAM | {"batch_size": math.nan}, constant(0.5), constant(2), constant(1))
    full += tables(SGD | {"batch_size": math.nan}, constant(0.4), constant(2.5), constant(1))
    return {
        "regression_mini": runs(mini, TABLE_SEEDS, diverged_at=((), np.array(rows))),
        "regression_full": runs(full, TABLE_SEEDS, diverged_at=((), np.full(30, -1))),
    }


@pytest.mark.parametrize(("lost", "median"), [(0, 3 / 0.4), (2, 3 / 0.4), (3, math.inf)])
def test_regression_claims(lost, median):
    analyses = {"regression": regression.analyse(regression_runs(lost))}
    expected = {
        "gn_fig15_wine_full": 0.1 / 0.4,
        "gn_fig15_wine_mini_test": 0.12 / 0.06,
        "gn_fig15_wine_mini_stagnates": 0.12 / 0.1,
        "gn_fig15_second_full": 0.25,
        "gn_fig15_second_mini_early": 0.4 / 0.8,
        "gn_fig15_second_mini_later": median,
    }
    for claim, value in expected.items():
        assert measured(claim, analyses).value == pytest.approx(value), claim
    assert measured("gn_fig15_second_mini_later", analyses).low == pytest.approx(3 / 0.4)
    assert math.isnan(measured("gn_fig15_superconductivity_full", analyses).value)


def test_a_table_run_lost_at_the_start_counts_as_diverged():
    experiments = regression_runs(5)
    mini = experiments["regression_mini"]
    gone = (mini["optimizer"] == "gn") & (mini["data"] == "diabetes")
    experiments["regression_mini"] = mini.assign(running_loss=mini["running_loss"].where(~gone))
    analyses = {"regression": regression.analyse(experiments)}
    assert measured("gn_fig15_second_mini_later", analyses).value == math.inf
    assert math.isnan(measured("gn_fig15_second_mini_early", analyses).value)


# --- All together --------------------------------------------------------------------------------

ANALYSES = ("full_batch", "mini_batch", "long_training", "no_bottleneck", "regression")
MODULES = (full_batch, mini_batch, long_training, no_bottleneck, regression)
FIGURES = {
    fig1: "full_batch",
    fig2: "mini_batch",
    fig5: "no_bottleneck",
    fig6: "long_training",
    fig15: "regression",
}


def all_runs() -> dict[str, dict[str, xr.Dataset]]:
    hard = {"mini_batch_hard": mini_batch_runs()["mini_batch_hard"]}
    made = (full_batch_runs(), mini_batch_runs(), hard, bare_runs(), regression_runs(2))
    return dict(zip(ANALYSES, made, strict=True))


def shortened(data: xr.Dataset, epochs: int) -> xr.Dataset:
    """Runs that were planned for fewer epochs."""
    data = data.isel(epoch=slice(None, epochs + 1))
    return data.assign_coords(epochs=("run", np.minimum(data["epochs"].values, epochs)))


@pytest.mark.parametrize("case", ["planned", "two epochs", "no runs"])
def test_every_claim_and_figure_survives(case, tmp_path):
    analyses = {}
    for (name, experiments), module in zip(all_runs().items(), MODULES, strict=True):
        if case == "two epochs":
            experiments = {key: shortened(data, 2) for key, data in experiments.items()}
        analyses[name] = module.analyse({} if case == "no runs" else experiments)
    for claim in CURVES:
        found = measured(claim, analyses)
        if case == "no runs":
            assert math.isnan(found.value), claim
    for module, name in FIGURES.items():
        with style.applied(), mpl.rc_context({"savefig.dpi": 60}):
            drawn = module.draw({name: analyses[name]})
            lines = sum(len(axes.get_lines()) for axes in drawn.axes)
            assert (lines == 0) == (case == "no runs"), module.__name__
            path = tmp_path / f"{name}.png"
            style.save(drawn, path)
        assert path.stat().st_size > 2000
