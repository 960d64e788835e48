from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from regimes import lanes

SIZES = st.sampled_from([1, 2, 3, 7, 15, 16, 33, 101, 203])


def copies(runs: int, *shape: int, dtype=torch.float32) -> torch.Tensor:
    """One matrix in every lane of a compact batch."""
    return torch.randn(shape, dtype=dtype).expand(runs, *shape).contiguous()


@settings(max_examples=60, deadline=None)
@given(SIZES, SIZES, SIZES, st.sampled_from([torch.float32, torch.float64]))
def test_products_are_exact_copies_in_every_lane(m, k, n, dtype):
    left, right = copies(5, m, k, dtype=dtype), copies(5, k, n, dtype=dtype)
    total = lanes.zeros_like(torch.empty(5, m, n, dtype=dtype))
    results = [
        lanes.product(left, right),
        lanes.product(left, right.transpose(1, 2).contiguous().transpose(1, 2)),
        lanes.add_product_(total, left, right),
        lanes.times_vector(left, right[:, :, 0].contiguous()),
        lanes.weighted_sum(left[:, 0].contiguous(), right),
    ]
    for result in results:
        assert all(torch.equal(result[0], lane) for lane in result[1:])
    expected = left.double() @ right.double()
    tolerance = 1e-4 if dtype == torch.float32 else 1e-11
    for result in results[:3]:
        assert torch.allclose(result.double(), expected, atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize("shape", [(3, 5, 7), (2, 16, 16), (4, 1, 33)])
def test_lanes_are_aligned_and_spaced(shape):
    tensor = lanes.zeros_like(torch.empty(shape))
    assert tensor.shape == shape and not tensor.any()
    assert tensor.stride(0) * 4 % 64 == 0 and tensor.data_ptr() % 64 == 0
    assert tensor.stride(0) > shape[1] * shape[2]


def test_aligned_copies_only_what_needs_it():
    compact = torch.randn(3, 16, 4)
    assert lanes.aligned(compact) is compact
    odd = torch.randn(3, 5, 7)
    assert torch.equal(lanes.aligned(odd), odd)
    assert torch.equal(lanes.aligned(odd.transpose(1, 2)), odd.transpose(1, 2))
    assert lanes.aligned(odd.transpose(1, 2)).stride(1) == 1
