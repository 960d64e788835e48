"""All analyses of a study on made-up runs, at the shapes of every scale and with lost runs."""

from __future__ import annotations

import functools
import importlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path

import matplotlib as mpl
import xarray as xr

from regimes import claims, plan, store
from regimes.claims import Measure
from regimes.config import Config, Study
from regimes.plot import style

CONFIG = Config(Path(__file__).resolve().parents[2])
DRAFT = {"savefig.dpi": 60}  # it is the drawing that is tested, not the raster


class Made:
    """Analyses, claims and figures, each computed once and shared between cases.

    A case is a scale, or a scale with "lost" after it: one more run has diverged.

    Parameters
    ----------
    name
        Study.
    measures
        How its claims are read.
    experiment
        ``experiment(config, name, scale, lost)``: made-up results of an experiment.
    kind
        Kind of the runs that can be lost.
    """

    def __init__(self, name: str, measures: dict, experiment: Callable, kind: str) -> None:
        self.name, self.measures, self.experiment, self.kind = name, measures, experiment, kind
        self.study = CONFIG.studies[name]
        self.results, self.tables, self.drawn = {}, {}, set()

    def claims(self, case: str):
        """Table of claims."""
        if case not in self.tables:
            analyses = self.analyses(case)
            self.tables[case] = claims.table(self.study, self.measures, analyses, case.split()[0])
        return self.tables[case]

    def analyses(self, case: str) -> dict[str, xr.Dataset]:
        """Results of all analyses."""
        scale, lost = case.split()[0], case.endswith("lost")
        experiment = functools.cache(lambda name: self.experiment(CONFIG, name, scale, lost))
        names = plan.analyses_at(CONFIG, scale, self.name)
        return {name: self.analysis(name, scale, lost, experiment) for name in names}

    def analysis(self, name: str, scale: str, lost: bool, experiment: Callable) -> xr.Dataset:
        """Result of an analysis; scales that give it the same runs share it."""
        read = plan.experiments_at(CONFIG, scale, self.name, name)
        batches = [b for e in read for b in plan.batches(CONFIG, self.name, e, scale).values()]
        trained = any(batch.kind == self.kind for batch in batches)
        key = (name, trained and lost, *(batch.digest for batch in batches))
        if key not in self.results:
            module = importlib.import_module(f"regimes.studies.{self.name}.analyses.{name}")
            self.results[key] = module.analyse({e: experiment(e) for e in read})
        return self.results[key]

    def judged(self, case: str):
        """Claims that the scale tests, as numbers; checks that these are the ones it should."""
        scale, table = case.split()[0], self.claims(case)
        assert list(table["claim"]) == [claim.id for claim in self.study.claims]
        judged = table["verdict"] != claims.NOT_TESTABLE
        expected = [scale != "smoke" and scale in claim.scales for claim in self.study.claims]
        assert judged.tolist() == expected
        assert len(claims.to_csv(table).splitlines()) == len(self.study.claims) + 1
        return table[judged].set_index("claim")[["measured", "ci_low", "ci_high"]].astype(float)

    def draw(self, figure: str, case: str, path: Path) -> None:
        """Draw a figure, unless the scale lacks it or it was drawn from the same results."""
        if figure not in plan.figures_at(CONFIG, case.split()[0], self.name):
            return
        analyses = self.analyses(case)
        read = {name: analyses[name] for name in self.study.figures[figure].analyses}
        same = (figure, *map(id, read.values()))
        if same in self.drawn:
            return
        module = importlib.import_module(f"regimes.studies.{self.name}.figures.{figure}")
        with style.applied(), mpl.rc_context(DRAFT):
            drawn = module.draw(read)
            style.footer(drawn, case, [[1, 2]], "0" * 32)
            style.save(drawn, path)
        assert path.stat().st_size > 5000
        self.drawn.add(same)

    def check_names(self) -> None:
        """Every claim has a measure and every measure a claim; analyses and figures exist."""
        assert sorted(self.measures) == sorted(claim.id for claim in self.study.claims)
        read = {name for rule in self.measures.values() for name in rule.analyses}
        assert read <= set(self.study.analyses)
        assert {claim.figure for claim in self.study.claims} <= set(self.study.figures)


def check_reads(study: Study, measures: Mapping[str, Measure]) -> None:
    """Figures and analyses read what exists, and every analysis is read."""
    for figure in study.figures.values():
        assert set(figure.analyses) <= set(study.analyses)
    for analysis in study.analyses.values():
        assert set(analysis.experiments) <= set(study.experiments)
    read = {name for rule in measures.values() for name in rule.analyses}
    read |= {name for figure in study.figures.values() for name in figure.analyses}
    assert read == set(study.analyses)


def check_experiments_are_read(study: Study) -> None:
    """Every experiment is read by an analysis."""
    read = {name for analysis in study.analyses.values() for name in analysis.experiments}
    assert read == set(study.experiments)


def check_stored(analyses: dict[str, xr.Dataset], folder: Path) -> None:
    """What is written to netCDF comes back."""
    for name, dataset in analyses.items():
        store.write_netcdf(folder / f"{name}.nc", dataset, {"seeds": json.dumps([1, 1])})
        back = store.read_netcdf(folder / f"{name}.nc")
        assert set(back.variables) == set(dataset.variables)
        for variable in dataset.data_vars:
            assert back[variable].dims == dataset[variable].dims, variable
