"""Snakemake on a machine that is made to believe in GPUs: one training job on each at a time."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest

pytestmark = [pytest.mark.workflow, pytest.mark.slow]

# In training jobs torch sees two GPUs, or those of them that CUDA_VISIBLE_DEVICES allows, in its
# order. Python imports this by itself where it is on its path.
SITE = """
import os, sys

if {"-m", "train"} <= set(sys.orig_argv):
    import types, torch

    GPUS = ["aaaaaaaa-0000-4000-8000-000000000000", "bbbbbbbb-0000-4000-8000-000000000000"]
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    seen = GPUS if given is None else [GPUS[int(number)] for number in given.split(",")]
    current = [0]
    torch.cuda.is_available = lambda: True
    torch.cuda.device_count = lambda: len(seen)
    torch.cuda.current_device = lambda: current[0]
    torch.cuda.set_device = lambda index: current.__setitem__(0, index)
    torch.cuda.get_device_name = lambda device=None: "pretended GPU"
    torch.cuda.get_device_properties = lambda index: types.SimpleNamespace(uuid=seen[index])
"""

# What the toy study does besides training: it notes when it had which GPU, and holds it until this
# call has had each GPU that it sees, and another of its jobs waits.
KINDS = """
def noted(settings, device):
    import json, os, torch
    from pathlib import Path
    begun = time.monotonic()
    gpu = torch.cuda.get_device_properties(torch.cuda.current_device()).uuid
    Path("begun").mkdir(exist_ok=True)
    Path("begun", gpu).touch()
    while not others_have_come(torch.cuda.device_count()):
        assert time.monotonic() < begun + 90, "no job waits, or there is none on another GPU"
        time.sleep(0.05)
    trained = train(settings, device)
    time.sleep(0.2)
    note = {"gpu": gpu, "index": device.index, "begun": begun, "ended": time.monotonic()}
    Path("trained").mkdir(exist_ok=True)
    Path("trained", str(os.getpid())).write_text(json.dumps(note))
    return trained


def others_have_come(gpus):
    from pathlib import Path
    waits = any("waiting for a GPU" in log.read_text() for log in Path("logs").rglob("*.log"))
    return waits and len(list(Path("begun").iterdir())) == gpus


KINDS = {"decay": noted}
"""

RATES = {"whole": [0.5, 1.0, 1.5], "second": [2.0, 2.5]}


def test_two_calls_share_two_gpus_and_each_gpu_has_one_job_at_a_time(fresh, tmp_path):
    """One call may use both GPUs, a call of another checkout only the second one."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site/sitecustomize.py").write_text(SITE)
    fresh.edit("config/studies/toy.yaml", "rate: [0.5, 1.0]", f"rate: {sum(RATES.values(), [])}")
    fresh.edit("src/regimes/studies/toy/experiments.py", 'KINDS = {"decay": train}\n', KINDS)
    other = type(fresh)(tmp_path / "other")
    other.root.mkdir()
    for name in ("src", "workflow", "config", "profiles", "Snakefile"):
        (other.root / name).symlink_to(fresh.root / name)
    common = {
        "PYTHONPATH": str(tmp_path / "site"),
        "REGIMES_DEVICE": "cuda",
        "REGIMES_LEASES": str(tmp_path / "leases"),
    }
    calls = []
    for checkout, key, visible in (
        (fresh, "whole", {}),
        (other, "second", {"CUDA_VISIBLE_DEVICES": "1"}),
    ):
        names = [f"rate_{rate:g}".replace(".", "p") for rate in RATES[key]]
        targets = [f"results/laptop/toy/runs/decays/{name}.nc" for name in names]
        # More jobs than GPUs, also on a machine that has real ones.
        options = ("--cores", "4", "--resources", "gpu=4", "--", *targets)
        calls.append(checkout.start(*options, environment=common | visible))
    for call in calls:
        output, _ = call.communicate(timeout=300)
        assert call.returncode == 0, output
    whole, second = (notes(checkout.root) for checkout in (fresh, other))
    assert (len(whole), len(second)) == (3, 2)
    # Each job computes on what it has leased; the number is that among those which it sees.
    first_gpu, second_gpu = "aaaaaaaa", "bbbbbbbb"
    assert {(n["gpu"][:8], n["index"]) for n in whole} == {(first_gpu, 0), (second_gpu, 1)}
    assert {(n["gpu"][:8], n["index"]) for n in second} == {(second_gpu, 0)}
    pairs = list(itertools.combinations(whole + second, 2))
    together = [(a, b) for a, b in pairs if a["begun"] < b["ended"] and b["begun"] < a["ended"]]
    assert together, "no two jobs trained side by side"
    assert not [pair for pair in together if pair[0]["gpu"] == pair[1]["gpu"]]


def notes(root: Path) -> list[dict]:
    """What the training jobs of a checkout noted."""
    return [json.loads(file.read_text()) for file in root.glob("trained/*")]
