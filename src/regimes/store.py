"""Files that appear complete or not at all, and netCDF that proves itself.

Every file is written under a temporary name, flushed to disk and renamed.
A netCDF file carries a SHA-256 of its variables, checked when it is read; a
file that fails the check is set aside as ``.bad`` so that the next call
rebuilds it.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import math
import os
import platform
import re
import shutil
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

# HDF5 takes locks of its own on files, which some file systems lack; files here are replaced, never
# changed, so that the locks protect nothing.
os.environ.setdefault("HDF5_USE_FILE_LOCKING", "FALSE")

import numpy as np
import xarray as xr

SPARE = 2**20  # bytes that a file of results may need beside its values
# What the system says when there is no room, or none for this user.
_FULL = (errno.ENOSPC, errno.EDQUOT)
LONGEST_HOST = 32  # characters of a machine's name within the name of a file


class BadFile(Exception):
    """A results file that is not what was written; it has been renamed to ``.bad``."""


class CannotWrite(OSError):
    """A file that cannot be written where it belongs; the message is for the user."""


class CannotRead(OSError):
    """A file that the system does not let read, whatever is in it; the message is for the user."""


def temporary_name(path: Path, pid: int | None = None) -> str:
    """Name under which a process of this machine writes a file that is to have a given name.

    Parameters
    ----------
    path
        The file.
    pid
        Of the process, this one without it.
    """
    return f".{path.stem}.{_host()}.{pid or os.getpid()}.tmp{path.suffix}"


def _host() -> str:
    """Name of this machine as it can stand in the name of a file."""
    name = re.sub(r"[^A-Za-z0-9-]", "-", platform.node()) or "unnamed"
    short = len(name) <= LONGEST_HOST
    return name if short else hashlib.sha256(name.encode()).hexdigest()[:LONGEST_HOST]


@contextlib.contextmanager
def atomic(path: Path | str, durable: bool = True) -> Iterator[Path]:
    """Yield a temporary path beside ``path`` that replaces it on success.

    The temporary name carries machine and process; leftovers of dead processes of
    this machine are removed: of others it cannot be known whether they live.
    Suffixes are kept, so that writers which look at them still work.
    What is not ``durable`` may be lost if the machine stops, but never half there.

    Raises
    ------
    CannotWrite
        If there is no room, the folder is read-only, or the system refuses for another reason.
    """
    path = Path(path)
    temporary = path.parent / temporary_name(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(path)
        yield temporary
        if durable:
            with open(temporary, "rb") as handle:
                os.fsync(handle.fileno())
        os.replace(temporary, path)
        if durable:
            _flush_folder(path.parent)
    except CannotWrite:
        raise
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        _discard(temporary)


def _remove_leftovers(path: Path) -> None:
    """Remove temporary files that dead processes of this machine have left for a path."""
    for left in path.parent.glob(f".{path.stem}.{_host()}.*.tmp{path.suffix}"):
        found = re.fullmatch(r".*\.(\d+)\.tmp", left.stem)
        if found and not _alive(int(found.group(1))):
            left.unlink(missing_ok=True)


def _flush_folder(path: Path) -> None:
    """Make renames in a folder survive the end of the machine."""
    folder = os.open(path, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _discard(temporary: Path) -> None:
    """Remove what is left of a file that could not be written."""
    with contextlib.suppress(OSError):
        # HDF5 keeps a file open that it could not write: its room is only free once it is empty.
        os.truncate(temporary, 0)
    with contextlib.suppress(OSError):
        temporary.unlink()


def cannot_write(path: Path, error: OSError, size: int = 0) -> CannotWrite:
    """Return the error to raise for a file that the system refuses to write.

    Parameters
    ----------
    path
        The file.
    error
        What the system says.
    size
        Bytes that the file needs, about; 0: not known.
    """
    reason = error.strerror or str(error)
    if error.errno in _FULL:
        reason = f"the disk is full ({reason}{_room(path, size)})"
        remedy = "make room there"
    elif error.errno == errno.EROFS:
        remedy = "make it writable, or put a link to a folder that is in its place"
    elif error.errno in (errno.EACCES, errno.EPERM):
        remedy = "change its permissions"
    else:
        remedy = "see to it"
    found = CannotWrite(
        f"{path} cannot be written, in the folder {path.parent.absolute()}: {reason}; {remedy} and "
        "run the same command again: what is finished is kept"
    )
    found.errno = error.errno
    return found


def _room(path: Path, size: int) -> str:
    """Room that is left for a file, in words; quotas are not part of it."""
    folder = next((each for each in path.absolute().parents if each.exists()), None)
    if folder is None:
        return ""
    needed = f", about {size / 1e6:.1f} MB are needed" if size else ""
    return f"; {shutil.disk_usage(folder).free / 1e6:.1f} MB are free{needed}"


def _refusal(folder: Path, size: int) -> OSError | None:
    """What the system says to a file of a size in a folder, None if it takes it.

    HDF5 tells that a file cannot be written, not why.
    """
    try:
        with tempfile.TemporaryFile(dir=folder) as handle:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(handle.fileno(), 0, size)
            else:
                for _ in range(-(-size // SPARE)):
                    handle.write(bytes(SPARE))
            handle.flush()
            os.fsync(handle.fileno())
    except OSError as error:
        return error
    return None


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def write_text(path: Path | str, text: str, durable: bool = True) -> None:
    """Write a text file atomically; see `atomic`."""
    with atomic(path, durable) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path | str, value: Any, durable: bool = True) -> None:
    """Write indented JSON atomically; see `atomic`."""
    write_text(path, json.dumps(value, indent=1, sort_keys=True) + "\n", durable)


def read_json(path: Path | str) -> Any:
    """Read a JSON file; None where it is missing or damaged."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def file_digest(path: Path | str) -> str:
    """SHA-256 of a file's bytes."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def variables_digest(dataset: xr.Dataset) -> str:
    """SHA-256 over names, dimensions, types and values of all variables."""
    digest = hashlib.sha256()
    for name in sorted(dataset.variables):
        variable = dataset.variables[name]
        values = np.asarray(variable.values)
        if values.dtype.kind in "OUST":
            values = np.array([str(v).encode() for v in values.ravel()], dtype=object)
            content = b"\0".join(values.tolist())
            kind = "text"
        else:
            content, kind = np.ascontiguousarray(values).tobytes(), values.dtype.str
        digest.update(repr((name, variable.dims, variable.shape, kind)).encode())
        digest.update(content)
    return digest.hexdigest()


def write_netcdf(path: Path | str, dataset: xr.Dataset, attributes: Mapping[str, Any]) -> None:
    """Write a dataset with provenance attributes, atomically and reproducibly.

    Parameters
    ----------
    dataset
        Every variable needs ``long_name`` and ``units`` (``1`` where
        dimensionless).
    attributes
        Global attributes; values that are not text or numbers become JSON.
        ``sha256`` is added.

    Raises
    ------
    ValueError
        If a variable lacks ``long_name`` or ``units``.
    CannotWrite
        As `atomic`.
    """
    dataset = dataset.copy()
    for name, variable in dataset.variables.items():
        missing = {"long_name", "units"} - set(variable.attrs)
        if missing:
            raise ValueError(f"variable '{name}' lacks {', '.join(sorted(missing))}")
        if variable.dtype.kind == "b":
            dataset[name] = variable.astype("int8")
        if variable.dtype.kind in "OUT":
            dataset[name] = variable.astype(str)
    dataset.attrs = {
        key: value if isinstance(value, str | int | float) else json.dumps(value, sort_keys=True)
        for key, value in attributes.items()
    }
    dataset.attrs["sha256"] = variables_digest(dataset)
    encoding: dict[str, dict[str, Any]] = {}
    for name, variable in dataset.variables.items():
        variable.encoding = {}
        # Text is stored as fixed-length characters: variable-length strings take no filter.
        encoding[name] = {"dtype": "S1"} if variable.dtype.kind == "U" else {"_FillValue": None}
        if variable.ndim or variable.dtype.kind == "U":
            encoding[name]["fletcher32"] = True
    with atomic(path) as temporary:
        try:
            dataset.to_netcdf(temporary, engine="netcdf4", format="NETCDF4", encoding=encoding)
        except (OSError, RuntimeError) as error:
            _discard(temporary)
            size = dataset.nbytes + SPARE
            refusal = _refusal(temporary.parent, size)
            if refusal is None:
                raise
            raise cannot_write(Path(path), refusal, size) from error


def read_netcdf(path: Path | str, wanted: Collection[str] | None = None) -> xr.Dataset:
    """Load a dataset written by `write_netcdf` and check it.

    Parameters
    ----------
    path
        File.
    wanted
        Variables that are loaded, beside all coordinates, where there are such; None for all. The
        others are read for the check, one after the other, and not kept.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    BadFile
        If it is damaged or its checksum differs; the file is then renamed to
        ``<name>.bad``.
    CannotRead
        If the system, not the file, is why it cannot be read; it stays.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist")
    try:
        return _checked(path, wanted)
    except Exception as error:
        _rule_out_system(path, error)
    try:  # once more: a failure of a network disk may have passed
        return _checked(path, wanted)
    except Exception as error:
        _rule_out_system(path, error)
        raise set_aside(path, f"is damaged ({error})") from None


def _checked(path: Path, wanted: Collection[str] | None) -> xr.Dataset:
    """Dataset as of `read_netcdf`; any error if it cannot be had."""
    _check_size(path)
    with xr.open_dataset(path, engine="netcdf4", cache=False) as handle:
        if wanted is None:
            handle.load()
        # Without a cache, what is not loaded passes through the check variable by variable.
        if handle.attrs.get("sha256") != variables_digest(handle):
            raise ValueError("the checksum differs")
        others = [] if wanted is None else set(handle.data_vars) - set(wanted)
        dataset = handle.drop_vars(others).load()
    for name, variable in dataset.variables.items():
        if variable.dtype.kind == "O":
            dataset[name] = variable.astype(str)
    return dataset


def _rule_out_system(path: Path, error: Exception) -> None:
    """Raise if the machine, not the file, may be why a file cannot be read.

    Numbers of the system's errors are positive, those of netCDF negative; those say the same of a
    damaged file and of a disk that fails, so that all of it is read once without netCDF.
    """
    if lacks_memory(error) or isinstance(error, FileNotFoundError):
        raise error
    if isinstance(error, OSError) and (error.errno or 0) > 0:
        raise _cannot_read(path, error) from error
    try:
        with open(path, "rb") as handle:
            while handle.read(SPARE):
                pass
    except FileNotFoundError:  # another job has set it aside
        pass
    except OSError as failure:
        raise _cannot_read(path, failure) from error


def _cannot_read(path: Path, error: OSError) -> CannotRead:
    reason = error.strerror or str(error)
    found = CannotRead(
        f"{path} cannot be read: {reason}; it was left as it is: see to what keeps it from being "
        "read and run the same command again"
    )
    found.errno = error.errno
    return found


def _check_size(path: Path) -> None:
    """Refuse a file whose variables would take more bytes than it holds: it is not compressed.

    Otherwise a damaged or crafted file of some kilobytes could fill the memory.

    Raises
    ------
    ValueError
        If they would.
    """
    import netCDF4

    with netCDF4.Dataset(path) as handle:
        claimed = sum(
            math.prod(variable.shape) * np.dtype(variable.dtype).itemsize
            for variable in handle.variables.values()
            if variable.dtype is not str
        )
    if claimed > (held := path.stat().st_size):
        raise ValueError(f"it claims {claimed} bytes of numbers and holds {held} bytes")


def lacks_memory(error: Exception) -> bool:
    """Whether memory is what was missing; torch and netCDF say so by plain RuntimeErrors."""
    texts = ("allocate memory", "memory allocation", "not enough memory", "out of memory")
    return isinstance(error, MemoryError) or any(text in str(error).lower() for text in texts)


def set_aside(path: Path | str, what: str) -> BadFile:
    """Rename a file that must not be used to ``<name>.bad``, and return the error to raise.

    Parameters
    ----------
    path
        The file.
    what
        What is wrong with it, as it follows its name.
    """
    path = Path(path)
    bad = path.with_name(path.name + ".bad")
    try:
        os.replace(path, bad)
    except FileNotFoundError:  # another job has met it too
        pass
    except OSError as error:
        return BadFile(
            f"{path} {what}, and cannot be set aside ({error.strerror}). Remove it and run the "
            "same command again to rebuild it."
        )
    return BadFile(
        f"{path} {what}; it was set aside as {bad.name}. Run the same command again to rebuild it."
    )


def described(dataset: xr.Dataset, texts: Mapping[str, str]) -> xr.Dataset:
    """Give every variable and coordinate its long name of ``texts`` and the unit 1, in place."""
    for name, variable in dataset.variables.items():
        variable.attrs = {"long_name": texts[str(name)], "units": "1"}
    return dataset


def long_names(data: xr.Dataset) -> dict[str, str]:
    """Long names of variables and coordinates; those without one are called by their names."""
    return {
        str(name): variable.attrs.get("long_name") or str(name).replace("_", " ")
        for name, variable in data.variables.items()
    }


def join_runs(datasets: Sequence[xr.Dataset], dim: str = "run") -> xr.Dataset:
    """Concatenate datasets along ``run``, padding shorter dimensions with NaN.

    Dimensions without a coordinate are aligned at their start.
    """
    if len(datasets) == 1:
        return datasets[0]
    numbered = {
        name
        for dataset in datasets
        for name in dataset.dims
        if name != dim and name not in dataset.coords
    }
    # Dimensions that a dataset lacks too: concat wants coordinates in all datasets or in none.
    filled = [
        dataset.assign_coords({n: np.arange(dataset.sizes.get(n, 0)) for n in sorted(numbered)})
        for dataset in datasets
    ]
    joined = xr.concat(
        filled,
        dim=dim,
        data_vars="all",
        coords="different",
        compat="equals",
        join="outer",
        combine_attrs="drop_conflicts",
    )
    for name in joined.variables:
        for dataset in datasets:
            if name in dataset.variables:
                joined[name].attrs = dict(dataset[name].attrs)
                break
    return joined.drop_vars(numbered)


def select_runs(dataset: xr.Dataset, run_ids: Sequence[str]) -> xr.Dataset:
    """Runs with the given ids, in their order.

    Raises
    ------
    KeyError
        If a run is not in the dataset.
    """
    position = {str(name): i for i, name in enumerate(dataset["run_id"].values)}
    return dataset.isel(run=[position[name] for name in run_ids])
