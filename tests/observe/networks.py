"""Small networks and dense references shared by the tests of this folder."""

from __future__ import annotations

import torch
from torch.nn import functional

from regimes.observe.aligned import over_runs


def mlp(params, x):
    """Outputs (n, C) of one run: ReLU, pre-activations over sqrt(fan_in), read-out over fan_in."""
    depth, h = len(params) // 2, x
    for layer in range(1, depth):
        h = torch.relu((h @ params[f"w{layer}"] + params[f"b{layer}"]) / h.shape[1] ** 0.5)
    return (h @ params[f"w{depth}"] + params[f"b{depth}"]) / h.shape[1]


def draw(runs, widths, *, seed=0, same=False, dtype=torch.float64):
    """Normal parameters of the runs; ``same`` gives every run those of the first."""
    generator = torch.Generator().manual_seed(seed)
    params = {}
    for layer, (fan_in, fan_out) in enumerate(zip(widths[:-1], widths[1:], strict=True), 1):
        for name, shape in ((f"w{layer}", (fan_in, fan_out)), (f"b{layer}", (fan_out,))):
            drawn = torch.randn(1 if same else runs, *shape, generator=generator).double()
            params[name] = drawn.expand(runs, *shape).to(dtype).contiguous()
    return params


class Task:
    """Centred outputs over gamma and their loss, on points that all runs share."""

    def __init__(self, runs, widths, points, loss, *, same=False, dtype=torch.float64, seed=0):
        generator = torch.Generator().manual_seed(seed + 100)
        self.x = torch.randn(points, widths[0], generator=generator, dtype=torch.float64).to(dtype)
        self.labels = torch.randint(widths[-1], (points,), generator=generator)
        self.targets = functional.one_hot(self.labels, widths[-1]).to(dtype)
        self.kind = loss
        self.params = draw(runs, widths, seed=seed, same=same, dtype=dtype)
        initial = draw(runs, widths, seed=seed + 1, same=same, dtype=dtype)
        gamma = torch.logspace(-1, 1, runs, dtype=torch.float64).to(dtype)
        if same:
            gamma = torch.full((runs,), 0.3, dtype=dtype)
        self.extras = (gamma, over_runs(lambda p: mlp(p, self.x))(initial))

    def outputs(self, params, gamma, frozen):
        return (mlp(params, self.x) - frozen) / gamma

    def output_loss(self, outputs, *_):
        if self.kind == "mse":
            return ((outputs - self.targets) ** 2).mean()
        return functional.cross_entropy(outputs, self.labels)

    def loss(self, params, *extras):
        return self.output_loss(self.outputs(params, *extras))


def split(vector, params):
    """Parameters of one run from a flat vector (P,), independently of the package."""
    result, start = {}, 0
    for name, value in params.items():
        size = value[0].numel()
        result[name] = vector[start : start + size].reshape(value.shape[1:])
        start += size
    return result


def joined(params, run):
    """Flat vector (P,) of the parameters of one run."""
    return torch.cat([value[run].reshape(-1) for value in params.values()])
