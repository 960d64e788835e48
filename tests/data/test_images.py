"""Pixels against direct computation, augmented batches, and online streams made of images."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.overrides import TorchFunctionMode

from regimes.config import ConfigError
from regimes.data import catalog, images
from regimes.data.augmentation import affine, black, crop_and_flip, resized_crop
from regimes.data.images import ImageSet, Part, Pixels
from regimes.data.samples import EPOCHS, WITH_REPLACEMENT, SampledStream
from regimes.data.streams import stream_seed
from regimes.data.tasks import Images, OnlineStream, held_out, image_task
from tests.data.made_images import expect, make, use

MEAN, DEVIATION = (0.49139968, 0.48215827, 0.44653124), (0.24703233, 0.24348505, 0.26158768)
RNG = np.random.default_rng(0)
RAW = RNG.integers(256, size=(23, 3, 10, 12), dtype=np.uint8)
RAW[0], RAW[1] = 0, 255


def direct(raw, kind):
    """What standardization means, image by image in NumPy."""
    mean, deviation = (np.array(v, kind)[:, None, None] for v in (MEAN, DEVIATION))
    return np.stack([(image.astype(kind) / kind(255) - mean) / deviation for image in raw])


def standardized(dtype=torch.float32, **how):
    return Pixels(RAW, MEAN, DEVIATION, dtype=dtype, **how)


@given(rows=st.lists(st.integers(0, 22), max_size=40), flat=st.booleans(), wide=st.booleans())
def test_taken_images_do_not_depend_on_what_is_taken_with_them(rows, flat, wide):
    kind, dtype = (np.float64, torch.float64) if wide else (np.float32, torch.float32)
    expected = direct(RAW, kind)
    if flat:
        expected = expected.reshape(23, -1)
    pixels = standardized(dtype, flat=flat)
    taken = pixels.index_select(0, torch.tensor(rows, dtype=torch.long))
    assert taken.dtype == dtype and taken.shape == (len(rows), *pixels.shape[1:])
    np.testing.assert_array_equal(taken.numpy(), expected[rows])
    np.testing.assert_array_equal(pixels[3:9].numpy(), expected[3:9])
    assert pixels.shape == expected.shape and len(pixels) == 23


def test_images_of_lower_precision_are_rounded_from_single_precision():
    rows = torch.arange(23)
    expected = torch.from_numpy(direct(RAW, np.float32)).to(torch.bfloat16)
    assert torch.equal(standardized(torch.bfloat16).index_select(0, rows), expected)


def test_parts_and_heads_share_their_memory_and_keep_their_values():
    pixels = standardized()
    head = pixels.head(5)
    assert len(head) == 5 and len(pixels) == 23 and head.shape == (5, 3, 10, 12)
    assert torch.equal(head[:], pixels[:5]) and torch.equal(
        pixels[:], torch.cat([*pixels.split(7)])
    )
    assert head._pixels.data_ptr() == pixels._pixels.data_ptr() == RAW.ctypes.data
    with pytest.raises(ValueError, match="dimension 0, not 1"):
        pixels.index_select(1, torch.arange(3))
    with pytest.raises(TypeError, match="slice"):
        pixels[3]


def test_the_centre_is_cut_from_images_larger_than_networks_see():
    pixels = standardized(size=(6, 6))
    assert pixels.shape == (23, 3, 6, 6)
    expected = direct(RAW, np.float32)[:, :, 2:8, 3:9]
    np.testing.assert_array_equal(pixels[:].numpy(), expected)
    np.testing.assert_array_equal(standardized(size=(6, 6), flat=True)[:4].numpy().ravel(),
                                  expected[:4].ravel())  # fmt: skip


def test_sets_too_large_for_the_device_stay_in_their_file(tmp_path, monkeypatch):
    np.save(tmp_path / "raw.npy", RAW)
    mapped = np.load(tmp_path / "raw.npy", mmap_mode="r")
    monkeypatch.setattr(images, "RESIDENT", RAW.nbytes - 1)
    rows = torch.tensor([5, 1, 5])
    # Nothing is ever stored on "meta": images that moved there could not be read back.
    pixels = Pixels(mapped, MEAN, DEVIATION, device="meta")
    assert pixels._pixels.device.type == "cpu" and pixels.index_select(0, rows).is_meta
    monkeypatch.setattr(images, "RESIDENT", RAW.nbytes)
    assert Pixels(mapped, MEAN, DEVIATION, device="meta")._pixels.is_meta
    taken = Pixels(mapped, MEAN, DEVIATION).index_select(0, rows)
    np.testing.assert_array_equal(taken.numpy(), direct(RAW, np.float32)[[5, 1, 5]])


class Divisors(TorchFunctionMode):
    """Lists what tensors are divided by."""

    def __init__(self):
        super().__init__()
        self.found = []

    def __torch_function__(self, function, types, arguments=(), options=None):
        if "div" in getattr(function, "__name__", ""):
            self.found.append(arguments[1])
        return function(*arguments, **(options or {}))


def test_pixels_are_divided_by_tensors_on_their_device():
    """A GPU multiplies by the reciprocal of a Python number or of a tensor on the CPU."""
    pixels = standardized(device="meta")
    with Divisors() as divisors:
        pixels[:5]
    assert len(divisors.found) == 2
    assert all(isinstance(each, torch.Tensor) and each.is_meta for each in divisors.found)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_gpu_standardizes_to_the_same_bits():
    assert torch.equal(standardized(device="cuda")[:].cpu(), standardized()[:])


def test_users_of_a_set_share_its_copy_on_a_device_and_the_last_one_frees_it():
    raw = RAW.copy()
    raw.flags.writeable = False
    first, second = (Pixels(raw, mean, DEVIATION, device="meta") for mean in (MEAN, DEVIATION))
    assert first._pixels is second._pixels
    assert Pixels(raw[:5], MEAN, DEVIATION, device="meta")._pixels is not first._pixels
    freed, head = weakref.ref(first._held), first.head(3)
    del first, second
    assert freed() is not None and len(head) == 3
    del head
    assert freed() is None
    # An array that may change is copied as it is now.
    changing = [Pixels(RAW, MEAN, DEVIATION, device="meta") for _ in range(2)]
    assert changing[0]._pixels is not changing[1]._pixels


# ---------------------------------------------------------------- batches of a finite set

TARGETS = torch.arange(23.0)[:, None]


@pytest.mark.parametrize("sampling", [EPOCHS, WITH_REPLACEMENT])
@pytest.mark.parametrize("flat", [True, False])
def test_batches_of_pixels_are_those_of_the_tensor_they_stand_for(sampling, flat):
    pixels = standardized(flat=flat)
    both = (SampledStream(x, TARGETS, (3, 4), 5, 6, sampling) for x in (pixels, pixels[:]))
    for (x, targets), (expected, labels) in zip(*both, strict=True):
        assert torch.equal(x, expected) and torch.equal(targets, labels)


AUGMENT = [affine(), crop_and_flip(2), resized_crop(size=(6, 6))]


@pytest.mark.parametrize("augment", AUGMENT, ids=["affine", "crop", "resized"])
@pytest.mark.parametrize("flat", [True, False])
def test_augmented_batches_of_a_run_do_not_depend_on_its_neighbours(augment, flat):
    def batches(seeds, steps=5, size=(6, 6)):
        pixels = standardized(flat=flat, size=size)
        options = {"keep_last": True, "augment": augment}
        return list(SampledStream(pixels, TARGETS, seeds, 5, steps, EPOCHS, **options))

    many, alone = batches((3, 4, 5, 3)), batches((4,), steps=3)
    for (x, targets), (expected, labels) in zip(many, alone, strict=False):
        assert torch.equal(x[1:2], expected) and torch.equal(targets[1:2], labels)
        assert torch.equal(x[0], x[3]) and not torch.equal(x[0], x[1])
    assert [x.shape[1] for x, _ in many] == [5, 5, 5, 5, 3]
    assert many[0][0].shape[2:] == ((108,) if flat else (3, 6, 6))
    # The same images in the same order as without augmentation, each changed by its own numbers.
    plain = SampledStream(TARGETS, TARGETS, (3, 4, 5, 3), 5, 5, EPOCHS, keep_last=True)
    assert all(torch.equal(a[1], b[1]) for a, b in zip(many, plain, strict=True))
    generator = torch.Generator().manual_seed(stream_seed(4, "augmentation") % 2**63)
    whole = standardized()
    rows = many[0][1][1, :, 0].long()
    expected = augment(whole.index_select(0, rows), generator)
    if expected.shape[2:] != (6, 6):
        expected = expected[:, :, 2:8, 3:9]
    assert torch.equal(many[0][0][1].view(5, 3, 6, 6), expected)


def test_tensors_of_images_are_augmented_too_and_other_inputs_refused():
    x = standardized()[:]
    tensor, pixels = (
        SampledStream(each, TARGETS, (3, 4), 5, 6, augment=crop_and_flip(2))
        for each in (x, standardized())
    )
    for (found, _), (expected, _) in zip(tensor, pixels, strict=True):
        assert torch.equal(found, expected)
    with pytest.raises(ValueError, match=r"augmented, not inputs \(23, 360\)"):
        SampledStream(x.flatten(1), TARGETS, (3,), 5, 6, augment=crop_and_flip(2))


# ---------------------------------------------------------------- online streams


def made_set(count=12, shape=(1, 8, 8), mean=(0.25,), deviation=(0.5,)):
    """Image i has value i + 1 in one 255th, label i % 3; test images are 100 brighter."""
    raw = np.broadcast_to(np.arange(1, count + 1, dtype=np.uint8)[:, None, None, None],
                          (count, *shape))  # fmt: skip
    label = np.arange(count) % 3
    test = Part(np.ascontiguousarray(raw + 100), label)
    return ImageSet("made", 3, shape, Part(np.ascontiguousarray(raw), label), test, mean, deviation)


def numbers(x):
    """Which training images these are."""
    return (x[..., 0, 4, 4].double() * 0.5 + 0.25).mul(255).round().long() - 1


def test_every_epoch_of_an_image_stream_is_a_fresh_order_of_its_seed():
    stream = OnlineStream(Images(made_set()), [5, 6], 4, 9)
    seen = torch.cat([numbers(x) for x, _ in stream], 1).view(2, 3, 12)
    assert (seen.sort(2).values == torch.arange(12)).all()
    assert len({tuple(epoch.tolist()) for epoch in seen.flatten(0, 1)}) == 6
    alone = torch.cat([numbers(x) for x, _ in OnlineStream(Images(made_set()), [6], 4, 5)], 1)
    assert torch.equal(alone[0], seen[1].flatten()[:20])
    for x, targets in stream:
        assert torch.equal(targets.argmax(2), numbers(x) % 3)


def test_a_task_that_nobody_uses_is_freed_at_once_with_its_pixels():
    found = made_set()
    found.train.pixels.flags.writeable = False
    gc.disable()  # which would free cycles, some time
    try:
        first, second = Images(found), Images(found, affine())
        for task in (first, second):
            task.draw(torch.Generator().manual_seed(3), 20)
        one, other = (task._pixels("train", torch.device("meta")) for task in (first, second))
        assert one._pixels is other._pixels
        copy, freed = weakref.ref(one._held), weakref.ref(first)
        del first, second, task, one, other
        assert freed() is None and copy() is None
    finally:
        gc.enable()


def test_images_can_be_drawn_from_any_place_over_the_ends_of_epochs():
    task, generator = Images(made_set()), torch.Generator().manual_seed(2**62 + 5)
    whole, labels = task.draw(generator, 60)
    for start, count in [(0, 5), (7, 1), (10, 4), (11, 30), (12, 12), (59, 1)]:
        x, label = task.draw(generator, count, start)
        assert torch.equal(x, whole[start : start + count])
        assert torch.equal(label, labels[start : start + count])


def test_every_image_of_a_stream_is_changed_by_its_own_numbers():
    raw = RNG.integers(256, size=(4, 1, 8, 8), dtype=np.uint8)
    found = made_set()._replace(train=Part(raw, np.arange(4) % 3))
    batches = [x[0] for x, _ in OnlineStream(Images(found, affine()), [5], 4, 50)]
    seen = torch.cat(batches).flatten(1)
    assert len(torch.unique(seen, dim=0)) == 200  # 50 epochs of 4 images
    plain = Images(found).draw(torch.Generator().manual_seed(5), 4)[0]
    assert not torch.equal(batches[0], plain)


def test_finite_image_streams_come_once_in_order_and_hold_out_their_test_part():
    task = Images(made_set(), endless=False)
    assert task.samples == 12
    batches = list(OnlineStream(task, [0, 1], 4, 3))
    assert torch.equal(
        torch.cat([numbers(x) for x, _ in batches], 1), torch.arange(12).expand(2, 12)
    )
    with pytest.raises(ConfigError, match="12 samples and the runs ask for 16"):
        OnlineStream(task, [0], 4, 4)
    where = {"dtype": torch.float64, "device": "cpu"}
    x, targets = held_out(task, "test", 12, **where)
    assert x.dtype == torch.float64
    assert torch.equal((numbers(x) - 100).sort().values, torch.arange(12))  # none twice
    assert torch.equal(targets.argmax(1), (numbers(x) - 100) % 3)
    assert not torch.equal(x, held_out(task, "points", 12, **where)[0])
    assert torch.equal(x[:5], held_out(Images(made_set(), affine()), "test", 5, **where)[0])
    with pytest.raises(ConfigError, match="13 held-out samples.*at most 12"):
        held_out(task, "test", 13, **where)


@pytest.mark.parametrize(
    ("name", "shape"),
    [("mnist", (1, 28, 28)), ("cifar10_jpeg", (3, 32, 32)), ("tinyimagenet", (3, 64, 64))],
)
def test_streams_by_name(name, shape, tmp_path, monkeypatch):
    source = expect(monkeypatch, name)
    made = make(use(monkeypatch, tmp_path), name)
    task = image_task(name)
    assert (task.shape, task.classes, task.samples) == (shape, source.classes, None)
    x, targets = next(iter(OnlineStream(task, [7], 6, 1)))
    assert x.shape == (1, 6, *shape) and torch.isfinite(x).all()
    least, most = (
        torch.tensor([(value - m) / d for m, d in zip(source.mean, source.deviation, strict=True)])
        for value in (0, 1)
    )
    spread = x[0].transpose(0, 1).flatten(1)
    assert (spread.amin(1) >= least - 1e-6).all() and (spread.amax(1) <= most + 1e-6).all()
    # Plain pixels: whole numbers of 255ths, the images of the file themselves.
    plain = image_task(name, augmented=False, normalized=False)
    x, label = plain.draw(torch.Generator().manual_seed(7), 60)
    found = sorted(image.tobytes() for image in (x * 255).round().byte().numpy())
    assert found == sorted(image.tobytes() for image in made["train"][0])
    assert torch.equal(label.sort().values, torch.from_numpy(np.sort(made["train"][1])))


def test_the_ground_of_digits_stays_black(tmp_path, monkeypatch):
    expect(monkeypatch, "mnist")
    make(use(monkeypatch, tmp_path), "mnist")
    task = image_task("mnist")
    dark = task.found._replace(train=Part(np.zeros_like(task.found.train.pixels),
                                          task.found.train.label))  # fmt: skip
    x, _ = Images(dark, task.augment).draw(torch.Generator().manual_seed(0), 60)
    assert torch.allclose(x, torch.tensor(black(dark.mean, dark.deviation)), atol=1e-6)


def test_generated_sets_are_finite_and_never_changed(tmp_path, monkeypatch):
    folder = use(monkeypatch, tmp_path)
    for name in ("mnist1m", "mnist"):
        expect(monkeypatch, name)
        made = make(folder, name)
    task = image_task("mnist1m", normalized=False)
    x, label = task.draw(torch.Generator(), 60)
    assert task.samples == 60 and task.augment is None
    train = images.load("mnist1m").train
    np.testing.assert_array_equal(x, train.pixels)  # of about 0 to 1 already, not clipped
    np.testing.assert_array_equal(label, train.label)
    test, _ = held_out(task, "test", 20, dtype=torch.float32, device="cpu")
    found = sorted(image.tobytes() for image in (test * 255).round().byte().numpy())
    assert found == sorted(image.tobytes() for image in made["test"][0])


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("mnist", "mnist"),
        ("mnist_pixels", "mnist"),
        ("mnist1d_embedded", None),
        ("cifar10_augmented_noisy", "cifar10"),
        ("cifar10_jpeg_regression", "cifar10_jpeg"),
        ("gmm30", None),
    ],
)
def test_names_of_what_is_made_of_a_data_set(name, expected):
    assert catalog.beginning(name) == expected
