"""Observations of networks in training: test performance, kernels, curvature, outputs.

Each function returns the measure of an `regimes.ensemble.engine.Observation` for the runs of one
program. All look at fixed held-out points and at centred outputs
``f = (o(x; theta) - o(x; theta_0)) / gamma``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch.func import vmap

from regimes.ensemble.engine import Runs, State
from regimes.ensemble.losses import Loss, accuracy
from regimes.ensemble.networks import Apply, Network, Parameters, centred_objective, stacked
from regimes.observe import curvature, kernels

Measure = Callable[[State], dict[str, torch.Tensor]]
Features = Callable[[Parameters, torch.Tensor], tuple[list[torch.Tensor], torch.Tensor]]

POINTS_AT_ONCE = 500  # per forward pass, so that activations stay small


@dataclass(frozen=True)
class Points:
    """Fixed points and what the frozen networks answer there.

    Attributes
    ----------
    network : Network
    start : dict of Tensor (G, ...)
        Initial parameters, per group of runs.
    x : Tensor (n, ...)
        Inputs.
    targets : Tensor (n, C)
        One-hot targets.
    """

    network: Network
    start: Parameters
    x: torch.Tensor
    targets: torch.Tensor

    @classmethod
    def of(cls, network: Network, runs: Runs, x: torch.Tensor, targets: torch.Tensor) -> Points:
        """Fixed points of the runs of a program."""
        return cls(network, network.prepare(runs.start), x, targets)

    def first(self, count: int) -> Points:
        """The first ``count`` of the points."""
        # Evaluated anew: with batch norm an output depends on the samples beside it.
        return Points(self.network, self.start, self.x[:count], self.targets[:count])

    @cached_property
    def frozen(self) -> torch.Tensor:
        """Raw outputs (G, n, C) of the initial networks, in the parts of `outputs`."""
        return _raw(self.network, self.start, self.x)

    @cached_property
    def frozen_together(self) -> torch.Tensor:
        """Raw outputs (G, n, C) of the initial networks, all points in one batch."""
        return self.network.outputs(self.start, self.x.expand(len(self.frozen), *self.x.shape))

    def outputs(self, state: State) -> torch.Tensor:
        """Centred outputs f (R, n, C)."""
        raw = _raw(self.network, state.params, self.x)
        return (raw - self.frozen.index_select(0, state.group)) / state.gamma.view(-1, 1, 1)


def _raw(network: Network, params: Parameters, x: torch.Tensor) -> torch.Tensor:
    count = len(next(iter(params.values())))
    parts = x.split(POINTS_AT_ONCE)
    return torch.cat(
        [network.outputs(params, part.expand(count, *part.shape)) for part in parts], 1
    )


def performance(points: Points, loss: Loss) -> Measure:
    """Test loss and accuracy, ``test_loss`` and ``test_accuracy`` (R,)."""

    def measure(state: State) -> dict[str, torch.Tensor]:
        outputs = points.outputs(state)
        targets = points.targets.expand_as(outputs)
        value, _ = loss.batched(outputs, targets)
        return {"test_loss": value, "test_accuracy": accuracy(outputs, targets)}

    return measure


def mean_output(points: Points) -> Measure:
    """Mean of |f| over points and classes, ``mean_output`` (R,)."""
    return lambda state: {"mean_output": kernels.mean_absolute(points.outputs(state))}


def layers(
    points: Points, features: Features, weights: Sequence[Sequence[str]], runs: Runs
) -> Measure:
    """Kernels of hidden layers: alignment with labels, with themselves at step 0, and movement.

    Parameters
    ----------
    points
        Fixed points.
    features
        Hidden representations and raw outputs of one network: (params, x) to (list, Tensor).
    weights
        Names of the weights of each hidden layer.
    runs
        Of the program.

    Returns
    -------
    callable
        Measures ``cka_label``, ``cka_initial`` and ``relative_move``, each (R, layers).
    """
    hidden = _hidden(features, points.x)
    initial = hidden(runs.start)

    def measure(state: State) -> dict[str, torch.Tensor]:
        now = hidden(state.params)
        start = [each.index_select(0, state.group) for each in initial]
        before = stacked(runs.start, state.group)
        moves = [kernels.relative_move(state.params, before, names) for names in weights]
        return {
            "cka_label": _columns(kernels.feature_alignment(h, points.targets) for h in now),
            "cka_initial": _columns(
                kernels.feature_alignment(h, h0) for h, h0 in zip(now, start, strict=True)
            ),
            # Layers with several weights: root mean square of their relative moves.
            "relative_move": _columns(move.square().mean(1).sqrt() for move in moves),
        }

    return measure


def last_kernel(points: Points, features: Features) -> Measure:
    """Kernel of the last hidden layer over its size, ``last_kernel`` (R, n, n)."""
    hidden = _hidden(features, points.x)

    def measure(state: State) -> dict[str, torch.Tensor]:
        last = hidden(state.params)[-1]
        return {"last_kernel": kernels.layer_kernel(last) / last[0, 0].numel()}

    return measure


def outputs(points: Points) -> Measure:
    """Outputs f, ``outputs`` (R, n, C)."""
    return lambda state: {"outputs": points.outputs(state)}


def tangent(points: Points, apply: Apply) -> Measure:
    """Alignment of the tangent kernel with the labels, ``tangent_cka_label`` (R,)."""
    labels = points.targets @ points.targets.T

    def measure(state: State) -> dict[str, torch.Tensor]:
        # The factor 1/gamma of the outputs does not change the alignment.
        kernel = kernels.tangent_kernel(apply, state.params, points.x)
        return {"tangent_cka_label": kernels.centred_alignment(kernel, labels)}

    return measure


def extremes(
    points: Points,
    apply: Apply,
    loss: Loss,
    *,
    largest_iterations: int = 120,
    at_start: float = 1e-3,
    later: float = 1e-2,
) -> Measure:
    """Extreme Hessian eigenvalues of the loss on fixed points, raw parameters.

    The smallest one is looked for at step 0 only, where it may have the larger magnitude; later
    it is what the search for the largest one found on its way, a bound from above.

    Parameters
    ----------
    points : Points
    apply : callable
        Raw outputs of one network.
    loss : Loss
    largest_iterations : int
        Bound on the Hessian products.
    at_start, later : float
        Residual, relative to the largest magnitude, at which an eigenvalue counts as found, at
        step 0 and afterwards. The error of the eigenvalue is of the order of its square over the
        gap to the next one.

    Returns
    -------
    callable
        Measures ``sharpness``, ``lowest_eigenvalue``, ``sharpness_residual``, each (R,).
    """

    def measure(state: State) -> dict[str, torch.Tensor]:
        found = curvature.lanczos(
            *_hessian(points, apply, loss, state),
            1,
            largest_iterations=largest_iterations,
            tolerance=later if state.step else at_start,
            check_every=5,
            lowest=state.step == 0,
        )
        return {
            "sharpness": found.values[:, 0],
            "lowest_eigenvalue": found.lowest,
            "sharpness_residual": found.residuals[:, 0],
        }

    return measure


def spectrum(points: Points, apply: Apply, loss: Loss, size: int, tolerance: float) -> Measure:
    """Top ``size`` Hessian eigenvalues, ``spectrum`` (R, size); see `extremes`.

    Eigenvalues whose residual stays above the tolerance after ``8 * size + 40`` products are NaN.
    """

    def measure(state: State) -> dict[str, torch.Tensor]:
        found = curvature.lanczos(
            *_hessian(points, apply, loss, state),
            size,
            largest_iterations=8 * size + 40,
            tolerance=tolerance,
            check_every=20,
            lowest=False,
        )
        return {"spectrum": found.values.masked_fill(found.residuals > tolerance, torch.nan)}

    return measure


def _hessian(points: Points, apply: Apply, loss: Loss, state: State) -> tuple:
    """Hessian products at a state, and start vectors for Lanczos iterations."""
    objective = centred_objective(apply, loss)

    def of_one_run(params, frozen, gamma):
        return objective(params, points.x, points.targets, frozen, gamma)

    frozen = points.frozen_together.index_select(0, state.group)
    product = curvature.hessian_vector_products(of_one_run, state.params, (frozen, state.gamma))
    size = sum(value[0].numel() for value in state.params.values())
    start = curvature.start_vectors(
        len(state.lanes), size, dtype=points.x.dtype, device=points.x.device
    )
    return product, start


def _hidden(features: Features, x: torch.Tensor) -> Callable[[Parameters], list[torch.Tensor]]:
    batched = vmap(lambda params: features(params, x)[0])
    return lambda params: batched(params)


def _columns(values) -> torch.Tensor:
    return torch.stack(list(values), 1)
