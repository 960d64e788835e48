"""Analyses, claims and figures hold on the grids of every scale, also of those not run here.

Networks and linear regression are made up (`made_up`); the other kinds are trained, once where
scales share a grid.
"""

from __future__ import annotations

import numpy as np
import pytest

from regimes import plan
from regimes.config import SCALES
from regimes.studies.limiting_dynamics.claims import MEASURES
from regimes.studies.limiting_dynamics.experiments import KINDS
from tests.studies.limiting_dynamics import made_up
from tests.studies.made import CONFIG, Made, check_reads, check_stored

pytestmark = pytest.mark.slow

NAME = "limiting_dynamics"
STUDY = CONFIG.studies[NAME]
# One more run of every training has diverged: with several seeds, and with a single one.
CASES = [*SCALES, "laptop lost", "paper lost"]


@pytest.fixture(scope="module")
def made():
    return Made(NAME, MEASURES, made_up.experiment, "sgd")


@pytest.fixture(scope="module", params=CASES)
def case(request):
    """Scale, perhaps with lost runs."""
    return request.param


def test_every_claim_has_a_measure_and_every_measure_a_claim(made):
    made.check_names()


def test_analyses_and_figures_read_what_is_there():
    check_reads(STUDY, MEASURES)


def test_analyses_can_be_stored(case, made, tmp_path):
    check_stored(made.analyses(case), tmp_path)


def test_every_claim_of_the_scale_gives_a_number(case, made):
    values = made.judged(case)
    unknown = values["measured"].isna()
    if case != "paper lost":  # where a lost run may be the only one of a setting
        assert not set(values.index[unknown])
    known = values[~unknown]
    assert len(known) >= len(values) / 3
    assert np.isfinite(known["measured"]).all()
    # Runs grow by e^20 before they diverge: none of that may be in a number.
    assert not known["measured"][known["measured"].abs() > 1e4].to_dict()
    # An interval may lack ends, one that is known holds the value.
    assert not (known["ci_low"] > known["measured"]).any()
    assert not (known["measured"] > known["ci_high"]).any()


def test_a_lost_run_among_several_seeds_changes_little(made):
    with_all, lost = (
        made.claims(case).set_index("claim")["measured"].astype(float).dropna()
        for case in ("laptop", "laptop lost")
    )
    difference = (lost - with_all).abs() / with_all.abs().clip(lower=1)
    assert not difference[difference > 1].to_dict()


@pytest.mark.parametrize("figure", STUDY.figures)
@pytest.mark.filterwarnings("error")
def test_every_figure_draws(case, made, figure, tmp_path):
    made.draw(figure, case, tmp_path / "figure.png")


@pytest.fixture(scope="module")
def trained():
    """Smoke runs that are trained: a network, curvature at its weights, a resumed run, a linear."""
    found = {}
    for name in ("mlp_pretrain", "start_geometry", "stationary_cloud_resume", "linreg_fft"):
        (batch,) = plan.batches(CONFIG, NAME, name, "smoke").values()
        start = STUDY.experiments[name].start
        given = {"start": found[STUDY.starts[start].experiment]} if start else {}
        runs = KINDS[batch.kind](list(batch.runs), "cpu", **given)
        found[name] = made_up.jobs.with_hyperparameters(runs, batch.kind, batch.runs)
    return found


def test_made_up_runs_have_the_form_of_trained_ones(trained):
    for name, real in trained.items():
        found = made_up.experiment(CONFIG, name, "smoke")
        assert set(found.variables) == set(real.variables), name
        for variable, values in real.variables.items():
            assert found[variable].dims == values.dims, (name, variable)
            assert found[variable].dtype == values.dtype, (name, variable)
        for dim in set(real.sizes) - {"parameter"}:
            assert found.sizes[dim] == real.sizes[dim], (name, dim)


def test_made_up_runs_are_lost_where_asked():
    found = made_up.experiment(CONFIG, "sweep_eta", "smoke", lost=True)
    gone = (found["diverged_at"] >= 0).values
    assert gone.tolist() == [False] * (len(gone) - 1) + [True]
    last = found["local_displacement"].isel(run=-1).dropna("step")
    assert last["step"].max() == found["diverged_at"][-1]
