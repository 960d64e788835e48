"""Image data sets as samples of a classification."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from regimes.data import labelled
from regimes.data.catalog import CATALOG
from regimes.data.images import Pixels
from regimes.data.labelled import labelled_images, on_device
from tests.data.made_images import expect, make, use

WHERE = {"dtype": torch.float64, "device": "cpu"}


@pytest.fixture
def made(monkeypatch, tmp_path):
    """Pixels and labels of a made-up CIFAR-10."""
    folder = use(monkeypatch, tmp_path)
    found = make(folder, "cifar10", (30, 12))
    expect(monkeypatch, "cifar10", (30, 12))
    return found


def standardized(pixels, mean, deviation):
    mean, deviation = (np.array(each)[:, None, None] for each in (mean, deviation))
    return (pixels / 255 - mean) / deviation


def test_first_samples_with_their_own_labels_and_the_whole_test_part(made):
    samples = labelled_images("cifar10", 20, shift=0.1, **WHERE)
    source = CATALOG["cifar10"]
    for x, targets, part, count in (
        (samples.x, samples.targets, "train", 20),
        (samples.test_x, samples.test_targets, "test", 12),
    ):
        pixels, label = (each[:count] for each in made[part])
        wanted = standardized(pixels, source.mean, source.deviation)
        np.testing.assert_allclose(x[:].numpy(), wanted, rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(targets.numpy(), np.eye(10)[label] - 0.1)
        assert len(x) == len(targets) == count


def test_inputs_may_be_vectors_standardized_otherwise(made):
    given = ((0.5, 0.4, 0.3), (0.2, 0.3, 0.4))
    samples = labelled_images("cifar10", 5, flat=True, standardization=given, **WHERE)
    wanted = standardized(made["train"][0][:5], *given).reshape(5, -1)
    assert samples.x.shape == (5, 3072)
    np.testing.assert_allclose(samples.x[:].numpy(), wanted, rtol=1e-12, atol=1e-12)
    parts = torch.cat(list(samples.x.split(2)))
    assert torch.equal(parts, samples.x[:])


def test_labels_stand_for_rows_where_those_would_be_large(made, monkeypatch):
    monkeypatch.setattr(labelled, "LARGEST_TABLE", 10 * 12)
    samples = labelled_images("cifar10", 20, **WHERE)
    np.testing.assert_array_equal(samples.targets[:, 0].numpy(), made["train"][1][:20])
    assert samples.targets.dtype == torch.int64 and samples.targets.shape == (20, 1)
    assert samples.test_targets.shape == (12, 10)  # which is small enough


def test_first_images_stay_pixels(made):
    x = labelled_images("cifar10", 20, **WHERE).x
    for count, length in ((7, 7), (None, 20), (50, 20)):
        assert isinstance(labelled.first(x, count), Pixels)
        assert len(labelled.first(x, count)) == length
        assert len(labelled.first(x[:], count)) == length
    assert torch.equal(labelled.first(x, 7)[:], x[:7])


def test_arrays_keep_all_test_samples():
    arrays = {name: np.arange(8.0).reshape(4, 2) for name in labelled.Samples._fields}
    samples = on_device(arrays, 3, **WHERE)
    assert [len(each) for each in samples] == [3, 3, 4, 4]
    assert samples.x.dtype == torch.float64
