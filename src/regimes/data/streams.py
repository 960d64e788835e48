"""Named random streams: every random number of a run follows from its seed and a name.

Two kinds of stream share the seeds of `stream_seed`:

- `numpy_stream` draws weights, read-outs and teachers, always on the CPU, so they are the same on
  every device;
- `GaussianRows` draws bulk Gaussian data on the device that uses it, equal on the same kind of
  device and statistically equal across kinds.

Bit generators, measured on one core (float32 normals per second): torch 420 M, numpy SFC64 144 M,
PCG64 127 M, Philox 111 M. In narrow networks drawing the data costs as much as training on it, so
bulk data comes from torch; SFC64 serves the rest.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch

# torch's CPU generator fills whole blocks of 16 normals; any multiple of 16 rows is whole blocks.
BLOCK = 16


def stream_seed(seed: int, *names: int | str) -> int:
    """128-bit seed of the stream that ``names`` denote within the run of this ``seed``.

    Parameters
    ----------
    seed : int
        Seed of the run.
    *names : int or str
        Path of the stream, for instance ``"batch", 3, 4096`` (third step, batch of 4096).

    Returns
    -------
    int
        First 128 bits of the SHA-256 of the JSON text of ``[seed, *names]``: stable across
        processes, platforms and versions.

    Raises
    ------
    TypeError
        If the seed is not an integer, or a name neither an integer nor a string.
    """
    for part in (seed, *names):
        if isinstance(part, bool) or not isinstance(part, int | str):
            raise TypeError(f"a stream is named by integers and strings, not by {part!r}")
    if isinstance(seed, str):
        raise TypeError(f"the seed of a stream is an integer, not {seed!r}")
    text = json.dumps([seed, *names], separators=(",", ":"))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:16], "big")


def numpy_stream(seed: int, *names: int | str) -> np.random.Generator:
    """Return the generator of the named stream, for weights and other small arrays."""
    return np.random.Generator(np.random.SFC64(stream_seed(seed, *names)))


class Cursor:
    """Where an iteration over batches stands, which are drawn chunk by chunk.

    Parameters
    ----------
    seeds : sequence of int
        Of the generators that draw the chunks.
    changing : sequence of int
        Seeds of generators that are used for every batch.
    device, changing_device : torch.device
        Of the generators that draw chunks, and of the others.
    state : dict, optional
        Where an earlier iteration stood; without it the beginning.

    Attributes
    ----------
    step : int
        Batches that were given out.
    chunk : int
        Step at which the chunk in use begins.
    draws, changes : list of torch.Generator
    """

    def __init__(
        self,
        seeds: Sequence[int],
        device: torch.device | str = "cpu",
        *,
        changing: Sequence[int] = (),
        changing_device: torch.device | str = "cpu",
        state: Mapping[str, Any] | None = None,
    ) -> None:
        self.step, self.chunk = 0, 0
        self.draws = [torch.Generator(device).manual_seed(seed % 2**63) for seed in seeds]
        self.changes = [
            torch.Generator(changing_device).manual_seed(seed % 2**63) for seed in changing
        ]
        if state is not None:
            self.step, self.chunk = state["step"], state["chunk"]
            known = [*state["draws"], *state["changes"]]
            for generator, each in zip([*self.draws, *self.changes], known, strict=True):
                generator.set_state(each)
        self.begin(self.chunk)

    def begin(self, chunk: int) -> None:
        """Note that the chunk that begins at this step is the next to be drawn."""
        self.chunk, self._before = chunk, [each.get_state() for each in self.draws]

    def state(self) -> dict[str, Any]:
        """What must be known to go on after the last batch that was given out."""
        changes = [each.get_state() for each in self.changes]
        return {"step": self.step, "chunk": self.chunk, "draws": self._before, "changes": changes}


class GaussianRows:
    """Standard Gaussian data matrices Z of R runs, drawn chunk by chunk.

    Iterating yields tensors (R, m, d) with m <= ``chunk``, the next rows of each run. Every
    iteration starts the streams anew, so a second pass sees the same data without storing it.
    All chunks of one pass share one buffer: use a chunk before asking for the next.

    On the CPU the numbers do not depend on ``chunk`` or on the other runs. (torch's CPU generator
    keeps the low 32 bits of a seed: among 1000 streams two coincide with probability 1e-4.)

    Parameters
    ----------
    seeds : sequence of int
        One `stream_seed` per run; runs with equal seeds get equal data, drawn once.
    rows : int
        Samples n per run.
    dimension : int
        Input dimension d.
    chunk : int
        Largest number of rows held at a time, a multiple of 16.
    device : torch.device
        Where the data are drawn and used.

    Raises
    ------
    ValueError
        If ``chunk`` is not a positive multiple of 16.
    """

    def __init__(
        self,
        seeds: Sequence[int],
        rows: int,
        dimension: int,
        *,
        chunk: int,
        device: torch.device | str = "cpu",
    ) -> None:
        if chunk < BLOCK or chunk % BLOCK:
            raise ValueError(f"chunk is {chunk}, must be a positive multiple of {BLOCK}")
        self.seeds = tuple(seeds)
        self.rows = rows
        self.dimension = dimension
        self.chunk = chunk
        self.device = torch.device(device)

    def __iter__(self) -> Iterator[torch.Tensor]:
        """Yield the chunks (R, m, d) in order, from the first row on."""
        # Runs that share a stream share the draw; copying is ten times cheaper than drawing.
        first = {seed: self.seeds.index(seed) for seed in self.seeds}
        generators = {
            seed: torch.Generator(self.device).manual_seed(seed % 2**63) for seed in first
        }
        height = min(self.chunk, _whole_blocks(self.rows))
        buffer = torch.empty(len(self.seeds), height, self.dimension, device=self.device)
        for start in range(0, self.rows, self.chunk):
            count = min(self.chunk, self.rows - start)
            for run, seed in enumerate(self.seeds):
                # Whole blocks even at the end: a partial block would be drawn differently.
                drawn = buffer[run, : _whole_blocks(count)]
                if first[seed] == run:
                    drawn.normal_(generator=generators[seed])
                else:
                    drawn.copy_(buffer[first[seed], : _whole_blocks(count)])
            yield buffer[:, :count]


def _whole_blocks(rows: int) -> int:
    return -(-rows // BLOCK) * BLOCK
