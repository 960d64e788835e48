from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from regimes.fit.ridge import ridge, ridge_dual, ridge_primal


def problem(samples, width, runs=2, seed=0):
    stream = np.random.default_rng(seed)
    phi = stream.standard_normal((runs, samples, width)) / np.sqrt(width)
    return torch.from_numpy(phi), torch.from_numpy(stream.standard_normal((runs, samples)))


def primal(phi, y, strengths):
    transposed = phi.transpose(1, 2)
    return ridge_primal(transposed @ phi, (transposed @ y.unsqueeze(2)).squeeze(2), strengths)


def oracle(phi, y, strength):
    """Least squares on the stacked system [Phi; sqrt(lambda) I] by QR, never squared."""
    width = phi.shape[1]
    stacked = np.vstack([phi, np.sqrt(strength) * np.eye(width)])
    return np.linalg.lstsq(stacked, np.concatenate([y, np.zeros(width)]), rcond=None)[0]


@pytest.mark.parametrize("offset", [-1, 0, 1])
def test_branches_agree_near_interpolation(offset):
    phi, y = problem(60 + offset, 60)
    strengths = [1.0, 1e-2]
    assert torch.allclose(primal(phi, y, strengths), ridge_dual(phi, y, strengths), atol=1e-8)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 30), st.integers(1, 30), st.floats(-4, 3), st.integers(0, 1000))
def test_branches_agree(samples, width, log_strength, seed):
    phi, y = problem(samples, width, seed=seed)
    strengths = [10**log_strength]
    scale = 1 + ridge(phi, y, strengths).abs().max()
    assert torch.allclose(
        primal(phi, y, strengths), ridge_dual(phi, y, strengths), atol=1e-8 * float(scale)
    )


@pytest.mark.parametrize("samples", [20, 49, 50, 51, 200])
def test_against_least_squares_at_a_vanishing_strength(samples):
    phi, y = problem(samples, 50)
    found = ridge(phi, y, [1e-6, 1.0])
    for run in range(2):
        for index, strength in enumerate((1e-6, 1.0)):
            expected = oracle(phi[run].numpy(), y[run].numpy(), strength)
            error = np.abs(found[run, index].numpy() - expected).max()
            assert error < 1e-6 * np.abs(expected).max()


def test_the_strength_is_not_multiplied_by_the_number_of_samples():
    phi, y = torch.ones(2, 4, 1).double(), torch.ones(2, 4).double()
    assert torch.allclose(ridge(phi, y, [4.0]), torch.full((2, 1, 1), 0.5).double())


def test_a_lane_does_not_depend_on_its_neighbours():
    phi, y = problem(37, 15, runs=5)
    whole = ridge(phi, y, [1e-6, 1.0])
    for lanes in ([0, 1], [4, 2, 0]):
        assert torch.equal(ridge(phi[lanes], y[lanes], [1e-6, 1.0]), whole[lanes])


def test_diverged_lanes_give_nan_and_spare_the_others():
    phi, y = problem(30, 10, runs=3)
    expected = ridge(phi, y, [1.0])
    phi[1, 0, 0] = torch.inf
    found = ridge(phi, y, [1.0])
    assert found[1].isnan().all()
    assert torch.equal(found[[0, 2]], expected[[0, 2]])


def test_features_far_above_the_strength_still_give_a_solution():
    # Rank one and huge: lambda is far below the rounding error of the largest eigenvalue.
    phi = torch.randn(2, 40, 1, dtype=torch.float64) * torch.randn(2, 1, 6).double() * 1e12
    y = phi[:, :, 0] * 1e-12
    found = ridge(phi, y, [1e-6])
    assert found.isfinite().all()
    prediction = (phi @ found[:, 0].unsqueeze(2)).squeeze(2)
    assert torch.allclose(prediction, y, atol=1e-3)


def test_single_precision_is_refused():
    with pytest.raises(TypeError, match="float64"):
        ridge(torch.ones(2, 3, 2), torch.ones(2, 3), [1.0])
