"""Helpers of the Snakefile: targets, locks, manifests. Imports nothing heavy."""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import functools
import io
import itertools
import json
import os
import re
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import IO, Any

from regimes import paths, plan, resources
from regimes.config import SCALES, WHOLE_SCALES, Config, ConfigError, nearest, shortened

LOCK = Path(".snakemake/regimes.lock")
# Commands that only look or tidy; they need no lock.
_PASSIVE = (
    "dryrun dag rulegraph filegraph d3dag summary detailed_summary lint list_rules "
    "list_target_rules list_changes list_input_changes list_params_changes list_untracked "
    "unlock cleanup_metadata archive touch generate_unit_tests containerize print_compilation"
).split()


class AnotherCall(Exception):
    """Another pipeline call holds this folder."""


@functools.cache
def _arguments() -> argparse.Namespace | None:
    """Snakemake's command line with the settings of profiles; None where there is none."""
    if "snakemake" not in Path(sys.argv[0]).name and "snakemake" not in sys.argv[0]:
        return None
    from snakemake.cli import parse_args

    try:
        with contextlib.redirect_stderr(io.StringIO()):  # it has spoken about profiles already
            _, arguments = parse_args(sys.argv[1:])
    except SystemExit:
        return None
    return arguments


def command_line() -> tuple[frozenset[str], bool]:
    """Targets on Snakemake's command line, and whether it only looks.

    Without a command line of Snakemake's own (its Python interface), nothing is
    known and nothing is checked.
    """
    arguments = _arguments()
    if arguments is None:
        return frozenset(), True
    passive = any(getattr(arguments, name, None) for name in _PASSIVE) or (
        arguments.report and not getattr(arguments, "report_after_run", False)
    )
    return frozenset(map(str, arguments.targets or ())), bool(passive)


def limit_gpus(workflow: Any, config: Config, scales: set[str]) -> int:
    """Let as many training jobs run side by side here as this machine has GPUs.

    More would only wait for one (`regimes.lease`), and hold cores that analyses could use. Nothing
    is limited where the user said how many (``--resources gpu=2``), where jobs run elsewhere,
    where none is meant for a GPU, and where no GPU is found: then they run on the CPU.

    Parameters
    ----------
    workflow
        Snakemake's.
    config, scales
        What is asked for.

    Returns
    -------
    int
        The limit, 0 where none was set.
    """
    arguments = _arguments()
    here = arguments is not None and getattr(arguments, "executor", None) in (None, "local")
    if not here or "gpu" in workflow.global_resources:
        return 0
    wanted = any(resources.wants_gpu(config, scale) for scale in scales)
    found = count_gpus() if wanted else 0
    if found:
        workflow.global_resources["gpu"] = found
    return found


def count_gpus() -> int:
    """GPUs of this machine that jobs can use, by the driver's word: importing torch is slow.

    ``CUDA_VISIBLE_DEVICES`` counts as it does for CUDA: its entries up to the first that is no GPU.
    """
    try:
        if metadata.version("torch").endswith("+cpu"):  # a build that sees no GPU
            return 0
        listed = subprocess.run(
            ["nvidia-smi", "-L"], capture_output=True, text=True, check=True, timeout=20
        ).stdout
    except (OSError, subprocess.SubprocessError, metadata.PackageNotFoundError):
        return 0
    found = re.findall(r"^GPU (\d+):.*\(UUID: (GPU-[^)]*)\)", listed, re.M)
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return len(found)
    entries = [entry.strip() for entry in visible.split(",")]
    if entries[0].startswith("MIG"):  # a process sees only the first part of a GPU
        return min(1, len(found))

    def known(entry: str) -> bool:
        return any(
            entry == number or (entry.startswith("GPU-") and uuid.startswith(entry))
            for number, uuid in found
        )

    return len(list(itertools.takewhile(known, entries)))


def keeps_records() -> bool:
    """Whether Snakemake keeps a file for each output, which tells what it was made from.

    Not with ``--drop-metadata``, nor with a database in their place.
    """
    arguments = _arguments()
    backend = getattr(arguments, "persistence_backend", None)
    return not getattr(arguments, "drop_metadata", False) and (
        str(getattr(backend, "name", backend) or "file").lower() == "file"
    )


def hold_folder() -> IO[str] | None:
    """Lock this folder until the process ends and clear locks of dead calls.

    The kernel releases the lock however the process ends, so whoever gets it
    knows that Snakemake's own lock files are leftovers.

    Returns
    -------
    file or None
        What holds the lock. None on a file system without locks: then Snakemake's own counts, and
        nothing may be done for which this call must be the only one.

    Raises
    ------
    AnotherCall
        If a living call holds the folder.
    """
    LOCK.parent.mkdir(exist_ok=True)
    handle = open(LOCK, "a+")  # noqa: SIM115 - held until the process ends
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):  # the answer depends on the file system
        handle.close()
        raise AnotherCall(
            "another call of the pipeline is running in this folder; wait for it or stop it"
        ) from None
    except OSError as error:
        handle.close()
        print(
            f"no lock for this folder ({error.strerror or error}): what killed calls have left is "
            "not cleared; start no second call here",
            file=sys.stderr,
        )
        return None
    for stale in Path(".snakemake/locks").glob("*"):
        stale.unlink(missing_ok=True)
    return handle


def clear_checkpoints(config: Config, scales: set[str]) -> list[Path]:
    """Remove checkpoints of batches that are no longer planned; nothing would ever read them.

    Only while this call holds the folder, so that no job of another one is writing to them.

    Parameters
    ----------
    scales
        Those that `check_targets` has planned; others are left alone, as are studies that
        ``config.yaml`` does not list.

    Returns
    -------
    list of Path
        The folders that are removed.
    """
    found = []
    for scale in sorted(scales):
        for study, entry in config.studies.items():
            kept = {
                paths.checkpoints(scale, study, experiment, name)
                for experiment, definition in entry.experiments.items()
                if definition.at(scale) is not None
                for name in plan.batches(config, study, experiment, scale)
            }
            folders = Path().glob(paths.checkpoints(scale, study, "*", "*"))
            found += [
                folder
                for folder in sorted(folders)
                if str(folder) not in kept and _is_own(folder, scale)
            ]
    for folder in found:
        if folder.is_symlink():
            folder.unlink(missing_ok=True)  # and not what it points to
        else:
            shutil.rmtree(folder, ignore_errors=True)
        print(f"removed checkpoints of a batch that is not planned: {folder}", file=sys.stderr)
    return found


def _is_own(folder: Path, scale: str) -> bool:
    """Whether a folder lies in the results, not behind a link within them that leads elsewhere.

    The folder of the results, or that of a scale, may be a link to a larger disk.
    """
    home = Path("results", scale)
    inside = folder.parent.resolve() == home.resolve() / folder.parent.relative_to(home)
    return inside and (folder.is_symlink() or folder.is_dir())


def check_targets(config: Config, targets: frozenset[str], rules: frozenset[str]) -> set[str]:
    """Check the requested targets and plan the scales that they name.

    Parameters
    ----------
    targets
        As on the command line; none means ``figures/all``.
    rules
        Names of the rules, which are targets too.

    Returns
    -------
    set of str
        The scales that are asked for.

    Raises
    ------
    ConfigError
        For an unknown scale, study, figure, analysis or batch: the target and
        the nearest valid ones. For a scale at which no study has figures.
    """
    scales = set()
    for target in targets or {"figures/all"}:
        if target == "figures/all" or target in rules:
            scales.add(config.main.scale)
        else:
            scales.add(_check_target(config, target))
    for scale in sorted(scales):
        if not plan.studies_at(config, scale):
            raise config.main_error(
                ("studies",),
                f"got {', '.join(config.studies)}: no figures at scale '{scale}', which has only "
                f"those of some studies; add one that has, or ask for another scale "
                f"({', '.join(WHOLE_SCALES)})",
            )
        for study, entry in config.studies.items():
            for name, experiment in entry.experiments.items():
                if experiment.at(scale) is not None:
                    plan.batches(config, study, name, scale)
            for analysis in plan.analyses_at(config, scale, study):
                plan.experiments_at(config, scale, study, analysis)
    return scales


def _check_target(config: Config, target: str) -> str:
    parts = target.split("/")

    def unknown(what: str, name: str, valid) -> ConfigError:
        return ConfigError(
            f"target '{shortened(target)}': unknown {what} '{shortened(name)}'; "
            f"{nearest(name, valid)}"
        )

    def pick(what: str, index: int, valid) -> str:
        name = parts[index] if index < len(parts) else ""
        if name not in valid:
            raise unknown(what, name, valid)
        return name

    top = pick("folder", 0, ["figures", "results"])
    scale = pick("scale", 1, SCALES if top == "results" else [*SCALES, "all"])
    if scale == "all":
        raise ConfigError(f"target '{shortened(target)}': nothing lies below figures/all")
    if len(parts) == 3 and parts[2] in _scale_files(top):
        return scale
    studies = plan.studies_at(config, scale)
    study = pick("study", 2, studies if len(parts) > 3 else [*studies, *_scale_files(top)])
    entry = config.studies[study]
    rest = "/".join(parts[3:])
    if top == "figures":
        figures = plan.figures_at(config, scale, study)
        files = [f for name in figures for f in paths.figure_files(scale, study, name)]
        valid = ["all", *(f.split("/", 3)[3] for f in files)]
    elif len(parts) > 3 and parts[3] == "runs":
        planned = [n for n, each in entry.experiments.items() if each.at(scale) is not None]
        experiment = pick("experiment", 4, planned)
        found = plan.batches(config, study, experiment, scale)
        valid = [f"runs/{experiment}/{name}.nc" for name in found]
    elif len(parts) > 3 and parts[3] == "start":
        valid = [f"start/{name}.nc" for name in entry.starts]
    else:
        valid = ["claims.csv", *(f"{n}.nc" for n in plan.analyses_at(config, scale, study))]
    if rest not in valid:
        raise unknown("file", rest, valid)
    return scale


def _scale_files(top: str) -> list[str]:
    return ["all", "index.html"] if top == "figures" else ["claims.csv"]


def study_files(config: Config, scale: str, study: str) -> list[str]:
    """Files that a study's target stands for: analyses, figures, claims table."""
    files = [paths.analysis(scale, study, n) for n in plan.analyses_at(config, scale, study)]
    figures = plan.figures_at(config, scale, study)
    files += [f for name in figures for f in paths.figure_files(scale, study, name)]
    return [*files, paths.study_claims(scale, study)]


def manifest_files(config: Config, scale: str, studies: list[str]) -> list[str]:
    """Files that a manifest vouches for: those of its studies, merged table, page."""
    files = [file for study in studies for file in study_files(config, scale, study)]
    return [*files, paths.claims(scale), paths.gallery(scale)]


@functools.cache
def generation(manifest: str, files: tuple[str, ...]) -> int:
    """Return the number that makes a manifest stale when a file it lists is gone.

    It is the number stored in the manifest, plus one if a file is absent while
    the Snakefile is parsed; the job writes it back, so that it settles at once.
    """
    try:
        stored = int(json.loads(Path(manifest).read_text(encoding="utf-8"))["generation"])
    except (OSError, ValueError, KeyError, TypeError):
        stored = 0
    return stored + any(not Path(file).exists() for file in files)


def either(names) -> str:
    """Regular expression that matches one of the names and nothing else."""
    return "|".join(map(re.escape, names)) or "(?!)"
