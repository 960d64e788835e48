"""Checkpoints of a training job: its finished programs, and where the one in training stands.

A job opens a folder with `kept`. Inside, `program` (called by `regimes.ensemble.programs`) and
`call` (called by `regimes.ensemble.engine`) write to it, at most once per interval. A job that is
started again after it was killed reads the finished programs back and goes on within the one that
was in training; on a CPU to the same bits. Without `kept` nothing is written.

The folder belongs to one identity (code, data, start point, versions, processor) and holds

    identity.json     that identity
    sessions.json     what the starts of the job that wrote here cost
    <program>.nc      dataset of a finished program
    <program>.json    names and SHA-256 of the files that say where a program stands
    <program>.*.pt    these files: one for the result of each finished call of the engine, written
                      once, and one for the state of the call in training

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
File = dict[str, str]  # its name and its SHA-256

VARIABLE = "REGIMES_CHECKPOINT_SECONDS"
SECONDS = 600.0  # between checkpoints: what a killed job may lose
FORMAT = 2  # of the files

# What reading a file that is not what was written may raise.
_DAMAGE = (OSError, LookupError, TypeError, ValueError, RuntimeError, pickle.PickleError)

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


def is_out_of_memory(error: Exception) -> bool:
    """Whether memory is what was missing; on a CPU torch raises a plain RuntimeError."""
    return isinstance(error, torch.OutOfMemoryError) or store.lacks_memory(error)


@contextlib.contextmanager
def kept(
    folder: Path | str,
    seconds: float,
    identity: Mapping[str, str],
    session: Callable[[], State] = dict,
) -> Iterator[list[State]]:
    """Keep checkpoints of what is trained inside, and use those that are there.

    Parameters
    ----------
    folder
        Of this job alone. It appears with the first checkpoint; see `discard`.
    seconds
        Between two checkpoints; infinity: none are written.
    identity
        What else than the settings decides the numbers: code, data, start point, kind of device.
        The versions of torch and NumPy are added.
    session
        What this start of the job has cost so far, in plain data; written with each checkpoint.

    Yields
    ------
    list of dict
        The last such data of each earlier start of the job, whose checkpoints are used.
    """
    versions = {"torch": torch.__version__, "numpy": np.__version__, "format": str(FORMAT)}
    job = _Job(Path(folder), seconds, {**identity, **versions}, session)
    token = _JOB.set(job)
    try:
        yield job.sessions
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
        job.passed(name)
        return dataset
    token = _PROGRAM.set(_Program(job, name))
    try:
        dataset = train(runs)
    finally:
        _PROGRAM.reset(token)
    job.passed(name)
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
            self._program.finish(_with(torch.from_numpy, np.ndarray, result))


class _Job:
    """Folder of a job and what in it is still to be written."""

    def __init__(
        self, folder: Path, seconds: float, identity: dict[str, str], session: Callable[[], State]
    ) -> None:
        self.folder, self.seconds, self.identity = folder, seconds, identity
        self.sessions: list[State] = []
        self._session = session
        self.saved = clock()
        self._unsaved: list[tuple[str, xr.Dataset]] = []
        self._names: Counter[str] = Counter()
        self._usable = _belongs(folder, identity) or _make_room(folder)
        if not self._usable:
            self.seconds = math.inf
            print(f"{folder} cannot be removed: training without checkpoints", flush=True)
        elif folder.exists():
            found = store.read_json(folder / "sessions.json")
            self.sessions = found if isinstance(found, list) else []
            for left in folder.glob(".*.tmp*"):  # of a job that was killed while it wrote
                left.unlink(missing_ok=True)
            count = len(list(folder.glob("*.nc")))
            print(f"checkpoints of this batch hold {count} finished programs", flush=True)

    @property
    def writes(self) -> bool:
        """Whether there will be checkpoints: otherwise nothing is held for them."""
        return self.seconds < math.inf

    def name(self, runs: Sequence) -> str:
        """Name of a program: a hash of its settings, and a number should they come again.

        A program that failed, for instance for lack of memory, has the same name when it is tried
        again.
        """
        digest = hashlib.sha256(repr(list(runs)).encode()).hexdigest()[:16]
        return f"{digest}_{self._names[digest] + 1}"

    def passed(self, name: str) -> None:
        """Note that a program is done: the next one with its settings has another name."""
        self._names[name.partition("_")[0]] += 1

    def due(self) -> bool:
        """Whether the last checkpoint is long enough ago."""
        return clock() - self.saved >= self.seconds

    def finished(self, name: str) -> xr.Dataset | None:
        """Dataset of a finished program, None where there is none."""
        if not self._usable:
            return None
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
        if not self.writes:
            return
        self._unsaved.append((name, dataset))
        if self.due():
            self._attempt(self._write_finished)

    def standing(self, name: str) -> tuple[list[File], State | None] | None:
        """Results of finished calls and state of a program, None if they are not known."""
        pointer = store.read_json(self.folder / f"{name}.json") if self._usable else None
        if pointer is None:
            return None
        try:
            files = [self._checked(found) for found in pointer["results"]]
            return files, self._load(self._checked(pointer["state"]))
        except _DAMAGE as error:
            if is_out_of_memory(error):
                raise
            print(f"checkpoint {name} is damaged: training the program anew", flush=True)
            return None

    def _checked(self, found: File) -> File:
        if store.file_digest(self.folder / found["file"]) != found["sha256"]:
            raise ValueError("the checksum differs")
        return found

    def _load(self, found: File) -> State:
        # On CPU or GPU as they were saved, and with the strides that they had there.
        return torch.load(self.folder / found["file"], map_location=_here, weights_only=True)

    def result(self, found: File) -> State:
        """Result of a finished call."""
        return _with(torch.Tensor.numpy, torch.Tensor, self._load(found))

    def save(self, name: str, state: State, files: list[File], results: list[State]) -> None:
        """Write where a program stands; finished ones before it.

        Parameters
        ----------
        name
            Of the program.
        state
            Of the call in training.
        files
            Results of finished calls that are written; those of ``results`` are moved to them.
        results
            Results of the finished calls after these.
        """

        def write() -> None:
            self._write_finished()
            while results:
                files.append(self._write(f"{name}.result_{len(files)}.pt", results[0]))
                del results[0]
            here = self._write(f"{name}.{len(files)}_{state['step']}.pt", state)
            store.write_json(self.folder / f"{name}.json", {"results": files, "state": here})
            self._remove(name, but=[each["file"] for each in [*files, here]])

        self._attempt(write)

    def _write(self, file: str, content: State) -> File:
        path = self.folder / file
        with store.atomic(path) as temporary, open(temporary, "wb") as handle:
            torch.save(content, handle)
        return {"file": file, "sha256": store.file_digest(path)}

    def _attempt(self, write: Callable[[], None]) -> None:
        """Write; a failure must not end a training that would do without."""
        try:
            if not (self.folder / "identity.json").exists():
                store.write_json(self.folder / "identity.json", self.identity)
            write()
            store.write_json(self.folder / "sessions.json", [*self.sessions, self._session()])
        except (OSError, RuntimeError) as error:
            print(f"no checkpoint could be written: {error}", flush=True)
        self.saved = clock()

    def _write_finished(self) -> None:
        while self._unsaved:
            name, dataset = self._unsaved[0]
            store.write_netcdf(self.folder / f"{name}.nc", dataset, {"program": name})
            del self._unsaved[0]
            (self.folder / f"{name}.json").unlink(missing_ok=True)
            self._remove(name)

    def _remove(self, name: str, but: Sequence[str] = ()) -> None:
        """Remove files of a program that its pointer does not name."""
        for path in self.folder.glob(f"{name}.*.pt"):
            if path.name not in but:
                path.unlink(missing_ok=True)


def _here(storage: torch.UntypedStorage, place: str) -> torch.UntypedStorage:
    """Put what is read from a file on the current GPU, whichever one it was saved from."""
    return torch.serialization.default_restore_location(storage, place.partition(":")[0])


def _belongs(folder: Path, identity: Mapping[str, str]) -> bool:
    """Whether a folder is of this identity, or not there yet."""
    if not os.path.lexists(folder):
        return True
    found = store.read_json(folder / "identity.json")
    if found == identity:
        return True
    other = found if isinstance(found, dict) else {}
    names = ", ".join(key for key in identity if other.get(key) != identity[key])
    print(f"checkpoints of this batch have another {names}: starting anew", flush=True)
    return False


def _make_room(folder: Path) -> bool:
    """Remove a folder; whether its place is free then.

    It is renamed before: what is left of it, if not all can be removed, is never taken for files
    of this job. The new name is that of no batch, so that `regimes.workflow` removes the rest.
    """
    aside = folder.with_name(f"{folder.stem}.other_{os.getpid()}{folder.suffix}")
    try:
        os.rename(folder, aside)
    except OSError:
        return False
    discard(aside)
    return True


class _Program:
    """Results of the calls of a program so far, and where the last one stood."""

    def __init__(self, job: _Job, name: str) -> None:
        self.job, self._name = job, name
        self._files, self._state = job.standing(name) or ([], None)
        self._results: list[State] = []  # of finished calls, still to be written
        self._known, self._begun = len(self._files), 0

    def begin(self) -> tuple[State | None, State | None]:
        """Result and state of the next call, where they are known."""
        number, self._begun = self._begun, self._begun + 1
        if number < self._known:
            return self.job.result(self._files[number]), None
        state, self._state = self._state, None
        return None, state

    def finish(self, result: State) -> None:
        """Note the result of a call."""
        if self.job.writes:
            self._results.append(result)

    def save(self, state: State) -> None:
        """Write where the call in training stands, and the results of those before it."""
        self.job.save(self._name, state, self._files, self._results)


def _with(change: Callable, kind: type, value: Any) -> Any:
    """Lists and dicts anew, with everything of a kind in them changed."""
    if isinstance(value, dict):
        return {name: _with(change, kind, each) for name, each in value.items()}
    if isinstance(value, list):
        return [_with(change, kind, each) for each in value]
    return change(value) if isinstance(value, kind) else value


_JOB: ContextVar[_Job | None] = ContextVar("job", default=None)
_PROGRAM: ContextVar[_Program | None] = ContextVar("program", default=None)
