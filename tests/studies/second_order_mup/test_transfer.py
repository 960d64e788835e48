"""Transfer of learning rate and damping, and output layers: planted answers are found."""

from __future__ import annotations

import importlib
import itertools
import math

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
import xarray as xr

from regimes import claims, store
from regimes.plot import style
from regimes.studies.second_order_mup import transfer, zero_init
from regimes.studies.second_order_mup.claims_transfer import TRANSFER
from regimes.studies.second_order_mup.figures import table2
from tests.studies.second_order_mup import planted_transfer as planted

MODULE = "regimes.studies.second_order_mup"
READ = {
    "lr_transfer": [
        "lr_transfer_mlp_kfac",
        "lr_transfer_cnn_kfac",
        "lr_transfer_resnet_kfac",
        "lr_transfer_sgd_shampoo",
    ],
    "damping_transfer": ["damping_transfer"],
    "zero_init": ["zero_init_bias"],
}
FIGURES = {
    "fig6": "lr_transfer",
    "figA4": "lr_transfer",
    "fig7": "damping_transfer",
    "fig3": "zero_init",
    "table2": "zero_init",
    "supp_nngp_distance": "zero_init",
}


def analysed(experiments: dict[str, xr.Dataset]) -> dict[str, xr.Dataset]:
    """Results of all three analyses."""
    return {
        name: importlib.import_module(f"{MODULE}.analyses.{name}").analyse(
            {e: experiments[e] for e in read if e in experiments}
        )
        for name, read in READ.items()
    }


def measured(analyses: dict[str, xr.Dataset], claim: str) -> claims.Measurement:
    return claims.measure(TRANSFER[claim], analyses)


@pytest.fixture(scope="module")
def laptop():
    return analysed(planted.laptop())


@pytest.fixture(scope="module")
def nothing():
    return analysed({})


# --- Numbers -------------------------------------------------------------------------------------

EXPECTED = {
    "so_fig6_mlp_mup_lr_transfer": 1.0,
    "so_fig6_mlp_mup_loss_falls": 0.25,
    "so_fig6_mlp_sp_lr_also_stable": 0.0,
    "so_fig6_mlp_accuracy_widest_laptop": 0.08,
    "so_fig6_mlp_accuracy_widest": 0.08,
    "so_fig6_mlp_accuracy_gain_with_width": 0.07,
    # Far below the best rate the planted parabolas are cut off at 2^6 times the lowest loss.
    "so_fig6_mlp_small_lr_sp_worsens": 0.4,
    "so_fig6_mlp_small_lr_mup_improves": 0.25,
    "so_figA4_sgd_sp_shift_laptop": -0.5,
    "so_figA4_sgd_sp_shift": -0.5,
    "so_figA4_sgd_mup_lr_transfer": 0.0,
    "so_figA4_sgd_loss_ratio": 2.5,
    "so_figA4_shampoo_mup_lr_transfer": 1.0,
    "so_fig7_rescaled_damping_transfer": 0.0,
    "so_fig7_heuristic_damping_moves": 1.0,
    "so_fig3_zero_init_near_nngp": 1.0,
    "so_table2_kfac_mup_above_sp": 11.0,
    "so_table2_kfac_mup_best": 1.0,
    # smallest for absolute damping at batch 32 and for rescaled at full batch
    "so_table2_kfac_mup_not_below_zero": 1.0,
    "so_table2_kfac_gap_grows_with_batch": 3.0,
    "so_table2_sgd_no_gap": 0.5,
    "so_table2_shampoo_no_gap": 1.2,
    "so_supp_nngp_feature_change_batch": 0.27 / 0.12,
    "so_supp_nngp_distance_batch": 0.5 / 0.2,
}


@pytest.mark.parametrize("claim", EXPECTED)
def test_planted_numbers_are_found(laptop, claim):
    found = measured(laptop, claim)
    assert found.value == pytest.approx(EXPECTED[claim], abs=1e-9)
    assert found.seeds == 3
    assert found.low <= found.value + 1e-9 and found.value <= found.high + 1e-9


def test_every_claim_is_unknown_without_runs(nothing):
    for claim in TRANSFER:
        assert math.isnan(measured(nothing, claim).value), claim


def test_convolutional_claim_needs_both_networks(laptop):
    assert math.isnan(measured(laptop, "so_fig6_conv_mup_lr_transfer").value)
    cnn = planted.rates(["kfac"], (8, 32, 128), "cnn")
    only = analysed({"lr_transfer_cnn_kfac": cnn})
    assert math.isnan(measured(only, "so_fig6_conv_mup_lr_transfer").value)
    resnet = planted.rates(["kfac"], (1, 2), "resnet18", seeds=(0, 1))
    both = {"lr_transfer_cnn_kfac": cnn, "lr_transfer_resnet_kfac": resnet}
    found = measured(analysed(both), "so_fig6_conv_mup_lr_transfer")
    # The CNN moves by one step at its third width, the residual network not at all.
    assert found.value == 1.0 and found.seeds == 2


def test_claims_on_optima_ask_for_the_range_of_widths():
    """Widths 32 to 128 span a factor of four only."""
    narrow = analysed({"lr_transfer_mlp_kfac": planted.rates(["kfac"], (32, 128))})
    for claim in ("so_fig6_mlp_mup_lr_transfer", "so_fig6_mlp_mup_loss_falls"):
        assert math.isnan(measured(narrow, claim).value)
    # Of a 64-fold range the widest 16-fold part counts; the fourth width takes no part.
    wide = planted.rates(["kfac"], (128, 512, 2048))
    extra = planted.rates(["kfac"], (32,)).assign_coords(lr=("run", wide["lr"].values[:72] / 8))
    joined = analysed({"lr_transfer_mlp_kfac": xr.concat([wide, extra], "run")})
    found = joined["lr_transfer"]["best"].sel(panel="mlp_kfac", parameterization="sp")
    assert found.values.tolist() == [-5, -2, -2, -2]
    assert measured(joined, "so_fig6_mlp_sp_lr_also_stable").value == 0.0


@pytest.mark.parametrize("keep", [lambda lr: lr <= 2.0**-2, lambda lr: lr >= 2.0**-2])
def test_an_optimum_at_the_end_of_the_grid_is_unknown(keep):
    runs = planted.rates(["kfac"])
    runs = runs.isel(run=np.flatnonzero(keep(runs["lr"].values)))
    found = analysed({"lr_transfer_mlp_kfac": runs})
    ends = found["lr_transfer"]["at_end"].sel(panel="mlp_kfac", parameterization="sp")
    assert ends.values.tolist() == [1, 1, 1]
    assert math.isnan(measured(found, "so_fig6_mlp_sp_lr_also_stable").value)


def test_a_diverged_seed_takes_its_setting_out():
    """Without the planted divergence the best rate of seed 1 would lie lower."""
    runs = planted.rates(["kfac"], (32,))
    here = (runs["lr"].values == 0.25) & (runs["seed"].values == 1)
    runs["train_loss"][here, 1:] = np.nan
    found = analysed({"lr_transfer_mlp_kfac": runs})["lr_transfer"]
    loss = found["train_loss"].sel(panel="mlp_kfac", log2_learning_rate=-2)
    assert np.isinf(loss.sel(seed=1)).all() and np.isfinite(loss.sel(seed=0)).all()
    best = found["best"].sel(panel="mlp_kfac")
    assert set(best.values.ravel()) <= {-1.0, -3.0}
    # Also a loss that is finite at the end counts as lost if the run is flagged.
    flagged = planted.rates(["kfac"], (32,))
    flagged["diverged_at"][here] = 7
    again = analysed({"lr_transfer_mlp_kfac": flagged})["lr_transfer"]
    xr.testing.assert_equal(again["best"], found["best"])


def test_seeds_that_disagree_give_an_interval():
    """Seeds whose own optima differ by two steps: the interval of the range reaches there."""
    runs = planted.rates(["kfac"])
    odd = (runs["seed"].values == 1) & (runs["width"].values == 32)
    odd &= (runs["parameterization"].values == "sp") & (runs["lr"].values == 2.0**-4)
    runs["train_loss"][odd, -1] = 1e-4
    found = measured(analysed({"lr_transfer_mlp_kfac": runs}), "so_fig6_mlp_sp_lr_also_stable")
    # Mean of three at 2^-4: (0.04 + 0.036 + 0.0001) / 3 > 0.01, the mean at the optimum.
    assert found.value == 0.0 and found.low == 0.0 and found.high == 2.0


def test_a_run_that_ends_far_above_its_start_failed():
    """Eleven times the initial loss is a failure, nine times is a bad result."""
    for growth, is_lost in ((11.0, True), (9.0, False)):
        runs = planted.rates(["kfac"], (32,))
        here = (runs["lr"].values == 0.25) & (runs["seed"].values == 1)
        runs["train_loss"][here, -1] = growth * planted.INITIAL_LOSS
        assert (transfer.failed(runs).values[here] == is_lost).all()
        found = analysed({"lr_transfer_mlp_kfac": runs})["lr_transfer"]
        cell = found.sel(panel="mlp_kfac", log2_learning_rate=-2, seed=1)
        assert (np.isinf(cell["train_loss"]) == is_lost).all()
        assert (np.isnan(cell["test_accuracy"]) == is_lost).all()


def test_curves_of_failed_runs_end_where_the_loss_leaves():
    loss = [[1.0, 20, 5], [1, 20, 30], [1, 2, 30], [1, np.nan, np.nan]]
    coords = {"step": [0, 1, 2], "steps": ("run", [2] * 4)}
    runs = xr.Dataset({"train_loss": (("run", "step"), loss)}, coords)
    assert transfer.failed(runs).values.tolist() == [False, True, True, True]
    kept = transfer.before_failure(xr.ones_like(runs["train_loss"]), runs).notnull()
    assert kept.values.sum(axis=1).tolist() == [3, 1, 2, 1]


def test_setup_names_what_all_runs_share():
    runs = planted.rates(["kfac"])
    expected = "MLP, 8×8 digits, 1024 samples, batch 128, 40 updates"
    assert transfer.setup(runs) == expected
    runs = runs.assign_coords(steps=("run", np.where(runs["width"] == 32, 40, 90)))
    narrow = runs.isel(run=runs["width"].values == 32)
    assert transfer.setup(narrow) == expected.replace("batch", "width 32, batch")
    assert transfer.setup(runs).endswith("batch 128, 40–90 updates")


# --- Pieces --------------------------------------------------------------------------------------


def test_resampled_optima_are_those_of_all_equally_likely_draws():
    random = np.random.default_rng(3)
    values = random.exponential(size=(2, 6, 3))
    values[0, 0, 1] = np.inf
    loss = xr.DataArray(
        values, {"setting": np.arange(6.0), "seed": [0, 1, 2]}, ("width", "setting", "seed")
    )
    draws = transfer.resampled(loss, "setting")
    combinations = np.array(list(itertools.product(range(3), repeat=3)))
    with np.errstate(invalid="ignore"):
        exact = values[:, :, combinations].mean(axis=-1).argmin(axis=1)
    for row in range(2):
        share = [(draws.values[row] == s).mean() for s in range(6)]
        expected = [(exact[row] == s).mean() for s in range(6)]
        assert share == pytest.approx(expected, abs=0.05)
        drawn = draws.values[row]
        low, high = (float(end[row]) for end in transfer.interval(draws))
        assert (drawn < low).mean() <= 0.025 and (drawn > high).mean() <= 0.025
    assert np.isnan(transfer.resampled(loss.isel(seed=[0, 1]), "setting")).all()


def test_slope_over_width_is_the_least_squares_line():
    widths = np.array([32, 128, 512, 2048])
    best = xr.DataArray([[-1.0, -2, -2, -4], [3, np.nan, 5, 8]], {"width": widths}, ("a", "width"))
    x = np.log2(widths)
    known = [0, 2, 3]
    expected = [np.polyfit(x, best[0], 1)[0], np.polyfit(x[known], best[1][known], 1)[0]]
    assert transfer.slope_over_width(best, 2).values == pytest.approx(expected)
    assert np.isnan(transfer.slope_over_width(best.isel(width=[0]), 2)).all()


def test_final_value_is_read_at_each_runs_own_end():
    values = xr.DataArray(
        [[5.0, 4, 3, np.nan], [5, 4, 3, 2], [5, np.nan, np.nan, np.nan], [5, 4, 3, np.nan]],
        {"step": [0, 10, 20, 30], "steps": ("run", [20, 30, 30, 25])},
        ("run", "step"),
    )
    found = transfer.final(values).values
    assert found == pytest.approx([3, 2, np.nan, 3], nan_ok=True)


def test_equal_settings_from_different_roundings_share_a_cell():
    rates = xr.DataArray([2.0**-11, 2.0**-11 * (1 + 1e-12), 1.0, 10**-0.25], dims="run")
    assert transfer.rounded_logarithm(rates, 2).values[:3].tolist() == [-11.0, -11.0, 0.0]
    assert transfer.rounded_logarithm(rates, 10).values[3] == -0.25


# --- Output layers -------------------------------------------------------------------------------


def test_cases_are_ordered_and_full_batches_known(laptop):
    data = laptop["zero_init"]
    assert data["optimizer"].values.tolist() == ["kfac", "kfac", "kfac", "sgd", "shampoo"]
    assert data["lr"].values.tolist() == [0.1, 0.3, 1.0, 0.3, 0.1]
    assert data["full"].values.tolist() == [0, 0, 1]
    assert zero_init.main_case(data) == [0]
    assert zero_init.matching(data, "kfac", "absolute") == [2]
    assert zero_init.case_name(data, 3) == r"SGD, $\eta'$ = 0.3"


def test_full_batch_and_output_exponent_may_be_left_to_their_defaults():
    runs = planted.zero_runs(["rescaled"])
    batch, exponent = runs["batch_size"].values.copy(), runs["output_exponent"].values.copy()
    standard = exponent == 0.5
    batch[batch == 512] = np.nan
    exponent[exponent < 2] = np.nan
    names = np.where(standard, "sp", "mup")
    changed = runs.assign_coords(
        batch_size=("run", batch),
        output_exponent=("run", exponent),
        parameterization=("run", names),
    )
    one, other = (zero_init.cases(each) for each in (runs, changed))
    xr.testing.assert_equal(one, other)


def test_kernel_of_the_network_stands_in_where_there_is_no_nngp():
    runs = planted.zero_runs(["absolute"]).drop_vars(["nngp_accuracy", "nngp_distance"])
    found = analysed({"zero_init_bias": runs})
    assert zero_init.reference_of(found["zero_init"]) == "kernel"
    # Test accuracy 0.72 with b_L = 64 at full batch, kernel ridge at most 0.80.
    assert measured(found, "so_fig3_zero_init_near_nngp").value == pytest.approx(-8)
    # The planted distance to it is the same for all batches.
    assert measured(found, "so_supp_nngp_distance_batch").value == pytest.approx(1)


def test_a_diverged_run_makes_its_gap_unknown():
    runs = planted.zero_runs(["absolute", "sgd"])
    lost = (runs["optimizer"] == "sgd") & (runs["output_exponent"] == 64) & (runs["seed"] == 2)
    runs["test_accuracy"] = runs["test_accuracy"].where(~lost | (runs["step"] == 0))
    found = analysed({"zero_init_bias": runs})
    assert math.isnan(measured(found, "so_table2_sgd_no_gap").value)
    table = table2.rows(found)
    cells = table[table["name"].str.startswith("SGD") & (table["output_exponent"] == 64)]
    assert cells["failed"].tolist() == [1, 1, 1] and cells["seeds"].tolist() == [2, 2, 2]


def test_settings_at_which_all_runs_failed_compare_nothing():
    runs = planted.zero_runs(["rescaled", "absolute"])
    here = (runs["damping_rule"] == "absolute") & (runs["batch_size"] == 32)
    worst = here & (runs["output_exponent"] > 0.5)
    lost = runs.assign(train_loss=runs["train_loss"].where(~worst | (runs["step"] == 0), 1e5))
    found = analysed({"zero_init_bias": lost})
    # The smallest gap that is left is that of rescaled damping at full batch, also one point.
    assert measured(found, "so_table2_kfac_mup_not_below_zero").value == pytest.approx(1)
    assert math.isnan(measured(found, "so_table2_kfac_gap_grows_with_batch").value)
    cells = table2.rows(found).query("case == 1 and batch_size == 32")
    assert cells["failed"].tolist() == [0, 3, 3] and cells["mean"].notnull().tolist() == [1, 0, 0]
    data = found["zero_init"].isel(case=1).sel(batch_size=32, output_exponent=64)
    for name in ("feature_change", "final_test_accuracy", "nngp_distance"):
        assert data[name].isnull().all(), name
    # One output layer alone that failed leaves the comparison unknown.
    one = worst & (runs["output_exponent"] == 64)
    lost = runs.assign(train_loss=runs["train_loss"].where(~one | (runs["step"] == 0), 1e5))
    found = measured(analysed({"zero_init_bias": lost}), "so_table2_kfac_mup_not_below_zero")
    assert math.isnan(found.value)


@pytest.mark.parametrize(
    ("means", "spreads", "failures", "expected"),
    [
        ((70, 75, 72), (1, 2, 2), (0, 0, 0), [1]),  # 3 > sqrt(8)
        ((70, 75, 72), (1, 2, 3), (0, 0, 0), []),  # 3 < sqrt(13)
        ((70, 75, 72), (1, 2, 2), (0, 1, 0), []),  # the best has a failed seed
        ((70, 75, np.nan), (1, 2, np.nan), (0, 0, 3), [1]),
        ((70, np.nan, np.nan), (1, np.nan, np.nan), (0, 3, 3), []),  # nothing to compare with
        ((70, 75, 72), (np.nan,) * 3, (0, 0, 0), []),  # one seed
    ],
)
def test_only_clear_winners_are_bold(means, spreads, failures, expected):
    part = pd.DataFrame({"batch_size": 32, "mean": means, "spread": spreads, "failed": failures})
    assert table2.clearly_best(part) == expected


def test_muP_must_beat_both_others_to_be_best(monkeypatch):
    level = dict(planted.ACCURACY)
    level["rescaled"] = ((0.74, 0.85, 0.86), (0.85, 0.84, 0.80), (0.70, 0.83, 0.82))
    monkeypatch.setattr(planted, "ACCURACY", level)
    found = measured(
        analysed({"zero_init_bias": planted.zero_runs(["rescaled"])}), "so_table2_kfac_mup_best"
    )
    assert found.value == pytest.approx(1 / 3)


def test_table_holds_means_and_spreads(laptop):
    table = table2.rows(laptop).set_index(["case", "output_exponent", "batch_size"])
    row = table.loc[(2, 1.0, 128.0)]
    assert row["mean"] == pytest.approx(75.0) and row["spread"] == pytest.approx(1.0)
    assert row["seeds"] == 3 and row["failed"] == 0
    assert len(table) == 5 * 3 * 3


# --- Figures and files ---------------------------------------------------------------------------


def image_scale() -> dict[str, xr.Dataset]:
    """Three networks, no NNGP, a size that has no full batch, two seeds."""
    partial = planted.zero_runs(("absolute", "sgd"))
    partial = partial.isel(run=np.flatnonzero(partial["batch_size"].values < 512))
    return {
        "lr_transfer_mlp_kfac": planted.rates(["kfac"]),
        "lr_transfer_cnn_kfac": planted.rates(["kfac"], (8, 32, 128), "cnn"),
        "lr_transfer_resnet_kfac": planted.rates(["kfac"], (1, 2), "resnet18", seeds=(0, 1)),
        "damping_transfer": planted.dampings((8, 32)),
        "zero_init_bias": partial.drop_vars(["nngp_accuracy", "nngp_distance"]),
    }


def tiny() -> dict[str, xr.Dataset]:
    """One seed, one width, a few rates; all runs of one optimizer diverged."""
    some = planted.rates(["sgd", "shampoo"], (16,), seeds=(0,))
    lost = some["optimizer"] == "shampoo"
    some["train_loss"] = some["train_loss"].where(~lost | (some["step"] == 0))
    return {
        "lr_transfer_sgd_shampoo": some,
        "zero_init_bias": planted.zero_runs(["sgd"]).isel(run=slice(0, 1)),
    }


def without_kernels() -> dict[str, xr.Dataset]:
    """Neither kernel was recorded, nor the features."""
    runs = planted.zero_runs(["rescaled"])
    names = [n for n in runs.data_vars if n.startswith(("nngp", "kernel", "input", "role"))]
    runs = runs.drop_vars([*names, "ridge", "kernel_step", "layer_step"])
    return {"zero_init_bias": runs}


CASES = [planted.laptop, image_scale, tiny, without_kernels, dict]


@pytest.mark.parametrize("experiments", CASES)
def test_figures_are_drawn_and_analyses_stored(experiments, tmp_path):
    analyses = analysed(experiments())
    for name, dataset in analyses.items():
        for variable in dataset.variables.values():
            assert variable.attrs["long_name"] and variable.attrs["units"] == "1"
        store.write_netcdf(tmp_path / f"{name}.nc", dataset, {})
        back = store.read_netcdf(tmp_path / f"{name}.nc")
        assert set(back.variables) == set(dataset.variables)
    for figure, name in FIGURES.items():
        module = importlib.import_module(f"{MODULE}.figures.{figure}")
        with style.applied(), mpl.rc_context({"savefig.dpi": 60}):
            drawn = module.draw({name: analyses[name]})
            style.footer(drawn, "test", [[1, 3]], "0" * 32)
            style.save(drawn, tmp_path / f"{figure}.png")
        assert (tmp_path / f"{figure}.png").stat().st_size > 2000


@pytest.mark.parametrize("figure", FIGURES)
def test_figures_name_network_and_data(laptop, figure):
    module = importlib.import_module(f"{MODULE}.figures.{figure}")
    with style.applied():
        drawn = module.draw({FIGURES[figure]: laptop[FIGURES[figure]]})
        assert drawn.get_suptitle().startswith("MLP, 8×8 digits, ")


def test_accuracy_curves_start_after_the_first_updates(laptop):
    module = importlib.import_module(f"{MODULE}.figures.fig3")
    with style.applied():
        drawn = module.draw({"zero_init": laptop["zero_init"]})
        curves = [line for axes in drawn.axes for line in axes.get_lines() if len(axes.lines) > 1]
        starts = {line.get_xdata()[0] for line in curves if len(line.get_xdata()) > 2}
    assert starts == {1}


def test_lines_have_gaps_where_runs_failed():
    runs = planted.rates(["kfac"], (32,))
    here = np.isclose(runs["lr"].values, 2.0**-4)
    runs["train_loss"][here, -1] = 1e3
    data = analysed({"lr_transfer_mlp_kfac": runs})
    module = importlib.import_module(f"{MODULE}.figures.fig6")
    with style.applied():
        drawn = module.draw({"lr_transfer": data["lr_transfer"]})
        for axes in drawn.axes:
            line = axes.get_lines()[0]
            assert np.isnan(line.get_ydata()[np.asarray(line.get_xdata()) == -4]).all()


def test_best_settings_are_starred_at_their_place(laptop):
    module = importlib.import_module(f"{MODULE}.figures.fig7")
    with style.applied():
        drawn = module.draw({"damping_transfer": laptop["damping_transfer"]})
        stars = [
            [float(line.get_xdata()[0]) for line in axes.get_lines() if line.get_marker() == "*"]
            for axes in drawn.axes[:2]
        ]
    assert stars == [[-5.0, -4.5, -4.0], [-2.75] * 3]
