"""Analyses, claims and figures hold on the grids of every scale, also of those not run here.

Training is made up (`made_up`); random matrices are simulated, once where scales share a grid.
"""

from __future__ import annotations

import importlib

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from regimes import jobs, plan, store
from regimes.config import SCALES
from regimes.studies.second_order_mup.claims import MEASURES
from regimes.studies.second_order_mup.experiments import KINDS
from tests.studies.made import CONFIG, Made, check_experiments_are_read, check_reads, check_stored
from tests.studies.second_order_mup import made_up

pytestmark = pytest.mark.slow

NAME = "second_order_mup"
STUDY = CONFIG.studies[NAME]
CASES = [*SCALES, "laptop lost", "paper lost"]
# Claims that are not a number, with the reason.
UNKNOWN: dict[str, dict[str, str]] = {}
# Claims in points in which a run that diverged counts with accuracy 0.
LOST_ARE_WRONG = (
    "so_fig4_analogy_not_decreasing",
    "so_table3_resnet_widest_diff",
    "so_table3_resnet50_diff",
)
TABLES = ("table1", "table2", "table3", "tableA1")


@pytest.fixture(scope="module")
def made():
    return Made(NAME, MEASURES, made_up.experiment, "train")


@pytest.fixture(scope="module", params=CASES)
def case(request):
    """Scale, perhaps with lost runs."""
    return request.param


def test_every_claim_has_a_measure_and_every_measure_a_claim(made):
    made.check_names()


def test_analyses_and_figures_read_what_is_there():
    check_reads(STUDY, MEASURES)
    check_experiments_are_read(STUDY)


def test_analyses_can_be_stored(case, made, tmp_path):
    check_stored(made.analyses(case), tmp_path)


def test_every_claim_of_the_scale_gives_a_number(case, made):
    scale, values = case.split()[0], made.judged(case)
    unknown = values["measured"].isna()
    if "lost" not in case:  # a mean over seeds is unknown if one of them has diverged
        assert set(values.index[unknown]) == set(UNKNOWN.get(scale, ()))
    known = values[~unknown]
    assert len(known) >= len(values) / 3
    # Losses grow by 10^25 before they diverge: none of that may be in a number. A loss that a
    # diverged run stands for is infinite.
    assert not known["measured"][known["measured"].abs() > 1e4].replace(np.inf, 0).any()
    if "lost" not in case:
        assert np.isfinite(known["measured"]).all()
    # An interval may lack ends, one that is known holds the value.
    assert not (known["ci_low"] > known["measured"]).any()
    assert not (known["measured"] > known["ci_high"]).any()


@pytest.mark.parametrize("case", [each for each in CASES if "lost" in each])
def test_lost_runs_change_little_or_make_a_claim_unknown(made, case):
    with_all, lost = (made.claims(name).set_index("claim") for name in (case.split()[0], case))
    values, before = (each["measured"].astype(float) for each in (lost, with_all))
    known = values.notna() & np.isfinite(values)
    assert before[known].notna().all()
    difference = (values - before).abs() / before.abs().clip(lower=1)
    assert set(difference.index[known & (difference > 1)]) <= set(LOST_ARE_WRONG)
    # The last run is one of muP: what counts as wrong is at its expense.
    wrong = known & known.index.isin(LOST_ARE_WRONG)
    assert (values[wrong] <= before[wrong]).all() and (values[wrong] >= -100).all()


@pytest.mark.parametrize("figure", STUDY.figures)
@pytest.mark.filterwarnings("error")
def test_every_figure_draws(case, made, figure, tmp_path):
    made.draw(figure, case, tmp_path / "figure.png")


@pytest.mark.parametrize("figure", TABLES)
def test_tables_have_rows(case, made, figure):
    if figure not in plan.figures_at(CONFIG, case.split()[0], NAME):
        pytest.skip("the scale lacks it")
    analyses = made.analyses(case)
    read = {name: analyses[name] for name in STUDY.figures[figure].analyses}
    module = importlib.import_module(f"regimes.studies.{NAME}.figures.{figure}")
    found = module.rows(read)
    assert isinstance(found, pd.DataFrame) and len(found) and len(found.columns) > 1
    assert not found.columns.duplicated().any()
    assert not found.map(lambda cell: isinstance(cell, xr.DataArray)).any().any()


def smoke_runs(name):
    """Runs of an experiment as `jobs.read_experiment` would read them, trained at smoke scale."""
    parts = [
        jobs.with_hyperparameters(KINDS["train"](list(batch.runs), "cpu"), "train", batch.runs)
        for batch in plan.batches(CONFIG, NAME, name, "smoke").values()
    ]
    return store.join_runs(parts)


# Every optimizer and network, factors always, kernel regression, text.
TRAINED = [
    "coord_check_main", "coord_check_foof_gn", "factor_order", "zero_init_bias", "wider_cbow",
    "wider_myrtle5", "acc_resnet18", "lr_transfer_sgd_shampoo",
]  # fmt: skip


@pytest.mark.parametrize("name", TRAINED)
def test_made_up_runs_have_the_form_of_trained_ones(name):
    real, found = smoke_runs(name), made_up.experiment(CONFIG, name, "smoke")
    assert set(found.variables) == set(real.variables)
    assert found.sizes == real.sizes
    # At the largest learning rates a real run may be lost, some in their last update.
    usable = real["diverged_at"].values < 0
    if "train_loss" in real:
        usable &= real["train_loss"].notnull().any("step").values
        usable &= (
            real["train_loss"].count("step").values == found["train_loss"].count("step").values
        )
    kept = np.flatnonzero(usable)
    assert len(kept) >= 0.9 * real.sizes["run"]
    real, found = real.isel(run=kept), found.isel(run=kept)
    for variable, values in real.variables.items():
        assert found[variable].dims == values.dims, variable
        assert found[variable].dtype == values.dtype, variable
        assert found[variable].attrs == values.attrs, variable
        # What is measured when, and how runs of other shapes are padded.
        same = found[variable].isnull().values == values.isnull().values
        assert same.all(), variable
        if values.dims == ("run",) and variable != "diverged_at":
            np.testing.assert_array_equal(found[variable].values, values.values)
    for variable in ("learning_rate", "role"):
        np.testing.assert_array_equal(found[variable], real[variable])


def test_made_up_runs_are_lost_where_asked():
    found = made_up.experiment(CONFIG, "wider_cbow", "laptop", lost=True)
    gone = np.flatnonzero(found["diverged_at"] >= 0)
    np.testing.assert_array_equal(gone, [found.sizes["run"] - 1])
    one = found.isel(run=-1)
    last = int(one["diverged_at"])
    assert 0 < last < one.sizes["update"] - 1
    assert np.isfinite(one["batch_loss"].values[:last]).all()
    assert np.isnan(one["batch_loss"].values[last:]).all()
    assert (np.isnan(one["train_loss"].values) == (one["step"].values > last)).all()


def test_made_up_single_steps_are_those_of_narrow_networks():
    (batch,) = plan.batches(CONFIG, NAME, "nngp_one_step", "laptop").values()
    (small,) = plan.batches(CONFIG, NAME, "nngp_one_step", "smoke").values()
    found, real = made_up.toys(batch), KINDS["nngp"](list(small.runs))
    assert found.sizes["run"] == len(batch.runs)
    assert set(found.variables) == set(real.variables)
    for variable, values in real.variables.items():
        assert found[variable].dims == values.dims, variable
        assert found[variable].dtype == values.dtype, variable
