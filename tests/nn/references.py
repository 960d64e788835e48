"""The four architectures once more, of torch.nn modules: what `regimes.nn` must agree with.

Each function takes the parameters of `regimes.nn` by name, hands them to modules in torch's layout
and applies the scales of the parameterization, so that gradients compare name by name.
"""

from __future__ import annotations

from math import sqrt

import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel


def call(module: nn.Module, weights: dict[str, Tensor | None], x: Tensor) -> Tensor:
    """Apply a module with these parameters."""
    given = {name: value for name, value in weights.items() if value is not None}
    assert given.keys() == dict(module.named_parameters()).keys()
    return functional_call(module.to(x.dtype), given, (x,))


def linear(params: dict[str, Tensor], name: str, h: Tensor, power: float = 0.5) -> Tensor:
    """`nn.Linear` over fan_in to some power."""
    weight, bias = params[name], params.get("b" + name[1:])
    layer = nn.Linear(*weight.shape, bias=bias is not None)
    return call(layer, {"weight": weight.T, "bias": bias}, h) / weight.shape[0] ** power


def conv(params: dict[str, Tensor], name: str, h: Tensor, **geometry: int) -> Tensor:
    """`nn.Conv2d` over the square root of its input channels."""
    weight, bias = params[name], params.get("b" + name[1:])
    size, _, inputs, outputs = weight.shape
    layer = nn.Conv2d(inputs, outputs, size, bias=bias is not None, **geometry)
    return call(layer, {"weight": weight.permute(3, 2, 0, 1), "bias": bias}, h) / sqrt(inputs)


def norm(params: dict[str, Tensor], name: str, layer: nn.Module, h: Tensor) -> Tensor:
    """Apply a normalization with parameters "scale<name>" and "shift<name>"."""
    return call(layer, {"weight": params[f"scale{name}"], "bias": params[f"shift{name}"]}, h)


def mlp(net, params, x):
    hidden, h = [], x.flatten(1)
    for layer in range(1, net.depth):
        h = F.relu(linear(params, f"w{layer}", h))
        hidden.append(h)
    return hidden, linear(params, f"w{net.depth}", h, power=1)


def cnn(net, params, x):
    pool = nn.AvgPool2d(2)
    first = pool(F.relu(conv(params, "w1", x)))
    second = pool(F.relu(conv(params, "w2", first)))
    third = F.relu(linear(params, "w3", second.flatten(1)))
    return [first.flatten(1), second.flatten(1), third], linear(params, "w4", third, power=1)


def resnet(net, params, x):
    def unit(name, h, **geometry):
        z = conv(params, f"w_{name}", h, **geometry)
        return norm(params, f"_{name}", nn.BatchNorm2d(z.shape[1], track_running_stats=False), z)

    h = F.relu(unit("stem", x, padding=1))
    hidden = []
    for stage in range(4):
        for block in range(net.blocks):
            name, stride = f"{stage + 1}.{block + 1}", 2 if stage > 0 and block == 0 else 1
            inner = F.relu(unit(f"{name}.first", h, stride=stride, padding=1))
            shortcut = h
            if f"w_{name}.shortcut" in params:
                shortcut = unit(f"{name}.shortcut", h, stride=stride)
            h = F.relu(unit(f"{name}.second", inner, padding=1) + shortcut)
        hidden.append(h.flatten(1))
    hidden[-1] = nn.AdaptiveAvgPool2d(1)(h).flatten(1)
    return hidden, linear(params, "w_readout", hidden[-1], power=1)


def vit(net, params, x):
    width, head = net.width, net.width // net.heads
    if len(net.shape) == 1:
        tokens = linear(params, "w_embed", x.unflatten(1, (-1, net.patch)))
    else:
        kernel = params["w_embed"].T.unflatten(1, (net.shape[0], net.patch, net.patch))
        cut = F.conv2d(x, kernel, params.get("b_embed"), stride=net.patch)
        tokens = cut.flatten(2).transpose(1, 2) / sqrt(params["w_embed"].shape[0])
    h = tokens + params["w_positions"]
    hidden = []
    for block in range(1, net.depth + 1):
        z = norm(params, f"{block}.attention", nn.LayerNorm(width), h)
        parts = linear(params, f"w{block}.attention", z).chunk(3, -1)
        queries, keys, values = (part.unflatten(2, (-1, head)).transpose(1, 2) for part in parts)
        # The fused kernel has no second derivative.
        with sdpa_kernel(SDPBackend.MATH):
            mixed = F.scaled_dot_product_attention(queries, keys, values, scale=1 / head)
        h = h + linear(params, f"w{block}.mix", mixed.transpose(1, 2).flatten(2))
        z = norm(params, f"{block}.up", nn.LayerNorm(width), h)
        h = h + linear(params, f"w{block}.down", nn.GELU()(linear(params, f"w{block}.up", z)))
        hidden.append(h.mean(1))
    hidden[-1] = norm(params, "_last", nn.LayerNorm(width), h).mean(1)
    return hidden, linear(params, "w_readout", hidden[-1], power=1)
