"""Helpers of the Snakefile."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from regimes import paths, plan
from regimes import workflow as front
from regimes.config import Config, ConfigError

REPOSITORY = Path(__file__).resolve().parents[1]
STUDY, EXPERIMENT = "exact_gauss_newton", "optimizer_switch"


def test_checkpoints_of_batches_that_are_not_planned_are_removed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = Config(REPOSITORY)
    planned = next(iter(plan.batches(config, STUDY, EXPERIMENT, "smoke")))
    gone = [
        paths.checkpoints("smoke", STUDY, EXPERIMENT, "optimizer_gone"),
        paths.checkpoints("smoke", STUDY, EXPERIMENT, f"{planned}.other_123"),
        paths.checkpoints("smoke", STUDY, "experiment_that_is_gone", planned),
    ]
    kept = [
        paths.checkpoints("smoke", STUDY, EXPERIMENT, planned),
        paths.checkpoints("laptop", STUDY, EXPERIMENT, "optimizer_gone"),
        paths.checkpoints("smoke", "study_that_is_not_listed", EXPERIMENT, planned),
        f"results/smoke/{STUDY}/runs/{EXPERIMENT}/optimizer_gone",
        f"elsewhere/smoke/{STUDY}/runs/{EXPERIMENT}/optimizer_gone.partial",
    ]
    for folder in [*gone, *kept]:
        Path(folder).mkdir(parents=True)
        (Path(folder) / "identity.json").write_text("{}")
    results = Path(paths.batch("smoke", STUDY, EXPERIMENT, "optimizer_gone"))
    results.write_text("of an experiment as it was")
    assert sorted(map(str, front.clear_checkpoints(config, {"smoke"}))) == sorted(gone)
    assert [folder for folder in gone if Path(folder).exists()] == []
    assert [folder for folder in kept if not (Path(folder) / "identity.json").exists()] == []
    assert results.exists()
    assert front.clear_checkpoints(config, {"smoke"}) == []


@pytest.mark.parametrize("targets", [set(), {"figures/all"}, {"figures/images/all"}, {"gallery"}])
def test_a_scale_without_any_figure_is_refused(targets, tmp_path):
    shutil.copytree(REPOSITORY / "config", tmp_path / "config")
    main = tmp_path / "config/config.yaml"
    lines = [
        "studies: [giant_step]" if line.startswith("studies:") else line
        for line in main.read_text().replace("scale: laptop", "scale: images").splitlines()
    ]
    main.write_text("\n".join(lines) + "\n")
    with pytest.raises(ConfigError) as error:
        front.check_targets(Config(tmp_path), frozenset(targets), frozenset({"gallery"}))
    for word in (f"{main}:", "giant_step", "'images'", "smoke, laptop, gpu, paper"):
        assert word in str(error.value)
    assert front.check_targets(Config(tmp_path), frozenset({"figures/smoke/all"}), frozenset())
