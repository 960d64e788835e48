"""Taped models in the ensemble engine: gradients, and what second-order rules need beside them.

The "gradient" that the engine hands from network to update rule holds the gradient of every
parameter under its name and, per layer, statistics of the batch under "name/kind":

- of a linear layer "inputs" H (R, N, n), "slopes" D (R, N, m), and with a Fisher "signals" S
  (R, N K, m) and where known their "coefficients" (R, N, K) in D;
- of a convolution or an embedding the factors "A" and "B" themselves.

A convolution counts an example's positions as one sum in A and as a mean in B, so that neither
depends on the batch size (Grosse and Martens, arXiv 1602.01407, up to constants that the learning
rate and the damping absorb).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from regimes.ensemble.losses import LOSSES
from regimes.ensemble.networks import Parameters
from regimes.nn.convolution import patch_moment
from regimes.nn.taped.layers import Layer, Recorded, TapedModel, weight_gradient
from regimes.optim import fisher
from regimes.optim.kronecker import second_moment
from regimes.optim.noise import NOISE_SEED, Generators


def statistic(name: str, kind: str) -> str:
    """Key of a layer's statistic among the gradients."""
    return f"{name}/{kind}"


class RecordedNetwork:
    """A taped model in the engine, its outputs neither centred nor scaled: see `Network`.

    Parameters
    ----------
    model : TapedModel
    loss : str
        Entry of `regimes.ensemble.losses.LOSSES`.
    kind : str or None
        Fisher, an entry of `regimes.optim.fisher.KINDS`; None: no signals.
    samples : bool
        Whether inputs and slopes of linear layers are handed over.
    interval : int
        Signals come with the first of so many steps only: what an update rule keeps in between.
    """

    capturable = False  # random numbers and decompositions of the update wait for the device

    def __init__(
        self,
        model: TapedModel,
        loss: str,
        kind: str | None = None,
        samples: bool = False,
        interval: int = 1,
    ) -> None:
        if kind is not None and kind not in fisher.KINDS:
            raise ValueError(f"the Fisher is {', '.join(fisher.KINDS)}, not {kind!r}")
        self.model, self.loss_name, self.loss = model, loss, LOSSES[loss]
        self.kind, self.samples = kind, samples or kind is not None
        self.layers = model.layers
        self._names = list(model.shapes())
        self._free = [name for name in self._names if name not in self.layers]
        self._leaves = [next(iter(self.layers)), *self._free]
        self._generators = Generators()
        self.interval, self._steps = interval, 0

    def prepare(self, params: Parameters) -> Parameters:
        """Compact copies: see `Network`."""
        return {name: value.clone() for name, value in params.items()}

    def release(self) -> None:
        """Nothing is kept: see `Network`."""

    def state(self) -> dict[str, Any]:
        """Random numbers and steps so far, for a checkpoint."""
        return {"generators": self._generators.state(), "steps": self._steps}

    def resume(self, state: Mapping[str, Any]) -> None:
        """Go on from there."""
        self._generators.resume(state["generators"])
        self._steps = state["steps"]

    def outputs(self, params: Parameters, x: Tensor) -> Tensor:
        """Outputs (R, B, C): see `Network`."""
        with torch.no_grad():
            return self.model.run(params, x)[0]

    def loss_and_gradient(self, params, x, targets, reference, gamma):
        """Losses, gradients and statistics: see `Network` and the module."""
        signals = self._steps % self.interval == 0
        self._steps += 1
        return self.with_statistics(params, x, targets, self._generators, signals)

    def with_statistics(
        self,
        params: Parameters,
        x: Tensor,
        targets: Tensor,
        generators: Generators,
        signals: bool = True,
    ) -> tuple[Tensor, Parameters]:
        """Losses (R,) and gradients with statistics; the generators serve a sampled Fisher."""
        kind = self.kind if signals else None
        # Weights are no leaves, except the first, through which the graph begins: autograd would
        # compute their gradients in every pass, asked for or not.
        leaves = {name: params[name].detach().requires_grad_() for name in self._leaves}
        with torch.enable_grad():
            raw, tape = self.model.run({**params, **leaves}, x)
        losses, slope = self.loss.batched(raw.detach(), targets)
        recorded = [tape[name].outputs for name in self.layers]
        free = [leaves[name] for name in self._free]
        found = torch.autograd.grad(raw, [*free, *recorded], slope, retain_graph=kind is not None)
        gradient = dict(zip(self._free, found, strict=False))
        slopes = dict(zip(self.layers, found[len(free) :], strict=True))
        tape = {name: Recorded(*(t.detach() for t in tape[name])) for name in self.layers}
        for name, layer in self.layers.items():
            gradient[name] = weight_gradient(layer, tape[name].inputs, slopes[name])
        gradient = {name: gradient[name] for name in self._names}
        if not self.samples:
            return losses, gradient
        samples = x.shape[1]
        # Of the loss of one example: the batch's loss is a mean.
        slopes = {name: samples * each for name, each in slopes.items()}
        passed, weights = {}, None
        if kind is not None:
            passed, weights = self._signals(params, raw, targets, recorded, slopes, generators)
        for name, layer in self.layers.items():
            gradient |= {
                statistic(name, kind): value
                for kind, value in _statistics(
                    layer, tape[name], slopes[name], passed.get(name), weights
                ).items()
            }
        return losses, gradient

    def _signals(
        self,
        params: Parameters,
        raw: Tensor,
        targets: Tensor,
        recorded: list[Tensor],
        slopes: dict[str, Tensor],
        generators: Generators,
    ) -> tuple[dict[str, list[Tensor]], Tensor | None]:
        """K signals per layer, as that layer's outputs are, and their coefficients."""
        outputs = raw.detach()
        if self.kind == "empirical":
            ones = outputs.new_ones(*outputs.shape[:2], 1)
            return {name: [slope] for name, slope in slopes.items()}, ones
        weights = None
        if self.kind == "ggn":
            columns = fisher.columns(self.loss_name, outputs)
            weights = fisher.coefficients(self.loss_name, outputs, targets)
        else:
            each = generators.of(params[NOISE_SEED])
            columns = fisher.sampled(self.loss_name, outputs, each)
        count = columns.shape[2]
        passes = [
            torch.autograd.grad(raw, recorded, columns[:, :, k], retain_graph=k + 1 < count)
            for k in range(count)
        ]
        return {name: [each[i] for each in passes] for i, name in enumerate(self.layers)}, weights


def _statistics(
    layer: Layer,
    recorded: Recorded,
    slopes: Tensor,
    signals: list[Tensor] | None,
    weights: Tensor | None,
) -> dict[str, Tensor]:
    """Statistics of one layer: see the module."""
    if layer.kind == "linear":
        found = {"inputs": recorded.inputs, "slopes": slopes}
        if signals is not None:
            # (R, N, K, m) to (R, N K, m): the signals of an example side by side.
            found["signals"] = torch.stack(signals, 2).flatten(1, 2)
        if weights is not None:
            found["coefficients"] = weights
        return found
    if signals is None:
        return {}
    if layer.kind == "convolution":
        maps = recorded.inputs
        samples = maps.shape[-1]
        moment = patch_moment(maps, layer.shape[0], stride=layer.stride, padding=layer.padding)
        rows = torch.cat([each.flatten(2) for each in signals], 2).mT  # (R, positions N K, m)
        positions = slopes[0, 0, ..., 0].numel()
        return {"A": moment / samples, "B": second_moment(rows, samples * positions)}
    words = recorded.inputs.flatten(1)
    samples, positions = recorded.inputs.shape[1:]
    counts = slopes.new_zeros(len(words), layer.fan_in)
    counts.scatter_add_(1, words, counts.new_ones(words.shape))
    rows = torch.cat([each.flatten(1, 2) for each in signals], 1)
    return {"A": counts / samples, "B": second_moment(rows, samples * positions)}
