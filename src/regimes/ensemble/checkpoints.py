"""Checkpoints of a training job: its finished programs, and where the one in training stands.

A job opens a folder with `kept`. Inside, `program` (called by `regimes.ensemble.programs`) and
`call` (called by `regimes.ensemble.engine`) write to it, at most once per interval. A job that is
started again after it was killed reads the finished programs back and goes on within the one that
was in training; on a CPU to the same bits. Without `kept` nothing is written.

The folder belongs to one identity (code, start point, versions, kind of device) and holds

    identity.json     that identity
    <program>.nc      dataset of a finished program
    <program>.json    name and SHA-256 of the file that says where a program stands
    <program>.*.pt    that file: results of its finished calls of the engine, state of the last one

Files of another identity, and files that are not what was written, are never used.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import os
import pickle
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from pathlib import Path
from typing import Any, Protocol, TypeVar, runtime_checkable

import numpy as np
import torch
import xarray as xr

from regimes import store
from regimes.config import ConfigError

Run = TypeVar("Run")
State = dict[str, Any]  # of tensors, numbers, texts, lists and dicts: nothing that needs code

VARIABLE = "REGIMES_CHECKPOINT_SECONDS"
SECONDS = 600.0  # between checkpoints: what a killed job may lose
FORMAT = 1  # of the files

clock = time.monotonic


@runtime_checkable
class Resumable(Protocol):
    """What a training reads beside its tensors and changes on its way: streams, random numbers."""

    def state(self) -> State:
        """Where it stands, in tensors of its own, numbers, texts, lists and dicts."""

    def resume(self, state: State) -> None:
        """Go on from there."""


def state_of(thing: object) -> State | None:
    """State of what has one, None of what has none."""
    return thing.state() if isinstance(thing, Resumable) else None


def interval() -> float:
    """Seconds between checkpoints: environment REGIMES_CHECKPOINT_SECONDS, else `SECONDS`.

    Raises
    ------
    ConfigError
        If the variable is no number of seconds.
    """
    text = os.environ.get(VARIABLE, "")
    try:
        seconds = float(text or SECONDS)
    except ValueError:
        seconds = math.nan
    if not seconds >= 0:
        raise ConfigError(
            f"{VARIABLE}: got '{text}'; the seconds between two checkpoints of a training job "
            f"are a number from 0 on (inf: no checkpoints); unset it for {SECONDS:.0f}"
        )
    return seconds


@contextlib.contextmanager
def kept(folder: Path | str, seconds: float, identity: Mapping[str, str]) -> Iterator[None]:
    """Keep checkpoints of what is trained inside, and use those that are there.

    Parameters
    ----------
    folder
        Of this job alone. It appears with the first checkpoint; see `discard`.
    seconds
        Between two checkpoints.
    identity
        What else than the settings decides the numbers: code, start point, kind of device. The
        versions of torch and NumPy are added.
    """
    versions = {"torch": torch.__version__, "numpy": np.__version__, "format": str(FORMAT)}
    token = _JOB.set(_Job(Path(folder), seconds, {**identity, **versions}))
    try:
        yield
    finally:
        _JOB.reset(token)


def discard(folder: Path | str) -> None:
    """Remove the checkpoints of a job, once its results are written."""
    shutil.rmtree(folder, ignore_errors=True)


def program(runs: Sequence[Run], train: Callable[[Sequence[Run]], xr.Dataset]) -> xr.Dataset:
    """Train the runs of a program, or read back what an earlier start of this job trained.

    Parameters
    ----------
    runs
        Settings of the runs; their texts (``repr``) tell programs apart.
    train
        From these to their dataset, all variables with ``long_name`` and ``units``.
    """
    job = _JOB.get()
    if job is None:
        return train(runs)
    name = job.name(runs)
    dataset = job.finished(name)
    if dataset is not None:
        return dataset
    token = _PROGRAM.set(_Program(job, name))
    try:
        dataset = train(runs)
    finally:
        _PROGRAM.reset(token)
    job.finish(name, dataset)
    return dataset


def call() -> Call:
    """Begin the next call of the engine within a program."""
    return Call(_PROGRAM.get())


class Call:
    """One call of the engine; outside `kept` and `program` it keeps nothing.

    Attributes
    ----------
    result : dict or None
        Its result, where an earlier start of the job has finished it.
    state : dict or None
        Where it stood, if an earlier start of the job was in it.
    """

    def __init__(self, program: _Program | None = None) -> None:
        self._program = program
        self.result, self.state = (None, None) if program is None else program.begin()

    def due(self) -> bool:
        """Whether it is time for a checkpoint."""
        return self._program is not None and self._program.job.due()

    def save(self, state: State) -> None:
        """Write a checkpoint."""
        if self._program is not None:
            self._program.save(state)

    def finish(self, result: State) -> None:
        """Note the result, with arrays, for checkpoints of later calls of the program."""
        if self._program is not None:
            self._program.results.append(_with(torch.from_numpy, np.ndarray, result))


class _Job:
    """Folder of a job and what in it is still to be written."""

    def __init__(self, folder: Path, seconds: float, identity: dict[str, str]) -> None:
        self.folder, self.seconds, self.identity = folder, seconds, identity
        self.saved = clock()
        self._unsaved: list[tuple[str, xr.Dataset]] = []
        self._names: Counter[str] = Counter()
        if not folder.exists():
            return
        found = store.read_json(folder / "identity.json")
        if found != identity:
            other = found if isinstance(found, dict) else {}
            names = ", ".join(key for key in identity if other.get(key) != identity[key])
            print(f"checkpoints of this batch have another {names}: starting anew", flush=True)
            discard(folder)
        else:
            for left in folder.glob(".*.tmp*"):  # of a job that was killed while it wrote
                left.unlink(missing_ok=True)
            count = len(list(folder.glob("*.nc")))
            print(f"checkpoints of this batch hold {count} finished programs", flush=True)

    def name(self, runs: Sequence) -> str:
        """Name of a program: a hash of its settings, and a number should they come again."""
        digest = hashlib.sha256(repr(list(runs)).encode()).hexdigest()[:16]
        self._names[digest] += 1
        return f"{digest}_{self._names[digest]}"

    def due(self) -> bool:
        """Whether the last checkpoint is long enough ago."""
        return clock() - self.saved >= self.seconds

    def finished(self, name: str) -> xr.Dataset | None:
        """Dataset of a finished program, None where there is none."""
        try:
            dataset = store.read_netcdf(self.folder / f"{name}.nc")
        except FileNotFoundError:
            return None
        except store.BadFile:
            print(f"checkpoint {name}.nc is damaged: training its runs anew", flush=True)
            return None
        dataset.attrs = {}
        return dataset

    def finish(self, name: str, dataset: xr.Dataset) -> None:
        """Keep the dataset of a finished program."""
        self._unsaved.append((name, dataset))
        if self.due():
            self._attempt(self._write_finished)

    def standing(self, name: str) -> State | None:
        """Where a program stood, None if that is not known."""
        pointer = store.read_json(self.folder / f"{name}.json")
        if pointer is None:
            return None
        try:
            path = self.folder / pointer["file"]
            if store.file_digest(path) != pointer["sha256"]:
                raise ValueError("the checksum differs")
            return torch.load(path, weights_only=True)
        except (OSError, LookupError, TypeError, ValueError, RuntimeError, pickle.PickleError):
            print(f"checkpoint {name} is damaged: training the program anew", flush=True)
            return None

    def save(self, name: str, number: str, state: State) -> None:
        """Write where a program stands; finished ones before it."""

        def write() -> None:
            self._write_finished()
            path = self.folder / f"{name}.{number}.pt"
            with store.atomic(path) as temporary, open(temporary, "wb") as handle:
                torch.save(state, handle)
            pointer = {"file": path.name, "sha256": store.file_digest(path)}
            store.write_json(self.folder / f"{name}.json", pointer)
            self._remove(name, but=path)

        self._attempt(write)

    def _attempt(self, write: Callable[[], None]) -> None:
        """Write; a failure must not end a training that would do without."""
        try:
            if not (self.folder / "identity.json").exists():
                store.write_json(self.folder / "identity.json", self.identity)
            write()
        except (OSError, RuntimeError) as error:
            print(f"no checkpoint could be written: {error}", flush=True)
        self.saved = clock()

    def _write_finished(self) -> None:
        while self._unsaved:
            name, dataset = self._unsaved[0]
            store.write_netcdf(self.folder / f"{name}.nc", dataset, {"program": name})
            del self._unsaved[0]
            self._remove(name)

    def _remove(self, name: str, but: Path | None = None) -> None:
        """Remove older files of a program."""
        if but is None:
            (self.folder / f"{name}.json").unlink(missing_ok=True)
        for path in self.folder.glob(f"{name}.*.pt"):
            if path != but:
                path.unlink(missing_ok=True)


class _Program:
    """Results of the calls of a program so far, and where the last one stood."""

    def __init__(self, job: _Job, name: str) -> None:
        self.job, self._name = job, name
        found = job.standing(name) or {"results": [], "state": None}
        self.results: list[State] = found["results"]
        self._known, self._state, self._begun = len(self.results), found["state"], 0

    def begin(self) -> tuple[State | None, State | None]:
        """Result and state of the next call, where they are known."""
        number, self._begun = self._begun, self._begun + 1
        if number < self._known:
            return _with(torch.Tensor.numpy, torch.Tensor, self.results[number]), None
        state, self._state = self._state, None
        return None, state

    def save(self, state: State) -> None:
        """Write where the call in training stands, and the results of those before it."""
        number = f"{self._begun}_{state['step']}"
        self.job.save(self._name, number, {"results": self.results, "state": state})


def _with(change: Callable, kind: type, value: Any) -> Any:
    """Lists and dicts anew, with everything of a kind in them changed."""
    if isinstance(value, dict):
        return {name: _with(change, kind, each) for name, each in value.items()}
    if isinstance(value, list):
        return [_with(change, kind, each) for each in value]
    return change(value) if isinstance(value, kind) else value


_JOB: ContextVar[_Job | None] = ContextVar("job", default=None)
_PROGRAM: ContextVar[_Program | None] = ContextVar("program", default=None)
