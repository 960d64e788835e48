from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.autograd import gradcheck, gradgradcheck
from torch.func import grad, vmap

from regimes.nn import lanewise

SIZES = st.integers(1, 40)


@settings(max_examples=40, deadline=None)
@given(SIZES, SIZES, SIZES, st.sampled_from([(), (3,), (2, 4)]))
def test_product(m, k, n, lead):
    left = torch.randn(*lead, m, k, dtype=torch.float64)
    right = torch.randn(*lead, n, k, dtype=torch.float64).mT
    assert torch.allclose(lanewise.product(left, right), left @ right, atol=1e-12, rtol=0)


def test_derivatives_of_the_product():
    left = torch.randn(2, 3, 4, dtype=torch.float64, requires_grad=True)
    right = torch.randn(2, 4, 2, dtype=torch.float64, requires_grad=True)
    assert gradcheck(lanewise.product, (left, right), check_forward_ad=True)
    assert gradgradcheck(lanewise.product, (left, right), check_fwd_over_rev=True)
    assert gradcheck(lambda a: lanewise.product(a, right.detach()), left, check_forward_ad=True)
    assert gradcheck(lambda b: lanewise.product(left.detach(), b), right, check_forward_ad=True)


@pytest.mark.parametrize("axes", [(0, 0), (0, None), (None, 0), (2, 1)])
def test_runs_of_a_product(axes):
    matrices = [torch.randn(5, 7, dtype=torch.float64), torch.randn(7, 3, dtype=torch.float64)]
    stacks = [
        m if axis is None else torch.stack([m, 2 * m], axis)
        for m, axis in zip(matrices, axes, strict=True)
    ]
    result = vmap(lanewise.product, in_dims=axes)(*stacks)
    factor = 2 ** sum(axis is not None for axis in axes)
    assert result.shape == (2, 5, 3)
    assert torch.allclose(result[0], matrices[0] @ matrices[1], atol=1e-12)
    assert torch.allclose(result[1], factor * result[0], atol=1e-12)


@pytest.mark.parametrize("shape", [(3,), (64,), (5, 13), (2, 8, 16)])
def test_gelu(shape):
    x = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    assert torch.allclose(lanewise.gelu(x), F.gelu(x), atol=1e-15)
    assert gradcheck(lanewise.gelu, x, check_forward_ad=True)


def test_last_numbers_of_a_run_are_those_of_any_run():
    # Without padding this fails on some CPUs, for about a quarter of the sizes in float64.
    generator = torch.Generator().manual_seed(0)
    for count in range(1, 70):
        for dtype in (torch.float32, torch.float64):
            x = torch.randn(count, dtype=dtype, generator=generator).expand(5, count).contiguous()
            for function in (lanewise.gelu, grad(lambda x: lanewise.gelu(x).sum())):
                results = vmap(function)(x)
                assert all(torch.equal(results[0], result) for result in results)
