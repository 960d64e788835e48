"""Analyses, claims and figures hold on the grids of every scale, also of those not run here.

Networks are made up (`made_up`); the toy models are simulated, once where scales share a grid.
"""

from __future__ import annotations

import functools
import importlib
import json
from pathlib import Path

import matplotlib as mpl
import pytest

from regimes import claims, plan, store
from regimes.config import SCALES, Config
from regimes.plot import style
from regimes.studies.feature_strength.claims import MEASURES
from tests.studies.feature_strength import made_up

CONFIG = Config(Path(__file__).resolve().parents[3])
NAME = "feature_strength"
STUDY = CONFIG.studies[NAME]
LOST = "laptop lost"  # at laptop scale, one more run of every program has diverged
DRAFT = {"savefig.dpi": 60}  # it is the drawing that is tested, not the raster


class Made:
    """All analyses of a scale on made-up runs, each computed once and shared between scales."""

    def __init__(self):
        self.results, self.drawn = {}, set()

    def analyses(self, case: str) -> dict:
        scale, lost = case.split()[0], case == LOST
        experiment = functools.cache(lambda name: made_up.experiment(CONFIG, name, scale, lost))
        return {name: self.analysis(name, scale, lost, experiment) for name in STUDY.analyses}

    def analysis(self, name: str, scale: str, lost: bool, experiment):
        """Result of an analysis; scales that give it the same runs share it."""
        read = plan.experiments_at(CONFIG, scale, NAME, name)
        batches = [b for e in read for b in plan.batches(CONFIG, NAME, e, scale).values()]
        trained = any(batch.kind == "network" for batch in batches)
        key = (name, trained and lost, *(batch.digest for batch in batches))
        if key not in self.results:
            module = importlib.import_module(f"regimes.studies.{NAME}.analyses.{name}")
            self.results[key] = module.analyse({e: experiment(e) for e in read})
        return self.results[key]


@pytest.fixture(scope="module")
def made():
    return Made()


@pytest.fixture(scope="module", params=[*SCALES, LOST])
def analysed(request, made):
    """Scale, perhaps with lost runs, and all analyses on made-up results."""
    return request.param, made.analyses(request.param)


def test_every_claim_has_a_measure_and_every_measure_a_claim():
    assert sorted(MEASURES) == sorted(claim.id for claim in STUDY.claims)
    assert {name for rule in MEASURES.values() for name in rule.analyses} <= set(STUDY.analyses)
    assert {claim.figure for claim in STUDY.claims} <= set(STUDY.figures)


def test_analyses_can_be_stored(analysed, tmp_path):
    for name, dataset in analysed[1].items():
        store.write_netcdf(tmp_path / f"{name}.nc", dataset, {"seeds": json.dumps([1, 1])})
        back = store.read_netcdf(tmp_path / f"{name}.nc")
        assert set(back.variables) == set(dataset.variables)
        for variable in dataset.data_vars:
            assert back[variable].dims == dataset[variable].dims, variable


def test_every_claim_of_the_scale_gives_a_number(analysed):
    case, analyses = analysed
    scale = case.split()[0]
    table = claims.table(STUDY, MEASURES, analyses, scale)
    assert list(table["claim"]) == [claim.id for claim in STUDY.claims]
    judged = table["verdict"] != claims.NOT_TESTABLE
    expected = [scale != "smoke" and scale in claim.scales for claim in STUDY.claims]
    assert judged.tolist() == expected
    assert len(claims.to_csv(table).splitlines()) == len(STUDY.claims) + 1
    values = table[judged].set_index("claim")[["measured", "ci_low", "ci_high"]].astype(float)
    unknown = set(values.index[values["measured"].isna()])
    if case != LOST:
        assert not unknown
    known = values.drop(index=list(unknown))
    assert len(known) >= len(values) / 2
    assert (known["ci_low"] <= known["measured"]).all()
    assert (known["measured"] <= known["ci_high"]).all()


@pytest.mark.parametrize("figure", STUDY.figures)
@pytest.mark.filterwarnings("error")
def test_every_figure_draws(analysed, made, figure, tmp_path):
    case, analyses = analysed
    read = {name: analyses[name] for name in STUDY.figures[figure].analyses}
    same = (figure, *map(id, read.values()))
    if same in made.drawn or case == "laptop":  # which is drawn with lost runs
        return
    module = importlib.import_module(f"regimes.studies.{NAME}.figures.{figure}")
    with style.applied(), mpl.rc_context(DRAFT):
        drawn = module.draw(read)
        style.footer(drawn, case, [[1, 2]], "0" * 32)
        style.save(drawn, tmp_path / "figure.png")
    assert (tmp_path / "figure.png").stat().st_size > 5000
    made.drawn.add(same)
