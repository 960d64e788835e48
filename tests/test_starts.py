"""Start points: checks of the configuration, lineages along a chain, jobs that hand on."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from regimes import jobs, paths, plan, store
from regimes.config import Config, ConfigError

REPOSITORY = Path(__file__).resolve().parents[1]
STUDY = "limiting_dynamics"


@pytest.fixture
def edited(tmp_path, monkeypatch):
    """Configuration of this repository with replaced text, working directory beside it."""
    shutil.copytree(REPOSITORY / "config", tmp_path / "config")
    monkeypatch.chdir(tmp_path)

    def edit(*pairs: tuple[str, str]) -> Config:
        file = tmp_path / f"config/studies/{STUDY}.yaml"
        text = file.read_text()
        for old, new in pairs:
            assert old in text
            text = text.replace(old, new, 1)
        file.write_text(text)
        return Config(tmp_path)

    return edit


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("start: reheated", "start: reheatd", r"start got 'reheatd'.*did you mean 'reheated'"),
        (
            "experiment: mlp_pretrain\n",
            "experiment: mlp_pretrian\n",
            r"starts.pretrained.experiment got 'mlp_pretrian'.*did you mean 'mlp_pretrain'",
        ),
        (
            "split: model\n    start: pretrained\n    settings: {weight_decay",
            "split: model\n    settings: {weight_decay",
            r"experiments.start_geometry has no start; runs of kind geometry need one",
        ),
        (
            "train: ou_path\n",
            "train: ou_path\n    start: heated\n",
            r"ou_2d_path.start runs of kind ou_path take no start",
        ),
        (
            "split: model\n    settings: {origin: initial",
            "split: model\n    start: heated\n    settings: {origin: initial",
            r"start goes round in a circle: mlp_pretrain -> mlp_pretrain_reheat -> mlp_pretrain",
        ),
    ],
)
def test_mistakes_are_named(edited, old, new, message):
    with pytest.raises(ConfigError, match=message):
        edited((old, new))


def test_a_scale_that_the_start_lacks_is_named(edited):
    text = Path(f"config/studies/{STUDY}.yaml").read_text()
    block = text[text.index("  mlp_pretrain:") : text.index("  start_geometry:")]
    without = block[: block.index("      paper:")] + "\n"
    with pytest.raises(ConfigError, match="starts from mlp_pretrain, which has no scale 'paper'"):
        edited((block, without))


def digests(config, experiment, scale="smoke"):
    return {b.digest for b in plan.batches(config, STUDY, experiment, scale).values()}


def test_a_change_at_the_beginning_of_a_chain_reaches_its_end(edited):
    before = edited()
    after = edited(("stages: [[0.1, 300]", "stages: [[0.1, 310]"))
    for experiment in ("mlp_pretrain", "start_geometry", "mlp_pretrain_reheat", "sweep_eta"):
        assert digests(before, experiment) != digests(after, experiment), experiment
        assert digests(before, experiment, "laptop") == digests(after, experiment, "laptop")
    assert digests(before, "linreg_grid") == digests(after, "linreg_grid")
    kept = edited(("keep: [weights, eigenvalue, eigenvector]", "keep: [weights, eigenvalue]"))
    assert digests(after, "start_geometry") == digests(kept, "start_geometry")
    resumed = "stationary_cloud_resume"
    assert digests(after, resumed) != digests(kept, resumed)
    lineages = [plan.lineage(each, "smoke", STUDY, "sweeps") for each in (before, after)]
    assert lineages[0] != lineages[1]


def train(config, experiment):
    for name in plan.batches(config, STUDY, experiment, "smoke"):
        jobs.train_batch(config, "smoke", STUDY, experiment, name)
    return jobs.read_experiment(config, "smoke", STUDY, experiment)


def test_only_what_is_handed_on_is_put_together(edited, monkeypatch):
    """Networks of several sizes side by side are filled up to the largest."""
    config = edited(("stages: [[0.1, 300], [0.02, 200], [0.005, 100]]", "stages: [[0.1, 5]]"))
    assert {"weights", "train_loss", "diverged_at"} <= set(train(config, "mlp_pretrain").data_vars)
    joined = []

    def spy(parts):
        joined.extend(set(part.data_vars) for part in parts)
        return join(parts)

    join = store.join_runs
    monkeypatch.setattr(store, "join_runs", spy)
    jobs.hand_on(config, "smoke", STUDY, "pretrained")
    assert joined == [{"weights"}]


def test_jobs_hand_on_and_train_anew_from_another_start(edited, capsys):
    short = ("stages: [[0.1, 300], [0.02, 200], [0.005, 100]]", "stages: [[0.1, 20]]")
    config = edited(short, ("evaluate_at: every 100}", "evaluate_at: ends}"))
    with pytest.raises(FileNotFoundError):
        train(config, "mlp_pretrain_reheat")
    first = train(config, "mlp_pretrain")
    jobs.hand_on(config, "smoke", STUDY, "pretrained")
    start = store.read_netcdf(paths.start("smoke", STUDY, "pretrained"))
    assert set(start.data_vars) == {"weights"}
    np.testing.assert_array_equal(start["weights"], first["weights"])
    assert start.attrs["experiment"] == "mlp_pretrain"
    resumed = train(config, "mlp_pretrain_reheat")
    assert not np.array_equal(resumed["weights"], first["weights"])

    capsys.readouterr()
    train(config, "mlp_pretrain_reheat")
    assert "training" not in capsys.readouterr().out
    other = edited(("stages: [[0.1, 20]]", "stages: [[0.1, 21]]"))
    path = Path(paths.start("smoke", STUDY, "pretrained"))
    with pytest.raises(store.BadFile, match="pretrained.nc was made by other code or from other"):
        train(other, "mlp_pretrain_reheat")
    assert not path.exists() and path.with_name("pretrained.nc.bad").exists()
    train(other, "mlp_pretrain")
    jobs.hand_on(other, "smoke", STUDY, "pretrained")
    again = train(other, "mlp_pretrain_reheat")
    assert "training 1 of 1 runs" in capsys.readouterr().out
    assert not np.array_equal(resumed["weights"], again["weights"])

    for damaged in (b"", path.read_bytes()[:-300]):
        batch = Path(paths.batch("smoke", STUDY, "mlp_pretrain_reheat", again.attrs["batch"]))
        batch.unlink(missing_ok=True)
        path.write_bytes(damaged)
        with pytest.raises(store.BadFile, match="pretrained.nc is damaged"):
            train(other, "mlp_pretrain_reheat")
        assert not path.exists() and not batch.exists()
        jobs.hand_on(other, "smoke", STUDY, "pretrained")


def test_batches_of_other_code_or_other_runs_are_refused(edited, monkeypatch):
    config = edited(("stages: [[0.1, 300], [0.02, 200], [0.005, 100]]", "stages: [[0.1, 5]]"))
    train(config, "mlp_pretrain")
    (name,) = plan.batches(config, STUDY, "mlp_pretrain", "smoke")
    path = Path(paths.batch("smoke", STUDY, "mlp_pretrain", name))
    content = path.read_bytes()
    other = edited(("stages: [[0.1, 5]]", "stages: [[0.1, 6]]"))
    with pytest.raises(store.BadFile, match="made by other code or from other runs"):
        jobs.read_experiment(other, "smoke", STUDY, "mlp_pretrain")
    assert not path.exists()
    path.write_bytes(content)
    jobs.read_experiment(config, "smoke", STUDY, "mlp_pretrain")
    monkeypatch.setattr(plan, "train_fingerprint", lambda *_: "other")
    with pytest.raises(store.BadFile, match="made by other code or from other runs"):
        jobs.read_experiment(config, "smoke", STUDY, "mlp_pretrain")
    assert not path.exists()


def test_what_runs_do_not_have_cannot_be_kept(edited):
    config = edited(
        ("stages: [[0.1, 300], [0.02, 200], [0.005, 100]]", "stages: [[0.1, 5]]"),
        ("keep: [weights]", "keep: [weight]"),
    )
    train(config, "mlp_pretrain")
    with pytest.raises(ConfigError, match=r"starts.pretrained.keep.0 got 'weight'.*'weights'"):
        jobs.hand_on(config, "smoke", STUDY, "pretrained")
