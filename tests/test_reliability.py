"""The table of faults names tests that there are."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TABLE = ROOT / "docs/reliability.md"


def test_every_test_of_the_table_of_faults_exists():
    file, missing, count = "", [], 0
    for path, name in re.findall(r"`(tests/[\w/]+\.py)?(?:::(test_\w*))?", TABLE.read_text()):
        file = path or file
        if not (ROOT / file).exists():
            missing.append(file)
        elif name:
            count += 1
            if f"def {name}" not in (ROOT / file).read_text():
                missing.append(f"{file}::{name}")
    assert missing == []
    assert count > 60
