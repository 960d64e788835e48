"""The record of verdicts: what the laptop scale gave when it was last looked at.

``docs/verdicts.csv`` is a record, never an expectation: a difference asks for an
explanation, it does not fail a test.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from regimes import paths, store
from regimes.config import ConfigError

RECORD = Path("docs/verdicts.csv")
COLUMNS = ["study", "claim", "verdict", "measured"]


def read(scale: str = "laptop") -> pd.DataFrame:
    """Verdicts of the claims table of a scale, columns as in the record.

    Raises
    ------
    ConfigError
        If the scale has no claims table yet.
    """
    path = Path(paths.claims(scale))
    if not path.exists():
        raise ConfigError(f"{path} does not exist; run: make figures SCALE={scale}")
    return pd.read_csv(path)[COLUMNS]


def differences(old: pd.DataFrame, new: pd.DataFrame) -> list[str]:
    """One line for each claim whose verdict changed, that is new, or that is gone."""
    both = old.merge(new, on=["study", "claim"], how="outer", suffixes=("_old", "_new"))
    lines = []
    for _, row in both.iterrows():
        before, after = row["verdict_old"], row["verdict_new"]
        name = f"{row['study']} {row['claim']}"
        if pd.isna(before):
            lines.append(f"new      {name}: {after} ({row['measured_new']:.4g})")
        elif pd.isna(after):
            lines.append(f"gone     {name}: was {before}")
        elif before != after:
            lines.append(
                f"changed  {name}: {before} ({row['measured_old']:.4g}) -> "
                f"{after} ({row['measured_new']:.4g})"
            )
    return lines


def compare(write: bool = False) -> int:
    """Print how a laptop run differs from the record; with ``write``, replace the record.

    Returns
    -------
    int
        0 if no verdict differs, or if the record was written; 1 otherwise.
    """
    new = read()
    old = pd.read_csv(RECORD) if RECORD.exists() else pd.DataFrame(columns=COLUMNS)
    # A partial run says nothing about the other studies.
    present = set(new["study"])
    lines = differences(old[old["study"].isin(present)], new)
    print("\n".join(lines) or f"{len(new)} verdicts, none differs from {RECORD}")
    if write:
        kept = old[~old["study"].isin(present)]
        parts = [part for part in (kept, new) if len(part)]
        text = pd.concat(parts, ignore_index=True).to_csv(index=False, float_format="%.4g")
        store.write_text(RECORD, text)
        return 0
    return 1 if lines else 0
