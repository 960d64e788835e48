"""Data sets that ship with a dependency or are generated: found by name, checked by shape."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol, TypeVar

import numpy as np

from regimes.config import ConfigError


class HasInputs(Protocol):
    """A data set with training inputs x (n, ...)."""

    @property
    def x(self) -> np.ndarray:
        """Training inputs."""


Found = TypeVar("Found", bound=HasInputs)


def loaded(name: str, loaders: Mapping[str, Callable[[], Found]], shape: tuple[int, ...]) -> Found:
    """Data set of this name.

    Parameters
    ----------
    name
        Of the data set.
    loaders
        What makes each data set that needs no files.
    shape
        Expected shape of its training inputs.

    Raises
    ------
    regimes.config.ConfigError
        If there is no loader, or the inputs have another shape.
    """
    if name not in loaders:
        raise ConfigError(
            f"data: '{name}' needs files that this version does not read yet; the scales smoke and "
            f"laptop need none (data {', '.join(loaders)})"
        )
    found = loaders[name]()
    if found.x.shape != shape:
        raise ConfigError(
            f"data: '{name}' has training samples of shape {found.x.shape} where {shape} is "
            "expected; install the scikit-learn and mnist1d versions of envs/requirements.lock"
        )
    return found
