"""Analyses, claims and figures hold on the grids of every scale, also of those not run here.

Training is made up (`made_up`); networks without training are simulated, once where scales share
a grid.
"""

from __future__ import annotations

import functools
from unittest import mock

import numpy as np
import pytest

from regimes import jobs, plan, store
from regimes.config import SCALES
from regimes.studies.exact_gauss_newton import data_sets
from regimes.studies.exact_gauss_newton.claims import MEASURES
from regimes.studies.exact_gauss_newton.experiments import KINDS
from tests.studies.exact_gauss_newton import made_up
from tests.studies.made import CONFIG, Made, check_experiments_are_read, check_reads, check_stored

pytestmark = pytest.mark.slow

NAME = "exact_gauss_newton"
STUDY = CONFIG.studies[NAME]
# The first run of every training has diverged, mostly one of Gauss-Newton, or the last one.
CASES = [*SCALES, "laptop first lost", "paper lost"]
# Claims that are not a number, with the reason.
UNKNOWN: dict[str, dict[str, str]] = {}


class Cases:
    """`Made` results; those with the first run lost are a world of their own."""

    def __init__(self) -> None:
        first = functools.partial(made_up.experiment, first=True)
        self.usual = Made(NAME, MEASURES, made_up.experiment, "train")
        self.first = Made(NAME, MEASURES, first, "train")

    def of(self, case: str) -> Made:
        """Results that hold a case."""
        return self.first if "first" in case else self.usual


@pytest.fixture(scope="module")
def made():
    return Cases()


@pytest.fixture(scope="module", params=CASES)
def case(request):
    """Scale, perhaps with lost runs."""
    return request.param


def test_every_claim_has_a_measure_and_every_measure_a_claim(made):
    made.usual.check_names()


def test_analyses_and_figures_read_what_is_there():
    check_reads(STUDY, MEASURES)
    check_experiments_are_read(STUDY)


def test_analyses_can_be_stored(case, made, tmp_path):
    check_stored(made.of(case).analyses(case), tmp_path)


def test_every_claim_of_the_scale_gives_a_number(case, made):
    scale, values = case.split()[0], made.of(case).judged(case)
    unknown = values["measured"].isna()
    if "lost" not in case:  # a mean over seeds is unknown if one of them has diverged
        assert set(values.index[unknown]) == set(UNKNOWN.get(scale, ()))
    known = values[~unknown]
    assert len(known) >= len(values) / 3
    assert np.isfinite(known["measured"]).all()
    # Losses grow by 10^30 before they diverge: none of that may be in a number, other than in a
    # number of parameters or one that stands for infinity.
    plain = known["measured"].drop([n for n in known.index if "parameters" in n])
    assert not plain[plain.abs() > 1e4].to_dict()
    # An interval may lack ends, one that is known holds the value.
    assert not (known["ci_low"] > known["measured"]).any()
    assert not (known["measured"] > known["ci_high"]).any()


@pytest.mark.parametrize("case", CASES[-2:])
def test_lost_runs_change_little_or_make_a_claim_unknown(made, case):
    with_all, lost = (
        made.of(name).claims(name).set_index("claim") for name in (case.split()[0], case)
    )
    values, before = (each["measured"].astype(float) for each in (lost, with_all))
    known = values.notna()
    assert before[known].notna().all()
    difference = (values - before).abs() / before.abs().clip(lower=1)
    assert not difference[difference > 1].to_dict()
    # Means without the seed that was lost would flatter the optimizer.
    fewer = known & (lost["seeds"] < with_all["seeds"])
    assert not lost["seeds"][fewer].to_dict()


@pytest.mark.parametrize("figure", STUDY.figures)
@pytest.mark.filterwarnings("error")
def test_every_figure_draws(case, made, figure, tmp_path):
    made.of(case).draw(figure, case, tmp_path / "figure.png")


def smoke_runs(name):
    """Runs of an experiment as `jobs.read_experiment` would read them, trained at smoke scale."""
    parts = [
        jobs.with_hyperparameters(KINDS["train"](list(batch.runs), "cpu"), "train", batch.runs)
        for batch in plan.batches(CONFIG, NAME, name, "smoke").values()
    ]
    return store.join_runs(parts)


@pytest.fixture(scope="module")
def trained():
    """Smoke runs that are trained: every optimizer, a switch, probes, regression, float64."""
    names = ["full_batch_hard", "mini_batch_hard", "optimizer_switch", "lazy_probe"]
    names += ["regression_mini", "function_space_recursion"]
    with mock.patch.object(data_sets, "load", functools.cache(data_sets.load)):
        return {name: smoke_runs(name) for name in names}


def test_made_up_runs_have_the_form_of_trained_ones(trained):
    for name, real in trained.items():
        found = made_up.experiment(CONFIG, name, "smoke")
        assert set(found.variables) == set(real.variables), name
        assert found.sizes == real.sizes, name
        for variable, values in real.variables.items():
            assert found[variable].dims == values.dims, (name, variable)
            assert found[variable].dtype == values.dtype, (name, variable)
            assert found[variable].attrs == values.attrs, (name, variable)
            # What is measured when, and how runs of other shapes are padded.
            same = found[variable].isnull().values == values.isnull().values
            assert same.all(), (name, variable)
            if values.dims == ("run",) and variable != "diverged_at":
                np.testing.assert_array_equal(found[variable].values, values.values)


def test_made_up_ranks_have_the_form_of_computed_ones():
    digits = plan.batches(CONFIG, NAME, "feature_rank", "smoke")["data_digits"]
    images = plan.batches(CONFIG, NAME, "feature_rank", "gpu")["data_mnist"]
    real, found = made_up.toys(digits), made_up.toys(images)
    assert set(found.variables) == set(real.variables)
    for variable, values in real.variables.items():
        assert found[variable].dims == values.dims, variable
        assert found[variable].dtype == values.dtype, variable
        assert found[variable].attrs == values.attrs, variable
    assert found.sizes["index"] == 1024 and real.sizes["index"] == 96


def test_made_up_runs_are_lost_where_asked():
    for first in (False, True):
        found = made_up.experiment(CONFIG, "optimizer_switch", "laptop", lost=True, first=first)
        row = 0 if first else -1
        gone = np.flatnonzero(found["diverged_at"] >= 0)
        np.testing.assert_array_equal(gone, np.arange(found.sizes["run"])[[row]])
        one = found.isel(run=row)
        last = int(one["diverged_at"])
        assert np.isfinite(one["batch_loss"].values[:last]).all()
        assert np.isnan(one["batch_loss"].values[last:]).all()
        epochs = one["train_loss"].dropna("epoch")
        assert epochs["epoch"].max() * 32 == last
        assert epochs[-1] > 1e20 > 10 > epochs[:-1].max()
