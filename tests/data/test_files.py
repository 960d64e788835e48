"""Image files: found, checked, decoded once, kept only if they are what the catalog says."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import io
import json
import multiprocessing
import os
import subprocess
import sys
import time
import types
import warnings
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from PIL import Image

from regimes import store
from regimes.config import ConfigError
from regimes.data import files, images
from regimes.data.catalog import CATALOG, PARTS, Moments
from tests.data import made_images
from tests.data.made_images import encoded, expect, made_pixels, make, use, write_parquet


@pytest.fixture
def folder(tmp_path, monkeypatch):
    return use(monkeypatch, tmp_path)


def kept(folder):
    """Files in the cache other than locks."""
    return sorted(p.name for p in (folder.parent / "decoded").glob("*") if p.suffix != ".lock")


@pytest.mark.parametrize("name", list(CATALOG))
def test_catalog_is_consistent(name):
    source = CATALOG[name]
    assert source.name == name
    assert len(source.mean) == len(source.deviation) == source.shape[0] in files.MODES
    assert all(0 < m < 1 for m in source.mean) and all(0 < d < 1 for d in source.deviation)
    assert (source.hub is None) == bool(source.origin)
    if source.hub is not None:
        assert len(source.hub.revision) == 40 and source.hub.repository.count("/") == 1
    assert source.test_of is None or CATALOG[source.test_of].shape == source.shape
    known = [*source.digests, *source.label_digests]
    assert all(digest is None or len(bytes.fromhex(digest)) == 32 for digest in known)
    if source.balanced:
        assert not any(count % source.classes for count in source.samples)
    if source.moments is not None and source.moments.part == "train":
        unit = 1 if source.kind == "float16" else 255
        given = np.array(source.moments[1:3]) / unit
        # CIFAR-100 is standardized with rounded numbers.
        np.testing.assert_allclose(given, [source.mean, source.deviation], atol=4e-3)


@pytest.mark.parametrize("name", ["mnist", "cifar100", "tinyimagenet", "cifar10_jpeg"])
def test_parquet_files_are_decoded_and_the_next_job_reads_the_arrays(name, folder, monkeypatch):
    monkeypatch.setattr(files, "ROWS", 7)  # several batches, the last one not full
    source = expect(monkeypatch, name)
    made = make(folder, name, files=3)
    for part in PARTS:
        first = files.decoded(source, part)
        np.testing.assert_array_equal(first.pixels, made[part][0])
        np.testing.assert_array_equal(first.label, made[part][1])
        assert first.label.dtype == np.int64
        assert isinstance(first.pixels, np.memmap) and not first.pixels.flags.writeable
        assert first.digest == hashlib.sha256(made[part][0].tobytes()).hexdigest()
        assert files.used()[f"{name}/{part}"] == first.digest
    before = kept(folder)
    assert len(before) == 6
    monkeypatch.setattr(files, "_decode", None)  # must not be called again
    np.testing.assert_array_equal(files.decoded(source, "train").pixels, made["train"][0])
    assert kept(folder) == before
    about = json.loads(next((folder.parent / "decoded").glob("*-train-*.json")).read_text())
    assert about["label_counts"] == np.bincount(made["train"][1], minlength=source.classes).tolist()


def test_a_plain_download_of_a_repository_is_found(folder, monkeypatch):
    source = expect(monkeypatch, "mnist")
    made = make(folder, "mnist")
    os.rename(folder / "mnist", folder / "inner")
    (folder / "mnist").mkdir()
    os.rename(folder / "inner", folder / "mnist" / "mnist")
    np.testing.assert_array_equal(files.decoded(source, "test").pixels, made["test"][0])


@pytest.mark.parametrize("name", ["mnist1m", "cifar5m"])
def test_archives_are_joined_in_order_and_the_test_part_is_that_of_another_set(
    name, folder, monkeypatch
):
    monkeypatch.setattr(files, "ROWS", 4)
    source = expect(monkeypatch, name)
    tested = expect(monkeypatch, source.test_of)
    made, other = make(folder, name), make(folder, tested.name, seed=1)
    found = images.load(name)
    np.testing.assert_array_equal(found.train.pixels, made["train"][0])
    np.testing.assert_array_equal(found.train.label, made["train"][1])
    np.testing.assert_array_equal(found.test.pixels, other["test"][0])
    assert found.mean == source.mean and {f"{name}/train", f"{tested.name}/test"} <= set(
        files.used()
    )


def test_images_of_any_size_and_colour_mode_become_squares(folder, monkeypatch):
    source = expect(monkeypatch, "imagenet", (4, 4))
    ramp = np.broadcast_to(np.arange(0, 250, 0.5)[:, None], (500, 300)).astype(np.uint8)
    pictures = [
        Image.fromarray(ramp),  # grey, 300 wide and 500 high
        Image.fromarray(np.stack([ramp.T, 0 * ramp.T, 0 * ramp.T + 9], -1)),
        Image.fromarray(np.stack([ramp] * 3 + [0 * ramp + 255], -1)),  # with a fourth channel
        Image.fromarray(np.full((256, 256, 3), 7, np.uint8)),
    ]
    content = []
    for picture in pictures:
        stream = io.BytesIO()
        picture.save(stream, "PNG")
        content.append(stream.getvalue())
    for split in source.splits:
        path = folder / "imagenet" / f"{split}-0.parquet"
        write_parquet(path, content, {"image": [], "label": [0, 1, 998, 999]})
    pixels = files.decoded(source, "test").pixels
    assert pixels.shape == (4, 3, 256, 256)
    # 256 of the 426 rows that a height of 500 has become: a ramp of 250 (y + 85.5) / 426.
    expected = 250 * (np.arange(256) + 85.5) / 426.6
    np.testing.assert_allclose(pixels[0, 0, :, 100], expected, atol=1.5)
    np.testing.assert_array_equal(pixels[0], pixels[2])
    np.testing.assert_allclose(pixels[1, 0, 100], expected, atol=1.5)
    assert (pixels[1, 1] == 0).all() and (pixels[1, 2] == 9).all() and (pixels[3] == 7).all()


# ---------------------------------------------------------------- what is refused


def damaged(folder, name="cifar10"):
    return next((folder / name).glob("train-*.parquet"))


def truncate(path, source):
    path.write_bytes(path.read_bytes()[:-1000])


def garble(path, source):
    content = bytearray(path.read_bytes())
    content[len(content) // 3 : len(content) // 3 + 2000] = bytes(2000)
    path.write_bytes(bytes(content))


def rewrite(path, source, change_images=None, change_label=None, names=None):
    pixels, label = made_pixels(source, made_images.SAMPLES[0])
    content, label = [encoded(image) for image in pixels], label.tolist()
    if change_images:
        change_images(content, pixels)
    if change_label:
        change_label(label)
    columns = dict(zip(names or (source.image, source.label), ([], label), strict=True))
    write_parquet(path, content[: len(label)], columns)


def with_text(path, source):
    kind = pyarrow.struct([("bytes", pyarrow.string()), ("path", pyarrow.string())])
    rows = pyarrow.array([{"bytes": "iVBORw0", "path": None}] * 60, kind)
    table = pyarrow.table({source.image: rows, source.label: [0] * 60})
    pyarrow.parquet.write_table(table, path)


def link_to_nothing(path, source):
    path.unlink()
    path.symlink_to(path.parent / "not there")


def set_at(row, value):
    return lambda rows, *_: rows.__setitem__(row, value)


BAD = {
    "truncated": (truncate, "cannot be read .*damaged or incomplete"),
    "no parquet": (lambda p, s: p.write_bytes(b"<html>"), "cannot be read .*damaged"),
    "no image column": (
        lambda p, s: rewrite(p, s, names=("picture", "label")),
        "no column 'img', found picture, label",
    ),
    "no label column": (
        lambda p, s: rewrite(p, s, names=("img", "klass")),
        "no column 'label', found img, klass",
    ),
    "labels that are text": (
        lambda p, s: rewrite(p, s, change_label=lambda y: y.__setitem__(slice(None), ["a"] * 60)),
        "column 'label' is .*string, expected integers",
    ),
    "a label too large": (
        lambda p, s: rewrite(p, s, change_label=set_at(33, 10)),
        "row 33 has label 10, expected 0 to 9",
    ),
    "a negative label": (
        lambda p, s: rewrite(p, s, change_label=set_at(5, -1)),
        "row 5 has label -1",
    ),
    "no label": (lambda p, s: rewrite(p, s, change_label=set_at(5, None)), "row 5 has no label"),
    "not an image": (
        lambda p, s: rewrite(p, s, set_at(17, b"not an image")),
        r"row 17: is not an image that can be decoded \(no known image format\)$",
    ),
    "images as text": (with_text, "field 'bytes' of column 'img' is string, expected binary"),
    "a dangling link": (link_to_nothing, r"parquet: is a link to a file that is not there; mend"),
    "an image cut short": (
        lambda p, s: rewrite(p, s, lambda c, x: c.__setitem__(3, c[3][:-300])),
        "row 3: is not an image that can be decoded",
    ),
    "no bytes": (lambda p, s: rewrite(p, s, set_at(17, None)), "row 17: holds no bytes"),
    "another size": (
        lambda p, s: rewrite(p, s, lambda c, x: c.__setitem__(8, encoded(x[8, :, :30]))),
        "row 8: image of 32 x 30 pixels in mode RGB, expected 32 x 32 in mode RGB",
    ),
    "a grey image": (
        lambda p, s: rewrite(p, s, lambda c, x: c.__setitem__(8, encoded(x[8, :1]))),
        "row 8: image of 32 x 32 pixels in mode L, expected 32 x 32 in mode RGB",
    ),
    "too few rows": (
        lambda p, s: rewrite(p, s, change_label=lambda y: y.__delitem__(slice(50, None))),
        "train, has 50 images .*where 60 are expected",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_parquet_files_are_named_and_nothing_of_them_is_kept(case, folder, monkeypatch):
    source = expect(monkeypatch, "cifar10")
    make(folder, "cifar10")
    spoil, message = BAD[case]
    spoil(damaged(folder), source)
    with pytest.raises(ConfigError, match=message) as caught:
        files.decoded(source, "train")
    assert str(folder / "cifar10") in str(caught.value)
    assert kept(folder) == [] and "\n" not in str(caught.value)


def test_damage_inside_a_file_never_passes_where_the_digest_is_known(folder, monkeypatch):
    made = make(folder, "mnist")
    digests = tuple(hashlib.sha256(made[part][0].tobytes()).hexdigest() for part in PARTS)
    source = expect(monkeypatch, "mnist", digests=digests)
    assert files.decoded(source, "train").digest == digests[0]
    before = kept(folder)
    garble(damaged(folder, "mnist"), source)
    with pytest.raises(ConfigError, match=r"damaged or incomplete|not an image|SHA-256"):
        files.decoded(source, "train")
    make(folder, "mnist", seed=1)
    with pytest.raises(ConfigError, match="not those of MNIST: SHA-256 of the pixels"):
        files.decoded(source, "train")
    assert kept(folder) == before


@pytest.mark.parametrize(
    ("change", "message"),
    [((0.0, 0.0), None), ((0.1, 0.0), "channel means are"), ((0.0, 0.1), "standard deviations")],
)
def test_channel_statistics_tell_a_set_from_its_look_alikes(change, message, folder, monkeypatch):
    made = make(folder, "cifar10")["train"][0].astype(float)
    axes = (0, 2, 3)
    mean, deviation = made.mean(axes) + change[0], made.std(axes) + change[1]
    source = expect(
        monkeypatch, "cifar10", moments=Moments("train", tuple(mean), tuple(deviation), 0.05)
    )
    files.decoded(source, "test")  # of which nothing is known
    if message is None:
        assert files.decoded(source, "train").pixels.shape == (60, 3, 32, 32)
    else:
        with pytest.raises(ConfigError, match=f"{message}.*prepared differently.*fetch the files"):
            files.decoded(source, "train")


@pytest.mark.parametrize("name", ["cifar5m", "tinyimagenet"])
def test_sets_without_digest_are_told_from_noise(name, folder, monkeypatch):
    source = expect(monkeypatch, name, moments=CATALOG[name].moments)
    make(folder, name)
    with pytest.raises(ConfigError, match="channel means are 12.*prepared differently"):
        files.decoded(source, "train")
    assert kept(folder) == []


def rewrite_digits(home, change):
    path = home / "part-3.npz"
    with np.load(path) as archive:
        pixels, label = archive["images"], archive["label"]
    np.savez(path, images=change(pixels), label=label)


def replaced(place, value):
    def change(pixels):
        pixels[place] = value
        return pixels

    return change


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_generated_images_that_are_not_finite_are_refused_by_row(value, folder, monkeypatch):
    monkeypatch.setattr(files, "ROWS", 2)
    source = expect(monkeypatch, "mnist1m")
    make(folder, "mnist1m")
    rewrite_digits(folder / "mnist1m", replaced((5, 0, 27, 3), value))
    message = r"part-3.npz: row 5 has pixels that are not finite.*training of the generator failed"
    with pytest.raises(ConfigError, match=message):
        files.decoded(source, "train")
    assert kept(folder) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: x, None),
        (
            lambda x: x + 0.1,
            r"channel means are 0\.2.*training of their generator failed, or .*other",
        ),
        (lambda x: x * 1.2 - 0.026, "standard deviations are 0.37.*training of their generator"),
    ],
)
def test_statistics_of_generated_digits_are_loosely_those_of_mnist(
    change, message, folder, monkeypatch
):
    source = expect(monkeypatch, "mnist1m", moments=CATALOG["mnist1m"].moments)
    made = make(folder, "mnist1m")["train"][0]
    for path in (folder / "mnist1m").iterdir():
        with np.load(path) as archive:
            pixels, label = archive["images"].astype(float), archive["label"]
        pixels = (pixels - made.mean(dtype=float)) / made.std(dtype=float) * 0.31 + 0.13
        np.savez(path, images=change(pixels).astype(np.float16), label=label)
    if message is None:
        found = files._moments(files.decoded(source, "train").pixels)
        np.testing.assert_allclose(found, [[0.13], [0.31]], atol=1e-3)
    else:
        with pytest.raises(ConfigError, match=message):
            files.decoded(source, "train")


@pytest.mark.parametrize("part", PARTS)
def test_labels_are_compared_with_their_digest(part, folder, monkeypatch):
    label = make(folder, "mnist")[part][1]
    digest = hashlib.sha256(label.astype("<i8").tobytes()).hexdigest()
    known = [digest if each == part else None for each in PARTS]
    source = expect(monkeypatch, "mnist", label_digests=tuple(known))
    np.testing.assert_array_equal(files.decoded(source, part).label, label)
    before, path = kept(folder), next((folder / "mnist").glob(f"{part}-*.parquet"))
    pixels, _ = made_pixels(source, len(label))
    swapped = {"image": [], "label": [label[1], label[0], *label[2:]]}
    write_parquet(path, [encoded(image) for image in pixels], swapped)
    with pytest.raises(ConfigError, match=f"the {part} labels are not those of MNIST.*{digest}"):
        files.decoded(source, part)
    assert kept(folder) == before


def test_classes_of_a_balanced_set_have_equally_many_images(folder, monkeypatch):
    source = expect(monkeypatch, "cifar10", balanced=True)
    for part, split, count in zip(PARTS, source.splits, made_images.SAMPLES, strict=True):
        content = [encoded(image) for image in made_pixels(source, count)[0]]
        label = (np.arange(count) % 10).tolist()
        if part == "test":
            label[13] = 4
        write_parquet(
            folder / "cifar10" / f"{split}-0.parquet", content, {"img": [], "label": label}
        )
    assert len(files.decoded(source, "train").label) == 60
    with pytest.raises(ConfigError, match="test labels are not.*class 3 has 1 images where 2 are"):
        files.decoded(source, "test")


ARRAYS = {
    "not all archives": (lambda home: (home / "cifar5m_part3.npz").unlink(), "found 5 files"),
    "truncated": (
        lambda home: os.truncate(home / "cifar5m_part3.npz", 5000),
        "part3.npz: cannot be read",
    ),
    "another array": (
        lambda home: np.savez(home / "cifar5m_part3.npz", Z=np.zeros(3)),
        "no array 'X', found Z",
    ),
    "another type": (
        lambda home: np.savez(
            home / "cifar5m_part3.npz", X=np.zeros((10, 32, 32, 3)), Y=np.zeros(10, int)
        ),
        "array 'X' has type float64",
    ),
    "labels for others": (
        lambda home: np.savez(
            home / "cifar5m_part3.npz", X=np.zeros((10, 32, 32, 3), np.uint8), Y=np.zeros(9, int)
        ),
        r"shape \(10, 32, 32, 3\) beside 9 labels",
    ),
    "a label too large": (
        lambda home: np.savez(
            home / "cifar5m_part3.npz", X=np.zeros((10, 32, 32, 3), np.uint8), Y=np.arange(10) + 1
        ),
        "row 9 has label 10",
    ),
    "a single number": (
        lambda home: np.savez(home / "cifar5m_part3.npz", X=np.uint8(3), Y=np.arange(1)),
        "part3.npz: array 'X' is a single number, expected many images",
    ),
    "objects": (
        lambda home: np.savez(
            home / "cifar5m_part3.npz", X=np.array([{}], dtype=object), Y=np.arange(1)
        ),
        "not a plain array",
    ),
}


@pytest.mark.parametrize("case", ARRAYS)
def test_bad_archives_are_named_and_nothing_of_them_is_kept(case, folder, monkeypatch):
    source = expect(monkeypatch, "cifar5m")
    make(folder, "cifar5m")
    spoil, message = ARRAYS[case]
    spoil(folder / "cifar5m")
    with pytest.raises(ConfigError, match=message):
        files.decoded(source, "train")
    assert kept(folder) == []


@pytest.mark.parametrize("name", list(CATALOG))
def test_missing_files_give_one_message_that_says_what_to_do(name, folder):
    with pytest.raises(ConfigError) as caught:
        images.load(name)
    message = str(caught.value)
    assert f"('{name}') in {folder / name}" in message and "\n" not in message
    assert "REGIMES_DATA" in message and "smoke or laptop" in message
    source = CATALOG[name]
    if source.hub is None:
        assert source.origin in message
    else:
        assert "forbids downloads" in message and source.hub.repository in message
        assert " MB" in message or " GB" in message
        assert ("login" in message) == source.hub.gated


def test_an_unknown_data_set_is_refused_with_the_nearest_name():
    with pytest.raises(ConfigError, match="no image data set 'cifar_10'; did you mean 'cifar10'"):
        images.load("cifar_10")


def test_a_full_disk_is_reported_before_anything_is_written(folder, monkeypatch):
    source = expect(monkeypatch, "mnist")
    make(folder, "mnist")
    free = types.SimpleNamespace(free=1000)
    monkeypatch.setattr(files.shutil, "disk_usage", lambda path: free)
    with pytest.raises(ConfigError, match="47 kB are needed and 1 kB are free.*REGIMES_CACHE"):
        files.decoded(source, "train")
    assert kept(folder) == []


@pytest.mark.parametrize("given", [None, "", "elsewhere"])
def test_the_configured_folder_is_used_unless_the_environment_names_one(given, monkeypatch):
    monkeypatch.setenv("REGIMES_DATA", given or "")
    if given is None:
        monkeypatch.delenv("REGIMES_DATA")
    files.use_folder("configured")
    assert files.folder().name == (given or "configured")


# ---------------------------------------------------------------- the cache


def test_changed_sources_are_decoded_anew(folder, monkeypatch):
    source = expect(monkeypatch, "mnist")
    first = make(folder, "mnist")["train"][0]
    np.testing.assert_array_equal(files.decoded(source, "train").pixels, first)
    second = make(folder, "mnist", seed=1)["train"][0]
    np.testing.assert_array_equal(files.decoded(source, "train").pixels, second)


@pytest.mark.parametrize("spoil", ["pixels", "labels", "description", "size"])
def test_a_damaged_cache_is_made_anew(spoil, folder, monkeypatch):
    source = expect(monkeypatch, "mnist")
    made = make(folder, "mnist")["train"]
    files.decoded(source, "train")
    home = folder.parent / "decoded"
    path = {
        "pixels": next(p for p in home.glob("*-train-*.npy") if "label" not in p.name),
        "labels": next(home.glob("*-label.npy")),
        "description": next(home.glob("*.json")),
    }.get(spoil, next(home.glob("*-train-????????????.npy")))
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content[:-50] if spoil == "size" else content))
    if spoil == "description":
        path.write_text("{")
    again = files.decoded(source, "train")
    np.testing.assert_array_equal(again.pixels, made[0])
    np.testing.assert_array_equal(again.label, made[1])


def _decode_slowly(counter, start):
    original = files._decode

    def counted(*arguments):
        with open(counter, "a") as handle:
            handle.write("x")
        time.sleep(0.2)
        original(*arguments)

    files._decode = counted
    start.wait(30)
    assert files.decoded(CATALOG["mnist"], "train").pixels.shape == (60, 1, 28, 28)


def test_of_jobs_that_need_the_same_set_one_decodes_and_the_others_wait(
    folder, tmp_path, monkeypatch
):
    expect(monkeypatch, "mnist")
    make(folder, "mnist")
    context = multiprocessing.get_context("fork")  # which inherits the patched catalog
    start = context.Barrier(3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forks beside threads
        jobs = [
            context.Process(target=_decode_slowly, args=(tmp_path / "count", start))
            for _ in range(3)
        ]
        for job in jobs:
            job.start()
    for job in jobs:
        job.join(60)
    assert [job.exitcode for job in jobs] == [0, 0, 0]
    assert (tmp_path / "count").read_text() == "x"


# ---------------------------------------------------------------- fetching


@pytest.fixture
def hub(folder, monkeypatch):
    """A hub that hands out made-up MNIST; returns the list of what was asked for."""
    import datasets
    import huggingface_hub

    monkeypatch.delenv("REGIMES_OFFLINE")
    source, asked = CATALOG["mnist"], []

    def load_dataset(repository, *, revision, split, cache_dir):
        asked.append((repository, revision, split))
        pixels, label = made_pixels(source, made_images.SAMPLES[PARTS.index(split)])
        rows = [{"image": Image.fromarray(x[0]), "label": y} for x, y in zip(pixels, label)]  # noqa: B905
        kinds = datasets.Features(
            image=datasets.Image(), label=datasets.ClassLabel(names=list("0123456789"))
        )
        return datasets.Dataset.from_list(rows, features=kinds)

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", lambda *_, **__: None)
    return asked


def test_missing_files_are_fetched_once_at_the_pinned_revision(hub, folder, monkeypatch):
    source = expect(monkeypatch, "mnist")
    for part, count in zip(PARTS, made_images.SAMPLES, strict=True):
        expected, label = made_pixels(source, count)
        found = files.decoded(source, part)
        np.testing.assert_array_equal(found.pixels, expected)
        np.testing.assert_array_equal(found.label, label)
    assert hub == [(source.hub.repository, source.hub.revision, split) for split in PARTS]
    names = sorted(path.name for path in folder.glob("*/*"))
    assert names == ["test-00000-of-00001.parquet", "train-00000-of-00001.parquet"]
    assert [path.name for path in folder.glob(".*")] == [".mnist.lock"]


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("inner", ["", "inner"])
def test_fetching_a_missing_part_leaves_the_other_as_it_is(part, inner, hub, folder, monkeypatch):
    source = expect(monkeypatch, "mnist")
    other = PARTS[1 - PARTS.index(part)]
    made = make(folder, "mnist", files=2, seed=1)
    for path in (folder / "mnist").glob(f"{part}-*"):
        path.unlink()
    home = folder / "mnist" / inner
    home.mkdir(exist_ok=True)
    for path in list((folder / "mnist").glob("*.parquet")):
        os.rename(path, home / path.name)
    own = {path: path.read_bytes() for path in home.glob("*.parquet")}
    left = folder / ".mnist.fetching" / "made" / f"{other}-00000-of-00002.parquet"
    store.write_text(left, "of a try that was killed")
    fetched = files.decoded(source, part)
    expected, _ = made_pixels(source, made_images.SAMPLES[PARTS.index(part)])
    np.testing.assert_array_equal(fetched.pixels, expected)
    np.testing.assert_array_equal(files.decoded(source, other).pixels, made[other][0])
    assert [split for *_, split in hub] == [part]
    there = set((folder / "mnist").rglob("*.parquet"))
    assert there - set(own) == {folder / "mnist" / f"{part}-00000-of-00001.parquet"}
    assert all(path.read_bytes() == content for path, content in own.items())


def test_a_disk_too_full_to_fetch_is_reported_before_anything_is_asked_for(
    hub, folder, monkeypatch
):
    source = expect(monkeypatch, "mnist")
    free = types.SimpleNamespace(free=50_000_000)
    monkeypatch.setattr(files.shutil, "disk_usage", lambda path: free)
    with pytest.raises(ConfigError, match="fetching takes about 55 MB there and 50 MB are free"):
        files.decoded(source, "train")
    assert hub == [] and not (folder / "mnist").exists()
    # What an interrupted try has left is not needed twice.
    cache = folder / ".mnist.fetching" / "cache"
    cache.mkdir(parents=True)
    (cache / "blob").write_bytes(b"")
    os.truncate(cache / "blob", 10_000_000)
    assert files.decoded(source, "train").pixels.shape == (60, 1, 28, 28)


def test_a_refused_revision_and_an_interrupted_download_leave_nothing(hub, folder, monkeypatch):
    import datasets
    import huggingface_hub

    source = expect(monkeypatch, "mnist")

    def refuse(*_, revision, **__):
        raise ValueError(f"404: no revision\n {revision}")

    with monkeypatch.context() as patch:
        patch.setattr(huggingface_hub.HfApi, "dataset_info", refuse)
        with pytest.raises(
            ConfigError, match=r"download failed \(ValueError: 404: no revision 77f"
        ):
            files.decoded(source, "train")
    given = datasets.load_dataset

    def interrupted(*arguments, split, **how):
        if split == "test":
            raise ConnectionError("lost")
        return given(*arguments, split=split, **how)

    with monkeypatch.context() as patch:
        patch.setattr(datasets, "load_dataset", interrupted)
        with pytest.raises(ConfigError, match="download failed.*lost.*Either put there"):
            files.decoded(source, "train")
    assert not (folder / "mnist").exists() and kept(folder) == []
    assert files.decoded(source, "train").pixels.shape == (60, 1, 28, 28)


def test_modules_for_decoding_are_imported_only_to_decode(folder, monkeypatch):
    """A job whose images are decoded already must not pay for them."""
    expect(monkeypatch, "mnist")
    make(folder, "mnist")
    files.decoded(CATALOG["mnist"], "train")
    text = f"""
import sys
from regimes.data import files
from regimes.data.catalog import CATALOG
source = CATALOG["mnist"]._replace(samples={made_images.SAMPLES}, **{made_images.UNKNOWN})
files.decoded(source, "train")
heavy = {{"datasets", "huggingface_hub", "pyarrow.parquet", "PIL", "filelock"}}
print(sorted(heavy & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_leftovers_of_a_killed_decoding_are_removed(folder, monkeypatch):
    source = expect(monkeypatch, "mnist")
    make(folder, "mnist")
    stem = files.decoded(source, "train").pixels.filename.removesuffix(".npy")
    path = Path(f"{stem}.npy")
    left = path.with_name(store.temporary_name(path, 999999999))
    store.write_text(left, "half")
    os.unlink(f"{stem}.json")
    files.decoded(source, "train")
    assert not os.path.exists(left)


@pytest.mark.parametrize("code", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_without_locks_images_are_decoded_nevertheless(code, folder, monkeypatch, capsys):
    """And no mere file stands in for a lock: it would outlive a killed job."""

    def refuse(*_):
        raise OSError(code, os.strerror(code))

    source = expect(monkeypatch, "mnist")
    make(folder, "mnist")
    monkeypatch.setattr(fcntl, "flock", refuse)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert files.decoded(source, "train").pixels.shape == (60, 1, 28, 28)
    said = [line for line in capsys.readouterr().out.splitlines() if "without a lock" in line]
    assert len(said) == 1 and "mnist-train.lock cannot be locked" in said[0]
