from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from regimes.data.streams import GaussianRows, numpy_stream, stream_seed


def draw(seeds, rows, dimension, chunk):
    return torch.cat([z.clone() for z in GaussianRows(seeds, rows, dimension, chunk=chunk)], dim=1)


def test_stream_seed_is_stable_across_processes_and_versions():
    assert stream_seed(0, "teacher") == 0x6D61E3EF97BCEE4FF3BE03FB14483E59
    code = "from regimes.data.streams import stream_seed; print(stream_seed(3, 'batch', 1, 64))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(out.stdout) == stream_seed(3, "batch", 1, 64)


@given(
    st.lists(
        st.tuples(st.integers(0, 2**31 - 1), st.lists(st.integers(0, 99) | st.text(max_size=4))),
        unique_by=lambda stream: (stream[0], tuple(map(repr, stream[1]))),
        max_size=20,
    )
)
def test_different_names_give_different_seeds(streams):
    seeds = {stream_seed(seed, *names) for seed, names in streams}
    assert len(seeds) == len(streams)
    assert all(0 <= seed < 2**128 for seed in seeds)


def test_a_number_and_its_digits_name_different_streams():
    assert stream_seed(1, "batch", 12) != stream_seed(1, "batch", "12")
    assert stream_seed(1, "batch", 1, 2) != stream_seed(1, "batch", 12)


@pytest.mark.parametrize("names", [(0, 1.5), (0, True), ("0",), (0.0,), (0, None)])
def test_names_that_have_no_canonical_text_are_refused(names):
    with pytest.raises(TypeError, match="stream"):
        stream_seed(*names)


def test_numpy_streams_repeat_and_differ():
    first, again = numpy_stream(1, "rows"), numpy_stream(1, "rows")
    other = numpy_stream(1, "readout").standard_normal(8)
    numbers = first.standard_normal(8)
    assert np.array_equal(numbers, again.standard_normal(8))
    assert not np.isin(numbers, other).any()


@settings(max_examples=40, deadline=None)
@given(
    rows=st.integers(1, 130),
    dimension=st.integers(1, 20),
    chunks=st.tuples(st.integers(1, 10), st.integers(1, 10)),
)
def test_chunk_size_never_changes_the_numbers(rows, dimension, chunks):
    one, other = (draw([5, 6], rows, dimension, 16 * chunk) for chunk in chunks)
    assert one.shape == (2, rows, dimension)
    assert torch.equal(one, other)


def test_neighbours_never_change_the_numbers():
    together = draw([5, 6, 7, 6], 50, 9, 32)
    assert torch.equal(together[1], draw([6, 5], 50, 9, 32)[0])
    assert torch.equal(together[1], together[3])
    assert not torch.equal(together[0], together[1])


def test_a_second_pass_sees_the_same_data():
    batch = GaussianRows([1, 2], 40, 5, chunk=16)
    passes = [torch.cat([z.clone() for z in batch], dim=1) for _ in range(2)]
    assert torch.equal(*passes)


def test_rows_are_standard_gaussian():
    z = draw([1, 2], 40_000, 10, 1024).double()
    for power, moment in enumerate((0, 1, 0, 3, 0, 15), start=1):
        assert torch.allclose((z**power).mean(), torch.tensor(moment).double(), atol=0.15)
    covariance = z[0].T @ z[0] / len(z[0])
    assert (covariance - torch.eye(10)).abs().max() < 0.03
    assert (z[0] * z[1]).mean().abs() < 0.005


@pytest.mark.parametrize("chunk", [0, -16, 24])
def test_chunks_are_whole_blocks(chunk):
    with pytest.raises(ValueError, match="multiple of 16"):
        GaussianRows([1, 2], 10, 3, chunk=chunk)
