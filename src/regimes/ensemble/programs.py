"""Runs of any settings, trained in programs of equal shape and given back in their order."""

from __future__ import annotations

import gc
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any, TypeVar

import numpy as np
import torch
import xarray as xr

from regimes import journal, store
from regimes.config import ConfigError
from regimes.ensemble import checkpoints, probing
from regimes.ensemble.batches import SMALLEST_WIDTH, group, split

Run = TypeVar("Run")

# Settings that the memory of a program grows with, where runs have them.
LARGE = (
    "batch_size",
    "batch_factor",
    "width",
    "hidden",
    "dimension",
    "evaluation_samples",
    "points",
)


def in_programs(
    settings: Sequence[Run],
    shape: Callable[[Run], Hashable],
    train: Callable[[list[Run]], xr.Dataset],
    widest: int | Callable[[Run], int],
    *,
    fixed: bool = False,
    beside: Callable[[Run], Any] | None = None,
) -> xr.Dataset:
    """Train runs program by program, within `checkpoints.kept` those that are not finished.

    A program that runs out of memory is trained again: first as it is, if others were trained
    before and may have left something behind, then in halves.

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

    Raises
    ------
    regimes.config.ConfigError
        If half a program does not fit into memory either.
    """
    parts, order, train = [], [], _Trainer(probing.guarded(train))
    for members in probing.shapes(group(settings, shape)):
        if beside is not None:
            members = sorted(members, key=lambda index: beside(settings[index]))
        largest = widest(settings[members[0]]) if callable(widest) else widest
        for dataset, lanes in _of_one_shape(settings, members, train, largest, fixed):
            parts.append(dataset)
            order.extend(lanes)
    return store.join_runs(parts).isel(run=np.argsort(order))


def _of_one_shape(
    settings: Sequence[Run],
    members: Sequence[int],
    train: _Trainer,
    largest: int,
    fixed: bool,
) -> Iterator[tuple[xr.Dataset, Sequence[int]]]:
    """Datasets of the programs of one shape, and the indices of their runs."""
    done, halved = 0, False
    while True:
        for batch in probing.alike(split(members[done:], largest, fixed=fixed)):
            journal.program(batch.kept)
            dataset = train([settings[index] for index in batch.lanes])
            if dataset is None:  # those after it are as large
                largest, halved = _half(settings[members[0]], len(batch.lanes), halved), True
                break
            journal.passed(batch.kept)
            done += batch.kept
            yield dataset.isel(run=slice(batch.kept)), batch.lanes[: batch.kept]
        else:
            return


class _Trainer:
    """Training of programs, which memory may not suffice for."""

    def __init__(self, train: Callable[[list[Run]], xr.Dataset]) -> None:
        self._train = train
        self._clean = True  # whether no program was trained since memory was last freed

    def __call__(self, runs: list[Run]) -> xr.Dataset | None:
        """Dataset of a program, None if it runs out of memory with nothing else there."""
        dataset = self._attempt(runs)
        if dataset is None and not self._clean:
            self._free()
            print(f"out of memory with {len(runs)} runs in a program: trying it again", flush=True)
            dataset = self._attempt(runs)
        if dataset is None:
            self._free()
        else:
            self._clean = False
        return dataset

    def _attempt(self, runs: list[Run]) -> xr.Dataset | None:
        try:
            return checkpoints.program(runs, self._train)
        except (MemoryError, RuntimeError) as error:
            if not checkpoints.is_out_of_memory(error):
                raise
        return None

    def _free(self) -> None:
        """Give memory back, once nothing refers to the tensors of the failed program any more."""
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        self._clean = True


def _half(run: Any, width: int, halved: bool) -> int:
    """Half the width of a program that ran out of memory.

    Raises
    ------
    regimes.config.ConfigError
        If it is half already, or cannot be smaller.
    """
    half = max(SMALLEST_WIDTH, width // 2)
    if halved or half == width:
        given = [f"{name}: {getattr(run, name)}" for name in LARGE if getattr(run, name, None)]
        raise ConfigError(
            f"out of memory with {width} runs in a program, and fewer are not tried; lower the "
            f"settings that memory grows with ({', '.join(given) or 'batch size, width'}), or "
            "train where there is more"
        )
    print(f"out of memory with {width} runs in a program: going on with {half}", flush=True)
    return half
