"""Batches from a finite data set: independent draws with replacement, or shuffled epochs.

How batches are drawn decides the noise of SGD. Draws with replacement are independent from step to
step; an epoch uses every sample once, so that the noise of its steps cancels over the epoch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch

from regimes.config import ConfigError

WITH_REPLACEMENT = "with_replacement"
EPOCHS = "epochs"

# Indices drawn at a time for one run: enough to amortize the calls.
CHUNK = 2**15


class SampledStream:
    """Batches of a data set for several runs, each with its own random draws.

    Iterating yields, ``steps`` times, inputs (S, B, ...) and targets (S, B, C).

    Parameters
    ----------
    x : Tensor (N, ...)
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

    Raises
    ------
    regimes.config.ConfigError
        If an epoch has no full batch.
    """

    def __init__(
        self,
        x: torch.Tensor,
        targets: torch.Tensor,
        seeds: Sequence[int],
        batch_size: int,
        steps: int,
        sampling: str = WITH_REPLACEMENT,
        *,
        keep_last: bool = False,
    ) -> None:
        if sampling not in (WITH_REPLACEMENT, EPOCHS):
            raise ValueError(f"sampling is {WITH_REPLACEMENT} or {EPOCHS}, not {sampling!r}")
        if sampling == EPOCHS and batch_size > len(x):
            raise ConfigError(
                f"batch_size: {batch_size} is more than the {len(x)} samples of an epoch; at most "
                f"{len(x)} with sampling: {EPOCHS}"
            )
        self.x, self.targets = x, targets
        self.seeds, self.batch_size, self.steps = tuple(seeds), batch_size, steps
        self.sampling, self.keep_last = sampling, keep_last

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Yield the batches of every step, from the first on."""
        for rows in self._indices():
            flat, shape = rows.flatten(), rows.shape
            yield (
                self.x.index_select(0, flat).view(*shape, *self.x.shape[1:]),
                self.targets.index_select(0, flat).view(*shape, *self.targets.shape[1:]),
            )

    def _indices(self) -> Iterator[torch.Tensor]:
        """Indices (S, B) of every step. Drawn on the CPU: the same on every device."""
        generators = [torch.Generator().manual_seed(seed % 2**63) for seed in self.seeds]
        samples, size = len(self.x), self.batch_size
        if self.sampling == EPOCHS:
            steps_at_once = -(-samples // size) if self.keep_last else samples // size
        else:  # a function of the batch only: draws must not depend on steps or neighbours
            steps_at_once = max(1, CHUNK // size)
        for start in range(0, self.steps, steps_at_once):
            drawn = torch.stack([self._draw(g, samples, steps_at_once) for g in generators])
            drawn = drawn.to(self.x.device)
            for step in range(min(steps_at_once, self.steps - start)):
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

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Yield the data set, step by step."""
        for _ in range(self.steps):
            yield self.x, self.targets
