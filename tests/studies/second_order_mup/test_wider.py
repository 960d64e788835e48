"""Wide word and image models: planted losses and accuracies, claims, figures."""

from __future__ import annotations

import math

import numpy as np
import pytest
import xarray as xr
from scipy import stats

from regimes import claims
from regimes.plot import style
from regimes.studies.second_order_mup.accuracies import gains
from regimes.studies.second_order_mup.analyses import accuracy_by_width, lr_robustness, wider
from regimes.studies.second_order_mup.claims_wider import WIDER
from regimes.studies.second_order_mup.figures import fig4, fig5, table3
from tests.studies.second_order_mup.made_wider import STEPS, experiments, grid, runs, wide_losses

ANALYSES = {
    "wider": wider.analyse,
    "accuracy_by_width": accuracy_by_width.analyse,
    "lr_robustness": lr_robustness.analyse,
}
LAPTOP = ("wider_cbow", "wider_myrtle5", "acc_resnet18", "lr_robustness_resnet")
FIGURES = {"fig4": fig4.draw, "fig5": fig5.draw, "table3": table3.draw}
CLAIMS = {
    "so_fig4_cnn_mup_monotone",
    "so_fig4_cnn_sp_widest_not_best",
    "so_fig4_cbow_mup_monotone",
    "so_fig4_cbow_sp_widest_not_best",
    "so_fig4_analogy_not_decreasing",
    "so_fig5_resnet50_mup_above_sp",
    "so_fig5_small_resnet_mup_above_sp",
    "so_table3_vgg19_sp_levels",
    "so_table3_vgg19_small_width_diff",
    "so_table3_vgg19_large_width_diff",
    "so_table3_diff_grows",
    "so_table3_resnet18_w16_diff",
    "so_table3_resnet_widest_diff",
    "so_table3_resnet50_sp_levels",
    "so_table3_resnet50_diff",
}


def analysed(found):
    return {name: analyse(found) for name, analyse in ANALYSES.items()}


def value(name, found):
    return claims.measure(WIDER[name], analysed(found)).value


def image_runs(losses, widths=(8, 16, 32), seeds=3):
    """Experiment on images with losses given as a function of the settings."""

    def values(setting):
        loss = losses(setting)
        return {"train_loss": loss, "test_accuracy": np.where(np.isfinite(loss), 0.5, np.nan)}

    return {"wider_myrtle5": runs(grid(seeds, width=list(widths)), values)}


@pytest.mark.parametrize("chosen", [None, LAPTOP, ("wider_myrtle5",), ()])
def test_analyses_and_figures_of_any_scale_are_complete(chosen):
    made = experiments()
    found = analysed({name: made[name] for name in (made if chosen is None else chosen)})
    for data in found.values():
        for name, variable in data.variables.items():
            assert variable.attrs.get("long_name") and variable.attrs.get("units") == "1", name
    with style.applied():
        for draw in FIGURES.values():
            draw(found).canvas.draw()
    for name in CLAIMS:
        assert isinstance(claims.measure(WIDER[name], found).value, float)


def test_every_claim_of_the_group_has_a_measure():
    assert set(WIDER) == CLAIMS


# --- Wider is better -----------------------------------------------------------------------------


def test_planted_losses_give_ordered_mup_and_a_worst_widest_sp_network():
    made = experiments()
    assert value("so_fig4_cnn_mup_monotone", made) == 1
    assert value("so_fig4_cbow_mup_monotone", made) == 1
    mean = [np.mean([1 + 0.002 * (s - 1) for s in range(3)])] * 2
    ends = [np.exp(-0.02 * 12 / np.log2(w) * STEPS[-1]) for w in (64, 8)]
    expected = ends[0] * mean[0] / (ends[1] * mean[1])
    np.testing.assert_allclose(value("so_fig4_cnn_sp_widest_not_best", made), expected)
    assert expected > 1


def test_only_whole_epochs_count_and_the_tolerance_is_two_percent():
    def losses(setting):
        level = {8: 1.0, 16: 1.019, 32: 1.05}[setting["width"]]
        # Within the first epoch the order is the other way round.
        return np.where(STEPS < 10, 2 / level, level)

    # 8 to 16 is within the tolerance, 16 to 32 is not.
    assert value("so_fig4_cnn_mup_monotone", image_runs(losses)) == 0.5


def test_whole_epochs_are_the_nearest_records_and_the_last():
    epoch = xr.DataArray([0, 0.4, 0.97, 1.3, 2.02, 2.5], dims="step")
    assert wider.whole_epochs(epoch).values.tolist() == [0, 0, 1, 0, 1, 1]
    short = xr.DataArray([0, 0.1, 0.4, np.nan], dims="step")
    assert wider.whole_epochs(short).values.tolist() == [0, 0, 1, 0]


def test_a_width_that_diverged_is_the_worst_and_is_not_left_out():
    def losses(setting):
        lost = setting["width"] == 32 and setting["seed"] == 1
        return np.where(lost & (STEPS > 10), np.nan, 1 / np.log2(setting["width"]) - STEPS / 1000)

    made = image_runs(losses)
    data = wider.analyse(made)
    curves = data["train_loss"].sel(panel="image_kfac", parameterization="mup", width=32, seed=1)
    assert np.isfinite(curves.sel(step=10)) and np.isposinf(curves.sel(step=[20, 30, 40])).all()
    # Epochs 1 to 4: all pairs are in order but (16, 32) after the first epoch.
    assert value("so_fig4_cnn_mup_monotone", made) == 5 / 8
    assert value("so_fig4_cnn_sp_widest_not_best", made) == math.inf
    assert data["final_accuracy"].sel(panel="image_kfac", width=32, seed=1).values.tolist() == [
        0,
        0,
    ]


def test_widths_that_another_panel_brings_along_are_no_gaps():
    made = experiments()
    both = wider.analyse(made)
    alone = wider.analyse({"wider_myrtle5": made["wider_myrtle5"]})
    assert both.sizes["width"] > alone.sizes["width"]
    for name in ("so_fig4_cnn_mup_monotone", "so_fig4_cnn_sp_widest_not_best"):
        measured = [claims.measure(WIDER[name], {"wider": data}) for data in (both, alone)]
        assert measured[0] == measured[1]


def test_analogies_take_the_worse_optimizer_and_the_smallest_rise():
    made = experiments()
    shares = {"shampoo": [0.1, 0.2, 0.3, 0.5], "kfac": [0.1, 0.3, 0.27, 0.6]}

    def words(setting):
        place = [32, 64, 128, 256].index(setting["width"])
        share = shares[setting["optimizer"]][place] + 0.01 * setting["seed"]
        return {"train_loss": 1 - STEPS / 50, "analogy_accuracy": np.full(STEPS.shape, share)}

    axes = {"width": [32, 64, 128, 256], "optimizer": ["shampoo", "kfac"], "model": ["cbow"]}
    made["wider_cbow"] = runs(grid(3, data=["made_text"], **axes), words)
    np.testing.assert_allclose(value("so_fig4_analogy_not_decreasing", made), -3)


# --- Accuracies ----------------------------------------------------------------------------------


def test_gains_are_paired_with_the_t_interval_of_the_differences():
    rng = np.random.default_rng(0)
    accuracy = xr.DataArray(
        rng.random((2, 4)),
        {"parameterization": ["sp", "mup"], "seed": np.arange(4.0)},
        ("parameterization", "seed"),
    )
    accuracy[0, 3] = np.nan  # a seed that only muP has
    difference = 100 * (accuracy[1, :3] - accuracy[0, :3]).values
    interval = stats.ttest_1samp(difference, 0).confidence_interval(0.95)
    found = gains(accuracy)
    np.testing.assert_allclose(found["gain"], difference.mean())
    np.testing.assert_allclose([found["gain_low"], found["gain_high"]], [*interval])
    assert np.isnan(gains(accuracy.isel(seed=[0]))["gain_low"])


def test_table_claims_read_the_planted_accuracies():
    made = experiments()
    # muP minus SP is log2(w) - 0.5 points, SP is 60 + 5 log2(w) + 0.2 seed.
    np.testing.assert_allclose(value("so_table3_vgg19_small_width_diff", made), 0, atol=1e-9)
    np.testing.assert_allclose(value("so_table3_vgg19_large_width_diff", made), 1.5)
    np.testing.assert_allclose(value("so_table3_diff_grows", made), 1)
    np.testing.assert_allclose(value("so_table3_resnet_widest_diff", made), 1.5)
    levels = max(abs(60.2 - 63.86), abs(65.2 - 70.55))
    np.testing.assert_allclose(value("so_table3_vgg19_sp_levels", made), levels)
    # The other optimizer of the same experiment has a row of its own.
    table = accuracy_by_width.analyse(made)["test_accuracy"]
    assert table.sel(row=["vgg19_shampoo", "vgg19_kfac"]).notnull().any(("width", "seed")).all()


def test_claims_on_widths_or_rows_that_were_not_run_are_unknown():
    made = experiments()
    assert math.isnan(value("so_table3_resnet18_w16_diff", made))
    assert math.isnan(value("so_table3_resnet50_diff", made))
    laptop = {name: made[name] for name in LAPTOP}
    assert math.isnan(value("so_table3_diff_grows", laptop))  # one of two networks is missing
    assert math.isnan(value("so_fig4_cbow_mup_monotone", {"wider_myrtle5": made["wider_myrtle5"]}))


def test_resnet50_rows_at_published_levels_agree_with_the_paper():
    published = accuracy_by_width.PUBLISHED_SP["resnet50"]
    gain = {1: 0.17, 4: 5.0, 8: 0.13}

    def values(setting):
        ahead = gain[setting["width"]] if setting["parameterization"] == "mup" else 0.0
        level = (published[setting["width"]] + ahead) / 100
        return {"train_loss": 1 - STEPS / 50, "test_accuracy": np.full(STEPS.shape, level)}

    net = {"model": ["resnet50"], "data": ["imagenet"], "optimizer": ["shampoo"]}
    made = {"acc_resnet50": runs(grid(1, width=[1, 4, 8], **net), values)}
    np.testing.assert_allclose(value("so_table3_resnet50_sp_levels", made), 0, atol=1e-9)
    np.testing.assert_allclose(value("so_table3_resnet50_diff", made), 0.15)


def test_table_prints_levels_gains_and_divergence():
    made = experiments()

    def values(setting):
        lost = (setting["width"], setting["parameterization"], setting["seed"]) == (4, "mup", 0)
        level = 0.5 + 0.01 * setting["seed"] + 0.02 * (setting["parameterization"] == "mup")
        curve = np.where(lost & (STEPS > 5), np.nan, level)
        return {"train_loss": curve, "test_accuracy": curve}

    made["acc_resnet18"] = runs(grid(3, width=[2, 4]), values)
    row = accuracy_by_width.analyse(made).sel(row="resnet18_kfac", width=[1, 2, 4])
    assert table3.measured_level(row) == ["", "51.0 ± 1.0", "51.0 ± 1.0"]
    plain, lost = table3.measured_gain(row)[1:]
    assert plain == "+2.0 ± 0.0"
    # A run that diverged has accuracy 0: (-50 + 2 + 2) / 3 points.
    assert lost.startswith("−15.3 ± ") and lost.endswith("(1 div.)")


def test_table_names_what_was_trained_and_marks_the_base_width():
    made = experiments()
    made["acc_resnet18"]["train_accuracy"] = 0 * made["acc_resnet18"]["test_accuracy"] + 0.9
    found = analysed(made)
    table = found["accuracy_by_width"]
    lines = [text for text, _ in table3.heading(table.sel(row="resnet18_kfac"))]
    assert lines == [
        "ResNet8, colour motifs",
        "K-FAC, 4 epochs; chance 10 %",
        "in the paper: ResNet18, CIFAR-100",
    ]
    lines = [text for text, _ in table3.heading(table.sel(row="vgg19_kfac"))]
    assert lines == ["VGG19, CIFAR-100", "K-FAC, 4 epochs; chance 1 %"]
    lines = [text for text, _ in table3.heading(table.sel(row="resnet50"))]
    assert lines == ["ResNet50, ImageNet", "optimizer not stated"]
    gain = table3.measured_gain(table.sel(row="resnet18_kfac", width=[1, 2]))
    assert gain[0].endswith("(=)") and "±" in gain[1]
    rows = table3.rows(found).set_index("row")
    assert (rows.loc["resnet18_kfac", "train_mean"].dropna() == 90).all()
    assert rows.loc["vgg19_kfac", "train_mean"].isna().all()


def test_robustness_shows_the_training_set_and_chance():
    made = experiments()
    part = made["lr_robustness_resnet"]
    part["train_accuracy"] = 0 * part["test_accuracy"] + 0.95
    with style.applied():
        left = fig5.draw(analysed(made)).axes[0]
    assert "width ×4" in left.get_title() and "4 epochs" in left.get_title()
    labels = {line.get_label(): line for line in left.lines}
    assert set(labels["chance"].get_ydata()) == {10.0}
    dotted = [line.get_ydata() for line in left.lines if line.get_linestyle() == ":"]
    drawn = [np.asarray(each) for each in dotted if len(each)]
    # Diverged runs count with accuracy 0, here the last learning rate under SP.
    np.testing.assert_allclose(drawn[0], [95, 95, 95, 95, 0])
    np.testing.assert_allclose(drawn[1], 95)


# --- Learning rates ------------------------------------------------------------------------------


def accuracies_at(levels, diverged):
    """Accuracies over (rate, parameterization, seed) that are equal for three seeds."""
    shape = (len(levels), 2, 3)
    dims = ("log2_learning_rate", "parameterization", "seed")
    coords = {"parameterization": ["sp", "mup"]}
    data = {
        "test_accuracy": (dims, np.broadcast_to(np.array(levels)[..., None], shape)),
        "diverged": (dims, np.broadcast_to(np.array(diverged)[..., None], shape).astype(float)),
    }
    return xr.Dataset(data, coords)


def test_share_of_learning_rates_leaves_out_those_that_both_lose():
    levels = [(0.5, 0.6), (0.5, 0.5), (0.6, 0.5), (0.0, 0.5), (0.0, 0.0), (np.nan, 0.5)]
    lost = [(0, 0), (0, 0), (0, 0), (1, 0), (1, 1), (0, 0)]
    data = accuracies_at(levels, lost)
    assert lr_robustness.share_above(data) == 3 / 4
    assert lr_robustness.share_above(data, strictly=True) == 2 / 4
    assert math.isnan(lr_robustness.share_above(data.isel(log2_learning_rate=[4])))


def test_learning_rates_are_read_at_the_largest_width_with_divergence_as_zero():
    made = experiments()
    part = made["lr_robustness_resnet"]
    narrow = part.assign_coords(width=("run", np.full(part.sizes["run"], 2)))
    narrow["test_accuracy"] = 1 - narrow["test_accuracy"]
    made["lr_robustness_resnet"] = xr.concat([narrow, part], "run")
    data = lr_robustness.analyse(made)
    assert data["width"] == 4 and data["log2_learning_rate"].values.tolist() == [
        -11,
        -9,
        -8,
        -7,
        -5,
    ]
    sp = data["test_accuracy"].sel(parameterization="sp")
    assert (sp.isel(log2_learning_rate=-1) == 0).all()
    np.testing.assert_allclose(data["gain"].values, [2, 2, 2, 2, 56])
    assert value("so_fig5_small_resnet_mup_above_sp", made) == 1


def test_made_up_runs_diverge_where_their_loss_says_so():
    made = experiments()["lr_robustness_resnet"]
    lost = made["diverged_at"].values >= 0
    sp_fast = (made["lr"].values > 0.02) & (made["parameterization"].values == "sp")
    assert lost.any() and (lost == sp_fast).all()
    assert (wide_losses({"width": 8, "seed": 0, "parameterization": "sp"})["train_loss"] > 0).all()
