"""Runs grouped into programs and given back in their order."""

import numpy as np
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from regimes.ensemble.programs import in_programs


@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 9)), min_size=1, max_size=12),
    st.integers(2, 5),
    st.booleans(),
    st.booleans(),
)
def test_every_run_is_trained_once_in_a_program_of_its_shape(settings, widest, fixed, sort):
    programs = []

    def train(runs):
        programs.append(runs)
        values = np.array([10 * shape + value for shape, value in runs])
        return xr.Dataset({"value": ("run", values)})

    found = in_programs(
        settings,
        lambda run: run[0],
        train,
        (lambda run: widest) if sort else widest,
        fixed=fixed,
        beside=(lambda run: run[1]) if sort else None,
    )
    assert found["value"].values.tolist() == [10 * shape + value for shape, value in settings]
    for runs in programs:
        assert len({shape for shape, _ in runs}) == 1
        assert 2 <= len(runs) <= widest
        assert not fixed or len(runs) == widest
    if sort and not fixed:  # padding repeats the first
        for runs in programs:
            kept = [value for _, value in runs]
            assert kept == sorted(kept)
