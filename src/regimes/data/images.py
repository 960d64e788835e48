"""Image data sets in memory: raw pixels, and pixels that become standardized floats when taken."""

from __future__ import annotations

import functools
import math
import warnings
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from regimes.config import ConfigError, nearest
from regimes.data import files
from regimes.data.catalog import CATALOG, Source
from regimes.ensemble import probing

# Bytes of pixels up to which a set is copied to the device.
RESIDENT = 4 * 10**9

Change = Callable[[torch.Tensor], torch.Tensor]


class Part(NamedTuple):
    """One part of a data set.

    Attributes
    ----------
    pixels : ndarray (N, C, H, W)
        uint8, or float16 that is divided by 255 already; mapped into memory.
    label : ndarray (N,)
        int64, 0 to classes - 1.
    """

    pixels: np.ndarray
    label: np.ndarray


class ImageSet(NamedTuple):
    """A data set of images.

    Attributes
    ----------
    name, classes
        As in `regimes.data.catalog`.
    shape
        Channels, height and width of one image as networks see it.
    train, test
        Its parts; their images are larger than ``shape`` where crops are cut from them.
    mean, deviation
        Per channel, of pixels in [0, 1].
    """

    name: str
    classes: int
    shape: tuple[int, int, int]
    train: Part
    test: Part
    mean: tuple[float, ...]
    deviation: tuple[float, ...]

    def pixels(self, part: Part, **how: Any) -> Pixels:
        """Images of one part, standardized when taken; ``how`` as for `Pixels`."""
        how = {"size": self.shape[1:], "mean": self.mean, "deviation": self.deviation} | how
        return Pixels(part.pixels, **how)


def load(name: str) -> ImageSet:
    """Data set of this name in the catalog, mapped into memory; decoded or fetched if need be.

    Raises
    ------
    regimes.config.ConfigError
        If the name is unknown, or files are missing or are not what the catalog says.
    """
    source = _source(name)
    tested = _source(source.test_of or name)
    if (probe := probing.current()) is not None:  # a forecast fetches and decodes nothing
        parts = [Part(*probe.images(*each)) for each in ((source, "train"), (tested, "test"))]
        shared = (source.name, source.classes, source.shape)
        return ImageSet(*shared, *parts, source.mean, source.deviation)
    return _load(source, tested, files.folder(), files.cache())


def _source(name: str) -> Source:
    if name not in CATALOG:
        raise ConfigError(f"data: no image data set '{name}'; {nearest(name, CATALOG)}")
    return CATALOG[name]


@functools.cache
def _load(source: Source, tested: Source, folder: Path, cache: Path) -> ImageSet:
    """The set; folders are arguments because a process may change them (tests do)."""
    train = files.decoded(source, "train")
    test = files.decoded(tested, "test")
    return ImageSet(
        source.name,
        source.classes,
        source.shape,
        Part(train.pixels, train.label),
        Part(test.pixels, test.label),
        source.mean,
        source.deviation,
    )


class _Copy:
    """Raw pixels on a device, and the array that they are a copy of."""

    def __init__(self, source: np.ndarray, tensor: torch.Tensor) -> None:
        self.source, self.tensor = source, tensor


# Copies that some `Pixels` hold. A copy keeps its source, whose address cannot mean another array
# as long as the copy is here.
_copies: weakref.WeakValueDictionary[tuple, _Copy] = weakref.WeakValueDictionary()


def _copy(pixels: np.ndarray, device: torch.device) -> _Copy:
    """Raw pixels on a device: memory of their own there, shared by all who use them at a time."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # the map is read-only, and only read
        tensor = torch.from_numpy(pixels)
    if pixels.nbytes > RESIDENT or device.type == "cpu":
        return _Copy(pixels, tensor)
    if pixels.flags.writeable:  # what can change must not be taken for what it was
        return _Copy(pixels, tensor.to(device))
    where = pixels.ctypes.data, pixels.shape, pixels.strides, pixels.dtype.str, str(device)
    copy = _copies.get(where)
    if copy is None:
        copy = _copies[where] = _Copy(pixels, tensor.to(device))
    return copy


class Pixels:
    """Images that become standardized floats when they are taken; otherwise like a tensor.

    A value is ``(pixel / 255 - mean) / deviation``, computed in float32 (in float64 for float64
    results), so it does not depend on which images are taken together. Sets up to 4 GB lie on
    the device, once for all who use them; larger ones stay where they are and are gathered on the
    CPU.

    Parameters
    ----------
    pixels : ndarray (N, C, H, W)
        uint8, or float16 that is divided by 255 already.
    mean, deviation
        Per channel, of pixels in [0, 1].
    dtype, device
        Of the images that are taken.
    flat
        Whether images are taken as vectors (C H W,).
    size
        Height and width of the part that is cut from the centre of the images; None for the
        whole images.
    """

    def __init__(
        self,
        pixels: np.ndarray,
        mean: tuple[float, ...],
        deviation: tuple[float, ...],
        *,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
        flat: bool = False,
        size: tuple[int, int] | None = None,
    ) -> None:
        self.dtype, self.device, self.flat = dtype, torch.device(device), flat
        self.size = tuple(size or pixels.shape[2:])
        self._held = _copy(pixels, self.device)  # shared as long as somebody holds it
        self._pixels = self._held.tensor
        kind = torch.float64 if dtype == torch.float64 else torch.float32
        self._mean, self._deviation = (
            torch.tensor(values, dtype=kind, device=self.device).view(-1, 1, 1)
            for values in (mean, deviation)
        )
        self._full = torch.tensor(255, dtype=kind, device=self.device)

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, C, H, W), or (N, C H W) if flat."""
        image = (self._pixels.shape[1], *self.size)
        return (len(self), math.prod(image)) if self.flat else (len(self), *image)

    def __len__(self) -> int:
        return len(self._pixels)

    def index_select(self, dim: int, rows: torch.Tensor) -> torch.Tensor:
        """Images of these numbers, as a tensor's method of that name; ``dim`` is 0."""
        if dim != 0:
            raise ValueError(f"images are taken along dimension 0, not {dim}")
        return self.changed(rows, lambda images: images)

    def changed(self, rows: torch.Tensor, change: Change) -> torch.Tensor:
        """Images of these numbers, changed before they are cut and flattened.

        Parameters
        ----------
        rows : Tensor (n,)
        change
            Maps standardized images (n, C, H, W), at their full size, to changed ones.
        """
        pixels = self._pixels.index_select(0, rows.to(self._pixels.device))
        return self._finished(change(self._standardized(pixels)))

    def __getitem__(self, part: slice) -> torch.Tensor:
        """Images of a slice, standardized."""
        if not isinstance(part, slice):
            raise TypeError("a slice of images is taken, or numbered ones with index_select")
        return self._finished(self._standardized(self._pixels[part]))

    def split(self, size: int) -> Iterator[torch.Tensor]:
        """Standardized images in their order, ``size`` at a time."""
        return (self[start : start + size] for start in range(0, len(self), size))

    def head(self, count: int) -> Pixels:
        """The first images, which share their memory with these."""
        first = object.__new__(Pixels)
        first.__dict__.update(self.__dict__)
        first._pixels = self._pixels[:count]
        return first

    def _finished(self, images: torch.Tensor) -> torch.Tensor:
        """Centre of images (n, C, H, W), flat if wanted."""
        top, left = (
            (have - want) // 2 for have, want in zip(images.shape[2:], self.size, strict=True)
        )
        images = images[:, :, top : top + self.size[0], left : left + self.size[1]]
        return images.flatten(1) if self.flat else images

    def _standardized(self, pixels: torch.Tensor) -> torch.Tensor:
        taken = pixels.to(self.device).to(self._mean.dtype)
        if not pixels.is_floating_point():
            # By a tensor: on a GPU, division by a number of Python multiplies by its reciprocal.
            taken = taken.div_(self._full)
        return taken.sub_(self._mean).div_(self._deviation).to(self.dtype)
