"""``regimes why``: what would make a target be built again, by name.

Snakemake says which files it would make anew; the journals of the jobs that made the present ones
say what these were built from. The difference to what they would be built from now is the reason.
"""

from __future__ import annotations

import csv
import io
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from regimes import folders, origins, paths, plan, store, workflow
from regimes.config import Config, ConfigError

Job = tuple[str, ...]

# What each kind of job makes, in the order in which data flow.
WORK = {
    "train": "batches to train",
    "start": "start points",
    "analyse": "analyses",
    "judge": "tables of claims",
    "draw": "figures",
    "other": "lists and pages",
}
# Facts that tell of what another job has made: if they differ, that job is the reason.
HANDED_ON = ("batch ", "analysis ", "start point")
# Why a file counts as not made, though it is there.
SAID = {
    "unfinished": "its job was killed before its end was noted",
    "unrecorded": "Snakemake has no record of how it was made",
}
MOST_FILES = 6  # that are listed with one reason


@dataclass
class Pending:
    """A job that Snakemake would run.

    Attributes
    ----------
    job : tuple of str
        Name and places; ``("other", file)`` for lists and pages.
    files : list of str
        Its files that the target needs.
    statuses : set of str
        What Snakemake says of them: ``missing``, ``params changed``, ...
    reasons : list of str
        Why, in its own right; empty if it only follows from others.
    """

    job: Job
    files: list[str] = field(default_factory=list)
    statuses: set[str] = field(default_factory=set)
    reasons: list[str] = field(default_factory=list)


def main(config: Config, target: str) -> None:
    """Print why a target would be built again.

    Raises
    ------
    regimes.config.ConfigError
        If there is no such target, or Snakemake cannot plan it.
    """
    scales = workflow.check_targets(config, frozenset({target}), frozenset())
    pending = of(config, scales, summary(config, target))
    print("\n".join(told(target, pending)))


def summary(config: Config, target: str) -> list[dict[str, str]]:
    """Rows of Snakemake's own summary of the files that a target needs.

    Raises
    ------
    regimes.config.ConfigError
        If Snakemake cannot plan the target.
    """
    snakefile = Path(config.root, "Snakefile")
    if not snakefile.exists():
        raise ConfigError(
            f"why: {snakefile} is missing; call it in the folder of the pipeline, or name that "
            "folder with --root"
        )
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(snakefile), "--summary"]
    # A width for the plugins that ask for a terminal's.
    environment = {**os.environ, "COLUMNS": "200"}
    done = subprocess.run(
        [*command, target], capture_output=True, text=True, env=environment, check=False
    )
    if done.returncode:
        raise ConfigError(f"why: Snakemake cannot plan '{target}':\n{done.stderr.strip()}")
    start = done.stdout.find("output_file\t")
    return list(csv.DictReader(io.StringIO(done.stdout[start:]), delimiter="\t"))


def of(config: Config, scales: Iterable[str], rows: Iterable[Mapping[str, str]]) -> list[Pending]:
    """Jobs that would run, with their reasons, in the order in which data flow.

    Parameters
    ----------
    scales
        That the target needs.
    rows
        Of Snakemake's summary.
    """
    makers = {file: job for scale in scales for file, job in _makers(config, scale).items()}
    found: dict[Job, Pending] = {}
    recorded, marked = folders.path_of("metadata"), folders.path_of("incomplete")
    for row in rows:
        file = row["output_file"]
        # Snakemake's summary leaves these out, which the next call makes again.
        if Path(file).exists() and marked(file).exists():
            row = {**row, "status": "unfinished", "plan": "update pending"}
        elif Path(file).exists() and file in makers and not recorded(file).exists():
            row = {**row, "status": "unrecorded", "plan": "update pending"}
        if row["plan"] == "no update":
            continue
        pending = found.setdefault(makers.get(file, ("other", file)), Pending(()))
        pending.job = makers.get(file, ("other", file))
        pending.files.append(file)
        pending.statuses.add(row["status"])
    for pending in found.values():
        pending.reasons = _reasons(config, pending)
    order = list(WORK)
    return sorted(found.values(), key=lambda each: order.index(each.job[0]))


def _makers(config: Config, scale: str) -> dict[str, Job]:
    """Job of each file of a scale."""
    jobs: list[Job] = []
    for study, entry in config.studies.items():
        for experiment, definition in entry.experiments.items():
            if definition.at(scale) is not None:
                names = plan.batches(config, study, experiment, scale)
                jobs += [("train", scale, study, experiment, name) for name in names]
        jobs += [("start", scale, study, name) for name in entry.starts]
        analyses = plan.analyses_at(config, scale, study)
        jobs += [("analyse", scale, study, name) for name in analyses]
        jobs += [("draw", scale, study, name) for name in plan.figures_at(config, scale, study)]
        jobs.append(("judge", scale, study))
    return {file: job for job in jobs for file in paths.files(*job)}


def _reasons(config: Config, pending: Pending) -> list[str]:
    job, found = pending.job, []
    absent = [file for file in pending.files if not Path(file).exists()]
    for file in absent:
        if Path(f"{file}.bad").exists():
            found.append("it was damaged and set aside as .bad")
        elif job[0] != "other" or len(absent) < len(pending.files):
            found.append("the file is not there")
    found += [SAID[status] for status in pending.statuses if status in SAID]
    if job[0] == "other":
        return sorted(set(found))
    journal = store.read_json(paths.journal(*job))
    journal = journal if isinstance(journal, dict) else {}
    old, new = journal.get("built"), origins.facts(config, *job)
    if old and len(absent) < len(pending.files):
        found += differences(old, new)
    elif not absent and "params changed" in pending.statuses:
        found.append("settings or code changed; which is not known, for its journal is gone")
    if journal.get("state") == "failed":
        found.append(f"it failed when it last ran: {journal.get('reason', '')}".rstrip(": "))
    follows = bool(old) and old != new or bool(pending.statuses & {"ok", "updated input files"})
    if not found and not follows:
        found.append(f"Snakemake says: {', '.join(sorted(pending.statuses))}")
    return list(dict.fromkeys(found))


def differences(old: Mapping[str, str], new: Mapping[str, str]) -> list[str]:
    """Say what differs between facts, but for what other jobs have handed on.

    Parameters
    ----------
    old, new
        As `regimes.origins.facts` gives them.
    """
    found: list[str] = []
    changed: list[str] = []
    for name in sorted(old.keys() | new.keys()):
        before, now = old.get(name), new.get(name)
        if before == now or name == "runs" or name.startswith(HANDED_ON):
            continue
        kind, _, rest = name.partition(" ")
        if kind == "code":
            how = "" if before and now else (" (new import)" if now else " (no longer imported)")
            changed.append(f"{rest}{how}")
        elif kind == "setting":
            found.append(f"setting {rest}: was {before or 'not there'}, is {now or 'gone'}")
        elif kind == "claim":
            how = "is changed" if before and now else "is new" if now else "is gone"
            found.append(f"claim {rest} {how}")
        else:
            found.append(f"{name}: was {before or 'not there'}, is {now or 'gone'}")
    if changed:
        found.append(f"code changed: {_some(changed)}")
    if not found and old.get("runs") != new.get("runs"):
        counts = [str(each.get("runs", "0")).split()[0] for each in (old, new)]
        found.append(
            "other combinations of the settings, or another order: "
            f"was {counts[0]} runs, is {counts[1]}"
        )
    return found


def _some(names: list[str]) -> str:
    """Names in one line, not too many of them."""
    more = len(names) - MOST_FILES
    return ", ".join(names[:MOST_FILES]) + (f" and {more} more modules" if more > 0 else "")


def told(target: str, pending: list[Pending]) -> list[str]:
    """Lines that say why a target would be built again."""
    if not pending:
        return [f"{target} is current: nothing would run"]
    lines = [f"{target} would be built again."]
    for kind, work in WORK.items():
        reasons: dict[tuple[str, ...], list[str]] = {}
        for each in pending:
            if each.job[0] == kind and each.reasons:
                absent = [file for file in each.files if not Path(file).exists()]
                reasons.setdefault(tuple(each.reasons), []).append((absent or each.files)[0])
        for texts, files in reasons.items():
            lines += ["", f"{work} ({len(files)}):"]
            lines += [f"  {file}" for file in files[:MOST_FILES]]
            if len(files) > MOST_FILES:
                lines.append(f"  and {len(files) - MOST_FILES} more")
            lines += [f"    - {text}" for text in texts]
    follow = Counter(each.job[0] for each in pending if not each.reasons)
    parts = [f"{follow[kind]} {work}" for kind, work in WORK.items() if follow[kind]]
    if any(SAID.keys() & each.statuses for each in pending):
        parts.append("all that is made from files of killed jobs or without a record")
    if parts:
        lines += ["", f"What follows from these: {', '.join(parts)}."]
    return lines
