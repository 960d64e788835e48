"""The gallery page shows what exists, escapes text and links files that are there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from regimes import paths, store
from regimes.config import Config
from regimes.plot import gallery

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return Config(REPOSITORY)


def put(path, text="x"):
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(text)


CLAIMS = """study,figure,claim,statement,source,expected,measured,ci_low,ci_high,seeds,verdict,note
giant_step,fig1,one,a < b & c,paper,"[0, 1]",0.51234,0.4,0.6,5,reproduced,
giant_step,fig1,two,other,paper,"[0, inf]",,,,,not testable,needs scale gpu
giant_step,fig2,three,hidden,paper,"[0, 1]",2,2,2,1,contradicted,why
"""


def test_page_of_nothing(here):
    assert "<h2" not in gallery.render(here, "laptop")


def test_only_present_figures_appear_with_their_claims(here):
    put(paths.figure("laptop", "giant_step", "fig1", "png"))
    put(paths.claims("laptop"), CLAIMS)
    page = gallery.render(here, "laptop")
    assert 'id="giant_step-fig1"' in page
    assert 'id="giant_step-fig2"' not in page
    assert "a &lt; b &amp; c" in page
    assert "0.5123" in page
    assert "0.4 to 0.6" in page
    assert "needs scale gpu" in page
    assert "hidden" not in page
    assert "1 contradicted" in page


def test_cost_and_commit_come_from_sidecars(here):
    put(paths.figure("laptop", "giant_step", "fig1", "png"))
    name = "one_step_plane_plus"
    batch = Path(paths.batch("laptop", "giant_step", name, "batch_exponent_1"))
    sidecar = batch.with_suffix(".json")
    session = {"wall_seconds": 12.3, "peak_memory_mb": 400.0, "commit": "abcdef0123456789"}
    session["hardware"] = "one of 2 cores (a <fast> one)"
    store.write_json(sidecar, {"sessions": [session]})
    page = gallery.render(here, "laptop")
    assert "12 s" in page
    assert "abcdef0123" in page
    assert "Training took 12 s, all jobs added up, each on one of 2 cores (a &lt;fast&gt;" in page
    assert "batch_exponent = 1, 2" in page


def test_page_is_self_contained(here):
    put(paths.figure("laptop", "giant_step", "fig1", "png"))
    page = gallery.render(here, "laptop")
    assert "<script" not in page
    assert not re.search(r'(src|href)="https?:', page)


@pytest.mark.parametrize(
    ("seconds", "text"), [(1.26, "1.3 s"), (12.3, "12 s"), (300, "5 min"), (9000, "2.5 h")]
)
def test_durations_are_written_in_the_unit_that_suits_them(seconds, text):
    assert gallery._duration(seconds) == text


def test_figures_that_a_scale_lacks_are_not_shown(here):
    for figure in ("fig1", "fig2"):
        put(paths.figure("images", "feature_strength", figure, "png"))
    page = gallery.render(here, "images")
    assert 'id="feature_strength-fig1"' in page
    assert 'id="feature_strength-fig2"' not in page
