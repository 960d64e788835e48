"""Image data sets as training and test samples of a classification, standardized as they are taken.

Targets are one-hot rows. With many classes they would be larger than the images; labels stand for
them then, and become rows batch by batch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from regimes.data import images
from regimes.data.images import Pixels

# Entries of a table of one-hot targets that is still small beside the images.
LARGEST_TABLE = 2**27


class Samples(NamedTuple):
    """Training and test samples on a device.

    Attributes
    ----------
    x, test_x : Tensor or Pixels (n, ...)
        Inputs.
    targets, test_targets : Tensor (n, C) or (n, 1)
        One-hot rows less a shift, or labels (int64).
    """

    x: Tensor | Pixels
    targets: Tensor
    test_x: Tensor | Pixels
    test_targets: Tensor


def labelled_images(
    name: str,
    used: int,
    *,
    dtype: torch.dtype,
    device: torch.device | str,
    flat: bool = False,
    shift: float = 0.0,
    standardization: tuple[Sequence[float], Sequence[float]] | None = None,
) -> Samples:
    """Samples of an image data set.

    Parameters
    ----------
    name
        Entry of `regimes.data.catalog.CATALOG`.
    used
        Number of training samples, the first ones.
    dtype, device
        Of inputs and one-hot targets.
    flat
        Whether inputs are vectors (n, d) instead of images (n, channels, height, width).
    shift
        Subtracted from one-hot targets.
    standardization
        Mean and deviation per channel of pixels in [0, 1]; those of the catalog without.

    Raises
    ------
    regimes.config.ConfigError
        If files are missing or damaged.
    """
    found = images.load(name)
    mean, deviation = standardization or (found.mean, found.deviation)
    where = {"dtype": dtype, "device": device}
    taken: dict[str, Tensor | Pixels] = {}
    for prefix, part, count in (("", found.train, used), ("test_", found.test, None)):
        pixels, label = part.pixels[:count], np.array(part.label[:count])
        size = found.shape[1:]
        taken[f"{prefix}x"] = Pixels(pixels, mean, deviation, flat=flat, size=size, **where)
        label = torch.from_numpy(label).to(device)
        taken[f"{prefix}targets"] = _targets(label, found.classes, shift, dtype)
    return Samples(**taken)


def _targets(label: Tensor, classes: int, shift: float, dtype: torch.dtype) -> Tensor:
    if len(label) * classes > LARGEST_TABLE:
        return label[:, None]
    return torch.nn.functional.one_hot(label, classes).to(dtype) - shift


def first(x: Tensor | Pixels, count: int | None) -> Tensor | Pixels:
    """First inputs, all of them for None; images stay pixels until they are taken."""
    return x.head(len(x) if count is None else count) if isinstance(x, Pixels) else x[:count]


def on_device(arrays: Mapping[str, np.ndarray], used: int, **where) -> Samples:
    """Samples of arrays ``x``, ``targets``, ``test_x``, ``test_targets``, the first ``used``."""
    tensors = {name: torch.from_numpy(value).to(**where) for name, value in arrays.items()}
    first = {name: tensors[name][:used] for name in ("x", "targets")}
    return Samples(**(tensors | first))
