"""Choice of device and numeric policy of a training job."""

from __future__ import annotations

import os

import torch

from regimes.config import ConfigError, nearest

DEVICES = ("auto", "cpu", "cuda")


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
    # Not use_deterministic_algorithms: that also imports the compiler, 1.5 s for each job.
    torch.set_deterministic_debug_mode("error")
    # Filling new memory with NaN, which that mode does, takes up to 15 % of a job.
    torch.utils.deterministic.fill_uninitialized_memory = False
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False
