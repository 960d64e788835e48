"""The giant-step study end to end at smoke scale."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pandas as pd
import pytest
from filelock import FileLock
from PIL import Image

from regimes import paths
from regimes.config import Config
from tests.workflow.conftest import REPOSITORY, Checkout, copy_code

pytestmark = [pytest.mark.workflow, pytest.mark.slow, pytest.mark.xdist_group("giant_step")]

STUDY = Config(REPOSITORY).studies["giant_step"]


@pytest.fixture(scope="module")
def smoke(tmp_path_factory) -> Checkout:
    """A checkout with the study's smoke figures."""
    shared = tmp_path_factory.getbasetemp()
    if os.environ.get("PYTEST_XDIST_WORKER"):
        shared = shared.parent
    root = shared / "giant_step"
    with FileLock(str(shared / "giant_step.lock")):
        if not (root / "done").exists():
            shutil.rmtree(root, ignore_errors=True)
            root.mkdir()
            copy_code(root)
            output = Checkout(root).run("figures/smoke/giant_step/all")
            (root / "done").write_text(output)
    return Checkout(root)


@pytest.mark.parametrize("figure", STUDY.figures)
def test_figure_is_drawn(smoke, figure):
    for file in paths.figure_files("smoke", "giant_step", figure):
        assert (smoke.root / file).stat().st_size > 0
    with Image.open(smoke.root / paths.figure("smoke", "giant_step", figure, "png")) as picture:
        assert min(picture.size) > 300
        assert len(picture.convert("L").getcolors(256) or []) > 20  # more than an empty frame
    pdf = (smoke.root / paths.figure("smoke", "giant_step", figure, "pdf")).read_bytes()
    assert b"CreationDate" not in pdf


def test_drawing_is_free_of_warnings(smoke):
    for log in sorted(Path(smoke.root / "logs/smoke/giant_step").glob("*.log")):
        assert "Warning" not in log.read_text(), log.name


def test_claims_are_listed_and_not_testable(smoke):
    table = pd.read_csv(smoke.root / "results/smoke/claims.csv")
    assert list(table["claim"]) == [claim.id for claim in STUDY.claims]
    assert set(table["verdict"]) == {"not testable"}


def test_page_shows_every_figure(smoke):
    page = (smoke.root / "figures/smoke/index.html").read_text()
    for figure, entry in STUDY.figures.items():
        assert f"giant_step/{figure}.png" in page
        assert entry.title in page
    for line in page.split('"'):
        if line.startswith("../../results") or line.startswith("giant_step/"):
            assert (smoke.root / "figures/smoke" / line).resolve().exists(), line


def test_all_is_current_afterwards(smoke):
    assert smoke.changed(lambda: smoke.run("figures/smoke/giant_step/all")) == set()


def test_every_measure_runs_on_smoke_results(smoke, monkeypatch):
    """Claims are judged only at larger scales, but their code must not be dead at this one."""
    from regimes import store
    from regimes.studies.giant_step.claims import MEASURES

    analyses = {
        path.stem: store.read_netcdf(path)
        for path in (smoke.root / "results/smoke/giant_step").glob("*.nc")
    }
    for measure in MEASURES.values():
        assert set(measure.analyses) <= set(analyses)
