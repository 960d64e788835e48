"""Grouping runs into batches that train as one program.

A batch holds runs of equal shape as lanes along the first axis of every tensor. Its width is never
1: batched matrix products of width 1 take another path through the linear algebra libraries and
give other bits, and a run must not depend on how many neighbours it happened to have.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import NamedTuple, TypeVar

Item = TypeVar("Item")

SMALLEST_WIDTH = 2


class Batch(NamedTuple):
    """Lanes of one batch.

    Attributes
    ----------
    lanes : tuple of int
        Index of the run in each lane; padding repeats the first.
    kept : int
        The first ``kept`` lanes are runs; the results of the others are discarded.
    """

    lanes: tuple[int, ...]
    kept: int


def group(items: Sequence[Item], key: Callable[[Item], Hashable]) -> list[list[int]]:
    """Return the indices of ``items`` with equal ``key``, groups in order of first appearance."""
    groups: dict[Hashable, list[int]] = {}
    for index, item in enumerate(items):
        groups.setdefault(key(item), []).append(index)
    return list(groups.values())


def split(members: Sequence[int], largest: int, *, fixed: bool = False) -> list[Batch]:
    """Split a group of runs into batches of nearly equal width, at most ``largest`` but at least 2.

    Parameters
    ----------
    members : sequence of int
        Indices of the runs of one group.
    largest : int
        Largest width, usually from `width_within`; below 2 it counts as 2.
    fixed : bool
        Pad every batch to exactly the largest width (GPU, where bits depend on the width).

    Returns
    -------
    list of Batch
        Batches that together keep every member once, in order.

    Examples
    --------
    >>> split([4, 7, 9], largest=2)
    [Batch(lanes=(4, 4), kept=1), Batch(lanes=(7, 9), kept=2)]
    """
    largest = max(largest, SMALLEST_WIDTH)
    count = -(-len(members) // largest)
    edges = [len(members) * index // count for index in range(count + 1)] if count else [0]
    batches = []
    for start, stop in zip(edges[:-1], edges[1:], strict=True):
        kept = tuple(members[start:stop])
        width = largest if fixed else max(len(kept), SMALLEST_WIDTH)
        batches.append(Batch(kept + kept[:1] * (width - len(kept)), len(kept)))
    return batches


def width_within(budget: float, shared: float, per_run: float) -> int:
    """Largest width whose memory ``shared + width * per_run`` fits the ``budget``, at least 2.

    All three in bytes.
    """
    return max(SMALLEST_WIDTH, int((budget - shared) // per_run))
