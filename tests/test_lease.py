"""Leases of devices, by real processes; where GPUs are meant, they are pretended."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import pytest
import torch
import xarray as xr

from regimes import lease
from regimes.config import ConfigError
from regimes.ensemble import checkpoints

# Waits for the file "go", takes a device, notes when it had it.
CONTENDER = """
import json, sys, time
from pathlib import Path
from regimes.lease import lease
folder = Path(sys.argv[1])
(folder / f"ready-{sys.argv[2]}").touch()
while not (folder / "go").exists():
    time.sleep(0.005)
found = lease(["one", "two"], folder, seconds=0.02)
start = time.monotonic()
time.sleep(0.2)
note = json.dumps({"name": found.name, "start": start, "end": time.monotonic()})
(folder / f"note-{sys.argv[2]}").write_text(note)
"""

# Takes a device, leaves two children that inherit all they can, and waits to be killed.
HOLDER = """
import os, subprocess, sys, time
from pathlib import Path
from regimes.lease import lease
held = lease(["one"], Path(sys.argv[1]), "a_study, an_experiment, a_batch")
forked = os.fork()
if forked == 0:
    time.sleep(60)
    os._exit(0)
called = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], close_fds=False)
print(forked, called.pid, flush=True)
time.sleep(60)
"""


def wait_for(condition, seconds=30.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.01)


@pytest.fixture
def holder(tmp_path):
    """A process that holds device "one", whose children live on when it is killed."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    children = [int(number) for number in process.stdout.readline().split()]
    yield process
    process.kill()
    process.wait()
    for child in children:
        os.kill(child, 9)  # they must still have been alive


def test_processes_never_hold_one_device_at_once(tmp_path):
    numbers = range(6)
    contenders = [
        subprocess.Popen(
            [sys.executable, "-c", CONTENDER, str(tmp_path), str(number)],
            stdout=subprocess.DEVNULL,
        )
        for number in numbers
    ]
    wait_for(lambda: len(list(tmp_path.glob("ready-*"))) == len(numbers))
    (tmp_path / "go").touch()
    assert [contender.wait(60) for contender in contenders] == [0] * len(numbers)
    notes = [json.loads((tmp_path / f"note-{number}").read_text()) for number in numbers]
    assert {note["name"] for note in notes} == {"one", "two"}
    for name in ("one", "two"):
        times = sorted((note["start"], note["end"]) for note in notes if note["name"] == name)
        assert all(before[1] < after[0] for before, after in zip(times, times[1:], strict=False))


def test_a_killed_process_frees_its_device_whatever_its_children_inherit(tmp_path, holder):
    said = []

    def say(text):
        said.append((text, time.monotonic()))
        if len(said) == 1:
            threading.Timer(0.2, holder.kill).start()

    found = lease.lease(["one"], tmp_path, "waiter", say, seconds=0.02)
    (waits, since), (goes_on, until) = said
    assert (found.index, found.name) == (0, "one")
    assert f"0 (one) by process {holder.pid} (a_study, an_experiment, a_batch)" in waits
    assert goes_on.startswith("GPU 0 (one) is free after")
    assert 0.2 <= until - since < 5
    found.lock.release()


def test_a_device_that_is_free_is_taken_without_a_word(tmp_path, holder):
    said = []
    found = lease.lease(["one", "two"], tmp_path, "other", said.append)
    assert (found.index, found.name, said) == (1, "two", [])
    found.lock.release()


def test_a_lock_file_without_a_readable_note_is_waited_for(tmp_path, holder):
    file = next(tmp_path.glob("*.lock"))
    said = []
    for note, text in {
        "": "another process",
        "[1]": "another process",
        '{"process": 7, "job": "\\u001b[2Jx"}': "process 7 ([2Jx)",
    }.items():
        file.write_text(note)

        def stop(words):
            said.append(words)
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            lease.lease(["one"], tmp_path, say=stop)
        assert said[-1].endswith(f"are taken: 0 (one) by {text}")


# --- The folder -----------------------------------------------------------------------------------


@pytest.fixture
def own(tmp_path, monkeypatch):
    """Place of the user's own folder."""
    monkeypatch.delenv(lease.VARIABLE, raising=False)
    monkeypatch.setattr(lease, "_own_folder", lambda: tmp_path / "own")
    return tmp_path / "own"


def test_the_folder_is_the_users_alone(own):
    before = os.umask(0)
    try:
        assert lease.folder() == own
    finally:
        os.umask(before)
    assert own.stat().st_mode & 0o777 == 0o700
    own.chmod(0o777)
    lease.folder()
    assert own.stat().st_mode & 0o777 == 0o700


def test_the_folder_depends_on_the_user_and_not_on_the_job(monkeypatch, tmp_path):
    place = lease._own_folder()
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    assert lease._own_folder() == place
    assert str(os.geteuid()) in place.name


def link(own):
    own.with_name("elsewhere").mkdir()
    own.symlink_to(own.with_name("elsewhere"))


@pytest.mark.parametrize("put", [link, lambda own: own.touch()], ids=["link", "file"])
def test_what_is_no_folder_is_refused(put, own):
    put(own)
    with pytest.raises(ConfigError, match=r"own: it is a link or a file.*REGIMES_LEASES="):
        lease.folder()


def test_a_folder_of_another_user_is_refused(own, monkeypatch):
    own.mkdir()
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    with pytest.raises(ConfigError, match=r"own: it belongs to another user, number \d+;"):
        lease.folder()


def test_the_environment_names_another_folder(own, monkeypatch, tmp_path):
    monkeypatch.setenv(lease.VARIABLE, str(tmp_path / "shared" / "leases"))
    assert lease.folder() == tmp_path / "shared" / "leases"
    assert lease.folder().is_dir() and not own.exists()
    (tmp_path / "file").touch()
    monkeypatch.setenv(lease.VARIABLE, str(tmp_path / "file" / "leases"))
    with pytest.raises(ConfigError, match=r"file/leases: Not a directory;"):
        lease.folder()


def test_files_in_a_shared_folder_can_be_locked_by_others(tmp_path):
    found = lease.lease(["GPU/../1"], tmp_path)
    found.lock.release()
    (file,) = tmp_path.iterdir()
    assert file.name == "gpu-GPU_.._1.lock" and file.stat().st_mode & 0o777 == 0o666


@pytest.mark.skipif(sys.platform != "linux", reason="needs /sys, where not even root may write")
def test_a_folder_that_cannot_be_written_to_is_refused_with_one_message():
    with pytest.raises(ConfigError, match=r"/sys: gpu-one.lock cannot be locked \(\w.*REGIMES_L"):
        lease.lease(["one"], lease.Path("/sys"))


def test_a_link_in_place_of_a_lock_file_is_not_followed(tmp_path):
    precious = tmp_path / "precious"
    precious.write_text("words")
    (tmp_path / "gpu-one.lock").symlink_to(precious)
    with pytest.raises(ConfigError, match=r"gpu-one.lock cannot be locked"):
        lease.lease(["one"], tmp_path)
    assert precious.read_text() == "words"


# --- GPUs -----------------------------------------------------------------------------------------

FIRST, SECOND = "5b7e8a1c-0000-4000-8000-000000000001", "5b7e8a1c-0000-4000-8000-000000000002"


@pytest.fixture
def pretend(monkeypatch):
    """Let torch see GPUs with these UUIDs."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    def see(*uuids):
        properties = [SimpleNamespace() if u is None else SimpleNamespace(uuid=u) for u in uuids]
        monkeypatch.setattr(torch.cuda, "device_count", lambda: len(uuids))
        monkeypatch.setattr(torch.cuda, "get_device_properties", properties.__getitem__)

    return see


def test_gpus_are_named_by_their_uuid(pretend, monkeypatch):
    pretend(SECOND, FIRST)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1,0")
    assert lease.gpus() == [SECOND, FIRST]


@pytest.mark.parametrize("uuid", [None, FIRST, "00000000-0000-0000-0000-000000000000"])
def test_gpus_without_a_uuid_of_their_own_are_numbered_on_their_host(uuid, pretend, monkeypatch):
    pretend(uuid, uuid)
    host = lease.platform.node()
    assert lease.gpus() == [f"{host}-0", f"{host}-1"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3, 2,-1,1")
    assert lease.gpus() == [f"{host}-3", f"{host}-2"]


def test_parts_of_one_gpu_are_different_devices(pretend, monkeypatch):
    pretend(FIRST)  # as a driver may tell it for each part
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", f"MIG-{SECOND}")
    assert lease.gpus() == [SECOND]


def test_a_process_leases_once_and_computes_there(pretend, own, monkeypatch):
    pretend(FIRST, SECOND)
    monkeypatch.setattr(lease, "_HELD", [])
    current = []
    monkeypatch.setattr(torch.cuda, "set_device", current.append)
    own.mkdir()
    other = lease.lease([FIRST], own)  # locks are those of the open file, not of the process
    assert lease.gpu(torch.device("cuda"), "job") == torch.device("cuda", 1)
    assert lease.gpu(torch.device("cuda"), "job") == torch.device("cuda", 1)
    assert current == [1, 1]
    for each in (other, *lease._HELD):
        each.lock.release()


def test_a_cpu_is_not_leased(own, monkeypatch):
    monkeypatch.setattr(torch.cuda, "set_device", None)
    assert lease.gpu(torch.device("cpu"), "job") == torch.device("cpu")
    assert not own.exists()


def test_a_checkpoint_of_one_gpu_goes_on_upon_another(tmp_path, monkeypatch):
    weights, numbers = torch.arange(4.0), torch.arange(3)
    restored = []

    def tag(storage):
        return "cuda:3" if storage.data_ptr() == weights.data_ptr() else None

    def restore(storage, place):
        restored.append(place)
        return storage if place == "cuda" else None  # the current GPU

    registry = list(torch.serialization._package_registry)
    monkeypatch.setattr(torch.serialization, "_package_registry", registry)
    torch.serialization.register_package(5, tag, restore)
    found = []

    def train(runs):
        call = checkpoints.call()
        found.append(call.state)
        if call.state is None:
            call.save({"step": 1, "weights": weights, "numbers": numbers})
            raise KeyboardInterrupt
        return xr.Dataset()

    for _ in range(2):
        with checkpoints.kept(tmp_path / "batch.partial", 0.0, {}):
            try:
                checkpoints.program(["run"], train)
            except KeyboardInterrupt:
                continue
    assert found[0] is None
    assert torch.equal(found[1]["weights"], weights) and torch.equal(found[1]["numbers"], numbers)
    assert sorted(restored) == ["cpu", "cuda"]
