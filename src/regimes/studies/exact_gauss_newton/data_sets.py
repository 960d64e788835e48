"""Data sets of the study in the standardization of its specification, always the same samples."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import numpy as np
import torch

from regimes.data import mnist1d, tables
from regimes.data.bundled import loaded
from regimes.data.labelled import Samples, labelled_images, on_device
from regimes.data.streams import numpy_stream
from regimes.studies.exact_gauss_newton.settings import DATA, IMAGES

EMBEDDING_NOISE = 0.3


class DataSet(NamedTuple):
    """Training and test samples in float64.

    Attributes
    ----------
    x, test_x : ndarray (n, d)
        Standardized inputs, d even.
    targets, test_targets : ndarray (n, C)
        One-hot rows, or one standardized real target.
    """

    x: np.ndarray
    targets: np.ndarray
    test_x: np.ndarray
    test_targets: np.ndarray


def samples(name: str, used: int, *, dtype: torch.dtype, device: torch.device | str) -> Samples:
    """Data set of this name on a device, its first ``used`` training samples.

    Raises
    ------
    regimes.config.ConfigError
        If it has to be read from files that are missing or damaged.
    """
    if name in IMAGES:
        return labelled_images(name, used, dtype=dtype, device=device, flat=True)
    return on_device(load(name)._asdict(), used, dtype=dtype, device=device)


def inputs(name: str, count: int) -> np.ndarray:
    """First training inputs (count, d) of a data set, in float64.

    Raises
    ------
    regimes.config.ConfigError
        As `samples`.
    """
    if name not in IMAGES:
        return load(name).x[:count]
    return samples(name, count, dtype=torch.float64, device="cpu").x[:].numpy()


@cache
def load(name: str) -> DataSet:
    """Data set of this name that is no image set, made once per process.

    Parameters
    ----------
    name
        Entry of `settings.DATA`.

    Raises
    ------
    regimes.config.ConfigError
        If it is read from files that are missing or damaged.
    """
    expected = DATA[name]
    return loaded(name, _LOADERS, (expected.samples, expected.features))


def _digits() -> DataSet:
    """Handwritten digits of 8 x 8 pixels, one mean and deviation for all pixels."""
    table = tables.digits()
    train, test = _split("digits", len(table.x))
    x, test_x = table.x[train], table.x[test]
    mean, deviation = x.mean(), x.std()
    label = np.eye(10)[table.target]
    return DataSet((x - mean) / deviation, label[train], (test_x - mean) / deviation, label[test])


def _mnist1d() -> DataSet:
    """MNIST-1D as its package generates it, 4000 samples for training and 1000 for tests."""
    made, label = mnist1d.fixed_set(), np.eye(10)
    return DataSet(made.x, label[made.label], made.test_x, label[made.test_label])


def _mnist1d_embedded() -> DataSet:
    """MNIST-1D mapped into more dimensions by an orthonormal map, with noise in all of them.

    Inputs have about unit variance per dimension before the noise.
    """
    plain, dimension = _mnist1d(), DATA["mnist1d_embedded"].features
    inner = plain.x.shape[1]
    gaussian = numpy_stream(0, "embedding").standard_normal((dimension, inner))
    embedding = np.linalg.qr(gaussian)[0].T * np.sqrt(dimension / inner)

    def embedded(x: np.ndarray, part: str) -> np.ndarray:
        noise = numpy_stream(0, "embedding noise", part).standard_normal((len(x), dimension))
        return x @ embedding + EMBEDDING_NOISE * noise

    return plain._replace(x=embedded(plain.x, "train"), test_x=embedded(plain.test_x, "test"))


def _regression(name: str, table: Callable[[], tables.Table]) -> Callable[[], DataSet]:
    """Table split 80/20, features and target standardized by the training part.

    An odd number of features gets a column of zeros: reversible networks split inputs in halves.
    """

    def read() -> DataSet:
        x, target = table()
        train, test = _split(name, len(x))
        target = target[:, None].astype(float)
        x, target = (
            (each - each[train].mean(0)) / each[train].std(0) for each in (x.astype(float), target)
        )
        x = np.pad(x, ((0, 0), (0, x.shape[1] % 2)))
        return DataSet(x[train], target[train], x[test], target[test])

    return read


def _split(name: str, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Training and test indices of a fixed random split, 80 to 20."""
    order = numpy_stream(0, name, "split").permutation(count)
    return np.split(order, [int(0.8 * count)])


_LOADERS: dict[str, Callable[[], DataSet]] = {
    "digits": _digits,
    "mnist1d": _mnist1d,
    "mnist1d_embedded": _mnist1d_embedded,
    "wine": _regression("wine", tables.wine),
    "diabetes": _regression("diabetes", tables.diabetes),
    "superconductivity": _regression("superconductivity", tables.superconductivity),
}
