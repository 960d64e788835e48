"""The folders that a call writes to: whether it can, and what lies there without a record.

Snakemake calls this before any job. Imports nothing heavy.
"""

from __future__ import annotations

import base64
import errno
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from regimes import paths, plan
from regimes.config import Config

SNAKEMAKE = Path(".snakemake")
WRITTEN = (SNAKEMAKE, Path("results"), Path("figures"), Path("logs"))
NEEDED = 2**16  # bytes without which nothing is begun


class NotWritable(Exception):
    """A folder that jobs write to takes no files; the message is for the user."""


def check_writable(scales: Iterable[str]) -> None:
    """Write to each folder and take it back; ask the system about those of the scales within.

    Raises
    ------
    NotWritable
        If a folder is read-only, belongs to others, or has no room.
    """
    for folder in WRITTEN:
        try:
            folder.mkdir(exist_ok=True)
            with tempfile.TemporaryFile(dir=folder) as probe:  # gone with this call, even if killed
                probe.write(bytes(NEEDED))
        except OSError as error:
            raise NotWritable(_explained(folder, error)) from None
    for within in (path for each in WRITTEN for scale in scales for path in os.walk(each / scale)):
        folder = Path(within[0])
        if not os.access(folder, os.W_OK | os.X_OK):
            raise NotWritable(_explained(folder, PermissionError(errno.EACCES, "no permission")))


def _explained(folder: Path, error: OSError) -> str:
    where = f"{folder.absolute()}"
    if folder.is_symlink():
        where += f" (a link to {folder.resolve()})"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"{where}: the disk is full ({error.strerror}); make room there"
    return (
        f"{where} cannot be written to ({error.strerror}); make it writable, or put a link to a "
        "folder that is in its place"
    )


def date_back(scales: Iterable[str]) -> int:
    """Date files of the future now, as when the clock was set back since they were written.

    What is made from such files would be older than they are, which Snakemake refuses. Dates decide
    nothing else here: files count by their checksums and by the code that made them. Only while
    this call holds the folder.

    Returns
    -------
    int
        Number of files.

    Raises
    ------
    NotWritable
        If such a file cannot be dated: it may belong to another user.
    """
    now, found = time.time(), 0
    for folder in (Path(top, scale) for top in ("results", "figures") for scale in scales):
        for path in folder.rglob("*"):
            try:
                if path.is_file() and path.stat().st_mtime > now:
                    os.utime(path, (now, now))
                    found += 1
            except FileNotFoundError:
                pass
            except OSError as error:
                raise NotWritable(
                    f"{path.absolute()} is dated in the future and cannot be dated now "
                    f"({error.strerror}); have its owner do so (touch), or put a copy of your own "
                    "in its place"
                ) from None
    if found:
        print(f"{found} files were dated in the future; they are dated now", file=sys.stderr)
    return found


def distrust(config: Config, scales: Iterable[str]) -> list[str]:
    """Have files made again of which Snakemake has no record, as after ``rm -rf .snakemake``.

    It takes them for current, whatever code they come from. They are marked as files that a
    killed job may have left; a job that finds its batch complete, by the same code, trains nothing.
    Only while this call holds the folder. An analysis whose batches are elsewhere is left alone;
    what reads it compares its lineage with what is planned.

    Parameters
    ----------
    config, scales
        What is asked for.

    Returns
    -------
    list of str
        The files.

    Raises
    ------
    NotWritable
        If they cannot be marked.
    """
    found = []
    for scale in scales:
        for study, entry in config.studies.items():
            complete = {}
            for name, experiment in entry.experiments.items():
                files = []
                if experiment.at(scale) is not None:
                    batches = plan.batches(config, study, name, scale)
                    files = [paths.batch(scale, study, name, batch) for batch in batches]
                found += files
                complete[name] = all(map(os.path.exists, files))
            starts = entry.starts.items()
            found += [paths.start(scale, study, n) for n, s in starts if complete[s.experiment]]
            for name in plan.analyses_at(config, scale, study):
                read = plan.experiments_at(config, scale, study, name)
                if all(complete[each] for each in read):
                    found.append(paths.analysis(scale, study, name))
            figures = plan.figures_at(config, scale, study)
            found += [f for name in figures for f in paths.figure_files(scale, study, name)]
            found.append(paths.study_claims(scale, study))
    try:
        recorded, marked = path_of("metadata"), path_of("incomplete")
        unknown = [each for each in found if os.path.exists(each) and not recorded(each).exists()]
        for each in unknown:
            mark = marked(each)
            mark.parent.mkdir(parents=True, exist_ok=True)
            mark.write_text(json.dumps({"external_jobid": None}), encoding="utf-8")
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise NotWritable(_explained(SNAKEMAKE, error)) from None
        raise NotWritable(
            f"{SNAKEMAKE.absolute()}: {error.filename} cannot be used ({error.strerror}); make "
            "the folder and all in it your own (chown), or remove it: it holds records of "
            "Snakemake's, and what is finished is kept without them"
        ) from None
    return unknown


def path_of(subject: str) -> Callable[[str], Path]:
    """Where Snakemake keeps what it knows of an output file."""
    folder = SNAKEMAKE / subject
    folder.mkdir(parents=True, exist_ok=True)
    length = (os.pathconf(folder, "PC_NAME_MAX") or 255) - 1

    def path(file: str) -> Path:
        name = base64.urlsafe_b64encode(file.encode()).decode()
        parts = [name[i : i + length] for i in range(0, len(name), length)]
        return folder.joinpath(*(f"@{part}" for part in parts[:-1]), parts[-1])

    return path
