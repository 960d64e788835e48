"""From grids to runs to batches, with ids that depend on meaning only.

A run is a frozen settings object; its id hashes the settings with defaults
filled in. A batch is all runs of an experiment with one value of its split
axis; it is trained by one job and fills one results file.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin

from pydantic import ValidationError

from regimes import fingerprint
from regimes.config import (
    PARTIAL_SCALES,
    Config,
    ConfigError,
    Figure,
    RunSettings,
    ScaleConfig,
    explain,
    nearest,
    shortened,
    shown,
)
from regimes.data import catalog

# Raised whenever a change of `store`, `jobs`, `config`, `plan` or `data.files`, outside the code
# fingerprint, changes what a results file holds.
FORMAT = 1

DATA_FIELDS = {"data", "stream"}  # settings that name data sets
GENERATED = ("mnist1m",)  # data sets that the pipeline makes itself
LONGEST_AXIS = 10_000  # values that an axis may have
MOST_RUNS = 50_000  # of an experiment at a scale; the largest one has 3087
LONGEST_NAME = 120  # letters of a batch's name, of the 255 that file systems allow


@dataclass(frozen=True)
class Batch:
    """Runs that share one value of the split axis of their experiment.

    Attributes
    ----------
    experiment, name, kind : str
    runs : tuple of RunSettings
    start : str
        Digest of the lineage of the start point, empty without one.
    """

    experiment: str
    name: str
    kind: str
    runs: tuple[RunSettings, ...]
    start: str = ""

    @functools.cached_property
    def digest(self) -> str:
        """Hash of the runs, their order and their start point, 16 hex digits."""
        runs = [run_id(self.kind, run) for run in self.runs]
        return digest([*runs, self.start] if self.start else runs)


def digest(value: Any, length: int = 16) -> str:
    """Hash of plain data, as so many hex digits."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:length]


def run_id(kind: str, settings: RunSettings) -> str:
    """Ten hex digits that identify a run by its settings."""
    return digest({"kind": kind, **settings.model_dump(mode="json")}, 10)


def slug(value: Any) -> str:
    """File-name form of a setting's value: 1.5 -> 1p5, -2 -> m2, True -> true."""
    text = repr(value) if isinstance(value, float) and value != int(value) else str(value)
    text = str(int(value)) if isinstance(value, float) and value == int(value) else text
    text = text.lower().replace("e-", "em").replace(".", "p").replace("-", "m")
    return re.sub(r"[^a-z0-9_]+", "_", text)


def _grid_points(
    config: Config, study: str, where: tuple, grid: dict[str, Any]
) -> Iterator[dict[str, Any]]:
    """Points of a grid; their number is checked before the first one is made."""
    axes: dict[str, list] = {}
    for key, value in grid.items():
        if key == "seeds":
            if "seed" in grid:
                raise config.error(study, (*where, key), "stands beside 'seed'; keep one of them")
            if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= 10_000:
                raise config.error(
                    study,
                    (*where, key),
                    f"got {shown(value)}: must be a whole number from 1 to 10000",
                )
            key, value = "seed", list(range(value))
        if isinstance(value, dict) and set(value) == {"from", "to", "step"}:
            value = _evenly_spaced(config, study, (*where, key), value)
        values = value if isinstance(value, list) else [value]
        if not values:
            raise config.error(study, (*where, key), "got []: an axis needs at least one value")
        if len(values) > LONGEST_AXIS:
            message = f"has {len(values)} values; at most {LONGEST_AXIS}"
            raise config.error(study, (*where, key), message)
        seen: set = set()
        for i, item in enumerate(values):
            # Lists and mappings are told apart by their text, numbers by what they equal.
            known = repr(item) if isinstance(item, list | dict) else item
            if known in seen:
                raise config.error(study, (*where, key, i), f"got {shown(item)}: stands twice")
            seen.add(known)
        axes[key] = values
    count = math.prod(map(len, axes.values()))
    if count > MOST_RUNS:
        sizes = " x ".join(str(len(values)) for values in axes.values() if len(values) > 1)
        raise config.error(study, where, f"has {sizes} = {count} points; {_at_most()}")
    for values in itertools.product(*axes.values()):
        yield dict(zip(axes, values, strict=True))


def _at_most() -> str:
    return f"an experiment can have {MOST_RUNS} runs at a scale; shorten or divide it"


def _evenly_spaced(config: Config, study: str, where: tuple, spacing: dict) -> list[float]:
    """Values from ``from`` to ``to``, both included, rounded so that they print short."""
    numbers = (spacing["from"], spacing["to"], spacing["step"])
    if any(isinstance(n, bool) or not isinstance(n, int | float) for n in numbers):
        raise config.error(study, where, f"got {shown(spacing)}: from, to and step must be numbers")
    start, stop, step = numbers
    if not all(map(math.isfinite, numbers)) or step <= 0 or stop < start:
        raise config.error(study, where, f"got {shown(spacing)}: needs step > 0 and to >= from")
    if not (stop - start) / step < LONGEST_AXIS:  # also where it overflows to infinity
        raise config.error(study, where, f"has too many values; at most {LONGEST_AXIS}")
    count = round((stop - start) / step) + 1
    if abs(start + (count - 1) * step - stop) > 1e-6 * step:
        raise config.error(study, where, f"got {shown(spacing)}: steps of {step} miss {stop}")
    values = [round(start + index * step, 9) for index in range(count)]
    return [int(v) if v == int(v) and isinstance(step, int) else v for v in values]


def _scale(config: Config, study: str, experiment: str, scale: str) -> ScaleConfig:
    definition = config.studies[study].experiments[experiment]
    found = definition.at(scale)
    if found is None:
        raise config.error(
            study,
            ("experiments", experiment, "scales"),
            f"has no scale '{scale}'; valid: {', '.join(definition.scales)}",
        )
    return found


@functools.cache
def batches(config: Config, study: str, experiment: str, scale: str) -> dict[str, Batch]:
    """Batches of an experiment at a scale, by name.

    Raises
    ------
    ConfigError
        Where a setting is unknown or out of range, or a run stands twice.
    """
    definition = config.studies[study].experiments[experiment]
    model = config.kinds(study)[definition.train]
    found = _scale(config, study, experiment, scale)
    alias = definition.scales[scale]
    here = ("experiments", experiment, "scales", alias if isinstance(alias, str) else scale)
    runs: dict[str, RunSettings] = {}
    for index, grid in enumerate(found.grids):
        sources = [
            (("experiments", experiment, "settings"), definition.settings),
            ((*here, "settings"), found.settings),
            ((*here, "grids", index), grid),
        ]
        for place, settings in sources:
            _check_numbers(config, study, model, place, settings)
        for point in _grid_points(config, study, (*here, "grids", index), grid):
            values = {**definition.settings, **found.settings, **point}
            if len(runs) > MOST_RUNS:
                raise config.error(study, (*here, "grids"), f"has too many runs; {_at_most()}")
            for run in _fitting_runs(config, study, experiment, model, values, sources):
                identity = run_id(definition.train, run)
                if identity in runs:
                    raise config.error(
                        study,
                        (*here, "grids", index),
                        f"repeats a run ({', '.join(f'{k}={shown(v)}' for k, v in point.items())})",
                    )
                runs[identity] = run
    return _split(config, study, experiment, scale, here, runs)


def _check_numbers(
    config: Config, study: str, model: type[RunSettings], where: tuple, settings: dict[str, Any]
) -> None:
    """Refuse true and false for a setting that they would pass for the number 1 or 0 of."""
    for key, value in settings.items():
        if key in model.model_fields and not _takes_truth(model, key):
            for item in value if isinstance(value, list) else [value]:
                if isinstance(item, bool):
                    raise config.error(
                        study,
                        (*where, key),
                        f"got {item}: must be a number or a name; YAML reads yes, no, on and off "
                        "as true and false",
                    )


@functools.cache
def _takes_truth(model: type[RunSettings], key: str) -> bool:
    """Whether true and false are values of a setting."""

    def found(annotation: Any) -> bool:
        if get_origin(annotation) is Literal:
            return any(isinstance(value, bool) for value in get_args(annotation))
        return annotation in (bool, Any) or any(map(found, get_args(annotation)))

    return found(model.model_fields[key].annotation)


def _substituted(substitutes: Mapping[str, str], values: dict[str, Any]) -> dict[str, Any]:
    """Settings with other data sets in place of those that the user has replaced.

    Data sets and what is made of them share the beginning of their names: in place of ``cifar10``
    stands ``cifar10_jpeg``, and ``cifar10_jpeg_augmented`` in place of ``cifar10_augmented``.
    """
    values = dict(values)
    for field in DATA_FIELDS.intersection(values):
        name = catalog.beginning(str(values[field]))
        if name in substitutes:
            values[field] = substitutes[name] + values[field].removeprefix(name)
    return values


def _fitting_runs(
    config: Config,
    study: str,
    experiment: str,
    model: type[RunSettings],
    values: dict[str, Any],
    sources: list[tuple[tuple, dict[str, Any]]],
) -> list[RunSettings]:
    """Validated runs of one grid point, with the data sets that the user has.

    Raises
    ------
    ConfigError
        If the point is wrong, or if it is right but not with a substitute in it.
    """
    substitutes = config.main.substitutes
    other = _substituted(substitutes, values)
    try:
        return list(_runs_of(config, study, model, other, sources))
    except ConfigError:
        if other == values or _refusal(model, values):
            raise
        field = next(field for field in sorted(DATA_FIELDS) if other.get(field) != values[field])
        name = catalog.beginning(values[field])
        raise config.main_error(
            ("substitutes", name),
            f"got '{substitutes[name]}': cannot stand for '{name}' in {study}, experiment "
            f"{experiment}, {field}: {values[field]}; there {_refusal(model, other)}",
        ) from None


def _refusal(model: type[RunSettings], values: dict[str, Any]) -> str:
    """Why settings are refused, empty if they are not."""
    try:
        for each in model.expand(values):
            model.model_validate(each)
    except ValidationError as error:
        location, message = explain(error, model)
        return f"{'.'.join(map(str, location))} {message}".strip()
    except ValueError as error:
        return str(error)
    except Exception as error:
        return _unforeseen(error)
    return ""


def _unforeseen(error: Exception) -> str:
    """Message about values at which a study's own checks stumbled."""
    return (
        f"has values that do not go together ({type(error).__name__}: {shortened(str(error))}); "
        "compare them with those of other grids"
    )


def _runs_of(
    config: Config,
    study: str,
    model: type[RunSettings],
    point: dict[str, Any],
    sources: list[tuple[tuple, dict[str, Any]]],
) -> Iterator[RunSettings]:
    """Validated runs of one grid point; an error names the place its key comes from."""
    grid = sources[-1][0]
    values = point
    try:
        for count, values in enumerate(model.expand(point)):
            if count >= MOST_RUNS:
                raise ValueError(f"has a point that stands for too many runs; {_at_most()}")
            run = model.model_validate(values)
            _look_at(run)
            yield run
    except ValidationError as error:
        location, message = explain(error, model)
        key = location[0] if location else None
        if location[1:] and not isinstance(values.get(key), list):
            location = location[:1]
        known = [place for place, keys in sources if key in keys or key == "seed"]
        place = (*(known[-1] if known else grid), *location)
        if key == "seed" and "missing" in message:
            message = "is missing; give seed or seeds"
        raise config.error(study, place, message) from None
    except ValueError as error:
        raise config.error(study, grid, str(error)) from None
    except Exception as error:
        raise config.error(study, grid, _unforeseen(error)) from None


def _look_at(run: RunSettings) -> None:
    """Evaluate the quantities that are derived from settings, as the job will."""
    for name in _derived(type(run)):
        getattr(run, name)


@functools.cache
def _derived(model: type[RunSettings]) -> tuple[str, ...]:
    return tuple(name for name, value in vars(model).items() if isinstance(value, property))


def _split(
    config: Config,
    study: str,
    experiment: str,
    scale: str,
    here: tuple,
    runs: dict[str, RunSettings],
) -> dict[str, Batch]:
    definition = config.studies[study].experiments[experiment]
    grouped: dict[str, list[RunSettings]] = {}
    values: dict[str, Any] = {}
    for run in runs.values():
        value = getattr(run, definition.split)
        name = f"{definition.split}_{slug(value)}"
        if len(name) > LONGEST_NAME:
            raise config.error(
                study,
                here,
                f"has the value {shown(value)} of '{definition.split}', which gives a file name of "
                f"{len(name)} letters; at most {LONGEST_NAME}",
            )
        if values.setdefault(name, value) != value:
            raise config.error(
                study,
                here,
                f"has the values {shown(values[name])} and {shown(value)} of '{definition.split}', "
                f"which give one file name, {name}",
            )
        grouped.setdefault(name, []).append(run)
    start = ""
    if definition.start is not None:
        start = digest(start_lineage(config, scale, study, definition.start))
    return {
        name: Batch(experiment, name, definition.train, tuple(members), start)
        for name, members in grouped.items()
    }


def find_batch(config: Config, study: str, experiment: str, scale: str, name: str) -> Batch:
    """Return one batch by name.

    Raises
    ------
    ConfigError
        If study, experiment or batch does not exist; names the nearest.
    """
    found = batches(config, study, experiment, scale)
    if name not in found:
        raise config.error(
            study, ("experiments", experiment), f"has no batch '{name}'; {nearest(name, found)}"
        )
    return found[name]


def generated_data(batch: Batch) -> list[str]:
    """Data sets that runs of a batch read and that the pipeline makes itself."""
    named = {getattr(run, field, None) for run in batch.runs for field in DATA_FIELDS}
    return [name for name in GENERATED if name in named]


Code = tuple[tuple[str, ...], tuple[tuple[str, tuple[str, ...]], ...]]


def train_code(study: str, batch: Batch) -> Code:
    """Modules that a batch's results depend on, the numeric policy included, and table entries.

    Returns
    -------
    tuple
        Names of modules, and pairs of a table (``module:NAME``) and those of its keys that the
        runs name.
    """
    entries: dict[str, set[str]] = {}
    for field, table in type(batch.runs[0]).TABLES.items():
        entries.setdefault(table, set()).update(str(getattr(run, field)) for run in batch.runs)
    modules = (f"regimes.studies.{study}.experiments", "regimes.device")
    return modules, tuple(sorted((table, tuple(sorted(names))) for table, names in entries.items()))


def analysis_code(study: str, analysis: str) -> Code:
    """Module of an analysis."""
    return (f"regimes.studies.{study}.analyses.{analysis}",), ()


def figure_code(study: str, figure: str) -> Code:
    """Module of a figure."""
    return (f"regimes.studies.{study}.figures.{figure}",), ()


def claims_code(study: str) -> Code:
    """Module of a study's measures; it imports the estimators and the verdict."""
    return (f"regimes.studies.{study}.claims",), ()


def code_digests(code: Code) -> dict[str, str]:
    """Hash of each module that counts, by name: modules and all that they import."""
    modules, entries = code
    return fingerprint.digests(modules, {table: set(names) for table, names in entries})


@functools.cache
def _fingerprint(code: Code) -> str:
    modules, entries = code
    found = fingerprint.of_modules(modules, {table: set(names) for table, names in entries})
    return digest([FORMAT, found], 32)


def train_fingerprint(study: str, batch: Batch) -> str:
    """Fingerprint of the code that a batch's results depend on, the numeric policy included."""
    return _fingerprint(train_code(study, batch))


def analysis_fingerprint(study: str, analysis: str) -> str:
    """Fingerprint of an analysis module and all it imports."""
    return _fingerprint(analysis_code(study, analysis))


def figure_fingerprint(study: str, figure: str) -> str:
    """Fingerprint of a figure's module and all it imports."""
    return _fingerprint(figure_code(study, figure))


def claims_fingerprint(study: str) -> str:
    """Fingerprint of a study's measures, the estimators and the verdict."""
    return _fingerprint(claims_code(study))


@functools.cache
def gallery_fingerprint() -> str:
    """Fingerprint of the page: its module and its template."""
    template = fingerprint.SOURCE / "plot" / "templates" / "gallery.html"
    code = _fingerprint((("regimes.plot.gallery",), ()))
    return digest([code, template.read_text(encoding="utf-8")], 32)


def experiments_at(config: Config, scale: str, study: str, analysis: str) -> list[str]:
    """Experiments that an analysis reads at a scale: those of its list that have runs there.

    Experiments that the analysis reads at other scales only are left out.

    Raises
    ------
    ConfigError
        If it lists experiments and none has runs at this scale.
    """
    entry = config.studies[study]
    wanted = entry.analyses[analysis]
    listed = wanted.experiments
    found = [
        name
        for name in listed
        if entry.experiments[name].at(scale) is not None and wanted.reads(name, scale)
    ]
    if listed and not found:
        where = ("analyses", analysis, "experiments")
        raise config.error(study, where, f"none of them has the scale '{scale}'")
    return found


def analyses_at(config: Config, scale: str, study: str) -> list[str]:
    """Analyses of a study at a scale: all, or at a partial scale those that can read all they need.

    What an analysis needs are the experiments that it lists for this scale.
    """
    entry = config.studies[study]
    if scale not in PARTIAL_SCALES:
        return list(entry.analyses)
    found = []
    for name, analysis in entry.analyses.items():
        needed = [each for each in analysis.experiments if analysis.reads(each, scale)]
        if needed and all(entry.experiments[each].at(scale) is not None for each in needed):
            found.append(name)
    return found


def figures_at(config: Config, scale: str, study: str) -> dict[str, Figure]:
    """Figures of a study at a scale: all, or at a partial scale those whose analyses have runs."""
    available = set(analyses_at(config, scale, study))
    figures = config.studies[study].figures
    return {name: entry for name, entry in figures.items() if available.issuperset(entry.analyses)}


def studies_at(config: Config, scale: str) -> list[str]:
    """Studies that have figures at a scale."""
    return [study for study in config.studies if figures_at(config, scale, study)]


def start_lineage(config: Config, scale: str, study: str, start: str) -> dict[str, str]:
    """All that a start point depends on: what it keeps, runs and code of its experiment."""
    entry = config.studies[study].starts[start]
    return {"keep": " ".join(entry.keep), **batch_lineage(config, scale, study, entry.experiment)}


def batch_lineage(config: Config, scale: str, study: str, experiment: str) -> dict[str, str]:
    """Digests of the runs and of the code of each batch of an experiment."""
    return {
        f"{experiment}/{name}": f"{batch.digest} {train_fingerprint(study, batch)}"
        for name, batch in batches(config, study, experiment, scale).items()
    }


def lineage(config: Config, scale: str, study: str, analysis: str) -> dict[str, str]:
    """All that an analysis depends on: its code, and runs and code of each batch it reads.

    Figures and claims carry the lineage of what they read. Snakemake looks only one
    step back where a file in between is missing, for instance after a failure;
    without it a stale figure would pass for current.
    """
    found = {"analysis": analysis_fingerprint(study, analysis)}
    for experiment in experiments_at(config, scale, study, analysis):
        found |= batch_lineage(config, scale, study, experiment)
    return found


def lineages(config: Config, scale: str, study: str, analyses: Iterable[str]) -> dict[str, str]:
    """Digest of the lineage of each analysis."""
    return {name: digest(lineage(config, scale, study, name)) for name in analyses}
