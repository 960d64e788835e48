from __future__ import annotations

from math import sqrt

import numpy as np
import pytest
import torch

from regimes.nn.parameterization import bias_name, final_linear, normal, std_conv, std_linear


def test_scales():
    params = {"w1": torch.full((4, 3), 2.0), "b1": torch.full((3,), 5.0)}
    h = torch.ones(2, 6, 4)
    # The bias is divided too.
    assert torch.allclose(std_linear(params, "w1", h), torch.full((2, 6, 3), (8 + 5) / 2))
    assert torch.allclose(final_linear(params, "w1", h), torch.full((2, 6, 3), (8 + 5) / 4))
    assert torch.allclose(std_linear({"w1": params["w1"]}, "w1", h), torch.full((2, 6, 3), 4.0))


def test_convolutions_divide_by_channels_only():
    params = {"w_in": torch.ones(3, 3, 4, 2), "b_in": torch.full((2,), 6.0)}
    maps = torch.ones(4, 5, 5, 1)
    assert torch.allclose(std_conv(params, "w_in", maps), torch.full((2, 3, 3, 1), 42 / sqrt(4)))
    out = std_conv({"w_in": params["w_in"]}, "w_in", maps, stride=2, padding=1)
    assert out.shape == (2, 3, 3, 1)
    # Corners see 4 of 9 places, edges 6.
    assert out[0, 0, 0, 0] == 16 / 2 and out[0, 0, 1, 0] == 24 / 2 and out[0, 1, 1, 0] == 36 / 2


def test_names():
    assert bias_name("w1") == "b1" and bias_name("w_embed") == "b_embed"
    with pytest.raises(ValueError, match="starts with w"):
        bias_name("scale")


def test_start():
    asked = []

    def stream(name):
        asked.append(name)
        return np.random.default_rng(len(asked))

    start = normal({"w1": (3, 2), "b1": (2,), "scale1": (2,), "shift1": (2,), "w2": (2, 1)}, stream)
    assert asked == ["w1", "w2"]
    assert start["scale1"].tolist() == [1, 1]
    assert start["b1"].tolist() == start["shift1"].tolist() == [0, 0]
    assert not np.array_equal(start["w1"][:2, :1], start["w2"])
