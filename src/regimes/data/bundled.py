"""Data sets that are not images, found by name and checked by shape."""

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
        What reads, takes from a package or generates each data set.
    shape
        Expected shape of its training inputs.

    Raises
    ------
    regimes.config.ConfigError
        If the inputs have another shape: packages may change what they ship.
    """
    found = loaders[name]()
    if found.x.shape != shape:
        raise ConfigError(
            f"data: '{name}' has training samples of shape {found.x.shape} where {shape} is "
            "expected; install the scikit-learn and mnist1d versions of envs/requirements.lock"
        )
    return found
