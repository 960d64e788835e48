"""The scales that need images and a GPU expand to whole graphs, without either."""

from __future__ import annotations

import re

import pytest

from regimes import paths, plan
from regimes.config import Config
from tests.workflow.conftest import REPOSITORY, Checkout, copy_code

pytestmark = [pytest.mark.workflow, pytest.mark.slow]

CONFIG = Config(REPOSITORY)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory) -> Checkout:
    """A checkout of all studies, nothing built."""
    root = tmp_path_factory.mktemp("large")
    copy_code(root)
    return Checkout(root)


def jobs(output: str) -> dict[str, int]:
    """Jobs of each rule, from the table that a dry run ends with."""
    return {
        name.strip(): int(n) for name, n in re.findall(r"^ (\w[\w ]*?) +(\d+) *$", output, re.M)
    }


@pytest.mark.parametrize("scale", ["gpu", "paper"])
def test_all_studies_are_planned(checkout, scale):
    found = jobs(checkout.run("--dry-run", f"figures/{scale}/all"))
    studies = CONFIG.studies
    # Every experiment with runs at the scale is trained: none is left over that nothing reads.
    trained = sum(
        len(plan.batches(CONFIG, study, name, scale))
        for study, entry in studies.items()
        for name, experiment in entry.experiments.items()
        if experiment.at(scale) is not None
    )
    drawn = [figure for entry in studies.values() for figure in entry.figures]
    tables = sum(map(paths.is_table, drawn))
    assert found["train batch"] == trained
    assert found["draw table"] == tables
    assert found["draw figure"] == len(drawn) - tables
    assert found["start point"] == sum(len(entry.starts) for entry in studies.values())
    assert found["claims"] == len(studies)
    assert found["total"] == sum(n for name, n in found.items() if name != "total")
    for name in ("results", "figures", "logs", "data"):  # looking writes nothing
        assert not (checkout.root / name).exists()
