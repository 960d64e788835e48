"""What jobs ask a scheduler for."""

from __future__ import annotations

import copy
import dataclasses
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from regimes import device as devices
from regimes import forecast, resources
from regimes import workflow as front
from regimes.config import SCALES, Config, ConfigError
from regimes.resources import COLUMNS, Limits, Row

REPOSITORY = Path(__file__).resolve().parents[1]
STUDY, EXPERIMENT = "giant_step", "spike_spectrum"
WIDE = Limits(minutes=10**6, mb=10**9)
CONFIG = Config(REPOSITORY)
HEADER = ",".join(COLUMNS)


@pytest.fixture
def config(tmp_path, monkeypatch):
    """The configuration with a folder of its own, in which there is no table."""
    found = copy.copy(CONFIG)
    found.root, found.folder = tmp_path, tmp_path / "config"
    found.folder.mkdir()
    monkeypatch.delenv("REGIMES_DEVICE", raising=False)
    resources.table.cache_clear()
    yield found
    resources.table.cache_clear()


def write(config, *rows):
    (config.folder / resources.FILE).write_text(resources.to_text(rows))
    resources.table.cache_clear()


def row(scale="laptop", device="cpu", seconds=3600.0, memory=4000.0, **other):
    values = {"study": STUDY, "experiment": EXPERIMENT, "jobs": 3, "disk_mb": 500.0} | other
    return Row(
        scale=scale, device=device, seconds=seconds, memory_mb=memory,
        **values,
    )  # fmt: skip


def asked(config, scale="laptop", attempt=1, most=WIDE):
    return resources.training(config, scale, STUDY, EXPERIMENT, attempt, most)


def test_a_request_is_the_forecast_with_room():
    assert resources.TIME_SAFETY >= 2  # docs/cost.md: 1.6 times is usual for giant_step
    assert resources.MEMORY_SAFETY >= 1.4  # docs/cost.md: up to 40 % too small


def test_requests_follow_from_the_table_and_grow(config):
    write(config, row(seconds=3600, memory=4000))
    first, second, third = (asked(config, attempt=n) for n in (1, 2, 3))
    assert first == resources.Request(mem_mb=6000, runtime=180, gpu=None)
    assert (second.mem_mb, second.runtime) == (12_000, 360)
    assert (third.mem_mb, third.runtime) == (24_000, 720)
    write(config, row(seconds=7200, memory=8000))
    assert asked(config) == resources.Request(12_000, 360)


def test_no_request_is_beyond_the_limits_or_too_small_to_start(config):
    write(config, row(seconds=1e6, memory=1e6))
    most = Limits(minutes=240, mb=64_000)
    assert asked(config, attempt=3, most=most) == resources.Request(64_000, 240)
    write(config, row(seconds=0.5, memory=100))
    assert asked(config) == resources.Request(resources.SMALLEST, resources.SHORTEST)
    assert asked(config, most=Limits(minutes=5, mb=500)) == resources.Request(500, 5)


@pytest.mark.parametrize("scale", SCALES)
def test_what_was_not_recorded_has_a_default(config, scale):
    """No table, another experiment in it, or another scale."""
    expected = resources.UNKNOWN[scale]
    assert (asked(config, scale).runtime, asked(config, scale).mem_mb) == expected
    write(config, row(scale=scale, experiment="gone"), row(scale=scale, study="gone"))
    assert (asked(config, scale).runtime, asked(config, scale).mem_mb) == expected
    assert asked(config, scale, attempt=2).mem_mb == 2 * expected[1]


def test_one_row_is_enough_for_two_scales_with_the_same_runs(config):
    experiments = config.studies[STUDY].experiments
    name = next(n for n, e in experiments.items() if isinstance(e.scales.get("gpu"), str))
    alias = experiments[name].scales["gpu"]
    write(config, row(scale=alias, experiment=name, device="cuda", seconds=36_000))
    assert resources.training(config, "gpu", STUDY, name, 1, WIDE).runtime == 1800


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("setting", ["auto", "cpu", "cuda"])
@pytest.mark.parametrize("variable", [None, "auto", "cpu", "cuda"])
def test_a_gpu_is_asked_for_where_the_job_would_use_one(
    config, scale, setting, variable, monkeypatch
):
    config.main = config.main.model_copy(update={"device": setting})
    if variable is not None:
        monkeypatch.setenv("REGIMES_DEVICE", variable)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    used = devices.choose(setting, scale).type == "cuda"
    assert asked(config, scale).gpu == (1 if used else None)
    assert resources.wants_gpu(config, scale) == used
    for request in (
        resources.reading(config, scale, STUDY, [EXPERIMENT]),
        resources.small(),
    ):
        assert request.gpu is None


def test_rows_of_a_gpu_win_where_the_job_will_have_one(config):
    cpu, cuda = row("gpu", "cpu", seconds=720_000), row("gpu", "cuda", seconds=1800, memory=5000)
    write(config, cpu, cuda)
    assert asked(config, "gpu") == resources.Request(7500, 90, 1)
    write(config, cpu)
    assumed = asked(config, "gpu")
    assert 90 < assumed.runtime < 3 * 720_000 / 60
    assert assumed.mem_mb == 6000 + resources.GPU_LIBRARIES
    config.main = config.main.model_copy(update={"device": "cpu"})
    assert asked(config, "gpu") == resources.Request(6000, 36_000)
    write(config, cuda)  # says nothing about a CPU
    assert (asked(config, "gpu").runtime, asked(config, "gpu").mem_mb) == resources.UNKNOWN["gpu"]


def test_small_jobs_are_not_assumed_to_gain_from_a_gpu():
    assert resources.on_gpu(1800) == 1800
    times = [resources.on_gpu(seconds) for seconds in (0, 3600, 3601, 36_000, 10**6)]
    assert times == sorted(times)
    assert times[-1] > 10**6 / 15


def test_memory_of_an_analysis_follows_from_what_it_reads(config):
    other = "surrogate_check"
    write(config, row(disk_mb=500.0), row(experiment=other, disk_mb=1500.0))
    one = resources.reading(config, "laptop", STUDY, [EXPERIMENT], 1, WIDE)
    both = resources.reading(config, "laptop", STUDY, [EXPERIMENT, other], 1, WIDE)
    assert one.mem_mb == resources.SMALLEST + resources.READING * 500
    assert both.mem_mb == resources.SMALLEST + resources.READING * 2000
    assert resources.reading(config, "laptop", STUDY, [], 1, WIDE).mem_mb == resources.SMALLEST
    unknown = resources.reading(config, "gpu", STUDY, [other], 1, WIDE)
    assert unknown.mem_mb == resources.UNKNOWN["gpu"][1]
    again = resources.reading(config, "laptop", STUDY, [EXPERIMENT], 2, WIDE)
    assert again == resources.Request(2 * one.mem_mb, 2 * one.runtime)


GOOD = f"laptop,{STUDY},{EXPERIMENT},cpu,3,12.5,400,20"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", [":1:", HEADER]),
        ("scale,study\n", [":1:", "scale,study", HEADER]),
        (f"{HEADER}\n{GOOD}\nlaptp{GOOD[6:]}", [":3: scale:", "'laptp'", "'laptop'", "smoke"]),
        (f"{HEADER}\n{GOOD.replace('cpu', 'gpu')}", [":2: device:", "'gpu'", "cpu, cuda"]),
        (f"{HEADER}\n{GOOD.replace('12.5', 'soon')}", [":2: seconds:", "'soon'", "a number"]),
        (f"{HEADER}\n{GOOD.replace('12.5', 'nan')}", [":2: seconds:", "'nan'", "0 or more"]),
        (f"{HEADER}\n{GOOD.replace('400', '-1')}", [":2: memory_mb:", "'-1'", "0 or more"]),
        (f"{HEADER}\n{GOOD.replace(',3,', ',3.5,')}", [":2: jobs:", "'3.5'", "whole number"]),
        (f"{HEADER}\n{GOOD.replace(STUDY, '')}", [":2: study:", "empty"]),
        (f"{HEADER}\n{GOOD},7", [":2:", "9 values", "must be 8"]),
        (f"{HEADER}\n{GOOD}\n{GOOD}\n", [":3:", EXPERIMENT, "stands twice"]),
        (f'{HEADER}\n"{GOOD}', ["cannot be read", "--record"]),
    ],
)
def test_a_malformed_table_gives_one_message(config, text, words):
    path = config.folder / resources.FILE
    path.write_text(text)
    with pytest.raises(ConfigError) as error:
        asked(config)
    message = str(error.value)
    assert message.startswith(f"{path}")
    assert [word for word in words if word not in message] == []
    assert "\n" not in message
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="cannot be read"):
        asked(config)


def test_empty_lines_of_a_table_do_no_harm(config):
    (config.folder / resources.FILE).write_text(f"{HEADER}\n\n{GOOD}\n\n")
    assert list(resources.read(config.folder / resources.FILE)) == [
        ("laptop", STUDY, EXPERIMENT, "cpu")
    ]


def test_numbers_of_a_table_are_short_and_read_back():
    numbers = [0, 0.00123456, 0.5, 1, 12.3456, 123.6, 98765.4, 1e7 / 3]
    texts = ["0", "0.00123", "0.5", "1", "12.3", "124", "98800", "3330000"]
    assert [resources._short(number) for number in numbers] == texts


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, Limits()),
        ({"longest_runtime": 4}, Limits(minutes=240)),
        ({"longest_runtime": 0.5, "largest_memory": 64}, Limits(30, 64_000)),
        ({"other": "x"}, Limits()),
    ],
)
def test_limits_of_a_call(given, expected):
    assert resources.limits(given) == expected


@pytest.mark.parametrize("value", ["4h", 0, -1, True, float("nan"), [4]])
@pytest.mark.parametrize(("name", "unit"), [("longest_runtime", "hours"), ("largest_memory", "GB")])
def test_wrong_limits_give_one_message(name, unit, value):
    with pytest.raises(ConfigError) as error:
        resources.limits({name: value})
    for word in (name, repr(value), unit, "--config", f"{name}=12"):
        assert word in str(error.value)


# --- Recording ------------------------------------------------------------------------------------

MACHINE = forecast.Machine("cpu", "a test", 2.0, {})


def forecasts(seconds=30.0):
    jobs = (
        forecast.Job("a", 2, 10.0, 1e12, 1e6),
        forecast.Job("b", 2, seconds, 1e15, 2e6, True),
    )
    return [
        forecast.Forecast(STUDY, EXPERIMENT, 5, 4, jobs, (1, 2), 9e9, process_memory=5e8),
        forecast.Forecast(STUDY, "surrogate_check", 1, 3, problem="went wrong"),
    ]


def test_what_is_recorded_is_what_is_asked_for(config):
    rows = forecast.requests(forecasts(seconds=3598), MACHINE, "laptop")
    assert rows == [row(seconds=3600.0, memory=500.0, jobs=5, disk_mb=3.0)]
    forecast.record(config, "laptop", rows)
    assert list(resources.read(config.folder / resources.FILE).values()) == rows
    assert asked(config) == resources.Request(resources.SMALLEST, 180)


def test_a_record_replaces_its_rows_and_those_of_lost_experiments_only(config):
    kept = [
        row("gpu", "cuda"),
        row("gpu", study="not_listed", experiment="any"),
        row("gpu", experiment="surrogate_check", seconds=77.0),  # could not be tried this time
        row("laptop", experiment="gone"),
    ]
    write(config, row("gpu", seconds=1.0), row("gpu", experiment="gone"), *kept)
    new = forecast.requests(forecasts(), MACHINE, "gpu")
    forecast.record(config, "gpu", new)
    found = resources.read(config.folder / resources.FILE)
    assert set(found.values()) == {*kept, *new}
    again = (config.folder / resources.FILE).read_text()
    forecast.record(config, "gpu", new)
    assert (config.folder / resources.FILE).read_text() == again


@pytest.mark.parametrize("denied", ["folder", "file"])
def test_a_record_that_cannot_be_written_is_one_message(config, denied, monkeypatch):
    path = config.folder / resources.FILE
    write(config)
    wrong = path if denied == "file" else path.parent
    monkeypatch.setattr(os, "access", lambda which, mode: Path(which) != wrong)
    with pytest.raises(ConfigError, match=r"--record: .*resources.csv cannot be written"):
        forecast.main(
            config, "smoke", [STUDY], [], quick=True, cores=1, csv_file=None, recorded=True
        )
    monkeypatch.undo()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(forecast.store, "write_text", full)
    with pytest.raises(ConfigError, match="No space left on device"):
        forecast.record(config, "smoke", [])


def test_the_command_records(config):
    shutil.copytree(REPOSITORY / "config", config.folder, dirs_exist_ok=True)
    (config.folder / resources.FILE).unlink(missing_ok=True)
    command = [sys.executable, "-m", "regimes", "--root", str(config.root), "plan", "smoke"]
    command += ["--experiment", EXPERIMENT, "--quick", "--record"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "1 of 1 experiments recorded for cpu" in done.stdout
    (found,) = resources.read(config.folder / resources.FILE).values()
    assert found.key == ("smoke", STUDY, EXPERIMENT, "cpu")
    assert found.seconds > 0.2 and found.memory_mb > 50 and found.disk_mb > 0


def test_the_committed_table_is_as_the_command_writes_it():
    path = REPOSITORY / "config" / resources.FILE
    found = resources.read(path)
    assert resources.to_text(found.values()) == path.read_text(encoding="utf-8")
    assert {key[1] for key in found} == set(CONFIG.studies)


# --- Several GPUs on this machine -----------------------------------------------------------------

LISTED = """\
GPU 0: Some Model (UUID: GPU-aaaa1111-0000)
  MIG 3g.20gb     Device  0: (UUID: MIG-3333)
GPU 1: Some Model (UUID: GPU-bbbb2222-0000)
GPU 2: Some Model (UUID: GPU-cccc3333-0000)
"""


@pytest.fixture
def driver(tmp_path, monkeypatch):
    """A machine with three GPUs and a torch that can use them."""
    program = tmp_path / "bin" / "nvidia-smi"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\n[ "$1" = -L ] || exit 9\ncat <<END\n{LISTED}END\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(front.metadata, "version", lambda name: "2.13.0")
    return program


@pytest.mark.parametrize(
    ("visible", "count"),
    [
        (None, 3),
        ("0,2", 2),
        (" 1 ", 1),
        ("GPU-bbbb,GPU-cccc3333-0000", 2),
        ("0,7,1", 1),  # CUDA stops at the first that is none
        ("", 0),
        ("-1", 0),
        ("NoDevFiles", 0),
        ("MIG-3333", 1),
    ],
)
def test_gpus_of_this_machine(driver, monkeypatch, visible, count):
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert front.count_gpus() == count


def test_no_gpus_without_a_driver_or_with_a_torch_that_sees_none(driver, monkeypatch):
    monkeypatch.setattr(front.metadata, "version", lambda name: "2.13.0+cpu")
    assert front.count_gpus() == 0
    monkeypatch.setattr(front.metadata, "version", lambda name: "2.13.0+cu130")
    assert front.count_gpus() == 3
    driver.write_text("#!/bin/sh\nexit 9\n")
    assert front.count_gpus() == 0
    driver.unlink()
    assert front.count_gpus() == 0


def limited(config, monkeypatch, scales, executor=None, given=None):
    monkeypatch.setattr(front, "_arguments", lambda: SimpleNamespace(executor=executor))
    workflow = SimpleNamespace(global_resources=dict(given or {}))
    front.limit_gpus(workflow, config, scales)
    return workflow.global_resources.get("gpu")


def test_training_jobs_are_limited_to_the_gpus_here(driver, config, monkeypatch):
    assert limited(config, monkeypatch, {"gpu"}) == 3
    assert limited(config, monkeypatch, {"laptop", "paper"}, executor="local") == 3
    assert limited(config, monkeypatch, {"smoke", "laptop", "images"}) is None
    assert limited(config, monkeypatch, {"gpu"}, executor="slurm") is None
    assert limited(config, monkeypatch, {"gpu"}, executor="cluster-generic") is None
    assert limited(config, monkeypatch, {"gpu"}, given={"gpu": 8}) == 8
    monkeypatch.setenv("REGIMES_DEVICE", "cpu")
    assert limited(config, monkeypatch, {"gpu"}) is None
    monkeypatch.delenv("REGIMES_DEVICE")
    driver.unlink()  # jobs run on the CPU then, as many as there are cores
    assert limited(config, monkeypatch, {"gpu"}) is None
    monkeypatch.setattr(front, "_arguments", lambda: None)
    workflow = SimpleNamespace(global_resources={})
    assert front.limit_gpus(workflow, config, {"gpu"}) == 0


def test_nothing_heavy_is_imported():
    code = "import sys, regimes.resources, regimes.workflow as w\n"
    code += "print([n for n in ('torch', 'xarray', 'numpy') if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr


def test_rows_cannot_be_changed_by_accident():
    with pytest.raises(dataclasses.FrozenInstanceError):
        row().seconds = 1.0
