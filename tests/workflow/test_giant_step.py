"""The giant-step study end to end at smoke scale."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from regimes import paths
from regimes.config import Config
from tests.workflow.conftest import REPOSITORY, Checkout, build_once

pytestmark = [pytest.mark.workflow, pytest.mark.slow, pytest.mark.xdist_group("giant_step")]

STUDY = Config(REPOSITORY).studies["giant_step"]


@pytest.fixture(scope="module")
def smoke(tmp_path_factory) -> Checkout:
    """A checkout with the study's smoke figures."""
    target = "figures/smoke/giant_step/all"
    return Checkout(build_once(tmp_path_factory, "giant_step", target, lambda root: None))


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
