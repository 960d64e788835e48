from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from regimes.ensemble.batches import group, split, width_within


@given(st.integers(0, 40), st.integers(-1, 12), st.booleans())
def test_split_keeps_every_run_once_and_never_has_width_one(count, largest, fixed):
    members = [10 * index for index in range(count)]
    batches = split(members, largest, fixed=fixed)
    assert [run for batch in batches for run in batch.lanes[: batch.kept]] == members
    widths = [len(batch.lanes) for batch in batches]
    assert all(2 <= width <= max(largest, 2) for width in widths)
    if fixed:
        assert set(widths) <= {max(largest, 2)}
    else:
        assert not widths or max(widths) - min(widths) <= 1
    for batch in batches:
        assert 1 <= batch.kept <= len(batch.lanes)
        assert set(batch.lanes[batch.kept :]) <= {batch.lanes[0]}


def test_a_single_run_is_padded_with_its_copy():
    (batch,) = split([7], largest=5)
    assert batch == ((7, 7), 1)


def test_group_keeps_order():
    assert group(["b1", "a1", "b2", "a2"], key=lambda name: name[0]) == [[0, 2], [1, 3]]


def test_width_respects_the_memory_budget():
    assert width_within(100, shared=10, per_run=20) == 4
    assert width_within(100, shared=10, per_run=80) == 2
