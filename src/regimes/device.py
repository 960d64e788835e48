"""Choice of device and numeric policy of a training job."""

from __future__ import annotations

import ctypes
import os
import sys

import torch

from regimes.environment import DEVICES
from regimes.messages import ConfigError, nearest


def choose(setting: str, scale: str) -> torch.device:
    """Return the device of a job.

    ``auto`` means a GPU for the scales ``gpu`` and ``paper`` where there is
    one, the CPU otherwise. The environment variable ``REGIMES_DEVICE``
    overrides the setting.

    Raises
    ------
    ConfigError
        If the name is unknown, or a GPU is demanded and there is none.
    """
    name = os.environ.get("REGIMES_DEVICE", setting)
    if name not in DEVICES:
        raise ConfigError(f"REGIMES_DEVICE: got '{name}'; {nearest(name, DEVICES)}")
    if name == "auto":
        name = "cuda" if scale in ("gpu", "paper") and torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigError(
            "device: cuda was asked for and torch sees no GPU; set device: cpu in "
            "config/config.yaml, or ask for scale smoke or laptop"
        )
    return torch.device(name)


def set_policy() -> None:
    """One thread, deterministic algorithms, no TF32."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.set_num_threads(1)
    _keep_freed_memory()
    # Not use_deterministic_algorithms: that also imports the compiler, 1.5 s for each job.
    torch.set_deterministic_debug_mode("error")
    # Filling new memory with NaN, which that mode does, takes up to 15 % of a job.
    torch.utils.deterministic.fill_uninitialized_memory = False
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False


# Parameters of glibc's mallopt, from malloc.h, and the largest threshold that it accepts.
TRIM_THRESHOLD, TOP_PAD, MMAP_THRESHOLD = -1, -2, -3
LARGEST_THRESHOLD = 32 * 2**20


def _keep_freed_memory() -> None:
    """Let the C library keep freed blocks of some megabytes instead of returning them.

    A training step frees and asks for the same few of them again and again, and each time the
    system would hand out new pages: 10 to 20 % of a job of a small network.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # other C libraries have none
    if mallopt is not None:
        mallopt(MMAP_THRESHOLD, LARGEST_THRESHOLD)
        mallopt(TRIM_THRESHOLD, 2**30)
        mallopt(TOP_PAD, 64 * 2**20)
