"""What jobs ask for reaches Snakemake: requests of a plan, and GPUs of this machine."""

from __future__ import annotations

import re

import pytest

from regimes import resources
from regimes.resources import Row
from tests.workflow.conftest import Checkout

pytestmark = [pytest.mark.workflow, pytest.mark.slow]

BATCH = "results/gpu/toy/runs/decays/rate_1.nc"
PLAIN = ("--workflow-profile", "none")  # Snakemake's own text names resources


@pytest.fixture
def checkout(fresh: Checkout) -> Checkout:
    """The toy study, also at scale gpu, with a table for one of its experiments."""
    study = fresh.root / "config/studies/toy.yaml"
    text = re.sub(
        r"^( +)(laptop: \{grids.*)$", r"\1\2\n\1gpu: laptop", study.read_text(), flags=re.M
    )
    study.write_text(text)
    rows = [
        Row("laptop", "toy", "decays", "cpu", 2, 1800.0, 3000.0, 100.0),
        Row("gpu", "toy", "decays", "cuda", 2, 3600.0, 6000.0, 100.0),
    ]
    (fresh.root / "config" / resources.FILE).write_text(resources.to_text(rows))
    return fresh


def requests(output: str) -> dict[str, dict[str, int]]:
    """Numbers that the job of each file asks for, from a dry run."""
    found = {}
    for job in output.split("\nrule ")[1:]:
        file = re.search(r"output: ([^\s,]+)", job)[1]
        line = re.search(r"resources: (.*)", job)
        pairs = re.findall(r"(\w+)=(\d+)(?:,|$)", line[1] if line else "", flags=re.M)
        found[file] = {name: int(n) for name, n in pairs if name in ("mem_mb", "runtime", "gpu")}
    return found


def test_requests_reach_the_jobs(checkout):
    found = requests(checkout.run(*PLAIN, "--dry-run", "figures/laptop/all"))
    runs = "results/laptop/toy/runs"
    unknown = dict(zip(("runtime", "mem_mb"), resources.UNKNOWN["laptop"], strict=True))
    assert found[f"{runs}/decays/rate_1.nc"] == {"mem_mb": 4500, "runtime": 90}
    assert found[f"{runs}/more_decays/batch_size_1.nc"] == unknown
    assert found["results/laptop/toy/last.nc"] == {"mem_mb": 2400, "runtime": 60}
    assert found["results/laptop/toy/claims.csv"] == {"mem_mb": 2000, "runtime": 10}
    limits = ("--config", "longest_runtime=1.5", "largest_memory=8")
    output = checkout.run(*PLAIN, "--dry-run", "figures/gpu/all", *limits)
    found = {file.replace("/gpu/", "/"): asked for file, asked in requests(output).items()}
    runs = "results/toy/runs"
    assert found[f"{runs}/decays/rate_1.nc"] == {"mem_mb": 8000, "runtime": 90, "gpu": 1}
    assert found[f"{runs}/more_decays/batch_size_1.nc"] == {
        "mem_mb": 8000, "runtime": 90, "gpu": 1,
    }  # fmt: skip
    assert "gpu" not in found["results/toy/last.nc"]
    assert not (checkout.root / "results").exists()


def test_other_requests_make_nothing_stale(built):
    rows = [Row("laptop", "toy", "decays", "cpu", 2, 1e5, 1e5, 1e5)]
    (built.root / "config" / resources.FILE).write_text(resources.to_text(rows))
    limits = ("--config", "longest_runtime=2")
    assert built.changed(lambda: built.run("figures/all", *limits)) == set()


def test_a_wrong_table_or_limit_stops_the_pipeline_with_one_line(checkout):
    table = checkout.root / "config" / resources.FILE
    table.write_text(table.read_text().replace("1800", "half an hour"))
    for limit, words in (
        ((), "config/resources.csv:2: seconds: got 'half an hour'; must be a number"),
        (("--config", "longest_runtime=4h"), "longest_runtime"),
    ):
        if limit:
            table.unlink()
        output = checkout.run("figures/laptop/all", *limit, fails=True)
        (line,) = [line for line in output.splitlines() if line.startswith("regimes: ")]
        assert words in line
        assert "Traceback" not in output
    assert not (checkout.root / "results").exists()


def test_training_jobs_here_are_as_many_as_gpus(checkout):
    """A machine with one GPU, and a torch that could use it (this one may see none)."""
    programs, packages = checkout.root / "bin", checkout.root / "packages"
    programs.mkdir()
    program = programs / "nvidia-smi"
    program.write_text('#!/bin/sh\necho "GPU 0: Some Model (UUID: GPU-aaaa-0000)"\n')
    program.chmod(0o755)
    (packages / "torch-99.dist-info").mkdir(parents=True)
    (packages / "torch-99.dist-info/METADATA").write_text("Name: torch\nVersion: 99\n")
    environment = {"PATH": f"{programs}:/usr/bin:/bin", "PYTHONPATH": str(packages)}

    def provided(*arguments: str) -> str:
        process = checkout.start(*PLAIN, "--cores", "2", *arguments, environment=environment)
        output, _ = process.communicate(timeout=300)
        assert process.returncode == 0, output
        found = re.search(r"Provided resources: .*?gpu=\D*(\d+)", output)
        return found[1] if found else ""

    assert provided(BATCH) == "1"
    (checkout.root / BATCH).unlink()
    assert provided(BATCH, "--resources", "gpu=3") == "3"
    assert provided(BATCH.replace("/gpu/", "/laptop/")) == ""
