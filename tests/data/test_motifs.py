"""Colour motifs: background statistics, placement, and what a linear classifier can see."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from regimes.data.motifs import SIDE, ColourMotifs
from regimes.data.streams import stream_seed
from regimes.data.tasks import OnlineStream, Task, held_out


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("size", [8, 12])
def test_shapes_classes_and_types(size):
    task: Task = ColourMotifs(size)
    x, labels = task.draw(generator(), 300)
    assert x.shape == (300, 3, size, size) == (300, *task.shape) and x.dtype == torch.float32
    assert set(labels.tolist()) == set(range(10)) and torch.isfinite(x).all()


def test_background_has_unit_variance_and_the_correlations_of_its_definition():
    x, _ = ColourMotifs(10, strength=0).draw(generator(), 8000)
    pixels = x.numpy()
    np.testing.assert_allclose(pixels.var(0).mean(), 1, atol=0.01)
    centre = pixels[:, :, 4, 4]
    # Weights (1, 2, 1) / sqrt(6): neighbours overlap in 2 * 2 of 6, next neighbours in 1 of 6;
    # half of the variance is white.
    for shift, expected in [(1, 2 / 6), (2, 1 / 12), (3, 0)]:
        for moved in (pixels[:, :, 4 + shift, 4], pixels[:, :, 4, 4 + shift]):
            found = np.mean(centre * moved, axis=0)
            np.testing.assert_allclose(found, expected, atol=0.06)
    s = 3**0.5
    colours = (2 * s / 3 + 1) / ((1 + s / 3) ** 2 + 2 / 3)  # of x_c + s * mean(x)
    np.testing.assert_allclose(np.mean(centre[:, 0] * centre[:, 2]), colours / 2, atol=0.05)


def test_without_background_an_image_is_its_motif_somewhere():
    task = ColourMotifs(9, strength=1e4, copies=1, distractors=0, variants=2)
    x, labels = task.draw(generator(3), 60)
    motifs = task._motifs
    np.testing.assert_allclose(motifs.mean((2, 3)), 0, atol=1e-6)
    np.testing.assert_allclose(motifs.std((2, 3), correction=0), 1, rtol=1e-6)
    corners = set()
    for image, label in zip(x / 1e4, labels.tolist(), strict=True):
        patches = image.unfold(1, SIDE, 1).unfold(2, SIDE, 1)  # colour, row, column, 3, 3
        power = patches.square().sum((0, 3, 4))
        row, column = divmod(int(power.argmax()), power.shape[1])
        corners.add((row, column))
        patch = patches[:, row, column]
        assert abs(image.square().sum() - patch.square().sum()) < 0.1  # nothing anywhere else
        own = motifs[2 * label : 2 * label + 2]
        contrast = (patch * own).sum((1, 2, 3)) / 27
        best = int(contrast.argmax())
        assert 0.49 < contrast[best] < 1.51
        assert (patch - contrast[best] * own[best]).abs().max() < 0.01
    assert len(corners) > 20


def test_stream_does_not_depend_on_steps_neighbours_or_precision():
    first, second = stream_seed(0, "a"), stream_seed(1, "a")
    alone = list(OnlineStream(ColourMotifs(), [second], 8, 3))
    longer = list(OnlineStream(ColourMotifs(), [first, second], 8, 5, dtype=torch.float64))
    for (x, targets), (other, wide) in zip(alone, longer, strict=False):
        assert torch.equal(x[0].double(), other[1]) and torch.equal(targets[0].double(), wide[1])
    points, _ = held_out(ColourMotifs(), "points", 20, dtype=torch.float32, device="cpu")
    assert not torch.equal(points[:8], alone[0][0][0])


def test_matched_filters_see_the_class_and_a_linear_classifier_does_not():
    """Largest response of each class motif over all places, against ridge on pixels."""
    task = ColourMotifs()
    x, labels = task.draw(generator(), 4000)
    test, wanted = task.draw(generator(1), 1000)
    flat, flat_test = x.flatten(1).double(), test.flatten(1).double()
    ridge = torch.linalg.solve(
        flat.T @ flat + 100 * torch.eye(flat.shape[1], dtype=torch.float64),
        flat.T @ torch.eye(10, dtype=torch.float64)[labels],
    )
    linear = (flat_test @ ridge).argmax(1)
    response = torch.nn.functional.conv2d(test, task._motifs[:10]).amax((2, 3))
    assert (linear == wanted).double().mean() < 0.3
    assert (response.argmax(1) == wanted).double().mean() > 0.5


def test_images_without_a_choice_of_places_are_refused():
    with pytest.raises(ValueError, match="need images of side 4"):
        ColourMotifs(SIDE)
