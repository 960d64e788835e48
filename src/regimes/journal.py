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
SILENT = 120.0  # seconds after which a job that says nothing is taken for lost
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
    whole, before : int
        Steps of all trainings of that program where it has several (0: one), of those behind it.
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
    whole: int = 0
    before: int = 0
    device: str = ""
    waits: str = ""

    def __post_init__(self) -> None:
        """Remember what the files that are there were built from."""
        before = store.read_json(self.path)
        self._built = before.get("built", {}) if isinstance(before, dict) else {}
        self._started, self._began = _now(), clock()
        self._first: tuple[float, float] | None = None  # time and progress when training began
        self._trains = False
        self._silent = False
        self._lock = threading.Lock()

    def progress(self) -> float:
        """Part of the training that is done, 0 to 1: runs count alike, within one its steps."""
        here, part = self.training, 0.0
        if here is not None:
            # Of trainings that were not announced, each is taken for all there is.
            before, steps = (self.before, self.whole) if self.whole else (0, here.steps)
            part = (before + here.step) / max(steps, 1)
        return min(1.0, (self.passed + self.begun * part) / self.total) if self.total else 0.0

    def pace_from_here(self) -> None:
        """Count the pace from now on: what was read from checkpoints is none."""
        self._first = (clock(), self.progress())

    def enter(self, training: Training) -> None:
        """Begin a training, perhaps in its middle."""
        if self.training is not None:
            self.before += self.training.steps
        self.training = training
        resumed = 0 < training.step < training.steps
        if resumed or not self._trains:
            self.pace_from_here()
        self._trains = self._trains or training.step < training.steps

    def remaining(self) -> float | None:
        """Seconds to the end at the pace so far, None while there is none."""
        since, first = self._first or (0.0, 1.0)
        done = self.progress()
        return (clock() - since) * (1 - done) / (done - first) if done > first else None

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
                    print(f"no journal of this job: {error}", flush=True)
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
def kept(job: tuple[str, ...], lock_file: Path | None = None) -> Iterator[Journal]:
    """Keep the journal of a job and hold its lock, both until the block ends.

    Parameters
    ----------
    job
        Name and places, as `regimes.paths.journal` takes them.
    lock_file
        As for `held`.
    """
    path = Path(paths.journal(*job))
    with held(path, lock_file):
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
def held(journal: Path, lock_file: Path | None = None) -> Iterator[None]:
    """Hold the lock of a job; wait while another process does the same job.

    On a file system without such locks there is none.

    Parameters
    ----------
    journal
        Of the job: what it says tells who has the lock.
    lock_file
        Where the lock is, if not where those of this folder's jobs are.
    """
    from filelock import Timeout

    lock, told, silent = _lock(journal, lock_file), False, False
    while True:
        try:
            lock.acquire(timeout=1.0, poll_interval=0.2)
            break
        except Timeout:
            other = store.read_json(journal) or {}
            if not told:
                print(
                    f"{who(other)}, which an earlier call has started, is still at work on these "
                    "files: waiting for its end",
                    flush=True,
                )
            told = True
            if silent is False and age(other.get("updated")) > SILENT:
                print(
                    f"it has said nothing since {other.get('updated')}; should its machine be "
                    f"gone, remove {lock.lock_file}",
                    flush=True,
                )
                silent = True
        except (OSError, NotImplementedError) as error:
            print(f"no lock for this job ({error}): let no other do the same now", flush=True)
            break
    try:
        yield
    finally:
        lock.release()


def who(content: Mapping[str, Any]) -> str:
    """Process or number of a job and its host, from its journal."""
    job = content.get("scheduler") or f"process {content.get('pid')}"
    return f"{job} on {content.get('host')}"


def age(time: object) -> float:
    """Seconds since a time of a journal; infinite if it is none."""
    try:
        then = datetime.datetime.fromisoformat(str(time))
        return abs((datetime.datetime.now(datetime.UTC) - then).total_seconds())
    except (TypeError, ValueError):
        return float("inf")


def lives(path: Path, content: Mapping[str, Any]) -> bool:
    """Whether a job that says it runs does so.

    Parameters
    ----------
    path
        Its journal.
    content
        What that says. On its own machine the lock tells; elsewhere it may be unknown here, so that
        a job counts as alive as long as it renews its journal.
    """
    held = is_held(path)
    if held is None or (held is False and content.get("host") != platform.node()):
        return age(content.get("updated")) < SILENT
    return held


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


def _lock(journal: Path, path: Path | None = None) -> FileLock:
    from filelock import FileLock  # the engine imports this module, and needs no lock

    path = path or Path(".snakemake/regimes", journal.with_suffix(".lock"))
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
    # A lock that is a mere file would outlive a killed job.
    return FileLock(path, fallback_to_soft=False)


def begun(total: int, device: str) -> None:
    """Note how many runs a training job trains, and on what."""
    if (journal := _CURRENT.get()) is not None:
        journal.total, journal.device, journal.waits = total, device, ""
        journal.pace_from_here()
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
        journal.training, journal.begun, journal.whole, journal.before = None, runs, 0, 0


def stages(steps: int) -> None:
    """Note that the program consists of several trainings, of so many steps in all."""
    if (journal := _CURRENT.get()) is not None:
        journal.whole = steps


def passed(runs: int) -> None:
    """Note that so many runs are trained."""
    if (journal := _CURRENT.get()) is not None:
        journal.training, journal.begun = None, 0
        journal.passed += runs


def training(steps: int, runs: int, step: int = 0) -> Training:
    """Begin a training of so many updates and runs; the loop sets what is returned.

    Parameters
    ----------
    steps, runs
        Of the training.
    step
        Updates that a checkpoint has done.
    """
    found = Training(steps, runs, step)
    if (journal := _CURRENT.get()) is not None:
        journal.enter(found)
    return found
