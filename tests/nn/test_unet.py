"""The U-Net of the diffusion model: shapes, and what an estimate depends on."""

from __future__ import annotations

import pytest
import torch

from regimes.nn.unet import ContextUNet


def network(channels=1, side=8, features=16, classes=3):
    torch.manual_seed(0)
    return ContextUNet(channels, side, features, classes).requires_grad_(False)


def inputs(network, count=5):
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(count, network.channels, network.side, network.side, generator=generator)
    context = torch.eye(network.classes)[torch.arange(count) % network.classes]
    return x, context, torch.rand(count, generator=generator)


@pytest.mark.parametrize(("channels", "side"), [(1, 8), (3, 12), (1, 28)])
def test_estimates_have_the_shape_of_images(channels, side):
    small = network(channels, side)
    x, context, time = inputs(small)
    estimate = small(x, context, time)
    assert estimate.shape == x.shape
    assert estimate.std() > 0.05 and estimate.isfinite().all()


def test_parameters_are_as_many_as_the_layers_say():
    count = sum(each.numel() for each in network(1, 28, 128, 10).parameters())
    n, deep = 128, 256

    def convolution(before, after):
        return before * after * 9 + after + 2 * after  # with its normalization

    def embedding(given, after):
        return given * after + after + after * after + after

    down = convolution(1, n) + 3 * convolution(n, n) + convolution(n, deep)
    down += convolution(deep, deep)
    bottom = deep * deep * 49 + deep + 2 * deep
    up = sum(before * n * 4 + n + 4 * convolution(n, n) for before in (2 * deep, deep))
    out = convolution(deep, n) + n * 9 + 1
    told = sum(embedding(given, after) for given in (1, 10) for after in (n, deep))
    assert count == down + bottom + up + out + told


def test_an_estimate_depends_on_image_class_and_time_but_not_on_its_neighbours():
    small = network().double()
    x, context, time = (each.double() for each in inputs(small))
    together = small(x, context, time)
    alone = torch.cat(
        [small(x[i : i + 1], context[i : i + 1], time[i : i + 1]) for i in range(len(x))]
    )
    torch.testing.assert_close(together, alone, rtol=1e-10, atol=1e-10)
    for changed in (
        small(x.flip(3), context, time),
        small(x, context.roll(1, 1), time),
        small(x, torch.zeros_like(context), time),
        small(x, context, time / 2),
    ):
        assert ((changed - together).abs().amax((1, 2, 3)) > 1e-3).all()


def test_halving_takes_the_largest_of_four_pixels_as_pooling_does():
    from regimes.nn.unet import _halved

    x = torch.randn(2, 3, 8, 12, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(_halved(x), torch.nn.functional.max_pool2d(x, 2), rtol=0, atol=0)


@pytest.mark.parametrize(("side", "features"), [(10, 16), (8, 12)])
def test_sizes_that_cannot_be_halved_twice_or_grouped_are_refused(side, features):
    with pytest.raises(ValueError, match="multiple of 4"):
        network(side=side, features=features)
