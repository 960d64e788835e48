"""``regimes status``: how far a scale is, what is running, what has failed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import netCDF4
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from regimes import journal, origins, paths, plan, store
from regimes.config import SCALES, Config, ConfigError, nearest

LOG_LINES = 5  # of a failed job that are shown


@dataclass(frozen=True)
class Report:
    """Journal of a job that runs, has failed or was stopped without a word.

    Attributes
    ----------
    file : str
        What the job makes.
    state : str
        ``running``, ``failed`` or ``stopped``.
    content : dict
        The journal.
    log : tuple of str
        Last lines of its log.
    """

    file: str
    state: str
    content: dict[str, Any]
    log: tuple[str, ...] = ()


def main(config: Config, scale: str, studies: Sequence[str] = ()) -> None:
    """Print the status of a scale.

    Parameters
    ----------
    config
        Of the pipeline.
    scale
        Empty for the one that ``config.yaml`` names.
    studies
        Those that are shown; none for all.

    Raises
    ------
    regimes.config.ConfigError
        For an unknown scale or study.
    """
    scale = scale or config.main.scale
    if scale not in SCALES:
        raise ConfigError(f"scale: got '{scale}'; {nearest(scale, SCALES)}")
    for study in studies:
        if study not in config.studies:
            raise ConfigError(f"--study: got '{study}'; {nearest(study, config.studies)}")
    shown = [s for s in plan.studies_at(config, scale) if not studies or s in studies]
    console = Console(highlight=False)
    table = Table(title=f"scale {scale}", box=None, pad_edge=False)
    for name in ("study", "batches", "of the others", "analyses", "figures", "running", "failed"):
        table.add_column(name, no_wrap=name != "of the others")
    reports: list[Report] = []
    for study in shown:
        found = of_folder(config, Path("logs", scale, study))
        reports += found
        states = Counter(report.state for report in found)
        table.add_row(
            study, *counts(config, scale, study), str(states["running"]), str(states["failed"])
        )
    console.print(table)
    _print(console, [*reports, *of_folder(config, Path("logs/data"))])


def counts(config: Config, scale: str, study: str) -> list[str]:
    """Columns of the table: batches, what of them is missing, analyses, figures."""
    batches = Counter(
        state_of_batch(config, scale, study, experiment, name)
        for experiment, definition in config.studies[study].experiments.items()
        if definition.at(scale) is not None
        for name in plan.batches(config, study, experiment, scale)
    )
    rest = [f"{n} {state}" for state, n in sorted(batches.items()) if state != "done"]
    analyses = [("analyse", scale, study, name) for name in plan.analyses_at(config, scale, study)]
    figures = [("draw", scale, study, name) for name in plan.figures_at(config, scale, study)]
    return [
        f"{batches['done']} of {batches.total()}",
        ", ".join(rest),
        _current(config, analyses),
        _current(config, figures),
    ]


def _current(config: Config, jobs: Sequence[tuple[str, ...]]) -> str:
    current = 0
    for job in jobs:
        found = store.read_json(paths.journal(*job))
        built = found.get("built") if isinstance(found, dict) else None
        there = all(Path(file).exists() for file in paths.files(*job))
        # What has no journal any more is taken as it is; `regimes why` asks Snakemake.
        current += there and (not built or built == origins.facts(config, *job))
    return f"{current} of {len(jobs)}"


def state_of_batch(config: Config, scale: str, study: str, experiment: str, name: str) -> str:
    """``done``, ``in part`` (runs missing), ``outdated`` (other code or start) or ``to do``.

    By what the file says of itself; its checksum is left to those that read its values.
    """
    path = Path(paths.batch(scale, study, experiment, name))
    if not path.exists():
        partial = Path(paths.checkpoints(scale, study, experiment, name))
        return "begun" if partial.exists() else "to do"
    batch = plan.find_batch(config, study, experiment, scale, name)
    try:
        with netCDF4.Dataset(path) as file:
            code = getattr(file, "code_fingerprint", "")
            start = getattr(file, "start_lineage", "")
            there = set(map(str, file["run_id"][:]))
    except (OSError, IndexError, RuntimeError):
        return "damaged"
    if (code, start) != (plan.train_fingerprint(study, batch), batch.start):
        return "outdated"
    wanted = {plan.run_id(batch.kind, run) for run in batch.runs}
    return "done" if wanted <= there else "in part"


def of_folder(config: Config, logs: Path) -> list[Report]:
    """Jobs that run, have failed or were stopped, by their journals in a folder of logs."""
    found = []
    for path in sorted(logs.rglob("*.json")):
        content = store.read_json(path)
        if not isinstance(content, dict) or content.get("state") not in ("running", "failed"):
            continue
        job = content.get("job", [])
        if not _is_planned(config, job):
            continue
        state = content["state"]
        if state == "running" and not journal.lives(path, content):
            state = "stopped"
        log = () if state == "running" else last_lines(path.with_suffix(".log"))
        made = f"data set {job[1]}" if job[0] == "make" else paths.files(*job)[0]
        found.append(Report(made, state, content, log))
    return found


def _is_planned(config: Config, job: Sequence[str]) -> bool:
    if job[:1] == ["make"]:
        return job[1:2] != [] and job[1] in plan.GENERATED
    try:
        origins.facts(config, *job)
    except (ConfigError, KeyError, TypeError, ValueError, ModuleNotFoundError):
        return False
    return True


def last_lines(log: Path, count: int = LOG_LINES) -> tuple[str, ...]:
    """Last lines of a log that are not empty."""
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ()
    return tuple(line for line in lines if line.strip())[-count:]


def duration(seconds: float | None) -> str:
    """Hours, minutes and seconds, ``?`` where unknown."""
    if seconds is None:
        return "?"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s"


def _print(console: Console, reports: Sequence[Report]) -> None:
    running = [report for report in reports if report.state == "running"]
    if running:
        table = Table("running", "trained", "step", "alive", "for", "left", "where", box=None)
        table.columns[0].overflow = "fold"
        for report in running:
            said = report.content
            runs = f"{said['runs_done']} of {said['runs']} runs" if "runs" in said else ""
            step = f"{said['step']} of {said['steps']}" if "step" in said else ""
            alive = f"{said['alive']} of {said['of']}" if "alive" in said else ""
            left = duration(said.get("remaining_seconds")) if runs else ""
            table.add_row(
                escape(report.file), runs, step, alive, duration(said.get("seconds")), left,
                escape(journal.who(said)),
            )  # fmt: skip
        console.print(table)
        for report in running:
            if text := report.content.get("waits"):
                console.print(f"    {escape(report.file)}: {escape(text)}")
    for report in reports:
        if report.state == "running":
            continue
        said = report.content
        what = "failed" if report.state == "failed" else "was killed or lost"
        console.print(f"\n{escape(report.file)} {what} ({escape(str(said.get('updated')))})")
        for line in report.log:
            console.print(f"    {escape(line)}")
        if report.state == "stopped":
            console.print("    the next call of Snakemake goes on with it")
