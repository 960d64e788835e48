"""Runs of any settings, trained in programs of equal shape and given back in their order."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any, TypeVar

import numpy as np
import xarray as xr

from regimes import store
from regimes.ensemble.batches import group, split

Run = TypeVar("Run")


def in_programs(
    settings: Sequence[Run],
    shape: Callable[[Run], Hashable],
    train: Callable[[list[Run]], xr.Dataset],
    widest: int | Callable[[Run], int],
    *,
    fixed: bool = False,
    beside: Callable[[Run], Any] | None = None,
) -> xr.Dataset:
    """Train runs program by program.

    Parameters
    ----------
    settings
        One entry per run.
    shape
        All that the runs of one program share: whatever fixes array shapes and operations.
    train
        From the settings of at least two runs of equal shape to their dataset over ``run``.
    widest
        Largest number of runs of a program, or a function of one of its runs.
    fixed
        Whether programs are padded to that number (on a GPU, where bits depend on it).
    beside
        Sort key: runs with equal keys stand side by side. They keep their order without one.

    Returns
    -------
    xr.Dataset
        Over ``run``, in the order of ``settings``.
    """
    parts, order = [], []
    for members in group(settings, shape):
        if beside is not None:
            members = sorted(members, key=lambda index: beside(settings[index]))
        largest = widest(settings[members[0]]) if callable(widest) else widest
        for batch in split(members, largest, fixed=fixed):
            dataset = train([settings[index] for index in batch.lanes])
            parts.append(dataset.isel(run=slice(batch.kept)))
            order.extend(batch.lanes[: batch.kept])
    return store.join_runs(parts).isel(run=np.argsort(order))
