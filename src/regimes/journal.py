"""What a job says about itself: how far it is, how it ended, what its files were built from.

Each job keeps one small JSON file beside its log, renewed every few seconds while it runs.
`regimes status` and `regimes why` read these files; nothing else does, and no result depends on
them. A lock of the kernel's goes with it, so that a job left behind on another machine and the one
that a later call starts for the same files never work at once.
"""

from __future__ import annotations

import contextlib
import datetime
import os
import platform
import threading
import time
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from regimes import paths, store

if TYPE_CHECKING:
    from filelock import FileLock

BEAT = 5.0  # seconds between two renewals
# Where schedulers tell a job its number.
SCHEDULERS = {
    "SLURM_JOB_ID": "SLURM",
    "LSB_JOBID": "LSF",
    "PBS_JOBID": "PBS",
    "_CONDOR_JOB_ID": "HTCondor",
}
clock = time.monotonic  # setting the system's clock changes no duration


@dataclass
class Training:
    """How far one program is; the loop that trains it sets the numbers.

    Attributes
    ----------
    steps, runs : int
        Updates of the training, runs in it.
    step : int
        Updates done.
    alive : int
        Runs that have not diverged.
    """

    steps: int
    runs: int
    step: int = 0
    alive: int = -1

    def __post_init__(self) -> None:
        """Take all runs for alive."""
        self.alive = self.runs if self.alive < 0 else self.alive


@dataclass
class Journal:
    """Journal of one job.

    Attributes
    ----------
    path : Path
        Its file.
    job : tuple of str
        Name of the job and its places: ``("train", "smoke", "giant_step", ...)``.
    facts : dict
        What its files depend on (`regimes.origins.facts`).
    total, passed, begun : int
        Runs to train, trained, in the program that is being trained.
    training : Training or None
        Where that program stands, once its loop runs.
    device : str
        What it trains on.
    waits : str
        What it waits for, empty once it trains.
    """

    path: Path
    job: tuple[str, ...]
    facts: Mapping[str, str] = field(default_factory=dict)
    total: int = 0
    passed: int = 0
    begun: int = 0
    training: Training | None = None
    device: str = ""
    waits: str = ""

    def __post_init__(self) -> None:
        """Remember what the files that are there were built from."""
        before = store.read_json(self.path)
        self._built = before.get("built", {}) if isinstance(before, dict) else {}
        self._started, self._began = _now(), clock()
        self._first: tuple[float, float] | None = None  # time and progress when training began
        self._silent = False
        self._lock = threading.Lock()

    def progress(self) -> float:
        """Part of the training that is done, 0 to 1: runs count alike, within one its steps."""
        here = self.training
        part = here.step / here.steps if here is not None and here.steps else 0.0
        return min(1.0, (self.passed + self.begun * part) / self.total) if self.total else 0.0

    def remaining(self) -> float | None:
        """Seconds to the end at the pace so far, None while there is none."""
        done = self.progress()
        if self._first is None:
            if done > 0:  # what a checkpoint gives is no pace
                self._first = (clock(), done)
            return None
        since, first = self._first
        if done <= first:
            return None
        return (clock() - since) * (1 - done) / (done - first)

    def content(self, state: str, reason: str = "") -> dict[str, Any]:
        """Plain data of the file.

        Parameters
        ----------
        state
            ``running``, ``done`` or ``failed``.
        reason
            Why it failed.
        """
        found: dict[str, Any] = {
            "job": list(self.job),
            "state": state,
            "host": platform.node(),
            "pid": os.getpid(),
            "scheduler": scheduled(),
            "started": self._started,
            "updated": _now(),
            "seconds": round(clock() - self._began, 1),
            "device": self.device,
            "built": dict(self.facts) if state == "done" else self._built,
        }
        if reason:
            found["reason"] = reason
        if self.waits and state == "running":
            found["waits"] = self.waits
        if self.total:
            found |= {"runs": self.total, "runs_done": self.passed}
            found["progress"] = round(self.progress(), 4)
            left = self.remaining()
            if left is not None and state == "running":
                found["remaining_seconds"] = round(left, 1)
            if (here := self.training) is not None and state == "running":
                found |= {"step": here.step, "steps": here.steps}
                found |= {"alive": here.alive, "of": here.runs}
        return found

    def write(self, state: str, reason: str = "") -> None:
        """Renew the file; a job goes on without it."""
        with self._lock:
            try:
                store.write_json(self.path, self.content(state, reason), durable=False)
            except OSError as error:
                if not self._silent:
                    print(f"{self.path} cannot be written: {error.strerror}", flush=True)
                self._silent = True


_CURRENT: ContextVar[Journal | None] = ContextVar("journal", default=None)


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def scheduled() -> str:
    """Scheduler and number of the job that this process runs in, empty without one."""
    for variable, name in SCHEDULERS.items():
        if os.environ.get(variable):
            return f"{name} job {os.environ[variable]}"
    return ""


@contextlib.contextmanager
def kept(job: tuple[str, ...]) -> Iterator[Journal]:
    """Keep the journal of a job and hold its lock, both until the block ends.

    Parameters
    ----------
    job
        Name and places, as `regimes.paths.journal` takes them.
    """
    path = Path(paths.journal(*job))
    with held(path):
        journal = Journal(path, job)
        token, ended = _CURRENT.set(journal), threading.Event()
        journal.write("running")

        def beat() -> None:
            while not ended.wait(BEAT):
                journal.write("running")

        thread = threading.Thread(target=beat, daemon=True)
        thread.start()
        state, reason = "failed", "it was stopped"
        try:
            yield journal
            state, reason = "done", ""
        except Exception as error:
            reason = str(error) or type(error).__name__
            raise
        finally:
            ended.set()
            thread.join()
            _CURRENT.reset(token)
            journal.write(state, reason)


@contextlib.contextmanager
def held(journal: Path) -> Iterator[None]:
    """Hold the lock of a job; wait while another process does the same job.

    On a file system without such locks there is none.
    """
    from filelock import Timeout

    lock = _lock(journal)
    try:
        try:
            lock.acquire(timeout=1.0)
        except Timeout:
            other = store.read_json(journal) or {}
            where = other.get("scheduler") or f"process {other.get('pid')}"
            print(
                f"{where} on {other.get('host')}, which an earlier call has started, is still at "
                "work on these files: waiting for its end",
                flush=True,
            )
            lock.acquire(poll_interval=1.0)
    except (OSError, NotImplementedError) as error:
        print(f"no lock for this job ({error}): none other may do the same now", flush=True)
    try:
        yield
    finally:
        lock.release()


def is_held(journal: Path) -> bool | None:
    """Whether a living process holds the lock of a job; None if that cannot be known."""
    from filelock import Timeout

    lock = _lock(journal)
    if not Path(lock.lock_file).exists():
        return False
    try:
        with lock.acquire(timeout=0):
            return False
    except Timeout:
        return True
    except (OSError, NotImplementedError):
        return None


def _lock(journal: Path) -> FileLock:
    from filelock import FileLock  # the engine imports this module, and needs no lock

    path = Path(".snakemake/regimes", journal.with_suffix(".lock"))
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
    # A lock that is a mere file would outlive a killed job.
    return FileLock(path, fallback_to_soft=False)


def begun(total: int, device: str) -> None:
    """Note how many runs a training job trains, and on what."""
    if (journal := _CURRENT.get()) is not None:
        journal.total, journal.device, journal.waits = total, device, ""
        journal.write("running")


def waiting(text: str) -> None:
    """Print what the job waits for and note it until training begins."""
    print(text, flush=True)
    if (journal := _CURRENT.get()) is not None:
        journal.waits = text
        journal.write("running")


def built_from(facts: Mapping[str, str]) -> None:
    """Note what the files of the job depend on."""
    if (journal := _CURRENT.get()) is not None:
        journal.facts = facts


def program(runs: int) -> None:
    """Note that a program with so many runs begins."""
    if (journal := _CURRENT.get()) is not None:
        journal.training, journal.begun = None, runs


def passed(runs: int) -> None:
    """Note that so many runs are trained."""
    if (journal := _CURRENT.get()) is not None:
        journal.training, journal.begun = None, 0
        journal.passed += runs


def training(steps: int, runs: int) -> Training:
    """Begin a training of so many updates and runs; the loop sets what is returned."""
    found = Training(steps, runs)
    if (journal := _CURRENT.get()) is not None:
        journal.training = found
    return found
