"""Runs listed by hand from the papers, against those that the configuration plans.

A table names for each experiment of a scale all its runs, by the settings that decide them: model,
data, learning rates, batch sizes, lengths, seeds. What a table does not name is not checked.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from regimes import plan
from regimes.config import Config, RunSettings

CONFIG = Config(Path(__file__).resolve().parents[2])
SHOWN = 2  # runs that a message names
DIGITS = 5  # to which real numbers must agree: files write them rounded

Rows = list[dict[str, Any]]


def listed(seeds: int | list[int], **settings: Any) -> Rows:
    """All combinations of settings: a list is an axis; an int of seeds counts from 0."""
    axes = {key: value if isinstance(value, list) else [value] for key, value in settings.items()}
    axes["seed"] = list(range(seeds)) if isinstance(seeds, int) else seeds
    return [dict(zip(axes, point, strict=True)) for point in itertools.product(*axes.values())]


def check(study: str, scale: str, experiment: str, rows: Rows) -> None:
    """Compare an experiment's runs with rows, in all that any of the rows names.

    A name is a setting, or a property or method of the settings (``batch_size``, ``used``). Rows
    that lack a setting stand for its default.
    """
    batches = plan.batches(CONFIG, study, experiment, scale).values()
    runs = [run for batch in batches for run in batch.runs]
    names = sorted(set().union(*rows))
    planned = Counter(tuple(_plain(_read(run, name)) for name in names) for run in runs)
    wanted = Counter(tuple(_plain(_given(row, name, runs[0])) for name in names) for row in rows)
    missing, unlisted = wanted - planned, planned - wanted
    assert not missing and not unlisted, (
        f"{study}, {experiment} at scale {scale}: {planned.total()} runs, {wanted.total()} listed; "
        f"missing {_shown(names, missing)}; not listed {_shown(names, unlisted)}"
    )


def check_complete(
    study: str, scale: str, table: Collection[str], absent: Collection[str] = ()
) -> None:
    """Check that a table has the experiments that have runs at a scale, and no others.

    Experiments without runs there must be named as absent, so that none is forgotten.
    """
    experiments = CONFIG.studies[study].experiments
    planned = {name for name, entry in experiments.items() if entry.at(scale) is not None}
    assert set(table) == planned
    assert set(absent) == set(experiments) - planned


def _read(run: RunSettings, name: str) -> Any:
    value = getattr(run, name)
    return value() if callable(value) else value


def _given(row: Mapping[str, Any], name: str, run: RunSettings) -> Any:
    """Value of a row, else the default of the setting."""
    if name in row:
        return row[name]
    field = type(run).model_fields.get(name)
    assert field is not None and not field.is_required(), f"'{name}' must stand in all rows"
    return field.default


def _plain(value: Any) -> Any:
    """Hashable value, real numbers rounded."""
    if isinstance(value, list | tuple):
        return tuple(_plain(item) for item in value)
    return float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value


def _shown(names: list[str], runs: Counter) -> list[dict[str, Any]]:
    return [dict(zip(names, run, strict=True)) for run in itertools.islice(runs, SHOWN)]
