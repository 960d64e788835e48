"""What jobs ask a scheduler for: memory, time and a GPU, from the recorded forecasts of a scale.

``config/resources.csv`` holds, for each experiment at each scale, what its largest job was forecast
to take (``regimes plan <scale> --record`` writes it); docs/cost.md describes how requests follow
from it. A request decides about waiting and about being killed, never about a result, so that an
old or missing row costs at most a second attempt. Nothing here imports torch or xarray.
"""

from __future__ import annotations

import csv
import functools
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Any

from regimes.config import SCALES, Config, ConfigError, nearest

FILE = "resources.csv"
DEVICES = ("cpu", "cuda")
GPU_SCALES = ("gpu", "paper")  # where `device: auto` means a GPU, see regimes.device.choose

# Requests are so many times what was forecast, and grow by GROWTH with each attempt.
TIME_SAFETY = 3.0
MEMORY_SAFETY = 1.5
GROWTH = 2
SHORTEST = 10  # minutes: a busy file system can make the start of a job slow
SMALLEST = 2000  # MB: interpreter, torch and what libraries allocate on other machines
ROUNDING = 100  # MB

# What a forecast made on a CPU says about a GPU is an assumption, until one is recorded there.
# Small networks gain nothing on a GPU, as the start of each operation takes as long as a CPU needs
# for all of it; large ones gain more than this.
UNCHANGED = 3600.0  # seconds that count as on the CPU
GPU_SPEED = 10.0  # by which the rest is divided
GPU_LIBRARIES = 4000  # MB that CUDA's libraries take in a process

# Minutes and MB of a training job of which nothing was recorded.
UNKNOWN: Mapping[str, tuple[int, int]] = {
    "smoke": (30, 2000),
    "laptop": (60, 4000),
    "images": (240, 8000),
    "gpu": (720, 16000),
    "paper": (1440, 32000),
}
# Jobs that only read results: minutes, and times the size of what they read.
READING_MINUTES: Mapping[str, int] = {"smoke": 20, "laptop": 60}
LONG_READING = 240
READING = 4.0
GENERATING = (1440, 16000)  # minutes and MB of a data set that is generated


@dataclass(frozen=True)
class Row:
    """Forecast of the training jobs of one experiment on one kind of device.

    Attributes
    ----------
    scale, study, experiment : str
    device : str
        "cpu" or "cuda": where the forecast was made.
    jobs : int
        Number of jobs at that time.
    seconds : float
        Of the longest job.
    memory_mb : float
        Largest memory of a job's process (not of the GPU), in MB.
    disk_mb : float
        Size of all results files of the experiment, in MB.
    """

    scale: str
    study: str
    experiment: str
    device: str
    jobs: int
    seconds: float
    memory_mb: float
    disk_mb: float

    @property
    def key(self) -> tuple[str, str, str, str]:
        """What there is only one row of."""
        return self.scale, self.study, self.experiment, self.device


COLUMNS = tuple(field.name for field in fields(Row))
Table = Mapping[tuple[str, str, str, str], Row]


@dataclass(frozen=True)
class Limits:
    """Most that a job ever asks for.

    Attributes
    ----------
    minutes : int
    mb : int
    """

    minutes: int = 24 * 60
    mb: int = 128_000


# What `snakemake --config` or a profile may say about them: unit and how many of ours it is.
_LIMITS = {
    "longest_runtime": ("hours", "minutes", 60),
    "largest_memory": ("GB", "mb", 1000),
}


@dataclass(frozen=True)
class Request:
    """What a job asks for: MB of memory, minutes, GPUs (None where it needs none)."""

    mem_mb: int
    runtime: int
    gpu: int | None = None


def limits(given: Mapping[str, Any]) -> Limits:
    """Limits from the settings of a Snakemake call, the usual ones where it says nothing.

    Parameters
    ----------
    given
        ``longest_runtime`` in hours and ``largest_memory`` in GB; other keys are left alone.

    Raises
    ------
    ConfigError
        If one of them is not a number above 0.
    """
    found = {}
    for name, (unit, field, factor) in _LIMITS.items():
        value = given.get(name)
        if value is None:
            continue
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or not math.isfinite(value) or value <= 0:
            raise ConfigError(
                f"{name} (snakemake --config, or config: in a profile): got {value!r}; must be a "
                f"number of {unit} above 0, for instance {name}=12"
            )
        found[field] = max(1, math.floor(value * factor))
    return Limits(**found)


# --- The table ------------------------------------------------------------------------------------


@functools.cache
def table(folder: Path) -> Table:
    """Rows of ``resources.csv`` in the folder of the configuration (read once per process).

    Raises
    ------
    ConfigError
        If the file is there and malformed: its line, column, value, and what is allowed.
    """
    return read(folder / FILE)


def read(path: Path) -> dict[tuple[str, str, str, str], Row]:
    """Rows of a table by scale, study, experiment and device; none if there is no such file.

    Raises
    ------
    ConfigError
        As `table`.
    """
    try:
        with open(path, encoding="utf-8", newline="") as handle:
            lines = csv.reader(handle, strict=True)
            return _rows(path, lines)
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ConfigError(f"{_shown(path)}: cannot be read ({reason}); {_REPAIR}") from None


_REPAIR = (
    "mend it, or delete it and write a new one with: regimes plan <scale> --record (docs/cost.md)"
)


def _rows(path: Path, lines: Any) -> dict[tuple[str, str, str, str], Row]:
    header = next(lines, [])
    if tuple(header) != COLUMNS:
        raise ConfigError(
            f"{_shown(path)}:1: got the columns {','.join(header)!r}; must be "
            f"{','.join(COLUMNS)}; {_REPAIR}"
        )
    found: dict[tuple[str, str, str, str], Row] = {}
    for values in lines:
        if not values:
            continue
        place = f"{_shown(path)}:{lines.line_num}"
        if len(values) != len(COLUMNS):
            raise ConfigError(f"{place}: got {len(values)} values; must be {len(COLUMNS)}")
        parsed = [_parsed(place, *each) for each in zip(COLUMNS, values, strict=True)]
        row = Row(*parsed)
        if row.key in found:
            raise ConfigError(
                f"{place}: {', '.join(row.key)} stands twice; keep the line that is right"
            )
        found[row.key] = row
    return found


def _parsed(place: str, column: str, text: str) -> Any:
    """Value of a column."""
    named = {"scale": SCALES, "device": DEVICES}
    if column in named:
        if text not in named[column]:
            raise ConfigError(
                f"{place}: {column}: got {text!r}; {nearest(text, named[column])} "
                f"(one of {', '.join(named[column])})"
            )
        return text
    if column in ("study", "experiment"):
        if not text:
            raise ConfigError(f"{place}: {column}: is empty; must be the name of one")
        return text
    kind, what = (int, "a whole number") if column == "jobs" else (float, "a number")
    try:
        value = kind(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or value < 0:
        raise ConfigError(f"{place}: {column}: got {text!r}; must be {what}, 0 or more")
    return value


def _shown(path: Path) -> Path:
    """Path as a user would type it: relative where it lies below the working directory."""
    try:
        return path.resolve().relative_to(Path.cwd())
    except ValueError:
        return path


def to_text(rows: Iterable[Row]) -> str:
    """Rows as the text of a table: in a fixed order and short, so that changes are easy to see."""
    ordered = sorted(rows, key=lambda row: (SCALES.index(row.scale), *row.key[1:]))
    lines = [COLUMNS, *((*astuple(row)[:-3], *map(_short, astuple(row)[-3:])) for row in ordered)]
    return "".join(",".join(map(str, line)) + "\n" for line in lines)


def _short(number: float) -> str:
    """Three significant digits, without an exponent."""
    if number <= 0:
        return "0"
    digits = 2 - math.floor(math.log10(number))
    text = f"{round(number, digits):.{max(digits, 0)}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def merged(
    old: Table, new: Sequence[Row], config: Config, scale: str
) -> dict[tuple[str, str, str, str], Row]:
    """Old rows with new ones in their place, without those of experiments that are gone.

    Parameters
    ----------
    old, new
        Rows of the table and of a forecast of ``scale``.
    config
        Says which experiments there are; studies that it does not list keep their rows.
    scale
        Rows of other scales are kept.
    """

    def gone(row: Row) -> bool:
        if row.scale != scale or row.study not in config.studies:
            return False
        experiment = config.studies[row.study].experiments.get(row.experiment)
        return experiment is None or experiment.at(scale) is None

    kept = {key: row for key, row in old.items() if not gone(row)}
    return kept | {row.key: row for row in new}


# --- Requests -------------------------------------------------------------------------------------


def wants_gpu(config: Config, scale: str) -> bool:
    """Whether training jobs of a scale are meant for a GPU (`regimes.device.choose`)."""
    setting = os.environ.get("REGIMES_DEVICE", config.main.device)
    return setting == "cuda" or (setting == "auto" and scale in GPU_SCALES)


def _find(
    rows: Table, config: Config, scale: str, study: str, experiment: str, devices: Sequence[str]
) -> Row | None:
    """Row of an experiment, from the first of the devices of which there is one.

    An experiment that has the same runs at two scales needs only one row.
    """
    alias = config.studies[study].experiments[experiment].scales.get(scale)
    scales = [scale, alias] if isinstance(alias, str) else [scale]
    for device in devices:
        for each in scales:
            if (each, study, experiment, device) in rows:
                return rows[each, study, experiment, device]
    return None


def on_gpu(seconds: float) -> float:
    """Seconds that a job may take on a GPU if it was forecast to take ``seconds`` on a CPU core."""
    return min(seconds, UNCHANGED) + max(seconds - UNCHANGED, 0.0) / GPU_SPEED


def _request(
    minutes: float, mb: float, attempt: int, most: Limits, gpu: int | None = None
) -> Request:
    growth = GROWTH ** (attempt - 1)
    rounded = ROUNDING * math.ceil(max(mb, SMALLEST) * growth / ROUNDING)
    return Request(
        min(rounded, most.mb),
        min(math.ceil(max(minutes, SHORTEST) * growth), most.minutes),
        gpu,
    )


def training(
    config: Config,
    scale: str,
    study: str,
    experiment: str,
    attempt: int = 1,
    most: Limits = Limits(),  # noqa: B008 - frozen
) -> Request:
    """Request of a training job.

    Parameters
    ----------
    config, scale, study, experiment
        Whose; all jobs of an experiment ask for what its largest needs.
    attempt
        1 for the first.
    most
        Limits. A job that runs out of time is gone on with where its checkpoints end.
    """
    rows, gpu = table(config.folder), wants_gpu(config, scale)
    devices = ("cuda", "cpu") if gpu else ("cpu",)
    row = _find(rows, config, scale, study, experiment, devices)
    if row is None:
        minutes, mb = UNKNOWN[scale]
    else:
        converted = gpu and row.device == "cpu"
        seconds = on_gpu(row.seconds) if converted else row.seconds
        minutes = TIME_SAFETY * seconds / 60
        mb = MEMORY_SAFETY * row.memory_mb + (GPU_LIBRARIES if converted else 0)
    return _request(minutes, mb, attempt, most, 1 if gpu else None)


def reading(
    config: Config,
    scale: str,
    study: str,
    experiments: Iterable[str],
    attempt: int = 1,
    most: Limits = Limits(),  # noqa: B008 - frozen
) -> Request:
    """Request of a job that reads the results of experiments: an analysis, a start point.

    Its memory follows from the size of what it reads.
    """
    rows = table(config.folder)
    found = [_find(rows, config, scale, study, each, DEVICES) for each in experiments]
    mb = SMALLEST + READING * sum(row.disk_mb for row in found if row is not None)
    if None in found:
        mb = max(mb, UNKNOWN[scale][1])
    return _request(READING_MINUTES.get(scale, LONG_READING), mb, attempt, most)


def small(attempt: int = 1, most: Limits = Limits()) -> Request:  # noqa: B008 - frozen
    """Request of a job that reads next to nothing: a table of claims."""
    return _request(SHORTEST, SMALLEST, attempt, most)


def generating(
    config: Config,
    attempt: int = 1,
    most: Limits = Limits(),  # noqa: B008 - frozen
) -> Request:
    """Request of a job that generates a data set; what it has finished is kept if it is killed."""
    return _request(*GENERATING, attempt, most, 1 if wants_gpu(config, "paper") else None)
