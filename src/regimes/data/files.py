"""Image files: found in the data folder or fetched, checked, and decoded once into plain arrays.

A data set lies in ``<data folder>/<name>/`` as parquet files in the layout of the public hub (one
row per image: encoded bytes and an integer label) or as NumPy archives. Decoding takes from seconds
to hours, so its result is kept as ``.npy`` in a folder of its own, from where every job maps it
into memory. Nothing of a file that fails a check is kept.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import json
import math
import os
import shutil
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from regimes.config import ConfigError
from regimes.data.catalog import PARTS, Source
from regimes.store import atomic, file_digest, read_json, write_json

# Part of every cache key: raise it when decoding changes its result.
FORMAT = 1
# Images decoded at a time.
ROWS = 1024
# Bytes up to which an array in the cache is hashed each time it is opened (below a second).
HASHED = 2**30
# Seconds that the hub has for its first answer.
TIMEOUT = 15
# Disk that fetching takes, as a multiple of the download: what came, the hub client's table of it,
# and the parquet files that are made of the table.
FETCHING = 3
# Bytes of one parquet file that fetching writes, about.
SHARD = 500_000_000

MODES = {1: "L", 3: "RGB"}
# Of the data sets. Others have readers that start programs or unpack without bounds.
IMAGE_FORMATS = ("PNG", "JPEG")
LARGEST_IMAGE = 100_000_000  # pixels; a small file can stand for very many


class Decoded(NamedTuple):
    """One part of a data set.

    Attributes
    ----------
    pixels : ndarray (N, C, H, W)
        Of the type that the catalog names, uint8 but for generated images; mapped into memory,
        read-only.
    label : ndarray (N,)
        int64.
    digest : str
        SHA-256 of the pixels.
    """

    pixels: np.ndarray
    label: np.ndarray
    digest: str


_used: dict[str, str] = {}


def used() -> dict[str, str]:
    """Data that this process has opened: "name/part" -> SHA-256 of its pixels.

    Weights are named "torchvision/<network>", with the SHA-256 of their file.
    """
    return dict(sorted(_used.items()))


def use_folder(path: Path | str) -> None:
    """Let this process look for data sets in a folder, unless the environment names another."""
    if not os.environ.get("REGIMES_DATA"):  # empty counts as unset
        os.environ["REGIMES_DATA"] = str(path)


def folder() -> Path:
    """Folder of the data sets: environment REGIMES_DATA, else ``data``."""
    return Path(os.environ.get("REGIMES_DATA") or "data")


def cache() -> Path:
    """Folder of decoded images: environment REGIMES_CACHE, else ``data/decoded``."""
    return Path(os.environ.get("REGIMES_CACHE") or "data/decoded")


def present(source: Source, part: str) -> bool:
    """Whether files of a part are in the data folder."""
    return bool(_files(source, part))


def has_weights(name: str) -> bool:
    """Whether a file of a network's weights is in the data folder."""
    return any((folder() / "torchvision").glob(f"{name}-*.pth"))


def weights(name: str) -> Path:
    """File of a network's weights in ``<data folder>/torchvision``, checked and noted as used.

    Parameters
    ----------
    name
        Of torchvision's network. Its file ``<name>-<digits>.pth`` bears the first eight digits of
        the SHA-256 of its bytes.

    Raises
    ------
    regimes.config.ConfigError
        If there is no such file, there are several, or its bytes are others.
    """
    home = folder() / "torchvision"
    found = sorted(home.glob(f"{name}-*.pth"))
    download = f"download torchvision's weights {name} (IMAGENET1K_V1)"
    if len(found) != 1:
        raise ConfigError(
            f"{home.absolute()}: {len(found)} files {name}-*.pth where one is needed; {download} "
            "into this folder"
        )
    try:
        digest = file_digest(found[0])
    except OSError as error:
        raise ConfigError(f"{found[0]}: cannot be read ({error.strerror or error})") from None
    digits = found[0].stem.removeprefix(f"{name}-")
    if digest[:8] != digits:
        raise ConfigError(
            f"{found[0]}: its SHA-256 begins with {digest[:8]}, not with {digits} as its name "
            f"says; {download} anew, under the name that its link has"
        )
    _used[f"torchvision/{name}"] = digest
    return found[0]


def decoded(source: Source, part: str) -> Decoded:
    """One part of a data set, decoded by whichever job needs it first.

    Parameters
    ----------
    source
        Entry of `regimes.data.catalog.CATALOG`.
    part
        "train" or "test".

    Raises
    ------
    regimes.config.ConfigError
        If files are missing and cannot be fetched, or are not what the catalog says.
    """
    found = _files(source, part) or _fetched(source, part)
    stem = cache() / f"{source.name}-{part}-{_key(source, part, found)}"
    kept = _kept(stem)
    if kept is None:
        try:
            with _locked(stem.parent / f"{source.name}-{part}.lock"):
                kept = _kept(stem)  # another job may have decoded it while this one waited
                if kept is None:
                    _decode(source, part, found, stem)
                    kept = _kept(stem)
        except OSError as error:
            raise ConfigError(
                f"{stem}.npy: cannot be written ({error.strerror or error}); name another folder "
                "for decoded images in the environment variable REGIMES_CACHE"
            ) from None
    if kept is None:
        raise ConfigError(f"{stem}.npy: cannot be read back; is the disk failing?")
    _used[f"{source.name}/{part}"] = kept.digest
    return kept


# ---------------------------------------------------------------- finding and fetching


def _files(source: Source, part: str) -> list[Path]:
    """Files of a part in the data folder, sorted; none if there are none."""
    home = folder() / source.name
    if source.arrays is not None:
        found = sorted(home.glob(source.arrays[0])) if part == "train" else []
        if source.archives is not None and 0 < len(found) != source.archives:
            raise ConfigError(
                f"{home}: found {len(found)} files {source.arrays[0]} where {source.archives} are "
                f"expected; complete the download of {source.title}"
            )
        return found
    pattern = f"{source.splits[PARTS.index(part)]}-*.parquet"
    # A plain download of the repository has one folder more.
    return sorted(home.glob(pattern)) or sorted(home.glob(f"*/{pattern}"))


def _offline() -> bool:
    return any(
        os.environ.get(name, "").lower() not in ("", "0", "false", "no", "off")
        for name in ("REGIMES_OFFLINE", "HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE")
    )


def _fetched(source: Source, part: str) -> list[Path]:
    """Files of a part after fetching the data set into the data folder."""
    if source.hub is None:
        raise _missing(source, part)
    if _offline():
        raise _missing(source, part, "REGIMES_OFFLINE or HF_HUB_OFFLINE forbids downloads")
    try:
        with _locked(folder() / f".{source.name}.lock"):
            if not _files(source, part):  # another job may have fetched it while this one waited
                _fetch(source, part)
    except OSError as error:
        reason = f"{folder()} cannot be written to ({error.strerror or error})"
        raise _missing(source, part, reason) from None
    return _files(source, part)


def _fetch(source: Source, part: str) -> None:
    """Write the parquet files of the parts that are missing, all of them or none."""
    home, work = folder() / source.name, folder() / f".{source.name}.fetching"
    made = work / "made"
    # Files of the other part may be there, under any names: nothing is put beside them.
    splits = [
        split
        for split, each in zip(source.splits, PARTS, strict=True)
        if each == part or not _files(source, each)
    ]
    held = sum(path.stat().st_size for path in work.rglob("*") if path.is_file())
    size, free = FETCHING * source.download - held, shutil.disk_usage(folder()).free
    if size > free:
        reason = f"fetching takes about {_size(size)} there and {_size(free)} are free"
        raise _missing(source, part, reason)
    try:
        import datasets
        import huggingface_hub

        # Asked once before: with no network or a refused revision, the download itself would try
        # again and again for half a minute.
        huggingface_hub.HfApi().dataset_info(
            source.hub.repository, revision=source.hub.revision, timeout=TIMEOUT
        )
        shutil.rmtree(made, ignore_errors=True)  # of a try that was killed, perhaps of more parts
        made.mkdir(parents=True)
        for split in splits:
            rows = datasets.load_dataset(
                source.hub.repository,
                revision=source.hub.revision,
                split=split,
                cache_dir=str(work / "cache"),  # kept where it stops: the next try goes on
            )
            shards = max(1, math.ceil((rows.dataset_size or 0) / SHARD))
            for shard in range(shards):
                with atomic(made / f"{split}-{shard:05d}-of-{shards:05d}.parquet") as temporary:
                    rows.shard(shards, shard, contiguous=True).to_parquet(str(temporary))
    except Exception as error:
        said = " ".join(str(error).split())[:300]
        raise _missing(
            source, part, f"the download failed ({type(error).__name__}: {said})"
        ) from None
    if home.exists():  # with files of another part, say
        for path in made.iterdir():
            os.replace(path, home / path.name)
    else:
        os.rename(made, home)
    shutil.rmtree(work, ignore_errors=True)


def _missing(source: Source, part: str, reason: str = "") -> ConfigError:
    """Everything that a user needs to know about files that are not there."""
    home = (folder() / source.name).absolute()
    splits = " and ".join(f"{split}-*.parquet" for split in source.splits)
    size = f" ({_size(source.download)})" if source.download else ""
    if source.hub is None:
        put = f"put there{size}: {source.origin}"
    else:
        login = "; it needs a login and the acceptance of its terms" if source.hub.gated else ""
        put = (
            f"put there {splits} of huggingface.co/datasets/{source.hub.repository}, revision "
            f"{source.hub.revision[:12]}{size}{login}, or let a machine with network fetch them"
        )
    why = f"; {reason}" if reason else ""
    return ConfigError(
        f"data: no {part} images of {source.title} ('{source.name}') in {home}{why}. Either {put}; "
        "or name the folder that has them (config/config.yaml, data, or environment REGIMES_DATA); "
        "or choose scale smoke or laptop, which need no downloads"
    )


def _size(size: int) -> str:
    for unit, name in ((1e9, "GB"), (1e6, "MB")):
        if size >= unit:
            return f"{size / unit:.0f} {name}"
    return f"{size / 1e3:.0f} kB"


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold a lock file, so that one job does the work and the others wait.

    On a file system without locks each does the work; files appear whole nevertheless.
    """
    import filelock

    path.parent.mkdir(parents=True, exist_ok=True)
    # A lock that is a mere file would outlive a killed job.
    lock = filelock.FileLock(path, fallback_to_soft=False)
    try:
        lock.acquire()
    except (OSError, NotImplementedError) as error:
        print(f"{path} cannot be locked ({error}): going on without a lock", flush=True)
    try:
        yield
    finally:
        lock.release()


# ---------------------------------------------------------------- the cache


def _key(source: Source, part: str, found: list[Path]) -> str:
    """Twelve digits that change with the files, the part's description and the format."""
    files = []
    for path in found:
        try:
            stat = path.stat()
        except OSError as error:
            what = "is a link to a file that is not there" if path.is_symlink() else "is not there"
            if not isinstance(error, FileNotFoundError):
                what = f"cannot be read ({error.strerror or error})"
            raise ConfigError(f"{path}: {what}; mend or remove it, or get the file anew") from None
        files.append([path.name, stat.st_size, stat.st_mtime_ns])
    # All but what changes no decoded pixel.
    described = source._replace(
        title="", mean=(), deviation=(), hub=None, download=0, origin="", test_of=None
    )
    text = json.dumps([FORMAT, part, described, files])
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _kept(stem: Path) -> Decoded | None:
    """What an earlier job decoded; None if there is nothing whole."""
    about = read_json(f"{stem}.json")
    if not isinstance(about, dict):
        return None
    try:
        pixels = np.load(f"{stem}.npy", mmap_mode="r")
        label = np.load(f"{stem}-label.npy")
    except (OSError, ValueError):
        return None
    if list(pixels.shape) != about.get("shape") or len(label) != len(pixels):
        return None
    if _digest(label) != about.get("label_sha256"):
        return None
    if pixels.nbytes <= HASHED and _digest(pixels) != about.get("sha256"):
        return None
    return Decoded(pixels, label, about["sha256"])


def _digest(array: np.ndarray) -> str:
    """SHA-256 of an array's bytes, piece by piece: it may be larger than memory."""
    digest = hashlib.sha256()
    for start in range(0, len(array), ROWS):
        digest.update(np.ascontiguousarray(array[start : start + ROWS]).data)
    return digest.hexdigest()


def _decode(source: Source, part: str, found: list[Path], stem: Path) -> None:
    """Decode, check, and only then put the arrays under their names."""
    counts = [_count(source, path) for path in found]
    total, expected = sum(counts), source.samples[PARTS.index(part)]
    if total == 0 or expected is not None and total != expected:
        names = ", ".join(f"{p.name} {n}" for p, n in zip(found[:4], counts[:4], strict=True))
        more = f" and {len(found) - 4} more files" if len(found) > 4 else ""
        raise ConfigError(
            f"{found[0].parent}: {source.title}, {part}, has {total} images ({names}{more}) where "
            f"{expected or 'at least one'} are expected; complete the download"
        )
    size = total * math.prod(source.stored) * np.dtype(source.kind).itemsize
    free = shutil.disk_usage(stem.parent).free
    if size > free:
        # Writing through a map to a full disk would end the process without a message.
        raise OSError(errno.ENOSPC, f"{_size(size)} are needed and {_size(free)} are free")
    label = np.empty(total, np.int64)
    with atomic(Path(f"{stem}.npy")) as temporary:
        shape = (total, *source.stored)
        pixels = np.lib.format.open_memmap(temporary, "w+", np.dtype(source.kind), shape)
        start = 0
        for path in found:
            for images, labels in _read(source, path):
                rows = slice(start, start + len(images))
                pixels[rows], label[rows] = images, labels
                start += len(images)
        pixels.flush()
        digest = _digest(pixels)
        _check_labels(source, part, label, found[0].parent)
        _check_pixels(source, part, pixels, digest, found[0].parent)
        del pixels
    with atomic(Path(f"{stem}-label.npy")) as temporary:
        np.save(temporary, label)
    write_json(
        f"{stem}.json",
        {
            "name": source.name,
            "part": part,
            "shape": list(shape),
            "sha256": digest,
            "label_sha256": _digest(label),
            "label_counts": np.bincount(label, minlength=source.classes).tolist(),
            "files": [str(path) for path in found],
            "format": FORMAT,
        },
    )


def _check_labels(source: Source, part: str, label: np.ndarray, home: Path) -> None:
    """Compare labels with what is known about the data set."""
    known, digest = source.label_digests[PARTS.index(part)], _digest(label.astype("<i8"))
    if known is not None and digest != known:
        raise ConfigError(
            f"{home}: the {part} labels are not those of {source.title}: their SHA-256 as int64 is "
            f"{digest}, expected {known}; other or reordered files, fetch them anew"
        )
    counts = np.bincount(label, minlength=source.classes)
    wrong = np.flatnonzero(counts * source.classes != len(label)) if source.balanced else []
    if len(wrong):
        raise ConfigError(
            f"{home}: the {part} labels are not those of {source.title}: class {wrong[0]} has "
            f"{counts[wrong[0]]} images where {len(label) / source.classes:g} are expected; fetch "
            "the files anew"
        )


def _check_pixels(source: Source, part: str, pixels: np.ndarray, digest: str, home: Path) -> None:
    """Compare decoded pixels with what is known about the data set."""
    known = source.digests[PARTS.index(part)]
    if known is not None and digest != known:
        raise ConfigError(
            f"{home}: the {part} images are not those of {source.title}: SHA-256 of the pixels is "
            f"{digest}, expected {known}; fetch the files anew"
        )
    if source.moments is None or source.moments.part != part:
        return
    mean, deviation = _moments(pixels)
    for what, found, wanted in (
        ("means", mean, source.moments.mean),
        ("standard deviations", deviation, source.moments.deviation),
    ):
        if wanted is not None and np.abs(found - wanted).max() > source.moments.tolerance:
            raise ConfigError(
                f"{home}: the {part} images are not those of {source.title}: channel {what} are "
                f"{', '.join(f'{value:.3f}' for value in found)}, expected "
                f"{', '.join(f'{value:.3f}' for value in wanted)} within "
                f"{source.moments.tolerance}; {_doubt(source)}"
            )


def _doubt(source: Source) -> str:
    """What statistics that differ may come from, and what to do."""
    if source.kind == "float16":
        return (
            "the training of their generator failed, or these are other files; remove them and "
            f"make or get them anew ({source.origin})"
        )
    anew = "fetch the files anew" if source.hub is not None else f"needed are {source.origin}"
    return (
        f"the statistics may also belong to files of {source.title} that were prepared differently "
        f"(resized, encoded anew, another order of channels); {anew}"
    )


def _moments(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation per channel, in units of the pixels."""
    if pixels.dtype.kind == "f":
        sums, squares = np.zeros((2, pixels.shape[1]))
        for start in range(0, len(pixels), ROWS):
            values = pixels[start : start + ROWS].astype(np.float64)
            sums += values.sum((0, 2, 3))
            squares += (values**2).sum((0, 2, 3))
        count = pixels.size / pixels.shape[1]
        return sums / count, np.sqrt(squares / count - (sums / count) ** 2)
    counts = np.zeros((pixels.shape[1], 256))  # of the values, exact
    for start in range(0, len(pixels), ROWS):
        for channel, values in enumerate(counts):
            values += np.bincount(pixels[start : start + ROWS, channel].ravel(), minlength=256)
    value = np.arange(256)
    share = counts / counts.sum(1, keepdims=True)
    mean = share @ value
    return mean, np.sqrt(share @ value**2 - mean**2)


# ---------------------------------------------------------------- reading


def _count(source: Source, path: Path) -> int:
    """Images in a file, from its head."""
    if source.arrays is not None:
        with _archive(path) as archive, _member(path, archive, source.arrays[1]) as (_, shape, _):
            return shape[0]
    with _parquet(source, path) as handle:
        return handle.metadata.num_rows


def _read(source: Source, path: Path) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Images (n, C, H, W) and labels (n,) of a file, some rows at a time."""
    batches = _archived(source, path) if source.arrays is not None else _encoded(source, path)
    start = 0
    for images, labels in batches:
        wrong = np.flatnonzero((labels < 0) | (labels >= source.classes))
        if len(wrong):
            raise ConfigError(
                f"{path}: row {start + wrong[0]} has label {labels[wrong[0]]}, expected 0 to "
                f"{source.classes - 1} for {source.title}"
            )
        if images.dtype.kind == "f" and not np.isfinite(images).all():
            row = start + np.flatnonzero(~np.isfinite(images).all((1, 2, 3)))[0]
            raise ConfigError(
                f"{path}: row {row} has pixels that are not finite numbers; the training of the "
                "generator failed, or these are other files; remove them and make or get them anew "
                f"({source.origin})"
            )
        yield images, labels
        start += len(images)


@contextlib.contextmanager
def _parquet(source: Source, path: Path) -> Iterator[Any]:
    """Open a parquet file that has the columns of the source."""
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path) as handle:
            schema = handle.schema_arrow
            for column in (source.image, source.label):
                if column not in schema.names:
                    raise ConfigError(
                        f"{path}: no column '{column}', found {', '.join(schema.names)}; "
                        f"{source.title} has '{source.image}' and '{source.label}'"
                    )
            kind = schema.field(source.image).type
            if not pyarrow.types.is_struct(kind) or kind.get_field_index("bytes") < 0:
                raise ConfigError(
                    f"{path}: column '{source.image}' is {kind}, expected a struct with the bytes "
                    "of encoded images"
                )
            content = kind.field("bytes").type
            if not (pyarrow.types.is_binary(content) or pyarrow.types.is_large_binary(content)):
                raise ConfigError(
                    f"{path}: the field 'bytes' of column '{source.image}' is {content}, expected "
                    "binary: the bytes of encoded images"
                )
            if not pyarrow.types.is_integer(schema.field(source.label).type):
                raise ConfigError(
                    f"{path}: column '{source.label}' is {schema.field(source.label).type}, "
                    "expected integers"
                )
            yield handle
    except (pyarrow.ArrowException, OSError) as error:
        raise ConfigError(
            f"{path}: cannot be read ({' '.join(str(error).split())[:200]}); the file is damaged "
            "or incomplete, fetch it anew"
        ) from None


def _encoded(source: Source, path: Path) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Images and labels of a parquet file."""
    start = 0
    with _parquet(source, path) as handle:
        for batch in handle.iter_batches(ROWS, columns=[source.image, source.label]):
            column = batch.column(batch.schema.get_field_index(source.image)).field("bytes")
            label = batch.column(batch.schema.get_field_index(source.label))
            if label.null_count:
                row = start + label.is_null().index(True).as_py()
                raise ConfigError(f"{path}: row {row} has no label")
            images = np.empty((len(column), *source.stored), np.uint8)
            for row, value in enumerate(column):
                images[row] = _image(source, value.as_py(), f"{path}: row {start + row}")
            yield images, label.to_numpy(zero_copy_only=False).astype(np.int64)
            start += len(images)


def _image(source: Source, content: bytes | None, where: str) -> np.ndarray:
    """One image (C, H, W) from its encoded bytes."""
    from PIL import Image

    if content is None:
        raise ConfigError(f"{where}: holds no bytes of an image")
    channels, height, width = source.stored
    mode = MODES[channels]

    def other(image: Image.Image) -> ConfigError:
        return ConfigError(
            f"{where}: image of {image.size[0]} x {image.size[1]} pixels in mode {image.mode}, "
            f"expected {width} x {height} in mode {mode} for {source.title}"
        )

    try:
        image = Image.open(io.BytesIO(content), formats=IMAGE_FORMATS)
        # Its head tells the size; only then are pixels decoded.
        if source.resized is None and image.size != (width, height):
            raise other(image)
        if image.size[0] * image.size[1] > LARGEST_IMAGE:
            raise ValueError(f"{image.size[0]} x {image.size[1]} pixels are too many")
        image.load()
    except Image.UnidentifiedImageError:
        # Its own message shows an address in memory.
        raise ConfigError(
            f"{where}: is not an image that can be decoded (no known image format)"
        ) from None
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise ConfigError(
            f"{where}: is not an image that can be decoded ({' '.join(str(error).split())[:120]})"
        ) from None
    if source.converted:
        image = image.convert(mode)
    if source.resized is not None:
        image = _square(image, source.resized)
    if image.mode != mode or image.size != (width, height):
        raise other(image)
    pixels = np.asarray(image)
    return pixels[None] if channels == 1 else pixels.transpose(2, 0, 1)


def _square(image: Any, side: int) -> Any:
    """Short side resized to ``side``, centre kept."""
    from PIL import Image

    width, height = image.size
    short = min(width, height)
    if short != side:
        width, height = int(side * width / short), int(side * height / short)
        image = image.resize((width, height), Image.Resampling.BILINEAR)
    left, top = round((width - side) / 2), round((height - side) / 2)
    return image.crop((left, top, left + side, top + side))


@contextlib.contextmanager
def _archive(path: Path) -> Iterator[zipfile.ZipFile]:
    """Open a NumPy archive."""
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    # RuntimeError: encrypted, or packed in a way that Python does not know.
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, ValueError, RuntimeError) as error:
        raise ConfigError(
            f"{path}: cannot be read ({error}); the file is damaged or incomplete, get it anew"
        ) from None


@contextlib.contextmanager
def _member(
    path: Path, archive: zipfile.ZipFile, name: str
) -> Iterator[tuple[Any, tuple[int, ...], np.dtype]]:
    """Open one array of an archive: a stream of its bytes, its shape and type."""
    if f"{name}.npy" not in archive.namelist():
        held = ", ".join(entry.removesuffix(".npy") for entry in archive.namelist())
        raise ConfigError(f"{path}: no array '{name}', found {held}")
    with archive.open(f"{name}.npy") as stream:
        if np.lib.format.read_magic(stream) == (1, 0):
            shape, fortran, dtype = np.lib.format.read_array_header_1_0(stream)
        else:
            shape, fortran, dtype = np.lib.format.read_array_header_2_0(stream)
        if fortran or dtype.hasobject:
            raise ConfigError(f"{path}: array '{name}' is not a plain array in C order")
        if not shape or min(shape) < 0:
            what = f"has shape {shape}" if shape else "is a single number"
            raise ConfigError(f"{path}: array '{name}' {what}, expected many images")
        yield stream, shape, dtype


def _archived(source: Source, path: Path) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Images and labels of a NumPy archive, without holding it in memory."""
    _, images, labels, last = source.arrays
    channels, height, width = source.shape
    expected = (height, width, channels) if last else source.shape
    kind = np.dtype(source.kind)
    count = _count(source, path)  # so that no more is read: packed bytes can stand for very many
    with _archive(path) as archive:
        with _member(path, archive, labels) as (stream, shape, dtype):
            label = np.frombuffer(stream.read(count * dtype.itemsize), dtype)
        if label.shape != shape or dtype.kind not in "iu":
            raise ConfigError(
                f"{path}: array '{labels}' has type {dtype} and shape {shape}, expected integers, "
                "one per image"
            )
        with _member(path, archive, images) as (stream, shape, dtype):
            if dtype != kind or shape[1:] != expected or shape[0] != len(label):
                raise ConfigError(
                    f"{path}: array '{images}' has type {dtype} and shape {shape} beside "
                    f"{len(label)} labels, expected {kind} and (n, {', '.join(map(str, expected))})"
                )
            for start in range(0, len(label), ROWS):
                count = min(ROWS, len(label) - start)
                content = stream.read(count * math.prod(expected) * kind.itemsize)
                pixels = np.frombuffer(content, kind).reshape(count, *expected)
                yield (
                    pixels.transpose(0, 3, 1, 2) if last else pixels,
                    label[start : start + count].astype(np.int64),
                )
