"""Journals: what a job says while it runs and when it ends, and the lock that goes with it."""

from __future__ import annotations

import datetime
import json
import os
import platform
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from regimes import journal, paths

JOB = ("train", "smoke", "toy", "decays", "rate_1")
FILE = Path("logs/smoke/toy/runs/decays/rate_1.json")


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def read(path=FILE):
    return json.loads(Path(path).read_text())


def wait_for(condition, seconds=30.0):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return
        time.sleep(0.02)
    raise AssertionError("it did not happen in time")


@pytest.mark.parametrize(
    ("job", "file"),
    [
        (JOB, FILE),
        (("start", "smoke", "toy", "trained"), "logs/smoke/toy/start/trained.json"),
        (("analyse", "smoke", "toy", "last"), "logs/smoke/toy/last.json"),
        (("draw", "smoke", "toy", "fig1"), "logs/smoke/toy/fig1.json"),
        (("judge", "smoke", "toy"), "logs/smoke/toy/claims.json"),
        (("make", "mnist1m"), "logs/data/mnist1m.json"),
    ],
)
def test_a_journal_lies_beside_the_log_of_its_job(job, file):
    assert paths.journal(*job) == str(file)


def test_a_job_says_that_it_runs_and_then_what_it_was_built_from():
    with journal.kept(JOB):
        journal.built_from({"setting rate": "1.0"})
        assert read()["state"] == "running"
        assert read()["built"] == {}
        assert read()["pid"] == os.getpid()
    assert read()["state"] == "done"
    assert read()["built"] == {"setting rate": "1.0"}
    assert read()["job"] == list(JOB)


def test_a_failed_job_says_why_and_keeps_what_the_files_there_were_built_from():
    with journal.kept(JOB):
        journal.built_from({"setting rate": "1.0"})
    with pytest.raises(ValueError, match="wrong"), journal.kept(JOB):
        journal.built_from({"setting rate": "2.0"})
        raise ValueError("something is wrong")
    assert read()["state"] == "failed"
    assert read()["reason"] == "something is wrong"
    assert read()["built"] == {"setting rate": "1.0"}


def test_a_heartbeat_tells_of_steps_and_runs_and_the_time_that_is_left(monkeypatch):
    monkeypatch.setattr(journal, "BEAT", 0.05)
    with journal.kept(JOB):
        journal.begun(8, "one core")
        journal.program(4)
        told = journal.training(100, 4)
        told.step, told.alive = 10, 3
        wait_for(lambda: read().get("step") == 10)
        told.step = 50
        wait_for(lambda: read().get("step") == 50)
        found = read()
        assert (found["runs"], found["runs_done"], found["alive"], found["of"]) == (8, 0, 3, 4)
        assert found["progress"] == pytest.approx(0.25)
        assert found["remaining_seconds"] > 0
        journal.passed(4)
        journal.program(4)
        wait_for(lambda: read()["runs_done"] == 4)
        assert read()["progress"] == pytest.approx(0.5)
        assert "step" not in read()


@pytest.fixture
def now(monkeypatch):
    time = [0.0]
    monkeypatch.setattr(journal, "clock", lambda: time[0])
    return time


def test_time_left_follows_from_the_pace_since_training_began(now):
    with journal.kept(JOB) as found:
        journal.begun(10, "one core")
        for _ in range(2):  # read back from checkpoints: no pace follows from them
            journal.program(2)
            journal.passed(2)
        now[0] = 5.0
        journal.program(6)
        told = journal.training(100, 6)
        assert found.remaining() is None
        now[0], told.step = 35.0, 50
        assert found.remaining() == pytest.approx(30.0)  # 3 runs took 30 s, 3 are left


def test_time_left_after_resuming_within_a_program(now):
    with journal.kept(JOB) as found:
        journal.begun(2, "one core")
        journal.program(2)
        told = journal.training(100, 2, 60)
        assert found.progress() == pytest.approx(0.6)
        assert found.remaining() is None
        now[0], told.step = 10.0, 70
        assert found.remaining() == pytest.approx(30.0)


def test_stages_of_a_program_count_together(now):
    with journal.kept(JOB) as found:
        journal.begun(2, "one core")
        journal.program(2)
        journal.stages(300)
        journal.training(100, 2, 100)  # known from a checkpoint
        told = journal.training(100, 2)
        assert found.progress() == pytest.approx(1 / 3)
        now[0], told.step = 50.0, 50
        assert found.remaining() == pytest.approx(150.0)
        told.step = 100
        journal.training(100, 2).step = 50
        assert found.progress() == pytest.approx(250 / 300)


def test_stages_that_were_not_announced_do_not_look_like_the_end():
    with journal.kept(JOB) as found:
        journal.begun(2, "one core")
        journal.program(2)
        journal.training(100, 2).step = 100
        journal.training(100, 2).step = 50
        assert found.progress() == pytest.approx(0.5)


def test_what_a_job_waits_for_is_told_until_it_trains(capsys):
    with journal.kept(JOB):
        journal.waiting("all GPUs are taken")
        assert read()["waits"] == "all GPUs are taken"
        journal.begun(2, "a GPU")
        assert "waits" not in read()
    assert capsys.readouterr().out == "all GPUs are taken\n"


def test_outside_a_journal_nothing_is_kept():
    journal.begun(3, "one core")
    journal.program(3)
    journal.training(10, 3).step = 4
    journal.passed(3)
    assert not Path("logs").exists()


def test_a_folder_that_cannot_be_written_stops_no_job(capsys):
    Path("logs").write_text("a file where the folder should be")
    with journal.kept(JOB):
        pass
    told = capsys.readouterr().out
    assert told.count("no journal of this job") == 1
    assert "logs/smoke/toy" in told and "None" not in told


def test_the_job_number_of_a_scheduler_is_told(monkeypatch):
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    assert journal.scheduled() == ""
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    assert journal.scheduled() == "SLURM job 77"


HOLDER = """
import sys, time
from regimes import journal
with journal.kept(tuple(sys.argv[1:])):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def other():
    """Another process that does the same job."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, *JOB], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def test_a_job_waits_for_another_process_that_does_the_same(other, capsys):
    assert journal.is_held(FILE)
    killed = subprocess.Popen(["sh", "-c", f"sleep 2; kill -9 {other.pid}"])
    begun = time.monotonic()
    with journal.kept(JOB):
        assert time.monotonic() - begun > 1.5
        assert journal.is_held(FILE)
    killed.wait()
    told = capsys.readouterr().out
    assert f"process {other.pid} on" in told
    assert "waiting for its end" in told


def test_a_killed_job_leaves_no_lock(other):
    other.send_signal(signal.SIGKILL)
    other.wait()
    assert read()["state"] == "running"  # it had no time to say otherwise
    assert journal.is_held(FILE) is False
    begun = time.monotonic()
    with journal.kept(JOB):
        pass
    assert time.monotonic() - begun < 1


def test_a_job_elsewhere_lives_as_long_as_it_renews_its_journal():
    """Where locks do not reach from one machine to another, a free lock proves nothing."""
    with journal.kept(JOB):
        pass
    said = {"host": "another-node", "updated": datetime.datetime.now(datetime.UTC).isoformat()}
    assert journal.lives(FILE, said)
    assert not journal.lives(FILE, said | {"host": platform.node()})
    assert not journal.lives(FILE, said | {"updated": "2020-01-01T00:00:00+00:00"})


def test_a_holder_that_is_silent_is_told_of_with_what_to_remove(other, monkeypatch, capsys):
    monkeypatch.setattr(journal, "SILENT", -1.0)
    killed = subprocess.Popen(["sh", "-c", f"sleep 3; kill -9 {other.pid}"])
    with journal.held(FILE):
        pass
    killed.wait()
    told = capsys.readouterr().out
    assert "it has said nothing since" in told
    assert ".snakemake/regimes/logs/smoke/toy/runs/decays/rate_1.lock" in told


def test_other_jobs_do_not_wait(other):
    assert journal.is_held(Path(paths.journal("draw", "smoke", "toy", "fig1"))) is False
    begun = time.monotonic()
    with journal.kept(("draw", "smoke", "toy", "fig1")):
        pass
    assert time.monotonic() - begun < 1
