"""Analyses, claims and figures hold on the grids of every scale, also of those not run here.

Networks are made up (`made_up`); the toy models are simulated, once where scales share a grid.
"""

from __future__ import annotations

import pytest

from regimes.config import SCALES
from regimes.studies.feature_strength.claims import MEASURES
from tests.studies.feature_strength import made_up
from tests.studies.made import CONFIG, Made, check_stored

NAME = "feature_strength"
STUDY = CONFIG.studies[NAME]
LOST = "laptop lost"  # at laptop scale, one more run of every program has diverged


@pytest.fixture(scope="module")
def made():
    return Made(NAME, MEASURES, made_up.experiment, "network")


@pytest.fixture(scope="module", params=[*SCALES, LOST])
def case(request):
    """Scale, perhaps with lost runs."""
    return request.param


def test_every_claim_has_a_measure_and_every_measure_a_claim(made):
    made.check_names()


def test_analyses_can_be_stored(case, made, tmp_path):
    check_stored(made.analyses(case), tmp_path)


def test_every_claim_of_the_scale_gives_a_number(case, made):
    values = made.judged(case)
    unknown = set(values.index[values["measured"].isna()])
    if case != LOST:
        assert not unknown
    known = values.drop(index=list(unknown))
    assert len(known) >= len(values) / 2
    assert (known["ci_low"] <= known["measured"]).all()
    assert (known["measured"] <= known["ci_high"]).all()


@pytest.mark.parametrize("figure", STUDY.figures)
@pytest.mark.filterwarnings("error")
def test_every_figure_draws(case, made, figure, tmp_path):
    if case != "laptop":  # which is drawn with lost runs
        made.draw(figure, case, tmp_path / "figure.png")
