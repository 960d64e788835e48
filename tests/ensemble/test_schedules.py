from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regimes.ensemble.schedules import steps_at


def test_forms():
    assert steps_at("", 100) == ()
    assert steps_at("ends", 7) == (0, 7)
    assert steps_at("1-2-5", 60) == (0, 1, 2, 5, 10, 20, 50, 60)
    assert steps_at("every 5 until 12; every 20", 45) == (0, 5, 10, 20, 40, 45)
    assert steps_at("1 per decade", 250) == (0, 1, 10, 100, 250)


@pytest.mark.parametrize("text", ["often", "every 0", "0 per decade", "every five", "1-2-5 ends"])
def test_other_texts_are_refused(text):
    with pytest.raises(ValueError, match="is no schedule"):
        steps_at(text, 10)


@given(st.integers(1, 10**6), st.integers(1, 20), st.integers(1, 500))
def test_ends_are_always_there_and_steps_increase(steps, per_decade, spacing):
    for text in ("1-2-5", f"{per_decade} per decade", f"every {spacing + 1000} until 5000"):
        found = steps_at(text, steps)
        assert found[0] == 0 and found[-1] == steps
        assert list(found) == sorted(set(found))
