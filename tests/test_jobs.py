"""Jobs: hyperparameters as coordinates, refusal of what changed, what is built upon."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from regimes import jobs, paths, plan, store
from regimes.config import Config
from regimes.data import images
from regimes.ensemble import checkpoints
from regimes.ensemble.programs import in_programs
from regimes.studies.exact_gauss_newton import experiments
from regimes.studies.exact_gauss_newton.settings import Train
from regimes.studies.giant_step.settings import GiantSteps
from tests.data import made_images

NAMED = {"long_name": "something", "units": "1"}


def runs(**changes):
    base = {"target": "plus", "dimension": 16, "width": 8}
    return [GiantSteps.model_validate({**base, "seed": s, **changes}) for s in range(2)]


def test_hyperparameters_become_described_coordinates():
    found = jobs.hyperparameters("giant_steps", runs(ridge_strengths=[1.0, 0.1]))
    data = xr.Dataset(coords=found)
    assert list(data["seed"].values) == [0, 1]
    assert data["ridge_strengths"].values[0] == "[1.0, 0.1]"
    assert data["batch_size"].values[0] == 16
    assert np.isnan(data["start_seed"].values).all()
    assert len(set(data["run_id"].values)) == 2
    assert all({"long_name", "units"} <= set(c.attrs) for c in data.coords.values())


@pytest.mark.parametrize("name", ["seed", "batch_size"])
def test_names_shared_by_settings_and_results_are_refused(name):
    trained = xr.Dataset({name: ("run", np.zeros(2), NAMED)})
    with pytest.raises(ValueError, match=name):
        jobs.with_hyperparameters(trained, "giant_steps", runs())
    with pytest.raises(ValueError, match="width"):
        jobs.with_hyperparameters(
            xr.Dataset({"x": (("run", "width"), np.zeros((2, 3)), NAMED)}), "giant_steps", runs()
        )


def test_unplanned_calls_are_allowed_and_changed_ones_refused():
    jobs.check_unchanged("code", "", "abc")
    jobs.check_unchanged("code", "abc", "abc")
    with pytest.raises(jobs.Changed, match="code changed"):
        jobs.check_unchanged("code", "abd", "abc")


# --- What a batch is built upon -------------------------------------------------------------------

PLACE = ("smoke", "exact_gauss_newton", "optimizer_switch", "made")
IMAGES = {
    "data": "mnist", "samples": 30, "blocks": 1, "width": 8, "batch_size": 8, "sigma": 1e-2,
    "optimizer": "sgd", "inverse": "truncate", "lr_code": 0.1, "epochs": 1,
}  # fmt: skip


class Killed(Exception):
    """The job was killed."""


class Job:
    """A batch on images whose training tells only what it has read; programs of two runs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.put()

    def put(self, pixels: int = 0, labels: int = 0) -> None:
        """Write other images, or other labels, into the data folder."""
        source = made_images.CATALOG["mnist"]
        for part, count in zip(made_images.PARTS, made_images.SAMPLES, strict=True):
            image, label = made_images.made_pixels(source, count, pixels)
            made_images.write_parquet(
                self.folder / "mnist" / f"{part}-00000-of-00001.parquet",
                [made_images.encoded(each) for each in image],
                {"image": [], "label": ((label + labels) % 10).tolist()},
            )
        images._load.cache_clear()

    def train(self, seeds: int, kill: int | None = None) -> list[float]:
        """Value of each run, a number made of what is there; killed in the program of a number.

        There is a checkpoint after each program.
        """
        runs = tuple(Train.model_validate({**IMAGES, "seed": seed}) for seed in range(seeds))
        self.trained, started = [], []

        def program(members):
            started.append(members)
            if len(started) - 1 == kill:
                raise Killed
            part = images.load("mnist").train
            value = part.pixels.sum(dtype=float) + 1e9 * part.label.argmax()
            self.trained += [run.seed for run in members]
            return xr.Dataset({"value": ("run", [value + run.seed for run in members], NAMED)})

        def kind(missing, device):
            return in_programs(missing, lambda run: run.seed // 2, program, 2)

        with pytest.MonkeyPatch.context() as patch:
            batch = plan.Batch("optimizer_switch", "made", "train", runs)
            patch.setattr(plan, "find_batch", lambda *_: batch)
            patch.setitem(experiments.KINDS, "train", kind)
            patch.setenv(checkpoints.VARIABLE, "0")
            jobs.train_batch(CONFIG, *PLACE)
        return self.read()["value"].values.tolist()

    def read(self) -> xr.Dataset:
        return store.read_netcdf(paths.batch(*PLACE))

    @property
    def sessions(self) -> list[dict]:
        return store.read_json(Path(paths.batch(*PLACE)).with_suffix(".json"))["sessions"]


CONFIG = Config(Path(__file__).resolve().parents[1])


@pytest.fixture
def job(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made_images.expect(monkeypatch, "mnist")
    yield Job(made_images.use(monkeypatch, tmp_path))
    images._load.cache_clear()


CHANGES = [{}, {"pixels": 1}, {"labels": 3}]


@pytest.mark.parametrize("change", CHANGES)
def test_checkpoints_of_other_data_are_not_gone_on_with(change, job, capsys):
    with pytest.raises(Killed):
        job.train(4, kill=1)
    job.put(**change)
    found = job.train(4)
    assert np.diff(found).tolist() == [1, 1, 1]
    assert job.trained == ([0, 1, 2, 3] if change else [2, 3])
    assert ("have another data: starting anew" in capsys.readouterr().out) == bool(change)
    # The cost of the start that was killed belongs to the results if they are built upon it.
    assert [each["trained"] for each in job.sessions] == ([4] if change else [0, 4])


@pytest.mark.parametrize("change", CHANGES)
def test_runs_trained_on_other_data_are_not_built_upon(change, job, capsys):
    old = job.train(2)
    job.put(**change)
    found = job.train(4)
    assert np.diff(found).tolist() == [1, 1, 1]
    assert (found[:2] == old) == (not change)
    assert job.trained == ([0, 1, 2, 3] if change else [2, 3])
    said = "the finished runs were trained on other data: training the batch anew"
    assert (said in capsys.readouterr().out) == bool(change)
    assert [each["trained"] for each in job.sessions] == ([4] if change else [2, 2])


def test_a_selection_of_finished_runs_needs_no_files(job):
    old = job.train(4)
    read = json.loads(job.read().attrs["data"])
    parts = ["mnist/test", "mnist/test/label", "mnist/train", "mnist/train/label"]
    assert sorted(read) == parts and {len(digest) for digest in read.values()} == {64}
    shutil.rmtree(job.folder)
    images._load.cache_clear()
    assert job.train(3) == old[:3]
    assert job.trained == []
    assert json.loads(job.read().attrs["data"]) == read


def test_time_and_hardware_of_killed_jobs_are_kept(job):
    for kill in (1, 1):  # each start finishes one program more
        with pytest.raises(Killed):
            job.train(6, kill=kill)
    job.train(6)
    assert job.trained == [4, 5]
    assert [each["trained"] for each in job.sessions] == [0, 0, 6]
    for each in job.sessions:
        assert each["wall_seconds"] > 0 and each["peak_memory_mb"] > 0
        assert {"hardware", "commit", "host", "finished"} <= set(each)
    assert not Path(paths.checkpoints(*PLACE)).exists()


def test_another_processor_starts_anew(job, capsys, monkeypatch):
    with pytest.raises(Killed):
        job.train(4, kill=1)
    monkeypatch.setattr(jobs.provenance, "processor", lambda: "another one")
    job.train(4)
    assert job.trained == [0, 1, 2, 3]
    assert "have another processor: starting anew" in capsys.readouterr().out
