"""Files: atomic, checked, reproducible."""

from __future__ import annotations

import errno
import fcntl
import os
import platform
import re
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis.extra import numpy as hnp

from regimes import store

NAMED = {"long_name": "something", "units": "1"}


def dataset(runs=3, neurons=2, first=0):
    values = np.random.default_rng(first).normal(size=(runs, neurons)).astype(np.float32)
    return xr.Dataset(
        {
            "w": (("run", "neuron"), values, NAMED),
            "count": ("run", np.arange(runs), NAMED),
        },
        coords={"run_id": ("run", [f"r{first + i}" for i in range(runs)], NAMED)},
    )


def test_round_trip_and_equal_bytes(tmp_path):
    for name in ("a.nc", "b.nc"):
        store.write_netcdf(tmp_path / name, dataset(), {"title": "t", "settings": {"x": [1, 2]}})
    back = store.read_netcdf(tmp_path / "a.nc")
    xr.testing.assert_identical(back.drop_attrs(), dataset().drop_attrs())
    assert (tmp_path / "a.nc").read_bytes() == (tmp_path / "b.nc").read_bytes()
    store.write_netcdf(tmp_path / "c.nc", back, {"title": "t", "settings": {"x": [1, 2]}})
    assert (tmp_path / "a.nc").read_bytes() == (tmp_path / "c.nc").read_bytes()


def test_a_stranger_can_read_it(tmp_path):
    store.write_netcdf(tmp_path / "a.nc", dataset(), {"title": "t"})
    with xr.open_dataset(tmp_path / "a.nc") as found:
        assert str(found["run_id"].values[0]) == "r0"
        assert found["w"].attrs == NAMED
        assert found["w"].encoding["fletcher32"]


@settings(max_examples=15, deadline=None)
@given(hnp.arrays(np.float64, hnp.array_shapes(min_dims=2, max_dims=2, max_side=4)))
def test_any_values_survive(tmp_path_factory, values):
    path = tmp_path_factory.mktemp("nc") / "a.nc"
    store.write_netcdf(path, xr.Dataset({"x": (("run", "k"), values, NAMED)}), {})
    np.testing.assert_array_equal(store.read_netcdf(path)["x"].values, values)


def test_names_and_units_are_demanded(tmp_path):
    with pytest.raises(ValueError, match="'x' lacks long_name, units"):
        store.write_netcdf(tmp_path / "a.nc", xr.Dataset({"x": ("run", [1.0])}), {})
    assert list(tmp_path.iterdir()) == []


def test_flipped_bit_is_noticed_and_the_file_set_aside(tmp_path):
    path = tmp_path / "a.nc"
    store.write_netcdf(path, dataset(), {})
    content = bytearray(path.read_bytes())
    content[content.index(dataset()["w"].values[0, 0].tobytes())] ^= 1
    path.write_bytes(content)
    with pytest.raises(store.BadFile, match="damaged"):
        store.read_netcdf(path)
    assert not path.exists()
    assert (tmp_path / "a.nc.bad").exists()


def test_values_exchanged_behind_a_valid_file_are_noticed(tmp_path):
    path = tmp_path / "a.nc"
    store.write_netcdf(path, dataset(), {})
    with xr.open_dataset(path) as found:
        changed = found.load()
    changed["w"].values[0, 0] += 1
    changed.to_netcdf(path)
    with pytest.raises(store.BadFile, match="checksum"):
        store.read_netcdf(path)


def test_what_is_not_wanted_is_checked_and_not_kept(tmp_path):
    path, count = tmp_path / "a.nc", 2**16
    values = np.random.default_rng(0).standard_normal((12, 2, count))
    large = {f"v{i}": (("run", "k"), value, NAMED) for i, value in enumerate(values)}
    store.write_netcdf(path, dataset(2).assign(large), {"title": "t"})
    tracemalloc.start()
    found = store.read_netcdf(path, ["w", "unknown"])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert set(found.data_vars) == {"w"} and list(found["run_id"].values) == ["r0", "r1"]
    assert found["w"].attrs == NAMED and found.attrs["title"] == "t"
    np.testing.assert_array_equal(found["w"], dataset(2)["w"])
    assert peak < values.nbytes / 2  # one at a time, of twelve
    assert "run_id" in store.read_netcdf(path, ["unknown"]).coords
    with xr.open_dataset(path) as whole:
        changed = whole.load()
    changed["v3"].values[0, 0] += 1
    changed.to_netcdf(path)
    with pytest.raises(store.BadFile, match="checksum"):
        store.read_netcdf(path, ["w"])


def test_failure_leaves_the_old_file_and_no_litter(tmp_path):
    path = tmp_path / "a.txt"
    store.write_text(path, "old")
    with pytest.raises(RuntimeError), store.atomic(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


FULL = {errno.ENOSPC: "No space left on device", errno.EDQUOT: "Disk quota exceeded"}


@pytest.mark.parametrize("code", FULL)
def test_text_without_room_is_one_message(code, tmp_path, monkeypatch):
    def write(path, text, **_):
        open(path, "w").close()
        raise OSError(code, os.strerror(code))

    (tmp_path / "a.txt").write_text("old")
    monkeypatch.setattr(Path, "write_text", write)
    with pytest.raises(store.CannotWrite) as caught:
        store.write_text(tmp_path / "a.txt", "new")
    message = str(caught.value)
    assert message.startswith(f"{tmp_path / 'a.txt'} cannot be written")
    assert f"the disk is full ({FULL[code]}; " in message and "MB are free" in message
    assert message.endswith(
        "make room there and run the same command again: what is finished is kept"
    )
    assert "\n" not in message and caught.value.errno == code
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]
    assert (tmp_path / "a.txt").read_text() == "old"


@pytest.mark.parametrize("code", FULL)
@pytest.mark.parametrize("error", [RuntimeError("NetCDF: HDF error"), PermissionError(13, "no")])
def test_netcdf_without_room_is_the_same_message(error, code, tmp_path, monkeypatch):
    """The library does not tell why: the system is asked."""

    def write(self, path, **_):
        Path(path).write_bytes(b"half")
        raise error

    def refuse(*_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(xr.Dataset, "to_netcdf", write)
    monkeypatch.setattr(os, "posix_fallocate", refuse, raising=False)
    with pytest.raises(store.CannotWrite, match=f"a.nc cannot be .*disk is full .{FULL[code]};"):
        store.write_netcdf(tmp_path / "a.nc", dataset(), {})
    monkeypatch.setattr(os, "posix_fallocate", lambda *_: None)
    with pytest.raises((RuntimeError, store.CannotWrite)) as caught:
        store.write_netcdf(tmp_path / "a.nc", dataset(), {})
    assert "disk is full" not in str(caught.value)  # there is room: it is something else
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("code", [errno.EROFS, errno.EACCES, errno.EIO])
def test_a_folder_that_takes_no_files_is_named(code, tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(store.CannotWrite, match=re.escape(f"in the folder {tmp_path}: ")) as caught:
        store.write_text(tmp_path / "a.txt", "new")
    assert os.strerror(code) in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("NetCDF: Memory allocation (malloc) failure"),
              OSError(errno.EMFILE, "Too many open files"), OSError(errno.EIO, "I/O error")],
)  # fmt: skip
def test_what_the_machine_lacks_is_no_damage(error, tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise error

    path = tmp_path / "a.nc"
    store.write_netcdf(path, dataset(), {})
    monkeypatch.setattr(xr, "open_dataset", refuse)
    with pytest.raises(type(error)) as caught:
        store.read_netcdf(path)
    assert path.exists()
    if isinstance(error, OSError):
        message = f"{path} cannot be read: {error.strerror}; it was left as it is"
        assert str(caught.value).startswith(message) and caught.value.errno == error.errno


HDF = OSError(-101, "NetCDF: HDF error")


def test_a_disk_that_fails_is_not_taken_for_a_damaged_file(tmp_path, monkeypatch):
    """NetCDF says the same of both: the system is asked."""

    def refuse(*_, **__):
        raise HDF

    def fail(*_):
        raise OSError(errno.EIO, "Input/output error")

    path = tmp_path / "a.nc"
    store.write_netcdf(path, dataset(), {})
    monkeypatch.setattr(xr, "open_dataset", refuse)
    monkeypatch.setattr(store, "open", fail, raising=False)
    with pytest.raises(store.CannotRead, match=f"^{re.escape(str(path))} cannot be read: Input"):
        store.read_netcdf(path)
    assert [p.name for p in tmp_path.iterdir()] == ["a.nc"]
    monkeypatch.undo()
    opened, errors = xr.open_dataset, [HDF]  # it fails once

    def try_again(*arguments, **options):
        if errors:
            raise errors.pop()
        return opened(*arguments, **options)

    monkeypatch.setattr(xr, "open_dataset", try_again)
    assert store.read_netcdf(path).sizes["run"] == 3


def test_locks_of_hdf5_are_not_used(tmp_path):
    """File systems without locks answer as one on which another holds the file."""
    path = tmp_path / "a.nc"
    store.write_netcdf(path, dataset(), {})
    with open(path, "rb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        assert store.read_netcdf(path).sizes["run"] == 3


@pytest.mark.parametrize(
    ("error", "lacks"),
    [(MemoryError(), True), (RuntimeError("NetCDF: Memory allocation (malloc) failure"), True),
     (RuntimeError("DefaultCPUAllocator: can't allocate memory"), True),
     (RuntimeError("CUDA error: out of memory"), True), (OSError(errno.ENOMEM, "Cannot allocate "
     "memory"), True), (RuntimeError("DefaultCPUAllocator: not enough memory"), True), (HDF, False),
     (OSError(errno.ENOSPC, "No space left on device"), False)],
)  # fmt: skip
def test_lack_of_memory_is_known_by_its_words(error, lacks):
    assert store.lacks_memory(error) == lacks


def test_a_damaged_file_that_must_stay_is_named(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.EROFS, "Read-only file system")

    path = tmp_path / "a.nc"
    path.write_bytes(b"")
    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(store.BadFile, match="is damaged .* cannot be set aside .Read-only.*Remove"):
        store.read_netcdf(path)


def test_leftovers_of_dead_processes_are_removed(tmp_path):
    path = tmp_path / "a.txt"
    dead = tmp_path / store.temporary_name(path, 999999999)
    living = tmp_path / store.temporary_name(path, os.getppid())
    dead.write_text("x")
    living.write_text("x")
    store.write_text(path, "new")
    assert not dead.exists()
    assert living.exists()


@pytest.mark.parametrize("node", ["node2", "../node 2*.cluster", "node2." * 40, ""])
def test_processes_of_other_machines_lose_nothing(node, tmp_path, monkeypatch):
    """A process id says nothing of another machine's."""
    path, here = tmp_path / "a.txt", platform.node()
    monkeypatch.setattr(platform, "node", lambda: node)
    writing = tmp_path / store.temporary_name(path, 999999999)
    assert re.fullmatch(r"\.a\.[A-Za-z0-9-]{1,32}\.999999999\.tmp\.txt", writing.name)
    writing.write_text("x")
    monkeypatch.setattr(platform, "node", lambda: here)
    store.write_text(path, "new")
    assert writing.exists()


def test_joined_runs_are_padded_and_keep_their_bits():
    one, two = dataset(2, 3), dataset(3, 5, first=2)
    joined = store.join_runs([one, two])
    assert joined.sizes == {"run": 5, "neuron": 5}
    assert joined["w"].dtype == np.float32
    assert joined["count"].dtype == np.int64
    assert joined["w"].values[:2, :3].tobytes() == one["w"].values.tobytes()
    assert joined["w"].values[2:].tobytes() == two["w"].values.tobytes()
    assert np.isnan(joined["w"].values[:2, 3:]).all()
    assert joined["w"].attrs == NAMED


def test_joined_runs_with_a_variable_of_one_part_only():
    extra = dataset(2, 3).assign(error=("run", np.ones(2), NAMED))
    joined = store.join_runs([extra, dataset(1, 3, first=2)])
    np.testing.assert_array_equal(joined["error"], [1, 1, np.nan])


def test_select_runs_orders_by_id():
    chosen = store.select_runs(dataset(), ["r2", "r0"])
    assert list(chosen["run_id"].values) == ["r2", "r0"]
    with pytest.raises(KeyError):
        store.select_runs(dataset(), ["r9"])


def test_json_that_cannot_be_read_is_none(tmp_path):
    store.write_json(tmp_path / "a.json", {"b": 1})
    assert store.read_json(tmp_path / "a.json") == {"b": 1}
    (tmp_path / "a.json").write_text("{")
    assert store.read_json(tmp_path / "a.json") is None
    assert store.read_json(tmp_path / "none.json") is None
