from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.autograd import gradcheck, gradgradcheck
from torch.func import grad, vmap

from regimes.nn import convolution

# Torch's forward derivatives import a module that warns of itself.
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script:DeprecationWarning")


def by_torch(maps, kernel, bias=None, **geometry):
    """The same with torch's convolution, batch first and channels before positions."""
    result = F.conv2d(maps.permute(3, 0, 1, 2), kernel.permute(3, 2, 0, 1), bias, **geometry)
    return result.permute(1, 2, 3, 0)


@st.composite
def cases(draw):
    size = draw(st.integers(1, 3))
    channels, outputs, batch = (draw(st.integers(1, 5)) for _ in range(3))
    height, width = draw(st.integers(size, 9)), draw(st.integers(size, 9))
    geometry = {"stride": draw(st.integers(1, 3)), "padding": draw(st.integers(0, 2))}
    maps = torch.randn(channels, height, width, batch, dtype=torch.float64)
    kernel = torch.randn(size, size, channels, outputs, dtype=torch.float64)
    bias = torch.randn(outputs, dtype=torch.float64) if draw(st.booleans()) else None
    return maps, kernel, bias, geometry


@settings(max_examples=60, deadline=None)
@given(cases())
def test_convolution_and_its_gradients(case):
    maps, kernel, bias, geometry = case
    operands = [part.requires_grad_() for part in (maps, kernel, bias) if part is not None]
    expected = by_torch(*operands, **geometry)
    result = convolution.convolve(*operands, **geometry)
    assert result.shape == expected.shape and torch.allclose(result, expected, atol=1e-11)
    along = torch.randn_like(expected)
    for one, two in zip(
        torch.autograd.grad(result, operands, along),
        torch.autograd.grad(expected, operands, along),
        strict=True,
    ):
        assert torch.allclose(one, two, atol=1e-11)


@pytest.mark.parametrize("stride, padding", [(1, 0), (2, 1)])
@pytest.mark.parametrize("bias", [True, False])
def test_higher_derivatives(stride, padding, bias):
    operands = [torch.randn(2, 4, 3, 2), torch.randn(3, 3, 2, 2), torch.randn(2)][: 2 + bias]
    operands = [part.double().requires_grad_() for part in operands]

    def convolve(*parts):
        return convolution.convolve(*parts, stride=stride, padding=padding)

    assert gradcheck(convolve, operands, check_forward_ad=True)
    assert gradgradcheck(convolve, operands, check_fwd_over_rev=True)


def test_third_derivative_of_each_operation():
    """Operations in the gradients have the right gradients themselves, bias included."""
    maps, kernel, bias = (
        torch.randn(shape, dtype=torch.float64) for shape in ((2, 4, 3, 2), (2, 2, 2, 3), (3,))
    )

    def cubic(convolve):
        def value(maps, kernel, bias):
            return (convolve(maps, kernel, bias).pow(3)).sum()

        def slope(maps, kernel, bias):
            parts = grad(value, argnums=(0, 1, 2))(maps, kernel, bias)
            return sum((part**2).sum() for part in parts)

        def bend(maps, kernel, bias):
            parts = grad(slope, argnums=(0, 1, 2))(maps, kernel, bias)
            return sum((part**2).sum() for part in parts)

        return grad(bend, argnums=(0, 1, 2))(maps, kernel, bias)

    for one, two in zip(cubic(convolution.convolve), cubic(by_torch), strict=True):
        assert torch.allclose(one, two, rtol=1e-9)


@pytest.mark.parametrize("budget", [1, 10**4, 2**22])
@pytest.mark.parametrize("shared", [True, False])
def test_runs_and_the_groups_they_are_taken_in(monkeypatch, budget, shared):
    """Runs are the same bits one at a time, a few at a time, and all at once."""
    maps = torch.randn(5, 2, 7, 6, 3, dtype=torch.float32)
    kernel = torch.randn(5, 3, 3, 2, 4, dtype=torch.float32)
    bias = torch.randn(5, 4, dtype=torch.float32)
    given = maps[0] if shared else maps

    def results():
        def value(maps, kernel, bias):
            out = convolution.convolve(maps, kernel, bias, padding=1)
            return (out * (out.detach() + 1)).sum()

        axes = (None if shared else 0, 0, 0)
        return vmap(grad(value, argnums=(0, 1, 2)), in_dims=axes)(given, kernel, bias)

    expected = results()
    monkeypatch.setitem(convolution.PATCHES, "cpu", budget)
    assert all(torch.equal(a, b) for a, b in zip(results(), expected, strict=True))
    out = vmap(convolution.convolve, in_dims=(None if shared else 0, 0, 0))(given, kernel, bias)
    for run in range(5):
        own = by_torch(given if shared else maps[run], kernel[run], bias[run])
        assert torch.allclose(out[run], own, atol=1e-4)


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 9), st.integers(2, 9), st.sampled_from([(1,), (3,), (2, 3)]))
def test_average_pool(height, width, lead):
    maps = torch.randn(*lead, height, width, 4, dtype=torch.float64, requires_grad=True)
    result = convolution.average_pool(maps)
    expected = F.avg_pool2d(maps.movedim(-1, 0).flatten(1, -3), 2).movedim(0, -1)
    assert torch.allclose(result.flatten(0, -4), expected, atol=1e-15)
    assert gradcheck(convolution.average_pool, maps, check_forward_ad=True)


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 9), st.integers(2, 9), st.sampled_from([(1,), (3,), (2, 3)]))
def test_max_pools(height, width, lead):
    maps = torch.randn(*lead, height, width, 4, dtype=torch.float64, requires_grad=True)
    images = maps.movedim(-1, 0).flatten(1, -3)
    for pool, geometry in (
        (convolution.max_pool, (2,)),
        (convolution.overlapping_max_pool, (3, 2, 1)),
    ):
        result = pool(maps)
        expected = F.max_pool2d(images, *geometry).movedim(0, -1).view_as(result)
        assert torch.equal(result, expected)
        along = torch.randn_like(expected)
        (one,) = torch.autograd.grad(result, maps, along)
        (two,) = torch.autograd.grad(expected, maps, along, retain_graph=True)
        assert torch.allclose(one, two, atol=1e-15)


def test_equal_numbers_share_the_derivative_of_max_pools():
    maps = torch.ones(1, 4, 4, 2, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(convolution.max_pool(maps).sum(), maps)
    assert torch.equal(slope, torch.full_like(maps, 0.25))
    diverged = torch.ones(1, 2, 2, 1).index_fill(1, torch.tensor(0), torch.nan)
    assert convolution.max_pool(diverged).isnan().all()


def test_layout_of_images():
    x = torch.randn(5, 2, 3, 4)
    maps = convolution.from_images(x, 2, 3, 4)
    assert maps.shape == (2, 3, 4, 5) and maps.is_contiguous()
    assert torch.equal(convolution.to_samples(maps), x.flatten(1))
    assert torch.equal(convolution.from_images(x.flatten(1), 2, 3, 4), maps)
