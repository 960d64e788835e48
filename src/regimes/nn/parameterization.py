"""The parameterization of the feature-strength study: unit-variance weights, explicit scales.

All weights are drawn i.i.d. N(0, 1), all biases start at zero, and the forward pass carries the
scales (Atanasov, Meterez, Simon and Pehlevan, arXiv 2410.04642; official code `models.py`):

- hidden linear layer:  z = (h W + b) / sqrt(fan_in), the bias divided as well;
- convolution:          z = (conv(h) + b) / sqrt(C_in), not C_in times the area of the kernel, so
  preactivations have about 9 times the variance of a linear layer's for 3 x 3 kernels;
- read-out:             o = (h W + b) / fan_in.

With the learning rate N * eta for every parameter this is muP with mean-field read-out: the output
divided by gamma changes hidden layers by an amount that does not depend on the width N.

A layer is named by its weight, "w1" or "w_embed"; its bias has the same name with b for w and is
left out where the parameters lack it. Weights are (fan_in, fan_out), kernels (k, k, C_in, C_out).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import sqrt

import numpy as np
from torch import Tensor

from regimes.nn import convolution, lanewise

Shapes = dict[str, tuple[int, ...]]
Parameters = Mapping[str, Tensor]
Stream = Callable[[str], np.random.Generator]


def std_linear(params: Parameters, name: str, h: Tensor) -> Tensor:
    """Hidden linear layer (h W + b) / sqrt(fan_in), h (..., fan_in) to (..., fan_out)."""
    return _linear(params, name, h, 1 / sqrt(h.shape[-1]))


def final_linear(params: Parameters, name: str, h: Tensor) -> Tensor:
    """Read-out (h W + b) / fan_in, h (..., fan_in) to (..., classes)."""
    return _linear(params, name, h, 1 / h.shape[-1])


def plain_linear(params: Parameters, name: str, h: Tensor) -> Tensor:
    """Linear layer h W + b without a scale, as ``torch.nn.Linear``."""
    return _linear(params, name, h, 1.0)


def std_conv(
    params: Parameters, name: str, maps: Tensor, *, stride: int = 1, padding: int = 0
) -> Tensor:
    """Convolution (conv(h) + b) / sqrt(C_in), maps (C_in, H, W, B) to (C_out, H', W', B)."""
    weight, bias = _scaled(params, name, 1 / sqrt(maps.shape[0]))
    return convolution.convolve(maps, weight, bias, stride=stride, padding=padding)


def bias_name(name: str) -> str:
    """Name of the bias that belongs to a weight: "b1" for "w1"."""
    if not name.startswith("w"):
        raise ValueError(f"a weight's name starts with w, not {name!r}")
    return "b" + name[1:]


def normal(shapes: Shapes, stream: Stream) -> dict[str, np.ndarray]:
    """Initial parameters: weights N(0, 1), each from its own stream; scales one, the rest zero.

    Parameters
    ----------
    shapes : dict of tuple of int
        Shape of every parameter. Names of weights start with "w", of the scales of a
        normalization with "scale"; biases and shifts are zero.
    stream : callable
        Generator of the named stream.

    Returns
    -------
    dict of ndarray
        float64, in the order of ``shapes``.
    """
    start = {
        name: stream(name).standard_normal(shape) if name.startswith("w") else np.zeros(shape)
        for name, shape in shapes.items()
    }
    return {
        name: np.ones_like(value) if name.startswith("scale") else value
        for name, value in start.items()
    }


def _scaled(params: Parameters, name: str, scale: float) -> tuple[Tensor, Tensor | None]:
    """Weight and bias times the scale, which costs less than scaling what they act on."""
    bias = params.get(bias_name(name))
    return params[name] * scale, None if bias is None else bias * scale


def _linear(params: Parameters, name: str, h: Tensor, scale: float) -> Tensor:
    weight, bias = _scaled(params, name, scale)
    z = lanewise.product(h.flatten(0, -2), weight)
    if bias is not None:
        z = z + bias
    return z.unflatten(0, h.shape[:-1])
