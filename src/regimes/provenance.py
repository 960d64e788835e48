"""Who, where and with what: attributes of results files and of their sidecars."""

from __future__ import annotations

import datetime
import functools
import os
import platform
import resource
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

PACKAGES = ("torch", "numpy", "scipy", "xarray", "netCDF4", "pandas", "matplotlib")


def package_versions() -> dict[str, str]:
    """Versions of Python and of the packages that numbers pass through."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


@functools.cache
def git_commit(root: Path | str) -> str:
    """Commit of the checkout, with ``+`` where files differ from it; empty without git.

    As it was when this process asked first: a job imports its code at its start.
    """
    try:
        commit = subprocess.run(
            ["git", "-C", str(root), "rev-parse", "HEAD"],
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        ).stdout.strip()
        dirty = subprocess.run(
            ["git", "-C", str(root), "status", "--porcelain", "--untracked-files=no"],
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""
    return commit + ("+" if dirty else "")


def describe(device: torch.device) -> str:
    """Name of the hardware that a job ran on, for the gallery page."""
    if device.type == "cuda":
        import torch

        return torch.cuda.get_device_name(device)
    return f"one of {os.cpu_count()} cores ({processor()})"


def processor() -> str:
    """Model of the processor where the system tells it, else its architecture."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()


def peak_memory_mb() -> float:
    """Largest resident size of this process so far, in MB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1e6 if sys.platform == "darwin" else 1e3)


def session(root: Path | str, wall_seconds: float) -> dict[str, object]:
    """What differs between two equal runs: time, host, commit, cost."""
    return {
        "finished": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "wall_seconds": round(wall_seconds, 3),
        "peak_memory_mb": round(peak_memory_mb(), 1),
        "host": platform.node(),
        "commit": git_commit(root),
        "versions": package_versions(),
    }
