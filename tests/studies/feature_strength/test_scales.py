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
# Every scale, and the laptop's with one more diverged run in every program.
CASES = [*SCALES, "laptop lost"]
# The paper's portrait of the MLP has depth 3 only; these compare or need other depths.
OTHER_DEPTHS = {
    "fs_figA1_optmax_lazy_depths",
    "fs_figA1_optmax_rich_depths",
    "fs_figA1_optmin_l2",
    "fs_figA1_optmin_l4",
    "fs_figA1_etastar_l2",
    "fs_figA1_etastar_l4",
}
DRAFT = {"savefig.dpi": 60}  # it is the drawing that is tested, not the raster


class Made:
    """All analyses of a scale on made-up runs, each computed once and shared between scales."""

    def __init__(self):
        self.results = {}
        self.drawn = set()

    def analyses(self, scale: str, lost: bool) -> dict:
        experiment = functools.cache(
            lambda name: made_up.experiment(CONFIG, name, scale, lost and name in _networks())
        )
        return {name: self.analysis(name, scale, lost, experiment) for name in STUDY.analyses}

    def analysis(self, name: str, scale: str, lost: bool, experiment):
        """Result of an analysis; scales that give it the same batches share it."""
        read = plan.experiments_at(CONFIG, scale, NAME, name)
        batches = [plan.batches(CONFIG, NAME, e, scale) for e in read]
        found = tuple(batch.digest for each in batches for batch in each.values())
        key = (name, found, lost and bool(_networks() & set(read)))
        if key not in self.results:
            module = importlib.import_module(f"regimes.studies.{NAME}.analyses.{name}")
            self.results[key] = module.analyse({e: experiment(e) for e in read})
        return self.results[key]


def _networks() -> set[str]:
    return {name for name, entry in STUDY.experiments.items() if entry.train == "network"}


@pytest.fixture(scope="module")
def made():
    return Made()


@pytest.fixture(scope="module", params=CASES)
def analysed(request, made):
    """Case, its scale, and all analyses on made-up results."""
    scale, *lost = request.param.split()
    return request.param, scale, made.analyses(scale, bool(lost))


def test_every_claim_has_a_measure_and_every_measure_a_claim():
    assert sorted(MEASURES) == sorted(claim.id for claim in STUDY.claims)
    assert {name for rule in MEASURES.values() for name in rule.analyses} <= set(STUDY.analyses)
    assert {claim.figure for claim in STUDY.claims} <= set(STUDY.figures)


def test_analyses_can_be_stored(analysed, tmp_path):
    for name, dataset in analysed[2].items():
        store.write_netcdf(tmp_path / f"{name}.nc", dataset, {"seeds": json.dumps([1, 1])})
        back = store.read_netcdf(tmp_path / f"{name}.nc")
        assert set(back.variables) == set(dataset.variables)
        for variable in dataset.data_vars:
            assert back[variable].dims == dataset[variable].dims, variable


def test_every_claim_of_the_scale_gives_a_number(analysed):
    case, scale, analyses = analysed
    table = claims.table(STUDY, MEASURES, analyses, scale)
    assert list(table["claim"]) == [claim.id for claim in STUDY.claims]
    judged = table["verdict"] != claims.NOT_TESTABLE
    expected = [scale != "smoke" and scale in claim.scales for claim in STUDY.claims]
    assert judged.tolist() == expected
    assert len(claims.to_csv(table).splitlines()) == len(STUDY.claims) + 1
    values = table[judged].set_index("claim")[["measured", "ci_low", "ci_high"]].astype(float)
    unknown = set(values.index[values["measured"].isna()])
    assert unknown == (OTHER_DEPTHS & set(values.index) if scale == "paper" else set())
    known = values.drop(index=list(unknown))
    assert (known["ci_low"] <= known["measured"]).all()
    assert (known["measured"] <= known["ci_high"]).all()


@pytest.mark.parametrize("figure", STUDY.figures)
@pytest.mark.filterwarnings("error")
def test_every_figure_draws(analysed, made, figure, tmp_path):
    _, scale, analyses = analysed
    read = {name: analyses[name] for name in STUDY.figures[figure].analyses}
    same = (figure, *map(id, read.values()))
    if same in made.drawn:  # scales that share all grids of a figure share the figure
        return
    module = importlib.import_module(f"regimes.studies.{NAME}.figures.{figure}")
    with style.applied(), mpl.rc_context(DRAFT):
        drawn = module.draw(read)
        style.footer(drawn, scale, [[1, 2]], "0" * 32)
        style.save(drawn, tmp_path / "figure.png")
    assert (tmp_path / "figure.png").stat().st_size > 5000
    made.drawn.add(same)
