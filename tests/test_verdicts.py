"""Comparison of verdicts with the record."""

from __future__ import annotations

import pandas as pd
import pytest

from regimes import verdicts
from regimes.config import ConfigError


def frame(*rows):
    return pd.DataFrame(rows, columns=verdicts.COLUMNS)


def test_differences_are_told():
    old = frame(("s", "a", "reproduced", 1.0), ("s", "b", "reproduced", 2.0))
    new = frame(("s", "a", "contradicted", 3.0), ("s", "c", "inconclusive", 4.0))
    lines = verdicts.differences(old, new)
    assert [line.split()[0] for line in lines] == ["changed", "gone", "new"]
    assert "reproduced (1) -> contradicted (3)" in lines[0]


def test_a_changed_number_alone_is_no_difference():
    assert verdicts.differences(frame(("s", "a", "x", 1.0)), frame(("s", "a", "x", 1.1))) == []


def test_record_is_written_and_other_studies_are_kept(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="make figures"):
        verdicts.compare()
    (tmp_path / "results/laptop").mkdir(parents=True)
    frame(("s", "a", "reproduced", 1.0)).to_csv("results/laptop/claims.csv", index=False)
    (tmp_path / "docs").mkdir()
    frame(("t", "b", "reproduced", 2.0)).to_csv("docs/verdicts.csv", index=False)
    assert verdicts.compare() == 1
    assert verdicts.compare(write=True) == 0
    assert list(pd.read_csv("docs/verdicts.csv")["claim"]) == ["b", "a"]
    assert verdicts.compare() == 0
    assert "none differs" in capsys.readouterr().out
