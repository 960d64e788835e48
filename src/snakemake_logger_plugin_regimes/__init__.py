"""Snakemake logger ``regimes``: the progress bars of the ``rich`` logger, with time remaining.

Snakemake finds logger plugins by the name of their package, so this one lies beside `regimes`.
"""

from __future__ import annotations

from rich.progress import MofNCompleteColumn, TextColumn, TimeRemainingColumn
from snakemake_logger_plugin_rich import LogHandler as RichLogHandler


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
