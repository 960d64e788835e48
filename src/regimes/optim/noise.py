"""Random numbers inside an optimizer: one generator per run seed, the same on every device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

# Name, among the frozen tensors of a program, of the seeds (R,) of its runs.
NOISE_SEED = "noise_seed"


class Generators:
    """Generators of run seeds, which go on from step to step."""

    def __init__(self) -> None:
        self._each: dict[int, torch.Generator] = {}

    def of(self, seeds: Tensor) -> list[torch.Generator]:
        """Generator of every run, seeds (R,); runs of one seed share theirs."""
        numbers = seeds.tolist()
        for seed in numbers:
            if seed not in self._each:
                # Drawn on the CPU: the same numbers on every device.
                self._each[seed] = torch.Generator().manual_seed(seed)
        return [self._each[seed] for seed in numbers]

    def state(self) -> dict[int, Tensor]:
        """Where each generator stands."""
        return {seed: each.get_state() for seed, each in self._each.items()}

    def resume(self, state: Mapping[int, Tensor]) -> None:
        """Go on from there."""
        for seed, known in state.items():
            self._each[seed] = torch.Generator()
            self._each[seed].set_state(known)


def normals(generators: Sequence[torch.Generator], shape: Sequence[int]) -> Tensor:
    """Standard normal numbers (R, *shape); runs that share a generator share the numbers."""
    return _drawn(torch.randn, generators, shape)


def uniforms(generators: Sequence[torch.Generator], shape: Sequence[int]) -> Tensor:
    """Numbers uniform in [0, 1), (R, *shape); runs that share a generator share the numbers."""
    return _drawn(torch.rand, generators, shape)


def _drawn(draw, generators: Sequence[torch.Generator], shape: Sequence[int]) -> Tensor:
    numbers = {id(each): draw(tuple(shape), generator=each) for each in dict.fromkeys(generators)}
    return torch.stack([numbers[id(each)] for each in generators])
