"""Data sets of the study, always the same samples: generated (specification, section 6) or images.

Images are standardized as they are taken. Labels of noisy image sets are replaced for good: a
sample keeps its wrong label. Test parts have none of this, and are never augmented.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from regimes.data import images
from regimes.data.augmentation import (
    Augmentation,
    black,
    compose,
    crop_and_flip,
    flip,
    resized_crop,
)
from regimes.data.images import ImageSet, Pixels
from regimes.data.streams import numpy_stream
from regimes.studies.limiting_dynamics.settings import FILES, REGRESSION, SAMPLES

NOISE = 0.2  # share of the labels of a noisy image set that are replaced by uniform ones


class DataSet(NamedTuple):
    """Generated training and test samples in float64.

    Attributes
    ----------
    x : ndarray (N, d)
    targets : ndarray (N, C)
        One-hot rows, or real targets with C = 1.
    test_x, test_targets : ndarray
        As many samples again.
    """

    x: np.ndarray
    targets: np.ndarray
    test_x: np.ndarray
    test_targets: np.ndarray


class OneHot:
    """One-hot rows (N, C) of labels (N,), made as they are taken; otherwise like a tensor.

    A thousand classes of a million images would be larger than what they stand for.
    """

    def __init__(self, label: Tensor, classes: int, dtype: torch.dtype) -> None:
        self.label, self.shape, self.dtype = label, (len(label), classes), dtype

    def __len__(self) -> int:
        return len(self.label)

    def index_select(self, dim: int, rows: Tensor) -> Tensor:
        """Rows of these numbers; ``dim`` is 0."""
        return self._rows(self.label.index_select(dim, rows))

    def __getitem__(self, part: slice) -> Tensor:
        return self._rows(self.label[part])

    def _rows(self, label: Tensor) -> Tensor:
        return torch.nn.functional.one_hot(label, self.shape[1]).to(self.dtype)


class Samples(NamedTuple):
    """Training and test samples on a device.

    Attributes
    ----------
    x, test_x : Tensor or Pixels (N, ...)
    targets, test_targets : Tensor or OneHot (N, C)
    augment : Augmentation or None
        Random change of the training images of a batch.
    """

    x: Tensor | Pixels
    targets: Tensor | OneHot
    test_x: Tensor | Pixels
    test_targets: Tensor | OneHot
    augment: Augmentation | None = None


def on_device(name: str, residual_sd: float, device: torch.device | str) -> Samples:
    """Samples of a data set.

    Parameters
    ----------
    name
        Entry of `settings.SAMPLES`.
    residual_sd
        Standard deviation of the noise in generated regression targets.
    device
        Where they are.

    Returns
    -------
    Samples
        In float64; images of classifications in float32, as networks see them.

    Raises
    ------
    regimes.config.ConfigError
        If image files are missing or damaged.
    """
    if name not in FILES:
        where = {"dtype": torch.float64, "device": device}
        return Samples(*(torch.from_numpy(each).to(**where) for each in load(name, residual_sd)))
    found, flat = images.load(FILES[name]), name in REGRESSION
    where = {"dtype": torch.float64 if flat else torch.float32, "device": device}
    where |= {"flat": flat, "size": found.shape[1:]}
    label = found.train.label
    if name.endswith("_noisy"):
        label = noisy(label, found.classes, numpy_stream(0, name, "label noise"))
    parts = []
    for part, labels in ((found.train, label), (found.test, found.test.label)):
        numbers = torch.from_numpy(np.array(labels)).to(device)
        parts.append(Pixels(part.pixels, found.mean, found.deviation, **where))
        parts.append(OneHot(numbers, found.classes, torch.float64))
    return Samples(*parts, augmentation(name, found))


def spread(count: int, wanted: int | None, together: int) -> list[Tensor]:
    """Numbers of samples spread evenly over a data set of ``count``, in parts.

    Each part is spread evenly itself: where samples are sorted by class, it has all classes.

    Parameters
    ----------
    count
        Samples of the data set.
    wanted
        Samples in all; None for all there are, as is a larger number.
    together
        Samples of a part, about.
    """
    wanted = min(wanted or count, count)
    rows = torch.arange(wanted) * count // wanted
    parts = max(1, round(wanted / together))
    return [rows[part::parts] for part in range(parts)]


def augmentation(name: str, found: ImageSet) -> Augmentation | None:
    """Random changes of the training images of an image data set, None for none.

    CIFAR-10: parts of the image padded by 4 black pixels; with noisy labels parts of random size,
    so that the network does not interpolate. ImageNet: parts of random size. Always mirrored or
    not.
    """
    if name.endswith("_noisy") or name == "imagenet":
        return compose(resized_crop(size=found.shape[1:]), flip())
    if name.endswith("_augmented"):
        return crop_and_flip(4, black(found.mean, found.deviation))
    return None


def noisy(label: np.ndarray, classes: int, stream: np.random.Generator) -> np.ndarray:
    """Labels of which a share `NOISE` is replaced by uniformly random ones, maybe the same."""
    replaced = stream.random(len(label)) < NOISE
    return np.where(replaced, stream.integers(0, classes, len(label)), label)


def load(name: str, residual_sd: float) -> DataSet:
    """Generated data set of this name.

    Parameters
    ----------
    name
        Entry of `settings.SAMPLES` that is not in `settings.FILES`.
    residual_sd
        Standard deviation of the noise in regression targets.
    """
    return _DRAWN[name](name, residual_sd)


def _teacher(share: float) -> Callable[[str, float], DataSet]:
    """Labels of a random tanh network, a share of them replaced by uniformly random ones."""

    def draw(name: str, residual_sd: float) -> DataSet:
        samples = SAMPLES[name]
        drawn = numpy_stream(0, "teacher", "weights")
        hidden, readout = drawn.standard_normal((20, 16)), drawn.standard_normal((16, 10))
        parts = []
        for part in ("train", "test"):
            stream = numpy_stream(0, "teacher", part)
            x = stream.standard_normal((samples, 20)) * np.sqrt(np.linspace(3, 0.3, 20))
            label = (np.tanh(x @ hidden / 2) @ readout).argmax(1)
            replaced = stream.random(samples) < share
            label = np.where(replaced, stream.integers(0, 10, samples), label)
            parts += [x, np.eye(10)[label]]
        return DataSet(*parts)

    return draw


def _regression(dimension: int, variance: Callable, target_sd: float) -> Callable:
    """Least squares with Gaussian inputs of the given variances and Gaussian weights."""

    def draw(name: str, residual_sd: float) -> DataSet:
        samples = SAMPLES[name]
        weights = target_sd * numpy_stream(0, name, "weights").standard_normal(dimension)
        scale = np.sqrt(variance(np.arange(1, dimension + 1)))
        parts = []
        for part in ("train", "test"):
            stream = numpy_stream(0, name, part)
            x = stream.standard_normal((samples, dimension)) * scale
            noise = residual_sd * stream.standard_normal(samples)
            parts += [x, (x @ weights + noise)[:, None]]
        return DataSet(*parts)

    return draw


_DRAWN: dict[str, Callable[[str, float], DataSet]] = {
    "teacher_noisy": _teacher(0.3),
    "teacher_clean": _teacher(0.0),
    # The spectrum of flattened CIFAR-10 images: largest eigenvalue 919.6.
    "regression_cascade": _regression(64, lambda j: 919.6 * j**-1.2, 0.005),
    "regression_wide": _regression(128, lambda j: 919.6 * j**-1.2, 0.005),
    "regression_harmonic": _regression(32, lambda j: 10 / j, 1.0),
}
