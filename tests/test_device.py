"""Device and numeric policy of a job."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from regimes import device, provenance
from regimes.config import ConfigError


def test_policy_is_deterministic_single_threaded_and_cheap_to_set():
    code = (
        "import sys, torch\n"
        "from regimes import device\n"
        "device.set_policy()\n"
        "assert torch.are_deterministic_algorithms_enabled()\n"
        "assert torch.get_num_threads() == 1\n"
        "assert 'torch._dynamo' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_auto_is_the_cpu_for_small_scales(monkeypatch):
    monkeypatch.delenv("REGIMES_DEVICE", raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert device.choose("auto", "laptop").type == "cpu"
    assert device.choose("auto", "gpu").type == "cuda"
    assert device.choose("cpu", "gpu").type == "cpu"


def test_environment_overrides_and_mistakes_are_named(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setenv("REGIMES_DEVICE", "cpu")
    assert device.choose("cuda", "gpu").type == "cpu"
    monkeypatch.setenv("REGIMES_DEVICE", "cdua")
    with pytest.raises(ConfigError, match="did you mean 'cuda'"):
        device.choose("auto", "gpu")
    monkeypatch.setenv("REGIMES_DEVICE", "cuda")
    with pytest.raises(ConfigError, match="no GPU"):
        device.choose("auto", "gpu")


def test_hardware_is_described_for_readers():
    text = provenance.describe(torch.device("cpu"))
    assert text.startswith("one of ") and text.endswith(")") and "()" not in text
