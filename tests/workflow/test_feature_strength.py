"""The feature-strength study end to end at smoke scale."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from regimes import paths, plan
from regimes.config import Config
from tests.workflow.conftest import REPOSITORY, Checkout, build_once

pytestmark = [
    pytest.mark.workflow,
    pytest.mark.slow,
    pytest.mark.timeout(1800),
    pytest.mark.xdist_group("feature_strength"),
]

CONFIG = Config(REPOSITORY)
STUDY = CONFIG.studies["feature_strength"]


@pytest.fixture(scope="module")
def smoke(tmp_path_factory) -> Checkout:
    """A checkout with the study's smoke figures."""
    target = "figures/smoke/feature_strength/all"
    return Checkout(build_once(tmp_path_factory, "feature_strength", target, lambda root: None))


def test_every_batch_is_trained(smoke):
    for name, experiment in STUDY.experiments.items():
        planned = set()
        if experiment.at("smoke") is not None:
            planned = set(plan.batches(CONFIG, "feature_strength", name, "smoke"))
        folder = smoke.root / "results/smoke/feature_strength/runs" / name
        assert {file.stem for file in folder.glob("*.nc")} == planned, name


@pytest.mark.parametrize("figure", STUDY.figures)
def test_figure_is_drawn(smoke, figure):
    for file in paths.figure_files("smoke", "feature_strength", figure):
        assert (smoke.root / file).stat().st_size > 0
    png = smoke.root / paths.figure("smoke", "feature_strength", figure, "png")
    with Image.open(png) as picture:
        assert min(picture.size) > 300
        assert len(picture.convert("L").getcolors(256) or []) > 20  # more than an empty frame
    pdf = (smoke.root / paths.figure("smoke", "feature_strength", figure, "pdf")).read_bytes()
    assert b"CreationDate" not in pdf


def test_jobs_are_free_of_warnings(smoke):
    logs = sorted(Path(smoke.root / "logs/smoke/feature_strength").rglob("*.log"))
    assert logs
    for log in logs:
        assert "Warning" not in log.read_text(), log.name


def test_claims_are_listed_and_not_testable(smoke):
    table = pd.read_csv(smoke.root / "results/smoke/claims.csv")
    table = table[table["study"] == "feature_strength"]
    assert list(table["claim"]) == [claim.id for claim in STUDY.claims]
    assert set(table["verdict"]) == {"not testable"}


def test_page_shows_every_figure(smoke):
    page = (smoke.root / "figures/smoke/index.html").read_text()
    for figure in STUDY.figures:
        assert f"feature_strength/{figure}.png" in page
    for line in page.split('"'):
        if line.startswith("../../results") or line.startswith("feature_strength/"):
            assert (smoke.root / "figures/smoke" / line).resolve().exists(), line


def test_all_is_current_afterwards(smoke):
    assert smoke.changed(lambda: smoke.run("figures/smoke/feature_strength/all")) == set()
