"""Where a forecast takes hold of a training: nothing happens here unless one is being made.

A forecast (`regimes.probe`) runs the code of a study as it is, except that equal iterations and
equal programs are run only until their time is known. The places where it does so call this module.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from contextvars import ContextVar
from typing import Any, TypeVar

Item = TypeVar("Item")

_CURRENT: ContextVar[Any] = ContextVar("probe", default=None)


def current() -> Any:
    """Return the `regimes.probe.Probe` of the forecast in the making, None in real training."""
    return _CURRENT.get()


@contextlib.contextmanager
def active(probe: Any) -> Iterator[None]:
    """Make a forecast with this probe inside the block."""
    token = _CURRENT.set(probe)
    try:
        yield
    finally:
        _CURRENT.reset(token)


def loop(items: Iterable[Item], count: float) -> Iterable[Item]:
    """Return ``items``, about ``count`` of them with equal cost; a forecast shortens them."""
    probe = _CURRENT.get()
    return items if probe is None else probe.loop(items, count)


def alike(batches: Iterable[Any]) -> Iterable[Any]:
    """Return batches of runs of one shape; a forecast takes some of them for all."""
    probe = _CURRENT.get()
    return batches if probe is None else probe.alike(batches)


def shapes(groups: Iterable[Item]) -> Iterable[Item]:
    """Return groups of runs, one per shape; a forecast that has no more time leaves some out."""
    probe = _CURRENT.get()
    return groups if probe is None else probe.shapes(groups)


def guarded(train: Any) -> Any:
    """Return the function that trains a program; a forecast replaces programs too large for it."""
    probe = _CURRENT.get()
    return train if probe is None else probe.guarded(train)


def uncounted() -> contextlib.AbstractContextManager[None]:
    """Context whose operations are no part of the training (warm-up of a captured step)."""
    probe = _CURRENT.get()
    return contextlib.nullcontext() if probe is None else probe.uncounted()
