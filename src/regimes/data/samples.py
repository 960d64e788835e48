"""Batches from a finite data set: independent draws with replacement, or shuffled epochs.

How batches are drawn decides the noise of SGD. Draws with replacement are independent from step to
step; an epoch uses every sample once, so that the noise of its steps cancels over the epoch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch

from regimes.config import ConfigError
from regimes.data.augmentation import Augmentation
from regimes.data.images import Pixels
from regimes.data.streams import Cursor, stream_seed

WITH_REPLACEMENT = "with_replacement"
EPOCHS = "epochs"

# Indices drawn at a time for one run: enough to amortize the calls.
CHUNK = 2**15


class SampledStream:
    """Batches of a data set for several runs, each with its own random draws.

    Iterating yields, ``steps`` times, inputs (S, B, ...) and targets (S, B, C).

    Parameters
    ----------
    x : Tensor or Pixels (N, ...)
        Inputs, on the device and in the precision of the batches.
    targets : Tensor (N, C)
    seeds
        One `regimes.data.streams.stream_seed` per run.
    batch_size
        Samples B per step and run.
    steps
        Number of steps.
    sampling
        "with_replacement": every index uniform and independent. "epochs": a fresh random order
        of the data set per epoch, cut into batches; samples that fill no batch are left out of
        that epoch, unless ``keep_last``.
    keep_last
        Whether an epoch ends with a smaller batch of the samples that are left over.
    augment
        Random change of the images of every batch; each run draws from a generator of its own on
        the device. Images are changed before they are flattened.

    Raises
    ------
    regimes.config.ConfigError
        If an epoch has no full batch.
    """

    def __init__(
        self,
        x: torch.Tensor | Pixels,
        targets: torch.Tensor,
        seeds: Sequence[int],
        batch_size: int,
        steps: int,
        sampling: str = WITH_REPLACEMENT,
        *,
        keep_last: bool = False,
        augment: Augmentation | None = None,
    ) -> None:
        if sampling not in (WITH_REPLACEMENT, EPOCHS):
            raise ValueError(f"sampling is {WITH_REPLACEMENT} or {EPOCHS}, not {sampling!r}")
        if sampling == EPOCHS and batch_size > len(x):
            raise ConfigError(
                f"batch_size: {batch_size} is more than the {len(x)} samples of an epoch; at most "
                f"{len(x)} with sampling: {EPOCHS}"
            )
        if augment is not None and not isinstance(x, Pixels) and x.ndim != 4:
            raise ValueError(f"images (N, C, H, W) are augmented, not inputs {tuple(x.shape)}")
        self.x, self.targets, self.augment = x, targets, augment
        self.seeds, self.batch_size, self.steps = tuple(seeds), batch_size, steps
        self.sampling, self.keep_last = sampling, keep_last
        self._cursor, self._next = self._begin(), None

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Yield the batches of every step, from the first on or from where it is to go on."""
        cursor = self._cursor = self._next or self._begin()
        self._next = None
        for rows in self._indices(cursor):
            flat, shape = rows.flatten(), rows.shape
            if self.augment is None:
                x = self.x.index_select(0, flat)
            else:
                x = self._augmented(rows, cursor.changes)
            cursor.step += 1
            yield (
                x.reshape(*shape, *self.x.shape[1:]),
                self.targets.index_select(0, flat).view(*shape, *self.targets.shape[1:]),
            )

    def state(self) -> dict[str, Any]:
        """Where the last iteration stands."""
        return self._cursor.state()

    def resume(self, state: Mapping[str, Any]) -> None:
        """Let the next iteration go on there."""
        self._cursor = self._next = self._begin(state)

    def _begin(self, state: Mapping[str, Any] | None = None) -> Cursor:
        """Cursor at a place. Indices are drawn on the CPU: the same on every device."""
        changing = []
        if self.augment is not None:
            changing = [stream_seed(seed, "augmentation") for seed in self.seeds]
        device = self.x.device
        return Cursor(self.seeds, changing=changing, changing_device=device, state=state)

    def _augmented(self, rows: torch.Tensor, changes: Sequence[torch.Generator]) -> torch.Tensor:
        """Changed inputs (S B, ...) of the rows (S, B): numbers run by run, work in one call."""
        numbers = torch.cat([self.augment.draw(each, rows.shape[1]) for each in changes])
        flat = rows.flatten()
        if isinstance(self.x, Pixels):
            return self.x.changed(flat, lambda images: self.augment.apply(images, numbers))
        return self.augment.apply(self.x.index_select(0, flat), numbers)

    def _indices(self, cursor: Cursor) -> Iterator[torch.Tensor]:
        """Indices (S, B) of the steps from the cursor on."""
        samples, size = len(self.x), self.batch_size
        if self.sampling == EPOCHS:
            steps_at_once = -(-samples // size) if self.keep_last else samples // size
        else:  # a function of the batch only: draws must not depend on steps or neighbours
            steps_at_once = max(1, CHUNK // size)
        for start in range(cursor.chunk, self.steps, steps_at_once):
            cursor.begin(start)
            drawn = torch.stack([self._draw(g, samples, steps_at_once) for g in cursor.draws])
            drawn = drawn.to(self.x.device)
            for step in range(cursor.step - start, min(steps_at_once, self.steps - start)):
                yield drawn[:, step * size : (step + 1) * size]

    def _draw(self, generator: torch.Generator, samples: int, steps: int) -> torch.Tensor:
        """Indices of one run for some steps, one after the other."""
        if self.sampling == EPOCHS:
            return torch.randperm(samples, generator=generator)
        return torch.randint(samples, (steps * self.batch_size,), generator=generator)


class WholeSet:
    """The whole data set at every step, the same for all runs.

    Iterating yields, ``steps`` times, inputs (1, N, ...) and targets (1, N, C).

    Parameters
    ----------
    x : Tensor (N, ...)
    targets : Tensor (N, C)
    steps
        Number of steps.
    """

    def __init__(self, x: torch.Tensor, targets: torch.Tensor, steps: int) -> None:
        self.x, self.targets, self.steps = x.unsqueeze(0), targets.unsqueeze(0), steps
        self._step, self._next = 0, 0

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Yield the data set, step by step."""
        first, self._next = self._next, 0
        for step in range(first, self.steps):
            self._step = step + 1
            yield self.x, self.targets

    def state(self) -> dict[str, Any]:
        """Where the last iteration stands."""
        return {"step": self._step}

    def resume(self, state: Mapping[str, Any]) -> None:
        """Let the next iteration go on there."""
        self._step = self._next = state["step"]
