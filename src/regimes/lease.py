"""One GPU, one job: each training job leases a GPU of its machine until its process ends.

A lease is a lock on a file named after the GPU. The kernel holds it for the process and drops it
with the process, however that ends, so there is nothing to clean up and nothing to expire.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import platform
import re
import stat
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import filelock

from regimes.config import ConfigError

if TYPE_CHECKING:
    import torch

VARIABLE = "REGIMES_LEASES"
SECONDS = 1.0  # between two looks whether a GPU is free

say = functools.partial(print, flush=True)


@dataclass(frozen=True)
class Lease:
    """A device that belongs to this process as long as the lock is held.

    Attributes
    ----------
    index : int
        Its place among the names that were asked for.
    name : str
        Its name.
    lock : filelock.BaseFileLock
        Held; it is released when this process ends.
    """

    index: int
    name: str
    lock: filelock.BaseFileLock


_HELD: list[Lease] = []  # by this process: at most one


def gpu(device: torch.device, job: str, say: Callable[[str], object] = say) -> torch.device:
    """Lease a GPU for the rest of this process, and make it torch's current device.

    Parameters
    ----------
    device
        Kind of device that was chosen. For a CPU nothing happens.
    job
        Name of the job, for those who wait.
    say
        Told once that the job waits, and once that it goes on.

    Returns
    -------
    torch.device
        The GPU with its index among those that torch sees, or the given CPU.

    Raises
    ------
    ConfigError
        If the folder of the leases cannot be used.
    """
    if device.type != "cuda":
        return device
    import torch

    if not _HELD:
        _HELD.append(lease(gpus(), folder(), job, say))
    index = _HELD[0].index
    torch.cuda.set_device(index)
    return torch.device("cuda", index)


def gpus() -> list[str]:
    """Names of the GPUs that torch sees, in its order: what ``CUDA_VISIBLE_DEVICES`` allows.

    A GPU has the same name in each process, also where each sees its own GPU as number 0: that is
    its UUID, or that of the part (MIG) which the process may use. Where the driver tells none, it
    is the number of the GPU on its host.
    """
    import torch

    count = torch.cuda.device_count()
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
    allowed = [entry.strip() for entry in visible][:count]
    if any(entry.startswith("MIG-") for entry in allowed):
        # Drivers differ in whether a part's UUID is its own or that of the whole GPU.
        return [entry.removeprefix("MIG-") for entry in allowed]
    properties = [torch.cuda.get_device_properties(index) for index in range(count)]
    found = [str(getattr(each, "uuid", "")) for each in properties]
    if all(name.strip("0-") for name in found) and len(set(found)) == count:
        return found
    numbers = allowed if len(allowed) == count and all(allowed) else map(str, range(count))
    return [f"{platform.node()}-{number}" for number in numbers]


def folder() -> Path:
    """Folder of the leases, made if it is not there.

    That is the one that environment REGIMES_LEASES names, for instance to share GPUs with other
    users, else one of this user's in the system's temporary folder. Not in ``TMPDIR``: jobs that
    have different ones would not see each other's leases.

    Raises
    ------
    ConfigError
        If it cannot be made, or others could have put it there or write to it.
    """
    given = os.environ.get(VARIABLE, "")
    path = Path(given).expanduser().absolute() if given else _own_folder()
    try:
        if given:
            path.mkdir(parents=True, exist_ok=True)
            return path
        with contextlib.suppress(FileExistsError):
            path.mkdir(mode=0o700)
        found = path.lstat()
        if not stat.S_ISDIR(found.st_mode):
            raise _unusable(path, "it is a link or a file, not a folder")
        if found.st_uid != os.geteuid():
            raise _unusable(path, f"it belongs to another user, number {found.st_uid}")
        if stat.S_IMODE(found.st_mode) != 0o700:
            path.chmod(0o700)
    except OSError as error:
        raise _unusable(path, error.strerror or str(error)) from None
    return path


def _own_folder() -> Path:
    system = Path("/tmp")
    if not os.access(system, os.W_OK | os.X_OK):
        system = Path(tempfile.gettempdir())
    return system / f"regimes-leases-{os.geteuid()}"


def _unusable(path: Path, reason: str) -> ConfigError:
    return ConfigError(
        f"{path}: {reason}; each training job on a GPU locks a file there, so that no two jobs "
        "use one GPU. Mend the folder, or name another one on this machine that you can write to: "
        f"environment {VARIABLE}=/path/to/folder"
    )


def lease(
    names: Sequence[str],
    folder: Path,
    job: str = "",
    say: Callable[[str], object] = say,
    seconds: float = SECONDS,
) -> Lease:
    """Lease the first free one of some devices; wait while there is none.

    Parameters
    ----------
    names
        Of the devices, the same in all processes.
    folder
        Where their lock files are.
    job
        Name of the job, for those who wait.
    say
        Told once which jobs are waited for, and once that the wait is over.
    seconds
        Between two attempts.

    Raises
    ------
    ConfigError
        If files in the folder cannot be written or locked.
    """
    locks = [_lock(folder, name, job) for name in names]
    started, waits = time.monotonic(), False
    while True:
        for index, lock in enumerate(locks):
            if _taken(lock):
                if waits:
                    waited = time.monotonic() - started
                    say(f"GPU {index} ({names[index]}) is free after {waited:.0f} s")
                return Lease(index, names[index], lock)
        if not waits:
            others = [
                f"{index} ({name}) by {_holder(lock)}"
                for index, (name, lock) in enumerate(zip(names, locks, strict=True))
            ]
            say(f"waiting for a GPU; those that this job may use are taken: {', '.join(others)}")
            waits = True
        time.sleep(seconds)


def _lock(folder: Path, name: str, job: str) -> filelock.BaseFileLock:
    """Lock of a device, not yet taken."""

    def note(descriptor: int) -> None:
        # Only for the message to those who wait: a full disk is no reason not to train. Writing
        # also makes the file new, so that no clean-up of old temporary files takes it away.
        with contextlib.suppress(OSError):
            os.utime(descriptor)
            os.ftruncate(descriptor, 0)
            os.write(descriptor, json.dumps({"process": os.getpid(), "job": job}).encode())

    file = re.sub(r"[^A-Za-z0-9.-]", "_", f"gpu-{name}.lock")
    return filelock.FileLock(
        folder / file,
        blocking=False,
        mode=0o666,  # others reach it only in a folder that is shared
        thread_local=False,
        fallback_to_soft=False,  # such a lock would outlive a killed process
        on_acquired=note,
    )


def _taken(lock: filelock.BaseFileLock) -> bool:
    """Take a lock if it is free; whether that succeeded."""
    try:
        lock.acquire()
    except filelock.Timeout:
        return False
    except OSError as error:
        path = Path(lock.lock_file)
        reason = f"{path.name} cannot be locked ({error.strerror or error})"
        raise _unusable(path.parent, reason) from None
    return True


def _holder(lock: filelock.BaseFileLock) -> str:
    """Who holds a lock, as far as that can be told."""
    try:
        found = json.loads(Path(lock.lock_file).read_text(encoding="utf-8"))
        text = f"process {int(found['process'])} ({found['job']})"
    except (OSError, ValueError, LookupError, TypeError):
        return "another process"
    return "".join(filter(str.isprintable, text))[:200].removesuffix(" ()")
