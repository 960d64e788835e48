"""Analyses, claims and figures hold on the grids of every scale, also of those not run here.

Networks and linear regression are made up (`made_up`); the other kinds are trained, once where
scales share a grid.
"""

from __future__ import annotations

import functools
import importlib
import json
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest

from regimes import claims, plan, store
from regimes.config import SCALES, Config
from regimes.plot import style
from regimes.studies.limiting_dynamics.claims import MEASURES
from regimes.studies.limiting_dynamics.experiments import KINDS
from tests.studies.limiting_dynamics import made_up

pytestmark = pytest.mark.slow

CONFIG = Config(Path(__file__).resolve().parents[3])
NAME = "limiting_dynamics"
STUDY = CONFIG.studies[NAME]
# One more run of every training has diverged: with several seeds, and with a single one.
CASES = [*SCALES, "laptop lost", "paper lost"]
# Claims that are not a number, with the reason.
NORMALIZED = "noise of single samples says nothing about networks with batch normalization"
UNKNOWN = {"gpu": {"ld_fig7_level_gpu": NORMALIZED}}
DRAFT = {"savefig.dpi": 50}  # it is the drawing that is tested, not the raster


class Made:
    """All analyses of a scale on made-up runs, each computed once and shared between scales."""

    def __init__(self):
        self.results, self.tables, self.drawn = {}, {}, set()

    def claims(self, case: str):
        """Table of claims."""
        if case not in self.tables:
            scale = case.split()[0]
            self.tables[case] = claims.table(STUDY, MEASURES, self.analyses(case), scale)
        return self.tables[case]

    def analyses(self, case: str) -> dict:
        scale, lost = case.split()[0], case.endswith("lost")
        experiment = functools.cache(lambda name: made_up.experiment(CONFIG, name, scale, lost))
        return {name: self.analysis(name, scale, lost, experiment) for name in STUDY.analyses}

    def analysis(self, name: str, scale: str, lost: bool, experiment):
        """Result of an analysis; scales that give it the same runs share it."""
        read = plan.experiments_at(CONFIG, scale, NAME, name)
        batches = [b for e in read for b in plan.batches(CONFIG, NAME, e, scale).values()]
        trained = any(batch.kind == "sgd" for batch in batches)
        key = (name, trained and lost, *(batch.digest for batch in batches))
        if key not in self.results:
            module = importlib.import_module(f"regimes.studies.{NAME}.analyses.{name}")
            self.results[key] = module.analyse({e: experiment(e) for e in read})
        return self.results[key]


@pytest.fixture(scope="module")
def made():
    return Made()


@pytest.fixture(scope="module", params=CASES)
def analysed(request, made):
    """Scale, perhaps with lost runs, and all analyses on made-up results."""
    return request.param, made.analyses(request.param)


def test_every_claim_has_a_measure_and_every_measure_a_claim():
    assert sorted(MEASURES) == sorted(claim.id for claim in STUDY.claims)
    assert {name for rule in MEASURES.values() for name in rule.analyses} <= set(STUDY.analyses)
    assert {claim.figure for claim in STUDY.claims} <= set(STUDY.figures)


def test_analyses_and_figures_read_what_is_there():
    for figure in STUDY.figures.values():
        assert set(figure.analyses) <= set(STUDY.analyses)
    for analysis in STUDY.analyses.values():
        assert set(analysis.experiments) <= set(STUDY.experiments)
    read = {name for rule in MEASURES.values() for name in rule.analyses}
    read |= {name for figure in STUDY.figures.values() for name in figure.analyses}
    assert read == set(STUDY.analyses)


def test_analyses_can_be_stored(analysed, tmp_path):
    for name, dataset in analysed[1].items():
        store.write_netcdf(tmp_path / f"{name}.nc", dataset, {"seeds": json.dumps([1, 1])})
        back = store.read_netcdf(tmp_path / f"{name}.nc")
        assert set(back.variables) == set(dataset.variables)
        for variable in dataset.data_vars:
            assert back[variable].dims == dataset[variable].dims, variable


def test_every_claim_of_the_scale_gives_a_number(analysed, made):
    case, scale = analysed[0], analysed[0].split()[0]
    table = made.claims(case)
    assert list(table["claim"]) == [claim.id for claim in STUDY.claims]
    judged = table["verdict"] != claims.NOT_TESTABLE
    expected = [scale != "smoke" and scale in claim.scales for claim in STUDY.claims]
    assert judged.tolist() == expected
    values = table[judged].set_index("claim")[["measured", "ci_low", "ci_high"]].astype(float)
    unknown = values["measured"].isna()
    if case != "paper lost":  # where a lost run may be the only one of a setting
        assert set(values.index[unknown]) == set(UNKNOWN.get(scale, ()))
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
def test_every_figure_draws(analysed, made, figure, tmp_path):
    case, analyses = analysed
    read = {name: analyses[name] for name in STUDY.figures[figure].analyses}
    same = (figure, *map(id, read.values()))
    if same in made.drawn:
        return
    module = importlib.import_module(f"regimes.studies.{NAME}.figures.{figure}")
    with style.applied(), mpl.rc_context(DRAFT):
        drawn = module.draw(read)
        style.footer(drawn, case, [[1, 2]], "0" * 32)
        style.save(drawn, tmp_path / "figure.png")
    assert (tmp_path / "figure.png").stat().st_size > 3000
    made.drawn.add(same)


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
