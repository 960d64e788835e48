"""Augmentations against slow independent versions, image by image; their distributions."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import ndimage, stats

from regimes.data import augmentation
from regimes.data.augmentation import (
    affine,
    black,
    colour_jitter,
    compose,
    crop,
    crop_and_flip,
    crop_boxes,
    flip,
    resized_crop,
)

RNG = np.random.default_rng(0)
IMAGES = torch.from_numpy(RNG.standard_normal((9, 3, 12, 10)))
MEAN, DEVIATION = (0.49, 0.48, 0.45), (0.25, 0.24, 0.26)
FILL = (0.5, -1.0, 2.0)
FLOATS = (torch.float32, torch.float64)
OUTSIDE = "grid-constant"  # scipy's name for interpolating between the edge and a constant

EVERY = {
    "affine": affine(),
    "crop": crop(4, FILL),
    "crop_and_flip": crop_and_flip(2),
    "flip": flip(),
    "resized_crop": resized_crop(),
    "smaller": resized_crop(size=(7, 8)),
    "colour_jitter": colour_jitter(mean=MEAN, deviation=DEVIATION),
    "composed": compose(crop_and_flip(2), colour_jitter(), affine()),
}


def drawn(augment, count=9, seed=0):
    return augment.draw(torch.Generator().manual_seed(seed), count)


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_an_image_is_changed_alike_whatever_stands_beside_it(name, dtype):
    augment, images = EVERY[name], IMAGES.to(dtype)
    numbers = drawn(augment)
    assert numbers.shape == (9, augment.numbers)
    together = augment.apply(images, numbers)
    assert together.dtype == dtype and torch.isfinite(together).all()
    assert torch.equal(together, augment(images, torch.Generator().manual_seed(0)))
    order = torch.tensor([4, 0, 4, 8])
    assert torch.equal(augment.apply(images[order], numbers[order]), together[order])
    for i in range(9):
        alone = augment.apply(images[i : i + 1].clone(), numbers[i : i + 1].clone())
        assert torch.equal(alone[0], together[i])


NOTHING = {
    "affine": affine(0, 0, (1, 1)),
    "crop": crop(0),
    "resized_crop": resized_crop((1, 1), (10 / 12, 10 / 12)),
    "colour_jitter": colour_jitter(0, 0, 0, MEAN, DEVIATION),
    "composed": compose(),
}


@pytest.mark.parametrize("name", NOTHING)
def test_parameters_that_change_nothing_give_the_image_back_bit_for_bit(name):
    raw = torch.arange(2 * 3 * 120).remainder(256).view(2, 3, 12, 10) / 255
    mean, deviation = (torch.tensor(v).view(3, 1, 1) for v in (MEAN, DEVIATION))
    images = (raw - mean) / deviation  # as standardization makes them, black and white included
    augment = NOTHING[name]
    assert torch.equal(augment.apply(images, drawn(augment, 2)), images)


def test_flip_mirrors_about_half_of_the_images():
    numbers = drawn(flip(), 4000)
    images = IMAGES[:1].expand(4000, -1, -1, -1)
    mirrored = (flip().apply(images, numbers) == images.flip(3)).flatten(1).all(1)
    plain = (flip().apply(images, numbers) == images).flatten(1).all(1)
    assert (mirrored ^ plain).all()
    assert stats.binomtest(int(mirrored.sum()), 4000).pvalue > 1e-3


def test_crops_are_windows_of_the_padded_image_all_equally_often():
    augment = crop(2, FILL)
    numbers = drawn(augment, 5000)
    places = np.floor(numbers.double().numpy() * 5).astype(int)
    images = IMAGES[np.arange(5000) % 9]
    found = augment.apply(images, numbers)
    padded = np.empty((5000, 3, 16, 14))
    padded[:] = np.array(FILL)[:, None, None]
    padded[:, :, 2:-2, 2:-2] = images
    for i in range(0, 5000, 83):
        top, left = places[i]
        np.testing.assert_array_equal(found[i], padded[i, :, top : top + 12, left : left + 10])
    counts = np.bincount(places[:, 0] * 5 + places[:, 1], minlength=25)
    assert len(counts) == 25 and stats.chisquare(counts).pvalue > 1e-3
    edge = augment.apply(IMAGES[:1], torch.tensor([[1 - 2**-24, 0.0]]))  # the largest number
    np.testing.assert_array_equal(edge[0], padded[0, :, 4:, :10])


@pytest.mark.parametrize("size", [(28, 28), (9, 14)])
def test_affine_changes_against_scipy(size):
    images = torch.from_numpy(RNG.standard_normal((12, 2, *size)))
    augment = affine(3, 15, (0.9, 1.1), (0.5, -1.0))
    numbers = drawn(augment, 12).double()
    found = augment.apply(images, numbers)
    centre = (np.array(size) - 1) / 2
    for i in range(12):
        down, right, angle, scale = (numbers[i] * 2 - 1).tolist()
        angle, scale = math.radians(15) * angle, 1 + 0.1 * scale
        # scipy maps a place of the result to one of the source: the inverse of scale and rotation.
        turn = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
        inverse = turn / scale
        offset = centre - inverse @ (centre + 3 * np.array([down, right]))
        for channel, fill in enumerate((0.5, -1.0)):
            expected = ndimage.affine_transform(
                images[i, channel].numpy(),
                inverse,
                offset,
                order=1,
                mode="grid-constant",
                cval=fill,
            )
            np.testing.assert_allclose(found[i, channel], expected, atol=1e-9)


def test_affine_turns_counter_clockwise_moves_and_magnifies_as_its_numbers_say():
    image = torch.zeros(1, 1, 21, 21, dtype=torch.float64)
    image[0, 0, 10, 18] = 1  # to the right of the centre

    def brightest(augment, *numbers):
        found = augment.apply(image, torch.tensor([numbers], dtype=torch.float64))
        return divmod(int(found.argmax()), 21)

    assert brightest(affine(0, 90, (1, 1)), 0.5, 0.5, 1.0, 0.5) == (2, 10)  # now above it
    assert brightest(affine(2, 0, (1, 1)), 1.0, 0.0, 0.5, 0.5) == (12, 16)
    assert brightest(affine(0, 0, (0.5, 0.5)), 0.5, 0.5, 0.5, 0.5) == (10, 14)


def reference_box(generator, high, wide, scale, ratio):
    """torchvision's RandomResizedCrop.get_params, from its documentation, one image at a time."""
    for _ in range(10):
        area = high * wide * generator.uniform(*scale)
        shape = math.exp(generator.uniform(math.log(ratio[0]), math.log(ratio[1])))
        width, height = round(math.sqrt(area * shape)), round(math.sqrt(area / shape))
        if 0 < width <= wide and 0 < height <= high:
            top = generator.integers(0, high - height + 1)
            return top, generator.integers(0, wide - width + 1), height, width
    width, height = wide, high
    if wide / high < ratio[0]:
        height = round(wide / ratio[0])
    elif wide / high > ratio[1]:
        width = round(high * ratio[1])
    return (high - height) // 2, (wide - width) // 2, height, width


@pytest.mark.parametrize(
    ("high", "wide", "scale"), [(32, 32, (0.08, 1.0)), (40, 20, (0.7, 1.0)), (12, 60, (0.5, 1.0))]
)
def test_crop_boxes_are_distributed_as_those_drawn_one_by_one(high, wide, scale):
    ratio, count = (3 / 4, 4 / 3), 4000
    rng = np.random.default_rng(1)
    expected = np.array([reference_box(rng, high, wide, scale, ratio) for _ in range(count)])
    numbers = torch.rand(count, 22, generator=torch.Generator().manual_seed(2))
    found = torch.stack(crop_boxes(numbers, high, wide, scale, ratio), 1).numpy()
    top, left, height, width = found.T
    assert (top >= 0).all() and (left >= 0).all()
    assert (top + height <= high).all() and (left + width <= wide).all()
    for measure in (
        lambda box: box[:, 2] * box[:, 3],
        lambda box: box[:, 3] / box[:, 2],
        lambda box: box[:, 0],
        lambda box: box[:, 1] + box[:, 3] / 2,
    ):
        assert stats.ks_2samp(measure(found), measure(expected)).pvalue > 1e-3
    fallback = reference_box(rng, high, wide, (30, 40), ratio)
    none = crop_boxes(numbers[:3], high, wide, (30.0, 40.0), ratio)  # ten tries, all too large
    np.testing.assert_array_equal(np.stack(none, 1), [fallback] * 3)


@pytest.mark.parametrize("size", [None, (7, 9), (20, 31)])
def test_resized_crops_against_cutting_and_resizing_image_by_image(size):
    augment = resized_crop(size=size)
    numbers = drawn(augment)
    found = augment.apply(IMAGES, numbers)
    boxes = torch.stack(crop_boxes(numbers, 12, 10, (0.08, 1.0), (3 / 4, 4 / 3)), 1).tolist()
    for image, other, (top, left, height, width) in zip(IMAGES, found, boxes, strict=True):
        cut = image[None, :, top : top + height, left : left + width]
        expected = torch.nn.functional.interpolate(cut, size or (12, 10), mode="bilinear")
        np.testing.assert_allclose(other, expected[0], atol=1e-5)


def test_colour_jitter_against_its_definition_image_by_image():
    raw = RNG.random((8, 3, 6, 5))
    mean, deviation = (np.array(v)[:, None, None] for v in (MEAN, DEVIATION))
    augment = colour_jitter(0.4, 0.3, 0.8, MEAN, DEVIATION)
    numbers = drawn(augment, 8)
    found = augment.apply(torch.from_numpy((raw - mean) / deviation), numbers)
    for i in range(8):
        factors = 1 + (2 * numbers[i].double().numpy() - 1) * [0.4, 0.3, 0.8]
        x = np.clip(factors[0] * raw[i], 0, 1)
        grey = np.tensordot([0.299, 0.587, 0.114], x, 1)
        x = np.clip(factors[1] * x + (1 - factors[1]) * grey.mean(), 0, 1)
        grey = np.tensordot([0.299, 0.587, 0.114], x, 1)
        x = np.clip(factors[2] * x + (1 - factors[2]) * grey, 0, 1)
        np.testing.assert_allclose(found[i].numpy() * deviation + mean, x, atol=1e-6)


def test_composition_applies_its_parts_in_order_with_their_own_numbers():
    parts = crop(3, FILL), flip(), colour_jitter()
    both = compose(*parts)
    numbers = drawn(both)
    expected = IMAGES
    for part, some in zip(parts, torch.split(numbers, [2, 1, 3], dim=1), strict=True):
        expected = part.apply(expected, some)
    assert both.numbers == 6 and torch.equal(both.apply(IMAGES, numbers), expected)


def test_black_is_what_a_pixel_of_zero_becomes():
    assert black((0.1307,), (0.3081,)) == (-0.1307 / 0.3081,)


@pytest.mark.parametrize(
    "device",
    [
        "cpu",
        pytest.param(
            "cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
        ),
    ],
)
@pytest.mark.parametrize("name", EVERY)
def test_nothing_is_used_that_deterministic_mode_forbids(name, device):
    mode, filled = (
        torch.get_deterministic_debug_mode(),
        torch.utils.deterministic.fill_uninitialized_memory,
    )
    images, numbers = IMAGES.float(), drawn(EVERY[name])
    expected = EVERY[name].apply(images, numbers)
    try:
        torch.set_deterministic_debug_mode("error")
        torch.utils.deterministic.fill_uninitialized_memory = True  # anything unwritten is NaN
        given = images.to(device), numbers.to(device)
        found = EVERY[name].apply(*given)
        assert torch.equal(found, EVERY[name].apply(*given))
    finally:
        torch.set_deterministic_debug_mode(mode)
        torch.utils.deterministic.fill_uninitialized_memory = filled
    np.testing.assert_allclose(found.cpu(), expected, atol=1e-4)


@pytest.mark.parametrize("name", EVERY)
def test_constants_are_made_once_for_each_device_and_precision(name, monkeypatch):
    augment, numbers = EVERY[name], drawn(EVERY[name])
    expected = {dtype: augment.apply(IMAGES.to(dtype), numbers) for dtype in FLOATS}

    def copied(*_, **__):
        raise AssertionError("a copy to the device in every step")

    for maker in ("tensor", "as_tensor"):
        monkeypatch.setattr(torch, maker, copied)
    for dtype, wanted in expected.items():
        again = augment.apply(IMAGES.to(dtype), numbers)
        assert again.dtype == dtype and torch.equal(again, wanted)


def test_integers_below_a_count_never_reach_it():
    numbers = torch.tensor([0.0, 0.5, 1 - 2**-24])
    assert augmentation._below(numbers, 7).tolist() == [0, 3, 6]
    assert augmentation._below(numbers, torch.tensor([1, 2, 2**24 + 1])).tolist()[:2] == [0, 1]
