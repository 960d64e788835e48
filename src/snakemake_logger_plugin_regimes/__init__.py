"""Snakemake logger ``regimes``: the progress bars of the ``rich`` logger, with time remaining.

Snakemake finds logger plugins by the name of their package, so this one lies beside `regimes`.
"""

from __future__ import annotations

import re
from logging import LogRecord
from pathlib import Path

from rich.progress import MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.text import Text
from snakemake_interface_logger_plugins.common import LogEvent
from snakemake_logger_plugin_rich import LogHandler as RichLogHandler

# Said of every failure, whatever the reason.
_ADVICE = re.compile(r"(Detailed failure reason unavailable|For further error details) .*", re.S)
# What a scheduler writes between Snakemake's lines: limits that were exceeded, jobs cancelled.
_SCHEDULER = re.compile(r"^(slurmstepd|slurmd|srun|sbatch): .*$", re.M)


class LogHandler(RichLogHandler):
    """Progress per rule: jobs done, time elapsed, time remaining at the pace so far."""

    def __post_init__(self) -> None:
        """Add the columns once the parent has built its display."""
        super().__post_init__()
        self.progress.columns = (
            *self.progress.columns,
            MofNCompleteColumn(),
            TextColumn("[dim]left"),
            TimeRemainingColumn(),
        )

    def emit(self, record: LogRecord) -> None:
        """Say of a failed job why it failed; the parent shows the log, which may not exist."""
        if getattr(record, "event", None) != LogEvent.JOB_ERROR:
            super().emit(record)
            return
        try:
            self._failure(record)
        except Exception:  # noqa: BLE001 - as any handler of logging's
            self.handleError(record)

    def _failure(self, record: LogRecord) -> None:
        known = self.event_handler.jobs_info.get(record.jobid, {})
        wildcards = ", ".join(f"{k}={v}" for k, v in (known.get("wildcards") or {}).items())
        reason = _ADVICE.sub("", getattr(record, "rule_msg", None) or "").strip()
        failed = f"✗ Failed {record.rule_name} (id: {record.jobid}) {wildcards}".rstrip()
        self.console.log(Text(failed, style="bold yellow"))
        if reason:
            self.console.print(Text(reason, style="yellow"), soft_wrap=True)
        for name in record.log:
            self.console.rule(Text(f"Log file: {name}"), style="yellow")
            self.console.print(Text(_told(name)), soft_wrap=True)


def _told(log: str) -> str:
    """What a log file says about a failure."""
    try:
        text = Path(log).read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return "(there is none: the job did not start)"
    if text.startswith("SNAKEMAKE\n"):  # of a job on a node, whose own log stands above
        text = "\n".join(found[0] for found in _SCHEDULER.finditer(text))
    return text or "(empty)"
