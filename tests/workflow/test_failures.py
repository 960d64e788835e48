"""Kills, damage, two calls at once: what must never reach a figure."""

from __future__ import annotations

import os
import signal
import time

import psutil
import pytest
import xarray as xr

pytestmark = [pytest.mark.workflow, pytest.mark.slow]

BATCH = "results/laptop/toy/runs/more_decays/batch_size_1.nc"


def wait_for(condition, seconds=60.0):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = condition()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError("it did not happen in time")


def jobs_of(root):
    """Process ids of running training jobs of a checkout."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        command = process.info["cmdline"] or []
        if "train" in command and str(root) in command:
            found.append(process.pid)
    return found


def slow_down(checkout):
    checkout.edit(
        "config/studies/toy.yaml", "settings: {rate: 2.0}", "settings: {rate: 2.0, pause: 4.0}"
    )


def test_checkpoints_of_a_batch_that_is_not_planned_go_with_the_next_call(fresh):
    folders = [fresh.root / BATCH.replace("size_1.nc", f"size_{n}.partial") for n in (1, 77)]
    for folder in folders:
        folder.mkdir(parents=True)
        (folder / "identity.json").write_text("{}")
    fresh.run("--dry-run", BATCH)
    assert all(folder.exists() for folder in folders)
    assert "removed checkpoints" in fresh.run("results/laptop/toy/runs/decays/rate_1.nc")
    assert [folder.exists() for folder in folders] == [True, False]


def test_sigkill_half_way_then_the_same_call_completes(fresh):
    """Of jobs, Snakemake and both in every phase: test_kills.py."""
    slow_down(fresh)
    call = fresh.start("--cores", "2", BATCH, start_new_session=True)
    wait_for(lambda: jobs_of(fresh.root))
    time.sleep(0.5)
    os.kill(call.pid, signal.SIGKILL)
    call.communicate(timeout=60)
    assert call.returncode != 0
    wait_for(lambda: not jobs_of(fresh.root))  # jobs die with their parent
    assert not (fresh.root / BATCH).exists()
    fresh.edit("config/studies/toy.yaml", "pause: 4.0", "pause: 0.0")
    fresh.run("figures/all")
    with xr.open_dataset(fresh.root / BATCH) as dataset:
        assert dataset.sizes["run"] == 2
    left = [p for p in (fresh.root / "results").rglob(".*") if p.is_file()]
    assert left == []


def test_second_call_in_one_folder_stops_with_one_line(fresh):
    slow_down(fresh)
    call = fresh.start("--cores", "1", BATCH)
    wait_for(lambda: jobs_of(fresh.root))
    output = fresh.run(BATCH, fails=True)
    assert "another call of the pipeline is running" in output
    assert "Traceback" not in output
    fresh.run(BATCH, "--dry-run")  # looking is allowed
    call.communicate(timeout=60)
    assert call.returncode == 0


@pytest.mark.parametrize("damage", ["flip", "truncate", "empty"])
def test_damaged_file_is_set_aside_and_rebuilt(built, damage):
    path = built.root / BATCH
    good = path.read_bytes()
    content = bytearray(good)
    if damage == "flip":
        with xr.open_dataset(path) as dataset:
            number = dataset["value"].values[0, 0].tobytes()
        content[content.index(number)] ^= 1
    path.write_bytes({"flip": content, "truncate": content[:-200], "empty": b""}[damage])
    built.edit("src/regimes/studies/toy/analyses/other.py", "mean()", "mean() * 2")
    output = built.run("figures/all", fails=True)
    assert "batch_size_1.nc is damaged" in output
    assert path.with_name(path.name + ".bad").exists()
    assert not path.exists()
    built.run("figures/all")
    assert path.read_bytes() == good


def test_damaged_file_is_not_built_upon(built):
    path = built.root / BATCH
    path.write_bytes(path.read_bytes()[:-500])
    built.edit(
        "config/studies/toy.yaml",
        "batch_size: 1, seeds: 2}]}\nanalyses",
        "batch_size: 1, seeds: 3}]}\nanalyses",
    )
    built.run("figures/all")
    with xr.open_dataset(path) as dataset:
        assert dataset.sizes["run"] == 3


def test_configuration_that_changes_under_way_is_refused(fresh):
    slow_down(fresh)
    call = fresh.start("--cores", "1", "figures/all")
    wait_for(lambda: jobs_of(fresh.root))
    fresh.edit(
        "config/studies/toy.yaml", "rate: [0.5, 1.0], seeds: 3", "rate: [0.5, 1.0], seeds: 7"
    )
    fresh.edit(
        "config/studies/toy.yaml",
        "batch_size: 1, seeds: 2}]}\nanalyses",
        "batch_size: 1, seeds: 7}]}\nanalyses",
    )
    output, _ = call.communicate(timeout=120)
    assert call.returncode != 0
    assert "changed while the pipeline ran" in output
    fresh.edit("config/studies/toy.yaml", "pause: 4.0", "pause: 0.0")
    fresh.run("figures/all")
