"""`regimes status` and `regimes why` beside Snakemake run for real."""

from __future__ import annotations

import base64
import os
import shutil
import signal
import subprocess
import sys

import pytest

from regimes import folders
from tests.workflow.test_failures import BATCH, jobs_of, slow_down, wait_for

pytestmark = [pytest.mark.workflow, pytest.mark.slow]

ALL = "figures/laptop/toy/all"
CODE = "src/regimes/studies/toy"


def row(output, name="toy"):
    """Words of a row of the table."""
    return next(line.split() for line in output.splitlines() if line.strip().startswith(name))


def test_what_is_built_is_done_and_current(built):
    assert row(built.regimes("status")) == "toy 3 of 3 2 of 2 3 of 3 0 0".split()
    assert built.regimes("why", "figures/all") == "figures/all is current: nothing would run\n"


def test_reasons_are_settings_code_and_files_by_name(built):
    built.edit(
        "config/studies/toy.yaml", "rate: [0.5, 1.0], seeds: 3", "rate: [0.5, 1.0], seeds: 4"
    )
    built.edit(f"{CODE}/analyses/other.py", "mean()", "mean() * 2")
    (built.root / "figures/laptop/toy/fig2.png").unlink()
    (built.root / BATCH).rename(built.root / f"{BATCH}.bad")
    before = built.state("results", "figures", "logs")
    told = built.regimes("why", ALL)
    assert built.state("results", "figures", "logs") == before
    parts = {p.split("\n")[0]: p for p in told.split("\n\n")}
    assert "setting seed: was 0, 1, 2, is 0, 1, 2, 3" in told
    assert told.count("rate_0p5.nc") == told.count("rate_1.nc") == 1
    assert "batch_size_1.nc\n    - it was damaged and set aside as .bad" in told
    assert "code changed: regimes.studies.toy.analyses.other" in parts["analyses (1):"]
    assert "fig2.png\n    - the file is not there" in parts["figures (1):"]
    assert "1 analyses, 1 tables of claims, 2 figures, 1 lists and pages" in told
    # Of the target alone: fig1 reads nothing of what `other` is made of.
    assert "other" not in built.regimes("why", "figures/laptop/toy/fig1.png")
    assert "2 in part, 1 to do" in built.regimes("status")
    built.run(ALL)
    assert "is current" in built.regimes("why", ALL)


def test_without_journals_it_says_that_it_does_not_know(built):
    built.edit(f"{CODE}/helper.py", "start * np.exp(", "1 * start * np.exp(")
    assert "code changed: regimes.studies.toy.helper" in built.regimes("why", BATCH)
    assert "3 outdated" in built.regimes("status")
    for journal in (built.root / "logs").rglob("*.json"):
        journal.unlink()
    assert "its journal is gone" in built.regimes("why", BATCH)


def test_files_of_killed_jobs_and_without_a_record_are_told_of(built):
    marks = folders.SNAKEMAKE / "incomplete"
    (mark := built.root / marks / base64.urlsafe_b64encode(BATCH.encode()).decode()).parent.mkdir(
        parents=True, exist_ok=True
    )
    mark.write_text('{"external_jobid": null}')
    assert "its job was killed" in built.regimes("why", BATCH)
    shutil.rmtree(built.root / ".snakemake")
    assert "Snakemake has no record" in built.regimes("why", BATCH)
    built.edit(f"{CODE}/helper.py", "start * np.exp(", "start * * np.exp(")
    assert "helper.py, line" in built.regimes("status", fails=True)


def test_unknown_names_are_refused_with_the_nearest(built):
    assert "did you mean" in built.regimes("why", "figures/laptop/toy/fig9.png", fails=True)
    assert "laptop" in built.regimes("status", "laptopp", fails=True)
    assert "toy" in built.regimes("status", "--study", "tooy", fails=True)


def test_running_killed_and_failed_jobs_are_told_apart(fresh):
    slow_down(fresh)
    call = fresh.start("--cores", "1", BATCH)
    job = wait_for(lambda: jobs_of(fresh.root))[0]
    running = wait_for(lambda: "0 of 2 runs" in (told := fresh.regimes("status")) and told)
    assert row(running)[-2:] == ["1", "0"]
    assert f"process {job} on" in running
    os.kill(job, signal.SIGKILL)
    call.communicate(timeout=60)
    assert "the file is not there" in fresh.regimes("why", BATCH)
    stopped = fresh.regimes("status")
    assert row(stopped)[-2:] == ["0", "0"]
    assert f"{BATCH} was killed or lost" in stopped
    fresh.edit("config/studies/toy.yaml", "pause: 4.0", "pause: 0.0")
    fresh.edit(f"{CODE}/helper.py", "start * np.exp(", "start * wrong * np.exp(")
    fresh.run(BATCH, fails=True)
    failed = fresh.regimes("status")
    assert row(failed)[-1] == "1"
    assert f"{BATCH} failed" in failed
    assert "name 'wrong' is not defined" in failed
    fresh.edit(f"{CODE}/helper.py", "start * wrong * np.exp(", "start * np.exp(")
    fresh.run(BATCH)
    assert row(fresh.regimes("status"))[-1] == "0"


def test_a_job_left_behind_is_waited_for_and_its_work_is_kept(fresh):
    """As on a cluster, where jobs outlive the call that has started them."""
    slow_down(fresh)
    command = "--root . train laptop toy more_decays batch_size_1".split()
    orphan = subprocess.Popen(
        [sys.executable, "-m", "regimes", *command],
        cwd=fresh.root,
        env={**os.environ, "PYTHONPATH": str(fresh.root / "src")},
    )
    wait_for(lambda: (fresh.root / "logs/laptop/toy/runs/more_decays/batch_size_1.json").exists())
    fresh.run(BATCH)
    assert orphan.wait(timeout=10) == 0
    log = (fresh.root / "logs/laptop/toy/runs/more_decays/batch_size_1.log").read_text()
    assert f"process {orphan.pid} on" in log
    assert "training" not in log  # what the other had trained is carried over
