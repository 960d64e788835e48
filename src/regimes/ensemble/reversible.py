"""Reversible networks in the ensemble engine: gradients for first-order rules, or Gauss-Newton.

Parameters that the engine hands over hold the trained ones and the frozen expansions and read-out;
what comes back belongs to the trained ones only.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from regimes.ensemble.losses import Loss
from regimes.ensemble.networks import Parameters
from regimes.nn.revmlp import RevMLP
from regimes.optim.gauss_newton import Diagnostics, direction, expansion_factors
from regimes.optim.noise import NOISE_SEED, Generators
from regimes.optim.pseudo_inverse import Rule


class ReversibleNetwork:
    """A RevMLP differentiated by autograd: see `regimes.ensemble.networks.Network`.

    Parameters
    ----------
    model : RevMLP
    loss : Loss
        Entry of `regimes.ensemble.losses.LOSSES`.
    """

    capturable = True

    def __init__(self, model: RevMLP, loss: Loss) -> None:
        self.model, self.loss = model, loss

    def prepare(self, params: Parameters) -> Parameters:
        """Compact copies: see `Network`."""
        return {name: value.clone() for name, value in params.items()}

    def release(self) -> None:
        """Nothing is kept: see `Network`."""

    def outputs(self, params: Parameters, x: torch.Tensor) -> torch.Tensor:
        """Logits (R, B, k): see `Network`."""
        return self.model.apply(params, x)

    def loss_and_gradient(self, params, x, targets, reference, gamma):
        """Losses and gradients: see `Network`."""
        leaves = {name: params[name].detach().requires_grad_() for name in self.model.shapes()}
        with torch.enable_grad():
            raw = self.model.apply({**params, **leaves}, x)
        scale = gamma.view(-1, 1, 1)
        losses, slope = self.loss.batched((raw.detach() - reference) / scale, targets)
        gradient = torch.autograd.grad(raw, list(leaves.values()), slope / scale)
        return losses, dict(zip(leaves, gradient, strict=True))


class GaussNewtonNetwork(ReversibleNetwork):
    """A RevMLP whose "gradient" is the exact Gauss-Newton direction of the batch.

    Plain Gauss-Newton: the Hessian of the loss with respect to the outputs is replaced by one, and
    the error of a sample is the gradient of the SUMMED loss (no division by the batch size).
    Outputs must be the logits themselves, neither centred nor scaled.

    Parameters
    ----------
    model, loss
        See `ReversibleNetwork`.
    rule : Rule
        Of the pseudo-inverse.
    cross_term : bool
        See `regimes.optim.gauss_newton.direction`.
    """

    capturable = False  # eigendecompositions wait for the device

    def __init__(self, model: RevMLP, loss: Loss, rule: Rule, cross_term: bool = True) -> None:
        super().__init__(model, loss)
        self.rule, self.cross_term = rule, cross_term
        self._factors: dict[str, torch.Tensor] | None = None
        self._generators = Generators()

    def release(self) -> None:
        """Forget what belongs to the runs of a program: see `Network`."""
        self._factors = None

    def state(self) -> dict[str, Any]:
        """Random numbers so far, for a checkpoint; factors are computed anew."""
        return {"generators": self._generators.state()}

    def resume(self, state: Mapping[str, Any]) -> None:
        """Go on from there."""
        self._generators.resume(state["generators"])

    def loss_and_gradient(self, params, x, targets, reference, gamma):
        """Losses and Gauss-Newton directions: see `Network`."""
        if self._factors is None:
            self._factors = expansion_factors(self.model, params)
        generators = ()
        if self.rule.mode == "noise":
            generators = self._generators.of(params[NOISE_SEED])
        losses, update, _ = self._solved(params, x, targets, self._factors, generators)
        return losses, update

    def diagnostics(self, params: Parameters, x: torch.Tensor, targets: torch.Tensor):
        """Diagnostics of an update on a batch (R, B, ...), which is not made."""
        generators = ()
        if self.rule.mode == "noise":  # numbers of their own: looking must not change the training
            generators = Generators().of(params[NOISE_SEED] ^ 1)
        factors = expansion_factors(self.model, params)
        return self._solved(params, x, targets, factors, generators)[2]

    def _solved(
        self, params, x, targets, factors, generators
    ) -> tuple[torch.Tensor, Parameters, Diagnostics]:
        passed = self.model.run(params, x)
        logits = self.model.readout(params, passed.output)
        losses, slope = self.loss.batched(logits, targets)
        error = self.model.lift(params, x.shape[1] * slope)
        update, diagnostics = direction(
            self.model,
            params,
            passed,
            error,
            self.rule,
            cross_term=self.cross_term,
            factors=factors,
            generators=generators,
        )
        return losses, update, diagnostics
