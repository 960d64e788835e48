"""Small image data sets in the documented layout of files, and a catalog that expects them."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from PIL import Image

from regimes.data.catalog import CATALOG, PARTS, Source

SAMPLES = (60, 20)
# Of a set of which only shapes and counts are known.
UNKNOWN = {
    "digests": (None, None),
    "label_digests": (None, None),
    "balanced": False,
    "moments": None,
}


def made_pixels(source: Source, count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Random images (count, C, H, W) and labels that include the first and last class."""
    rng = np.random.default_rng([seed, count])
    pixels = rng.integers(256, size=(count, *source.shape), dtype=np.uint8)
    label = rng.integers(source.classes, size=count)
    label[:2] = 0, source.classes - 1
    if source.kind == "float16":
        pixels = (pixels / 200 - 0.1).astype(np.float16)  # not clipped
    return pixels, label


def encoded(image: np.ndarray, kind: str = "PNG") -> bytes:
    """Bytes of an image (C, H, W)."""
    stream = io.BytesIO()
    Image.fromarray(image[0] if len(image) == 1 else image.transpose(1, 2, 0)).save(stream, kind)
    return stream.getvalue()


def write_parquet(path: Path, images: Sequence[bytes | None], columns: Mapping[str, list]) -> None:
    """Write a file as the hub has it: the first of the columns' names is that of the images."""
    path.parent.mkdir(parents=True, exist_ok=True)
    name, *others = columns
    rows = [image and {"bytes": image, "path": None} for image in images]
    kind = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])
    table = {name: pyarrow.array(rows, kind)} | {other: columns[other] for other in others}
    pyarrow.parquet.write_table(pyarrow.table(table), path)


def make(
    folder: Path,
    name: str,
    samples: tuple[int, int] = SAMPLES,
    *,
    files: int = 1,
    seed: int = 0,
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Write a made-up data set of the shape and classes of the one of this name.

    Returns
    -------
    dict
        Part -> its pixels and labels.
    """
    source, made = CATALOG[name], {}
    for part, split, count in zip(PARTS, source.splits, samples, strict=True):
        pixels, label = made[part] = made_pixels(source, count, seed)
        if source.arrays is not None:
            if part == "train":
                _write_arrays(folder / name, source, pixels, label)
            continue
        for number, rows in enumerate(np.array_split(np.arange(count), files)):
            write_parquet(
                folder / name / f"{split}-{number:05d}-of-{files:05d}.parquet",
                [encoded(image) for image in pixels[rows]],
                {source.image: [], source.label: label[rows].tolist()},
            )
    return made


def _write_arrays(home: Path, source: Source, pixels: np.ndarray, label: np.ndarray) -> None:
    pattern, images, labels, last = source.arrays
    home.mkdir(parents=True, exist_ok=True)
    rows = np.array_split(np.arange(len(pixels)), source.archives or 2)
    for number, some in enumerate(rows):
        arranged = pixels[some].transpose(0, 2, 3, 1) if last else pixels[some]
        arrays = {images: np.ascontiguousarray(arranged), labels: label[some]}
        np.savez(home / pattern.replace("*", str(number)), **arrays)


def expect(
    patch: pytest.MonkeyPatch, name: str, samples: tuple[int, int] = SAMPLES, **changed
) -> Source:
    """Let the catalog expect a made-up set: its counts, and nothing known of its content."""
    known = CATALOG[name]
    counts = known.samples if known.arrays is not None else samples
    source = known._replace(**({"samples": counts} | UNKNOWN | changed))
    patch.setitem(CATALOG, name, source)
    return source


def use(patch: pytest.MonkeyPatch, folder: Path) -> Path:
    """Use a folder for data sets and decoded images, and forbid downloads."""
    patch.setenv("REGIMES_DATA", str(folder / "data"))
    patch.setenv("REGIMES_CACHE", str(folder / "decoded"))
    patch.setenv("REGIMES_OFFLINE", "1")
    patch.setattr(os, "fsync", lambda handle: None)  # which takes most of the time of a test
    return folder / "data"
