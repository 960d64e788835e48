"""Synthetic data sets of the study (section 6 of its specification), always the same samples."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from regimes.config import ConfigError
from regimes.data.streams import numpy_stream
from regimes.studies.limiting_dynamics.settings import SAMPLES


class DataSet(NamedTuple):
    """Training and test samples in float64.

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


def load(name: str, residual_sd: float) -> DataSet:
    """Data set of this name.

    Parameters
    ----------
    name
        Entry of `settings.SAMPLES`.
    residual_sd
        Standard deviation of the noise in regression targets.

    Raises
    ------
    regimes.config.ConfigError
        If it consists of image files.
    """
    if name not in _DRAWN:
        raise ConfigError(
            f"data: '{name}' needs image files and networks for them, which this version does not "
            f"read yet; the scales smoke and laptop need none (data {', '.join(_DRAWN)})"
        )
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
