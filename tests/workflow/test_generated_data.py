"""The rule that makes a data set: planned for the runs that need it, and for no others."""

from __future__ import annotations

import pytest

from regimes import plan
from regimes.config import SCALES, Config
from tests.workflow.conftest import REPOSITORY, Checkout, copy_code

pytestmark = [pytest.mark.workflow]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A checkout with the real studies."""
    root = tmp_path_factory.mktemp("generated")
    copy_code(root)
    return Checkout(root)


def planned(checkout: Checkout, target: str, **environment: str) -> str:
    process = checkout.start("--cores", "1", "--dry-run", target, environment=environment)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    return output


def test_only_runs_on_generated_images_ask_for_them():
    config = Config(REPOSITORY)
    wanted = {
        (scale, study, name)
        for scale in SCALES
        for study, entry in config.studies.items()
        for name, experiment in entry.experiments.items()
        if experiment.at(scale) is not None
        for batch in plan.batches(config, study, name, scale).values()
        if plan.generated_data(batch)
    }
    assert {each[:2] for each in wanted} == {("paper", "feature_strength")}
    names = {name for _, _, name in wanted}
    assert {"portrait_mlp_mse", "alignment_mlp", "hessian_mlp"} <= names
    assert not [name for name in names if "cnn" in name or "vit" in name]


def test_the_rule_is_planned_where_it_is_needed(checkout):
    assert "generated data" in planned(checkout, "figures/paper/feature_strength/fig1.pdf")
    assert "generated data" not in planned(checkout, "figures/laptop/feature_strength/fig1.pdf")


@pytest.mark.parametrize("moved", [False, True])
def test_a_data_set_that_is_there_is_accepted(checkout, moved, tmp_path):
    folder = tmp_path if moved else checkout.root / "data"
    (folder / "mnist1m").mkdir(parents=True, exist_ok=True)
    (folder / "mnist1m" / "metadata.json").write_text("{}")
    environment = {"REGIMES_DATA": str(tmp_path)} if moved else {}
    output = planned(checkout, "figures/paper/feature_strength/fig1.pdf", **environment)
    assert "train batch" in output and "generated data" not in output
