"""Every experiment of the gpu and paper scales runs on images: some of its runs, made small.

Networks become narrow and trainings short, while data sets, architectures, optimizers and what is
observed stay as configured. Images are made up, in files of the documented layout.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from regimes import jobs, plan
from regimes.config import Config, RunSettings
from regimes.data.images import Pixels
from regimes.data.tables import COLUMNS, ROWS, Table
from regimes.studies.exact_gauss_newton import data_sets as tables
from regimes.studies.second_order_mup import data_sets as texts
from regimes.studies.second_order_mup import experiments as mup
from regimes.studies.second_order_mup import recorder
from regimes.studies.second_order_mup.settings import DATA
from tests.data import made_images

CONFIG = Config(Path(__file__).resolve().parents[2])
IMAGES = ("mnist", "fashion_mnist", "cifar10", "cifar100", "tinyimagenet", "imagenet")
SAMPLES = (32, 16)  # of each made-up data set


@pytest.fixture(scope="module", autouse=True)
def image_files(tmp_path_factory):
    """A data folder with a few made-up images of every data set, and a made-up text."""
    with pytest.MonkeyPatch.context() as patch:
        folder = made_images.use(patch, tmp_path_factory.mktemp("images"))
        for name in IMAGES:
            made_images.make(folder, name, SAMPLES)
            made_images.expect(patch, name, SAMPLES)
        for name in ("mnist1m", "cifar5m"):
            made_images.make(folder, name, SAMPLES)
            made_images.expect(patch, name)
        patch.setitem(texts._LOADERS, "wikitext2", made_text)
        made = tables._regression("superconductivity", made_table)
        patch.setitem(tables._LOADERS, "superconductivity", made)
        yield
        texts.load.cache_clear()
        tables.load.cache_clear()


def made_table() -> Table:
    """Random numbers in the shape of the superconductivity table."""
    rng = np.random.default_rng(0)
    return Table(rng.standard_normal((ROWS, COLUMNS - 1)), rng.standard_normal(ROWS))


def made_text() -> texts.DataSet:
    """Windows of random words; of all but the first ones every word is the same."""
    stated, rng = DATA["wikitext2"], np.random.default_rng(0)
    x = np.zeros((stated.samples, *stated.shape), dtype="int64")
    x[:32] = rng.integers(stated.classes, size=(32, *stated.shape))
    label = np.zeros(stated.samples, dtype="int64")
    label[:32] = rng.integers(stated.classes, size=32)
    analogies = rng.integers(stated.classes, size=(5, 4))
    return texts.DataSet(x, label, x[:16], label[:16], analogies)


def feature_strength(run: RunSettings) -> dict[str, Any]:
    """Three steps of a narrow network."""
    width = 2 * run.heads if run.architecture == "vit" else 2
    small = {"width": width, "batch_size": 4, "steps": 3, "test_size": 6, "points": 4}
    return small | {"tangent_points": 2, "kernel_points": 4, "spectrum_size": 2, "blocks": 1}


def exact_gauss_newton(run: RunSettings) -> dict[str, Any]:
    """Two epochs of two batches."""
    small = {"samples": 32, "epochs": 2, "evaluation_samples": 16, "probe_samples": 16}
    small |= {"kernel_samples": 8, "kernel_vectors": 2}
    if run.width is not None:
        small["width"] = 48
    if run.batch_size is not None:
        small["batch_size"] = 16
    if run.then:
        small["then_epochs"] = 1
    return small | {"kept_samples": min(run.kept_samples, 8), "blocks": 2}


def second_order_mup(run: RunSettings) -> dict[str, Any]:
    """Two updates of a narrow network."""
    small = {"samples": 32, "batch_size": 16, "epochs": None, "steps": 2, "unit": 2}
    small |= {"evaluation_samples": 16, "probe_samples": 8}
    channels = run.model not in ("mlp", "cbow")
    width = (1 if run.model.startswith(("resnet", "vgg")) else 2) if channels else 8
    return small | {"width": width, "base_width": width}


SMALL = {
    "feature_strength": feature_strength,
    "exact_gauss_newton": exact_gauss_newton,
    "second_order_mup": second_order_mup,
}
NOT = {"exact_gauss_newton": False, "second_order_mup": ""}  # augmented
KINDS = {"feature_strength": "network", "exact_gauss_newton": "train", "second_order_mup": "train"}


def cases() -> list[tuple[str, str]]:
    """Experiments of each study that train networks at the gpu or the paper scale."""
    return [
        (study, name)
        for study in SMALL
        for name, entry in CONFIG.studies[study].experiments.items()
        if entry.train == KINDS[study] and (entry.at("gpu") or entry.at("paper"))
    ]


def chosen(study: str, name: str) -> list[RunSettings]:
    """One run of each combination of settings that decide which code runs, made small."""
    entry, runs = CONFIG.studies[study].experiments[name], {}
    for scale in ("gpu", "paper"):
        if entry.at(scale) is None:
            continue
        for batch in plan.batches(CONFIG, study, name, scale).values():
            for run in batch.runs:
                given = run.model_dump()
                small = {**given, **SMALL[study](run)}
                for key, value in small.items():
                    if key.endswith("_at") and value:
                        small[key] = "ends"
                key = {k: v for k, v in small.items() if isinstance(v, str | bool | None)}
                runs.setdefault(str(sorted(key.items())), type(run).model_validate(small))
    return list(runs.values())


@pytest.mark.parametrize(("study", "name"), cases())
def test_experiment_runs_on_images(study, name):
    runs = chosen(study, name)
    experiments = importlib.import_module(f"regimes.studies.{study}.experiments")
    dataset = experiments.KINDS[KINDS[study]](runs, "cpu")
    jobs.with_hyperparameters(dataset, KINDS[study], runs)
    assert dataset.sizes["run"] == len(runs)
    assert (first_losses(dataset) > 0).all()
    for variable in dataset.variables.values():
        assert {"long_name", "units"} <= set(variable.attrs)


def first_losses(dataset: xr.Dataset) -> np.ndarray:
    """Loss of each run before training."""
    name = "batch_loss" if "batch_loss" in dataset else "train_loss"
    return dataset[name].values[:, 0]


@pytest.mark.parametrize(
    ("study", "name"),
    [("exact_gauss_newton", "mini_batch_hard"), ("second_order_mup", "acc_resnet18")],
)
def test_augmentation_changes_batches_and_not_what_is_evaluated(study, name):
    experiments = importlib.import_module(f"regimes.studies.{study}.experiments")
    augmented = chosen(study, name)[0]
    plain = type(augmented).model_validate({**augmented.model_dump(), "augment": NOT[study]})
    assert plain != augmented
    one, other = (experiments.KINDS[KINDS[study]]([run], "cpu") for run in (augmented, plain))
    assert one["train_loss"][0, 0] == other["train_loss"][0, 0]
    assert one["test_loss"][0, 0] == other["test_loss"][0, 0]
    assert one["batch_loss"][0, 0] != other["batch_loss"][0, 0]


def test_evaluation_takes_images_in_parts(monkeypatch):
    taken = []
    whole = Pixels._standardized
    monkeypatch.setattr(
        Pixels, "_standardized", lambda self, x: taken.append(len(x)) or whole(self, x)
    )
    run = chosen("second_order_mup", "acc_resnet18")[0]
    run = type(run).model_validate({**run.model_dump(), "evaluation_samples": None})
    monkeypatch.setattr(recorder, "AT_ONCE", 10)
    mup.KINDS["train"]([run], "cpu")
    assert max(taken) == run.batch() > 10  # a batch; evaluations take no more than AT_ONCE
    assert sorted(set(taken)) == [2, 6, 8, 10, run.batch()]
