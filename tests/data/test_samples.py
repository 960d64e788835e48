"""Batches from a finite data set: both ways of drawing, independence of neighbours."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from regimes.config import ConfigError
from regimes.data.samples import CHUNK, EPOCHS, WITH_REPLACEMENT, SampledStream, WholeSet

X = torch.arange(24.0)[:, None] * torch.tensor([1.0, 100.0])
TARGETS = torch.arange(24.0)[:, None] + 0.5


def indices(sampling, seeds=(3, 4), size=5, steps=7):
    found = []
    for x, targets in SampledStream(X, TARGETS, seeds, size, steps, sampling):
        assert x.shape == (len(seeds), size, 2) and targets.shape == (len(seeds), size, 1)
        assert torch.equal(x[..., :1] + 0.5, targets)
        assert torch.equal(x[..., 1], 100 * x[..., 0])
        found.append(x[..., 0].long())
    assert len(found) == steps
    return torch.stack(found, 1)  # (S, steps, B)


@pytest.mark.parametrize("sampling", [EPOCHS, WITH_REPLACEMENT])
def test_a_run_sees_the_same_batches_whoever_stands_beside_it(sampling):
    both = indices(sampling)
    assert torch.equal(both[1:], indices(sampling, seeds=(4,)))
    assert torch.equal(both[:, :3], indices(sampling, steps=3))
    assert not torch.equal(both[0], both[1])


@given(size=st.integers(1, 24), epochs=st.integers(1, 3))
def test_an_epoch_uses_a_sample_at_most_once_and_orders_differ(size, epochs):
    per_epoch = 24 // size
    found = indices(EPOCHS, size=size, steps=epochs * per_epoch)
    for epoch in found.view(2, epochs, per_epoch * size).flatten(0, 1):
        assert len(set(epoch.tolist())) == per_epoch * size
    if 24 % size == 0:
        assert (found.view(2, epochs, 24).sort(2).values == torch.arange(24)).all()


def test_draws_with_replacement_are_uniform_and_independent():
    steps = 2 * CHUNK // 8 + 100  # over the ends of two chunks
    found = indices(WITH_REPLACEMENT, seeds=(3,), size=8, steps=steps)[0].numpy()
    counts = np.bincount(found.ravel(), minlength=24)
    assert stats.chisquare(counts).pvalue > 1e-3
    pairs = np.bincount(24 * found[:-1, 0] + found[1:, 0], minlength=576)
    assert stats.chisquare(pairs).pvalue > 1e-3
    # The variance of a batch mean is that of one sample over the batch size.
    assert found.mean(1).var() == pytest.approx((24**2 - 1) / 12 / 8, rel=0.05)


def test_a_batch_larger_than_the_data_is_refused_for_epochs_only():
    with pytest.raises(ConfigError, match="batch_size: 25 is more than the 24 samples"):
        SampledStream(X, TARGETS, (0,), 25, 1, EPOCHS)
    assert indices(WITH_REPLACEMENT, size=25).shape == (2, 7, 25)


@given(size=st.integers(1, 24), epochs=st.integers(1, 3))
def test_with_the_last_batch_kept_an_epoch_uses_every_sample_once(size, epochs):
    per_epoch = -(-24 // size)
    stream = SampledStream(X, TARGETS, (3,), size, epochs * per_epoch, EPOCHS, keep_last=True)
    batches = [x[0, :, 0] for x, _ in stream]
    sizes = [len(batch) for batch in batches]
    assert sizes == epochs * ([size] * (24 // size) + [24 % size] * (24 % size > 0))
    for epoch in range(epochs):
        seen = torch.cat(batches[epoch * per_epoch : (epoch + 1) * per_epoch])
        assert sorted(seen.tolist()) == list(range(24))
    # The full batches are those of the stream that leaves the rest out.
    plain = [x[0, :, 0] for x, _ in SampledStream(X, TARGETS, (3,), size, 24 // size, EPOCHS)]
    assert all(map(torch.equal, plain, batches))


def test_the_whole_set_comes_at_every_step():
    batches = list(WholeSet(X, TARGETS, 3))
    assert len(batches) == 3
    for x, targets in batches:
        assert torch.equal(x, X[None]) and torch.equal(targets, TARGETS[None])
