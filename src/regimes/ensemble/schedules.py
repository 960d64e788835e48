"""Observation schedules: the steps at which something is measured, from a short text."""

from __future__ import annotations

import functools
import re

import numpy as np

FORMS = "'1-2-5', '<k> per decade', 'every <k>', 'every <k> until <n>', 'ends'"


@functools.cache
def steps_at(schedule: str, steps: int) -> tuple[int, ...]:
    """Steps of a schedule between 0 and ``steps``, both always included.

    Parameters
    ----------
    schedule
        Pieces separated by semicolons, their steps united: ``1-2-5`` (0, 1, 2, 5, 10, 20, ...),
        ``8 per decade``, ``every 5 until 400``, ``every 100``, ``ends``; empty: no step at all.
    steps
        Last step.

    Raises
    ------
    ValueError
        If a piece has none of these forms.
    """
    if not schedule.strip():
        return ()
    found = {0, steps}
    for piece in schedule.split(";"):
        found |= {step for step in _piece(piece.strip(), steps) if 0 <= step <= steps}
    return tuple(sorted(found))


def _piece(piece: str, steps: int) -> set[int]:
    if piece == "ends":
        return set()
    if piece == "1-2-5":
        decades = range(len(str(max(steps, 1))))
        return {leading * 10**decade for leading in (1, 2, 5) for decade in decades}
    if match := re.fullmatch(r"(\d+) per decade", piece):
        count = int(match[1])
        if count:
            last = int(np.ceil(count * np.log10(max(steps, 2))))
            return {int(round(10 ** (index / count))) for index in range(last + 1)}
    if match := re.fullmatch(r"every (\d+)(?: until (\d+))?", piece):
        if int(match[1]):
            return set(range(0, min(steps, int(match[2] or steps)) + 1, int(match[1])))
    raise ValueError(f"'{piece}' is no schedule; pieces are {FORMS}, joined by ';'")
