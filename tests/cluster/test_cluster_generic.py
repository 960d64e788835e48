"""Jobs handed to the scripts of profiles/cluster-generic, which run them in the background."""

from __future__ import annotations

import os
import signal
import subprocess

import psutil
import pytest

from tests.cluster.test_slurm import checkout, digests, wait_for

pytestmark = [pytest.mark.workflow, pytest.mark.slow, pytest.mark.xdist_group("cluster")]

GENERIC = "--workflow-profile=profiles/cluster-generic"
OFTEN = "--seconds-between-status-checks=1"
JOBS = ".snakemake/cluster-generic"


def numbers(place):
    """Numbers of jobs that run, by the files that they train."""
    found = {}
    for process in psutil.process_iter(["cmdline"]):
        command = process.info["cmdline"] or []
        if "train" in command and str(place.root) in command:
            session = os.getsid(process.pid)
            for file in (place.root / JOBS).glob("*/pid"):
                if file.read_text().strip() == str(session):
                    found[command[command.index("train") + 3]] = file.parent.name
    return found


def status(place, number):
    script = place.root / "profiles/cluster-generic/status.sh"
    return subprocess.check_output([script, number], cwd=place.root, text=True).strip()


def test_a_study_is_completed_though_a_job_is_cancelled(tmp_path):
    place = checkout(tmp_path / "place")
    environment = {"TOY_PAUSE": "3"}
    call = place.start("figures/smoke/all", GENERIC, OFTEN, environment=environment)
    running = wait_for(lambda: len(found := numbers(place)) == 2 and found)  # two at once
    number = running["decays"]
    assert status(place, number) == "running"
    cancel = place.root / "profiles/cluster-generic/cancel.sh"
    subprocess.run([cancel, number], cwd=place.root, check=True)
    wait_for(lambda: status(place, number) == "failed")
    output, _ = call.communicate(timeout=300)
    assert call.returncode == 0, output
    assert "Failed train_batch" in output
    assert "Traceback" not in output
    assert status(place, running["more_decays"]) == "success"
    local = checkout(tmp_path / "local")
    local.run("figures/smoke/all")
    assert digests(local) == digests(place)


def test_an_interrupted_call_cancels_its_jobs(tmp_path):
    """Snakemake misses jobs of which it asks the status at that moment, so it asks rarely here."""
    place = checkout(tmp_path / "place")
    call = place.start("figures/smoke/all", GENERIC, environment={"TOY_PAUSE": "60"})
    running = wait_for(lambda: len(found := numbers(place)) == 2 and found)
    call.send_signal(signal.SIGINT)
    output, _ = call.communicate(timeout=50)
    assert call.returncode != 0, output
    for number in running.values():
        wait_for(lambda number=number: status(place, number) == "failed", 30)
    assert not numbers(place)


@pytest.mark.parametrize("text, expected", [("exit 0", "success"), ("exit 3", "failed")])
def test_a_job_script_is_known_by_its_exit_status(tmp_path, text, expected):
    place = checkout(tmp_path / "place")
    (script := tmp_path / "job.sh").write_text(f"#!/bin/sh\n{text}\n")
    script.chmod(0o755)
    submit = place.root / "profiles/cluster-generic/submit.sh"
    command = [submit, "rule", "1", "1000", "1", script]
    number = subprocess.check_output(command, cwd=place.root, text=True).strip()
    wait_for(lambda: status(place, number) == expected, 30)
