"""Tasks: their statistics, and streams that are fresh, reproducible and prefix-stable."""

from __future__ import annotations

import importlib

import numpy as np
import pytest
import torch

from regimes.config import ConfigError
from regimes.data.mnist1d import Mnist1D
from regimes.data.streams import stream_seed
from regimes.data.tasks import (
    GaussianMixture,
    Hierarchical,
    OnlineStream,
    Samples,
    TemplateImages,
    held_out,
)

TASKS = [
    GaussianMixture(),
    GaussianMixture(image=True),
    Hierarchical(),
    TemplateImages(16),
    Mnist1D(),
]


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("task", TASKS, ids=lambda task: f"{type(task).__name__}{task.shape}")
def test_shapes_classes_and_types(task):
    x, labels = task.draw(generator(), 500)
    assert x.shape == (500, *task.shape) and x.dtype == torch.float32
    assert labels.shape == (500,) and set(labels.tolist()) == set(range(10))
    assert torch.isfinite(x).all()


def test_gaussian_mixture_has_the_moments_of_its_definition():
    rng = np.random.default_rng(7)
    plane, _ = np.linalg.qr(rng.standard_normal((64, 8)))
    centres = 2.0 * rng.standard_normal((30, 8)) @ plane.T
    scale2 = np.mean(centres**2) + 1
    x, labels = GaussianMixture().draw(generator(), 60_000)
    expected = (np.cov(centres.T, bias=True) + np.eye(64)) / scale2
    np.testing.assert_allclose(np.cov(x.numpy().T), expected, atol=0.03)
    for label in (0, 9):
        mean = x[labels == label].mean(0).numpy()
        np.testing.assert_allclose(
            mean, centres[3 * label : 3 * label + 3].mean(0) / np.sqrt(scale2), atol=0.05
        )


def test_image_form_holds_the_same_numbers():
    flat, _ = GaussianMixture().draw(generator(3), 8)
    image, _ = GaussianMixture(image=True).draw(generator(3), 8)
    assert torch.equal(flat, image.flatten(1))


def test_hierarchical_classes_and_super_classes():
    x, labels = Hierarchical().draw(generator(), 20_000)
    means = torch.stack([x[labels == c].mean(0) for c in range(10)]) * 3 / 8
    np.testing.assert_allclose(means[:, :10], np.eye(10), atol=0.03)
    np.testing.assert_allclose(means[:, 10], [3.0] * 5 + [-3.0] * 5, atol=0.03)
    np.testing.assert_allclose(x[:, 20].std(), 0.5, atol=0.02)


def test_template_images_are_linear_in_their_template():
    task = TemplateImages(16, 3)
    x, labels = task.draw(generator(), 4000)
    mean = x[labels == 4].mean(0) * 2**0.5
    np.testing.assert_allclose(mean, task._templates[4], atol=0.25)


@pytest.mark.parametrize("task", TASKS, ids=lambda task: f"{type(task).__name__}{task.shape}")
def test_stream_does_not_depend_on_steps_neighbours_or_precision(task):
    first, second = stream_seed(0, "a"), stream_seed(1, "a")
    alone = list(OnlineStream(task, [second], 8, 3))
    longer = list(OnlineStream(task, [first, second], 8, 5, dtype=torch.float64))
    for (x, targets), (other, wide) in zip(alone, longer, strict=False):
        assert torch.equal(x[0].double(), other[1])
        assert torch.equal(targets[0].double(), wide[1])
        assert (targets.sum(2) == 1).all()
    assert not torch.equal(longer[0][0][0], longer[0][0][1])
    assert not torch.equal(longer[0][0][1], longer[1][0][1])


def test_finite_samples_are_given_out_once_in_order():
    data = Samples(torch.arange(12.0).view(12, 1), torch.arange(12) % 3, 3)
    batches = list(OnlineStream(data, [0, 1], 4, 3))
    seen = torch.cat([x[0].flatten() for x, _ in batches])
    assert torch.equal(seen, torch.arange(12.0))
    with pytest.raises(ConfigError, match="never repeated"):
        data.draw(generator(), 5, start=8)


def test_held_out_samples_are_the_same_for_all_and_of_one_purpose_each():
    where = {"dtype": torch.float32, "device": "cpu"}
    points, targets = held_out(GaussianMixture(), "points", 20, **where)
    again, _ = held_out(GaussianMixture(), "points", 20, dtype=torch.float64, device="cpu")
    test, _ = held_out(GaussianMixture(), "test", 20, **where)
    assert torch.equal(points, again.float()) and targets.shape == (20, 10)
    assert not torch.equal(points, test)
    with pytest.raises(ConfigError, match="no held-out samples"):
        held_out(Samples(torch.zeros(9, 2), torch.zeros(9), 2), "test", 3, **where)


def test_mnist1d_equals_the_package_on_the_same_random_numbers(monkeypatch):
    """Feed the package's sample-by-sample transformation with the numbers of one draw."""
    package = importlib.import_module("mnist1d.transform")
    task = Mnist1D()
    drawn = task.draws(generator(5), 12)
    found = task.transform(drawn).numpy()
    templates = importlib.import_module("mnist1d.data").get_templates()
    low, high = task.settings.padding
    for i in range(12):
        numbers = {
            "rand": iter([(int(drawn.padding[i]) - low + 0.5) / (high - low + 1),
                          float(drawn.scale[i]) + 0.5, float(drawn.shear[i]) + 0.5]),
            "randn": iter([drawn.correlated[i].numpy(), drawn.independent[i].numpy()]),
        }  # fmt: skip
        monkeypatch.setattr(package.np.random, "rand", lambda n=numbers: next(n["rand"]))
        monkeypatch.setattr(package.np.random, "randn", lambda *s, n=numbers: next(n["randn"]))
        monkeypatch.setattr(package.np.random, "choice", lambda _, k=int(drawn.shift[i]): k)
        label = int(drawn.label[i])
        expected, _ = package.transform(templates["x"][label], templates["t"], task.settings)
        np.testing.assert_allclose(found[i], expected, atol=2e-5)
