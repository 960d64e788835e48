"""What a scale would cost: experiments, runs, operations, hours, memory and disk, before it runs.

Every job is tried for a moment by its own code (`regimes.probe`), in processes of their own as jobs
are, as many side by side as there are cores. Jobs that cannot be tried, for instance because data
are missing, are listed with the reason.
"""

from __future__ import annotations

import contextlib
import csv
import importlib
import io
import multiprocessing
import os
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing import connection
from pathlib import Path
from typing import Any

import numpy as np

from regimes import plan, resources, store
from regimes.config import Config, ConfigError, load, nearest

# Seconds after which no further job of an experiment is tried, and after which an attempt ends.
PATIENCE = (20.0, 150.0)
QUICK_PATIENCE = (3.0, 40.0)
LARGEST_WRITTEN = 200e6  # bytes up to which a results file is written to learn its size


@dataclass(frozen=True)
class Machine:
    """What was measured of this machine before anything else.

    Attributes
    ----------
    device : str
        "cpu" or "cuda".
    title : str
        Its name.
    start_up : float
        Seconds from the start of a job to its first useful line.
    rates : dict of float
        Operations per second of large matrix products, by precision.
    """

    device: str
    title: str
    start_up: float
    rates: Mapping[str, float]


@dataclass(frozen=True)
class Job:
    """Forecast of one job: one batch of an experiment.

    Attributes
    ----------
    batch : str
    runs : int
    seconds, flops, disk : float
        Seconds without start-up, operations of training, bytes of the results file.
    rough : bool
        Whether it was scaled from narrower networks or from other jobs of the experiment.
    """

    batch: str
    runs: int
    seconds: float
    flops: float
    disk: float
    rough: bool = False


@dataclass(frozen=True)
class Forecast:
    """Forecast of one experiment.

    Attributes
    ----------
    study, experiment : str
    planned : int
        Jobs that the scale has.
    runs : int
    jobs : tuple of Job
        Empty where nothing could be tried.
    steps : tuple of int
        Smallest and largest number of training steps of a run; empty where there are none.
    memory : float
        Largest memory of a job, bytes.
    problem : str
        Why jobs could not be tried.
    missing : tuple of str
        Data sets that are needed and not there; random numbers stood in for them.
    tried : float
        Processor seconds that the attempts took.
    process_memory : float
        Largest memory of a job outside the GPU, bytes; on a CPU the same as ``memory``.
    """

    study: str
    experiment: str
    planned: int
    runs: int
    jobs: tuple[Job, ...] = ()
    steps: tuple[int, ...] = ()
    memory: float = 0.0
    problem: str = ""
    missing: tuple[str, ...] = ()
    tried: float = 0.0
    process_memory: float = 0.0

    @property
    def rough(self) -> bool:
        """Whether a job was not tried as it is."""
        return any(job.rough for job in self.jobs)

    def total(self, what: str) -> float:
        """Sum of a number over jobs."""
        return sum(getattr(job, what) for job in self.jobs)


# --- One experiment, in a process of its own ------------------------------------------------------


@dataclass(frozen=True)
class Task:
    """An experiment whose jobs are to be tried."""

    root: str
    scale: str
    study: str
    experiment: str
    machine: Machine
    quick: bool
    folder: str  # where start points are handed on


class _OutOfTime(Exception):
    """The attempts at an experiment took too long."""


def try_experiment(task: Task) -> Forecast:
    """Try the jobs of an experiment one after the other, as long as patience lasts."""
    import torch

    from regimes import device as devices
    from regimes import probe as probes
    from regimes import provenance
    from regimes.data import files

    started = time.process_time()
    config = load(task.root)
    files.use_folder(config.main.data)
    devices.set_policy()
    device = torch.device(task.machine.device)
    importlib.import_module(f"regimes.studies.{task.study}.experiments")  # part of the start-up
    batches = list(plan.batches(config, task.study, task.experiment, task.scale).values())
    found: dict[int, Job] = {}
    steps: set[int] = set()
    results: dict[int, Any] = {}
    problem, beyond, missing = "", 0.0, set()
    soft, hard = QUICK_PATIENCE if task.quick else PATIENCE
    too_long = f"could not be tried within {hard:.0f} s"
    try:
        with _silence():
            given = _start_of(config, task)
            for place in probes.spread(len(batches)):
                left = started + hard - time.process_time()
                # Only the training: interrupted netCDF calls would keep their locks.
                with probes.limited(max(left, 1.0), _OutOfTime, too_long):
                    probe, seconds, result = _try_job(task, batches[place], device, given)
                job = _job(batches[place], probe, seconds, result)
                results[place] = result
                found[place] = job
                steps |= probe.steps - {0} or {
                    run.steps for run in batches[place].runs if hasattr(run, "steps")
                }
                beyond = max(beyond, probe.bytes_beyond)
                missing |= probe.missing
                if len(found) > 1 and time.process_time() - started > soft:
                    break
    except _OutOfTime as error:
        problem = str(error)
    except ConfigError as error:
        problem = str(error)
    except Exception as error:  # noqa: BLE001 - one experiment must not end the forecast of others
        problem = f"{type(error).__name__}: {error}"
    _hand_on(config, task, batches, results)
    jobs = _completed([(batch.name, len(batch.runs)) for batch in batches], found)
    process = 1e6 * provenance.peak_memory_mb()
    return Forecast(
        task.study,
        task.experiment,
        len(batches),
        sum(len(batch.runs) for batch in batches),
        tuple(jobs),
        (min(steps), max(steps)) if steps else (),
        beyond + _peak_memory(device),
        problem,
        tuple(sorted(missing)),
        time.process_time() - started,
        process + (beyond if device.type == "cpu" else 0.0),
    )


def _try_job(task: Task, batch: plan.Batch, device, given: dict) -> tuple[Any, float, Any]:
    """Probe of a job, its seconds before the results are written, and the results."""
    import torch

    from regimes import probe as probes
    from regimes.ensemble import probing

    module = importlib.import_module(f"regimes.studies.{task.study}.experiments")
    rates = {getattr(torch, name): rate for name, rate in task.machine.rates.items()}
    probe = probes.Probe(device, probes.QUICK if task.quick else probes.Effort(), rates)
    start = probe.clock()
    with probing.active(probe), contextlib.closing(probe):
        result = module.KINDS[batch.kind](list(batch.runs), device, **given)
    return probe, probe.clock() - start, result


def _job(batch: plan.Batch, probe: Any, seconds: float, result: Any) -> Job:
    """Forecast of a job from what its attempt gave."""
    wanted = np.resize(np.arange(result.sizes["run"]), len(batch.runs))
    disk = result.nbytes / result.sizes["run"] * len(wanted)
    if disk <= LARGEST_WRITTEN:
        disk, writing = _written(result.isel(run=wanted), batch)
        seconds += writing
    return Job(batch.name, len(batch.runs), max(seconds, 0.0), probe.flops, disk, probe.narrowed)


def _written(result: Any, batch: plan.Batch) -> tuple[float, float]:
    """Bytes of the results file, and seconds to write it."""
    from regimes.jobs import with_hyperparameters

    started = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "forecast.nc"
        store.write_netcdf(path, with_hyperparameters(result, batch.kind, batch.runs), {})
        return path.stat().st_size, time.process_time() - started


def _completed(batches: Sequence[tuple[str, int]], found: Mapping[int, Job]) -> list[Job]:
    """Jobs of all batches; run for run, those not tried cost what their neighbours suggest."""
    if not found:
        return []
    known = sorted(found)
    jobs = []
    for place, (name, runs) in enumerate(batches):
        if place in found:
            jobs.append(found[place])
            continue
        each = {}
        for what in ("seconds", "flops", "disk"):
            # Sizes mostly grow by factors along a split axis.
            logs = [np.log(max(getattr(found[k], what), 1e-9) / found[k].runs) for k in known]
            each[what] = runs * float(np.exp(np.interp(place, known, logs)))
        jobs.append(Job(name, runs, rough=True, **each))
    return jobs


def _peak_memory(device: Any) -> float:
    """Bytes: on a GPU those of tensors, on a CPU those of the process."""
    import torch

    from regimes import provenance

    if device.type == "cuda":
        return float(torch.cuda.max_memory_reserved(device))
    return 1e6 * provenance.peak_memory_mb()


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Say nothing of what jobs would put into their logs."""
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


# --- Start points ---------------------------------------------------------------------------------


def _start_of(config: Config, task: Task) -> dict[str, Any]:
    """Start point of an experiment, made by the attempt at the experiment that it comes from."""
    name = config.studies[task.study].experiments[task.experiment].start
    if name is None:
        return {}
    path = Path(task.folder) / task.study / f"{name}.nc"
    if not path.exists():
        before = config.studies[task.study].starts[name].experiment
        raise ConfigError(f"its start point comes from {before}, which could not be tried")
    return {"start": store.read_netcdf(path)}


def _hand_on(config: Config, task: Task, batches: Sequence[plan.Batch], results: Mapping) -> None:
    """Write the start points that come from this experiment."""
    from regimes.jobs import with_hyperparameters

    for name, entry in config.studies[task.study].starts.items():
        if entry.experiment != task.experiment or len(results) < len(batches):
            continue
        parts = []
        for place, batch in enumerate(batches):
            wanted = np.resize(np.arange(results[place].sizes["run"]), len(batch.runs))
            found = results[place].isel(run=wanted)
            parts.append(with_hyperparameters(found, batch.kind, batch.runs))
        kept = store.join_runs(parts)[entry.keep]
        store.write_netcdf(Path(task.folder) / task.study / f"{name}.nc", kept, {})


# --- All experiments ------------------------------------------------------------------------------


@dataclass
class Progress:
    """Tells how far the forecast is; replaced by a bar on a terminal."""

    total: int
    done: int = 0
    say: Any = field(default=lambda text: None)

    def finished(self, forecast: Forecast) -> None:
        """One more experiment is done."""
        self.done += 1
        self.say(f"[{self.done}/{self.total}] {forecast.study} {forecast.experiment}")


def chosen(
    config: Config, scale: str, studies: Sequence[str] = (), experiments: Sequence[str] = ()
) -> list[tuple[str, str]]:
    """Pairs of study and experiment that have runs at a scale, of those that were named.

    Raises
    ------
    ConfigError
        If a name is unknown, or nothing is left.
    """
    for study in studies:
        if study not in config.studies:
            raise ConfigError(f"--study: got '{study}'; {nearest(study, config.studies)}")
    of_studies = [s for s in config.studies if not studies or s in studies]
    known = {name for study in of_studies for name in config.studies[study].experiments}
    for name in experiments:
        if name not in known:
            raise ConfigError(f"--experiment: got '{name}'; {nearest(name, known)}")
    found = [
        (study, name)
        for study in of_studies
        for name, entry in config.studies[study].experiments.items()
        if (not experiments or name in experiments) and entry.at(scale) is not None
    ]
    if not found:
        raise ConfigError(f"nothing that was asked for has runs at scale {scale}")
    return found


def calibrate(config: Config, scale: str, study: str) -> Machine:
    """Measure the start of a job and the speed of matrix products on the device of the scale."""
    import torch

    from regimes import device as devices
    from regimes import provenance

    devices.set_policy()
    device = devices.choose(config.main.device, scale)
    rates = {
        str(d).removeprefix("torch."): _rate(device, d) for d in (torch.float32, torch.float64)
    }
    command = [sys.executable, "-m", "regimes", "--root", str(config.root), "startup", scale, study]
    seconds = []
    for _ in range(2):  # the first call reads files from disk
        before = _seconds_of_children()
        subprocess.run(command, check=True, capture_output=True)
        seconds.append(_seconds_of_children() - before)
    return Machine(device.type, provenance.describe(device), min(seconds), rates)


def _seconds_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _rate(device: Any, dtype: Any, size: int = 512) -> float:
    """Operations per second of products of matrices with ``size`` rows and columns."""
    import torch

    now = time.perf_counter if device.type == "cuda" else time.process_time
    matrices = torch.ones(4, size, size, dtype=dtype, device=device)
    count, started = 0, 0.0
    while count < 3 or now() - started < 0.2:
        if count == 2:  # two for warm-up
            started = now()
        torch.bmm(matrices, matrices)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        count += 1
    return 8.0 * size**3 * (count - 2) / (now() - started)


def start_up(config: Config, scale: str, study: str) -> None:
    """Do what every job does before it trains."""
    import torch

    from regimes import device as devices

    experiment = chosen(config, scale, [study])[0][1]
    batch = next(iter(plan.batches(config, study, experiment, scale).values()))
    plan.train_fingerprint(study, batch)
    devices.set_policy()
    importlib.import_module(f"regimes.studies.{study}.experiments")
    torch.zeros(1, device=devices.choose(config.main.device, scale))


def forecast(
    config: Config,
    scale: str,
    wanted: Sequence[tuple[str, str]],
    machine: Machine,
    *,
    quick: bool = False,
    cores: int = 1,
    say: Any = lambda text: None,
) -> list[Forecast]:
    """Try experiments, each in a process of its own; forecasts in the order of ``wanted``.

    Experiments from which others start are tried too, but not returned unless they are wanted.
    """
    after = {pair: _before(config, pair) for pair in wanted}
    for pair in list(after):
        while after[pair] is not None and after[pair] not in after:
            after[after[pair]] = _before(config, after[pair])
            pair = after[pair]
    progress = Progress(len(after), say=say)
    found: dict[tuple[str, str], Forecast] = {}
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["regimes.probe", "regimes.forecast", "regimes.jobs"])
    workers = 1 if machine.device == "cuda" else cores
    waiting, running = list(after), {}
    with tempfile.TemporaryDirectory() as folder:
        try:
            while waiting or running:
                ready = [pair for pair in waiting if after[pair] is None or after[pair] in found]
                for pair in ready[: workers - len(running)]:
                    waiting.remove(pair)
                    task = Task(str(config.root), scale, *pair, machine, quick, folder)
                    here, there = context.Pipe(duplex=False)
                    process = context.Process(target=_work, args=(task, there), daemon=True)
                    process.start()
                    there.close()
                    running[here] = pair, process
                for here in connection.wait(list(running)):
                    pair, process = running.pop(here)
                    found[pair] = _received(here, config, scale, pair)
                    process.join()
                    progress.finished(found[pair])
        finally:
            for _, process in running.values():
                process.kill()
    return [found[pair] for pair in wanted]


def _work(task: Task, there: connection.Connection) -> None:
    there.send(try_experiment(task))


def _received(
    here: connection.Connection, config: Config, scale: str, pair: tuple[str, str]
) -> Forecast:
    """What a process found; if it was killed, that it was."""
    try:
        return here.recv()
    except EOFError:
        batches = plan.batches(config, *pair, scale).values()
        runs = sum(len(batch.runs) for batch in batches)
        problem = "the attempt was killed; is there too little memory?"
        return Forecast(*pair, len(batches), runs, problem=problem)


def _before(config: Config, pair: tuple[str, str]) -> tuple[str, str] | None:
    """Experiment whose results another one starts from."""
    study, name = pair
    start = config.studies[study].experiments[name].start
    return None if start is None else (study, config.studies[study].starts[start].experiment)


def wall_seconds(seconds: Sequence[float], cores: int) -> float:
    """Seconds until all jobs are done if each free core takes the next one of the list."""
    busy = [0.0] * max(1, min(cores, len(seconds)))
    for each in seconds:
        first = busy.index(min(busy))
        busy[first] += each
    return max(busy)


# --- What is shown --------------------------------------------------------------------------------

COLUMNS = (
    "study",
    "experiment",
    "jobs",
    "runs",
    "steps_min",
    "steps_max",
    "flops",
    "seconds",
    "longest_job_seconds",
    "peak_memory_bytes",
    "disk_bytes",
    "rough",
    "missing_data",
    "problem",
)

HEADINGS = ("experiment", "jobs", "runs", "steps", "FLOP", "time", "longest", "memory", "disk")


def rows(forecasts: Sequence[Forecast], start_up: float) -> list[dict[str, Any]]:
    """Numbers of the table, by the names of `COLUMNS`; None where nothing is known."""
    found = []
    for each in forecasts:
        seconds = [job.seconds + start_up for job in each.jobs]
        known = bool(seconds)
        numbers = (
            each.study,
            each.experiment,
            each.planned,
            each.runs,
            each.steps[0] if each.steps else None,
            each.steps[-1] if each.steps else None,
            each.total("flops") if known else None,
            sum(seconds) if known else None,
            max(seconds) if known else None,
            each.memory if known else None,
            each.total("disk") if known else None,
            each.rough,
            "; ".join(each.missing),
            each.problem,
        )
        found.append(dict(zip(COLUMNS, numbers, strict=True)))
    return found


def requests(forecasts: Sequence[Forecast], machine: Machine, scale: str) -> list[resources.Row]:
    """Rows of ``config/resources.csv``: those of experiments of which a job could be tried."""
    return [
        resources.Row(
            scale,
            each.study,
            each.experiment,
            machine.device,
            each.planned,
            max(job.seconds for job in each.jobs) + machine.start_up,
            each.process_memory / 1e6,
            each.total("disk") / 1e6,
        )
        for each in forecasts
        if each.jobs
    ]


def check_record(config: Config) -> Path:
    """File that ``--record`` writes.

    Raises
    ------
    ConfigError
        If it is malformed or cannot be written.
    """
    path = config.folder / resources.FILE
    resources.read(path)
    for each in (config.folder, path):
        if each.exists() and not os.access(each, os.W_OK):
            raise _unwritable(path, "no permission")
    return path


def record(config: Config, scale: str, rows: Sequence[resources.Row]) -> None:
    """Put forecasts of a scale into ``config/resources.csv``; rows of others stay.

    Raises
    ------
    ConfigError
        As `check_record`.
    """
    path = check_record(config)
    merged = resources.merged(resources.read(path), rows, config, scale)
    try:
        store.write_text(path, resources.to_text(merged.values()))
    except OSError as error:
        raise _unwritable(path, error.strerror or str(error)) from None


def _unwritable(path: Path, reason: str) -> ConfigError:
    return ConfigError(
        f"--record: {path} cannot be written ({reason}); make it and its folder writable, or leave "
        "--record out"
    )


def to_csv(path: Path | str, found: Sequence[Mapping[str, Any]]) -> None:
    """Write the numbers of `rows`."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(found)
    store.write_text(path, text.getvalue())


def duration(seconds: float) -> str:
    """Short text: 7.3 s, 12 min, 3.4 h, 8.1 d."""
    for limit, size, unit in ((120, 1, "s"), (7200, 60, "min"), (172800, 3600, "h")):
        if seconds < limit:
            return f"{_short(seconds / size)} {unit}"
    return f"{_short(seconds / 86400)} d"


def amount(number: float, unit: str) -> str:
    """Short text with a decimal prefix: 3.2 GB, 410 TFLOP; 0 is a dash."""
    for power, prefix in ((18, "E"), (15, "P"), (12, "T"), (9, "G"), (6, "M"), (3, "k")):
        if number >= 10**power:
            return f"{_short(number / 10**power)} {prefix}{unit}"
    return f"{_short(number)} {unit}" if number else "-"


def _short(number: float) -> str:
    return f"{number:.0f}" if number >= 99.5 else f"{number:.2g}"


def show(
    console: Any,
    scale: str,
    forecasts: Sequence[Forecast],
    machine: Machine,
    cores: int,
) -> None:
    """Print a table per study, totals, and what was measured."""
    from rich.table import Table

    for study in dict.fromkeys(each.study for each in forecasts):
        of_study = [each for each in forecasts if each.study == study]
        table = Table(title=f"{study}, scale {scale}", title_justify="left", show_footer=True)
        for name in ("experiment", "jobs", "runs", "steps", "FLOP", "time", "longest", "memory",
                     "disk"):  # fmt: skip
            table.add_column(
                name, justify="left" if name == "experiment" else "right", no_wrap=True
            )
        for each, row in zip(of_study, rows(of_study, machine.start_up), strict=True):
            table.add_row(*_texts(each, row))
        for column, text in zip(table.columns, _totals(of_study, machine, cores), strict=True):
            column.footer = text
        console.print(table)
        for each in of_study:
            if each.problem:
                console.print(f"{each.experiment}: {each.problem}", markup=False, highlight=False)
        missing = sorted({name for each in of_study for name in each.missing})
        if missing:
            console.print(
                f"Data that are not in the data folder yet: {', '.join(missing)}. Times were taken "
                "with random numbers in their place.",
                highlight=False,
            )
        console.print()
    known = [job.seconds + machine.start_up for each in forecasts for job in each.jobs]
    side = "one GPU" if machine.device == "cuda" else f"{cores} cores"
    console.print(
        f"{sum(each.planned for each in forecasts)} jobs, "
        f"{sum(each.runs for each in forecasts)} runs; training takes about "
        f"{duration(sum(known))} on one core or device, about "
        f"{duration(wall_seconds(known, _side_by_side(machine, cores)))} on {side}. Analyses and "
        "figures come on top.",
        highlight=False,
    )
    if len(known) < sum(each.planned for each in forecasts):
        console.print("Experiments without numbers are not in these sums.")
    speeds = ", ".join(f"{amount(v, 'FLOP/s')} in {n}" for n, v in machine.rates.items())
    console.print(
        f"Measured on {machine.title}: a job starts in {machine.start_up:.1f} s; matrix products "
        f"{speeds}; each experiment by steps of its own (docs/cost.md). '~': scaled from narrower "
        "networks or from other jobs of the experiment.",
        highlight=False,
    )


def _texts(forecast: Forecast, row: Mapping[str, Any]) -> list[str]:
    mark = "~" if forecast.rough else ""
    low, high = row["steps_min"], row["steps_max"]
    steps = "-" if high is None else f"{low}-{high}" if low != high else str(high)
    texts = [forecast.experiment, str(forecast.planned), str(forecast.runs), steps]
    if row["seconds"] is None:
        return [*texts, "?", "?", "?", "?", "?"]
    return [
        *texts,
        mark + amount(row["flops"], "FLOP") if row["flops"] else "-",
        mark + duration(row["seconds"]),
        mark + duration(row["longest_job_seconds"]),
        mark + amount(row["peak_memory_bytes"], "B"),
        mark + amount(row["disk_bytes"], "B"),
    ]


def _totals(forecasts: Sequence[Forecast], machine: Machine, cores: int) -> list[str]:
    found = rows(forecasts, machine.start_up)
    sums = {
        name: sum(row[name] or 0 for row in found)
        for name in ("jobs", "runs", "flops", "seconds", "disk_bytes")
    }
    seconds = [job.seconds + machine.start_up for each in forecasts for job in each.jobs]
    wall = wall_seconds(seconds, _side_by_side(machine, cores)) if seconds else 0.0
    return [
        f"all, {duration(wall)} on {_side_by_side(machine, cores)} at a time",
        str(sums["jobs"]),
        str(sums["runs"]),
        "",
        amount(sums["flops"], "FLOP"),
        duration(sums["seconds"]),
        duration(max((row["longest_job_seconds"] or 0 for row in found), default=0)),
        amount(max((row["peak_memory_bytes"] or 0 for row in found), default=0), "B"),
        amount(sums["disk_bytes"], "B"),
    ]


def _side_by_side(machine: Machine, cores: int) -> int:
    return 1 if machine.device == "cuda" else cores


def main(
    config: Config,
    scale: str,
    studies: Sequence[str],
    experiments: Sequence[str],
    *,
    quick: bool,
    cores: int | None,
    csv_file: str | None,
    recorded: bool = False,
) -> None:
    """Print the forecast of a scale; the command ``plan``."""
    from rich.console import Console

    if recorded:
        check_record(config)  # before minutes are spent

    console, error = Console(), Console(stderr=True)
    if not console.is_terminal:  # a file has no width
        console.width = 140
    cores = cores or os.cpu_count() or 1
    wanted = chosen(config, scale, studies, experiments)
    with error.status("measuring this machine") as status:
        machine = calibrate(config, scale, wanted[0][0])
        found = forecast(
            config, scale, wanted, machine, quick=quick, cores=cores, say=status.update
        )
    show(console, scale, found, machine, cores)
    if csv_file:
        to_csv(csv_file, rows(found, machine.start_up))
    if recorded:
        known = requests(found, machine, scale)
        record(config, scale, known)
        console.print(
            f"{len(known)} of {len(found)} experiments recorded for {machine.device} in "
            f"{config.folder / resources.FILE}: jobs at scale {scale} ask a scheduler by it.",
            highlight=False,
        )
