"""Studies end to end at smoke scale: `giant_step` has a module of its own."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from regimes import paths, plan
from regimes.config import Config
from tests.workflow.conftest import REPOSITORY, Checkout, build_once

pytestmark = [pytest.mark.workflow, pytest.mark.slow, pytest.mark.timeout(1800)]

CONFIG = Config(REPOSITORY)
STUDIES = ["feature_strength", "limiting_dynamics", "exact_gauss_newton", "second_order_mup"]


def each(study: str, *values: str):
    """Parameters of one study; its tests share a worker, and with it the built checkout."""
    return pytest.param(study, *values, marks=pytest.mark.xdist_group(study))


of_each_study = pytest.mark.parametrize("study", [each(study) for study in STUDIES])


@pytest.fixture
def smoke(study, tmp_path_factory) -> Checkout:
    """A checkout with the study's smoke figures."""
    target = f"figures/smoke/{study}/all"
    return Checkout(build_once(tmp_path_factory, study, target, lambda root: None))


@of_each_study
def test_every_batch_is_trained(smoke, study):
    for name, experiment in CONFIG.studies[study].experiments.items():
        planned = set()
        if experiment.at("smoke") is not None:
            planned = set(plan.batches(CONFIG, study, name, "smoke"))
        folder = smoke.root / f"results/smoke/{study}/runs" / name
        assert {file.stem for file in folder.glob("*.nc")} == planned, name


@pytest.mark.parametrize(
    ("study", "figure"), [each(s, figure) for s in STUDIES for figure in CONFIG.studies[s].figures]
)
def test_figure_is_drawn(smoke, study, figure):
    for file in paths.figure_files("smoke", study, figure):
        assert (smoke.root / file).stat().st_size > 0
    png = smoke.root / paths.figure("smoke", study, figure, "png")
    with Image.open(png) as picture:
        assert min(picture.size) > 300
        assert len(picture.convert("L").getcolors(256) or []) > 20  # more than an empty frame
    pdf = (smoke.root / paths.figure("smoke", study, figure, "pdf")).read_bytes()
    assert b"CreationDate" not in pdf


@of_each_study
def test_jobs_are_free_of_warnings(smoke, study):
    logs = sorted(Path(smoke.root / f"logs/smoke/{study}").rglob("*.log"))
    assert logs
    for log in logs:
        assert "Warning" not in log.read_text(), log.name


@of_each_study
def test_claims_are_listed_and_not_testable(smoke, study):
    table = pd.read_csv(smoke.root / "results/smoke/claims.csv")
    table = table[table["study"] == study]
    assert list(table["claim"]) == [claim.id for claim in CONFIG.studies[study].claims]
    assert set(table["verdict"]) == {"not testable"}


@of_each_study
def test_page_shows_every_figure(smoke, study):
    page = (smoke.root / "figures/smoke/index.html").read_text()
    for figure in CONFIG.studies[study].figures:
        assert f"{study}/{figure}.png" in page
    for line in page.split('"'):
        if line.startswith("../../results") or line.startswith(f"{study}/"):
            assert (smoke.root / "figures/smoke" / line).resolve().exists(), line


@of_each_study
def test_all_is_current_afterwards(smoke, study):
    assert smoke.changed(lambda: smoke.run(f"figures/smoke/{study}/all")) == set()
