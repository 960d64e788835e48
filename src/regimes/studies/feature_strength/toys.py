"""Small models with all exponents of the study, simulated on whole grids of feature strengths.

One weight, f = (w^L - 1) / gamma with w = 1 at step 0 (section 2.2); two weights, f = u v / gamma
with u = 1, v = 0 at step 0 (2.3); decoupled modes of the one-weight model (6.2). The target is
f = 1 for both losses; losses are in excess of their minimum. Sections refer to the specification
cited in docs/studies/feature_strength.md.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

Array = np.ndarray
LARGE = 1e6  # a weight beyond it counts as diverged; no run comes back from there
DROP_EVERY = 50  # steps after which cells that diverged or stand still leave the simulation

# Cross-entropy of a label that is 1 with probability P1: the minimum lies at f = 1 (2.2).
P0 = 1 / (1 + math.e)
P1 = 1 - P0
XENT_MINIMUM = math.log1p(math.exp(-1.0)) + P0


def mse(f: Array) -> tuple[Array, Array]:
    """Squared loss (f - 1)^2 / 2 and its derivative, any shape."""
    error = f - 1
    return 0.5 * error * error, error


def cross_entropy(f: Array) -> tuple[Array, Array]:
    """Cross-entropy in excess of its minimum, and its derivative, any shape; does not overflow."""
    # p1 log(1 + e^-f) + p0 log(1 + e^f) = log(1 + e^-f) + p0 f
    small = np.exp(-np.abs(f))
    excess = np.log1p(small) + np.maximum(-f, 0) + P0 * f - XENT_MINIMUM
    sigmoid = np.where(f >= 0, 1.0, small) / (1 + small)
    # Rounding makes the difference slightly negative near the minimum.
    return np.maximum(excess, 0), sigmoid - P1


LOSSES: dict[str, Callable[[Array], tuple[Array, Array]]] = {
    "mse": mse,
    "cross_entropy": cross_entropy,
}


# Second derivative of each loss at its minimum f = 1.
LOSS_CURVATURE = {"mse": 1.0, "cross_entropy": P0 * P1}


def initial_loss(loss: str) -> float:
    """Excess loss at f = 0, where every model starts."""
    return float(LOSSES[loss](np.array(0.0))[0])


def one_weight_curvature(gamma: Array | float, depth: int, loss: str) -> Array | float:
    """Curvature d2l/dw2 at the minimiser w = (1 + gamma)^(1/L) (section 2.2)."""
    return LOSS_CURVATURE[loss] * depth**2 * (1 + gamma) ** (2 - 2 / depth) / gamma**2


def pair_threshold(gamma: Array | float, loss: str) -> Array | float:
    """Learning rate above which the two-weight model leaves its start (section 2.3)."""
    return 2 * gamma**2 / LOSS_CURVATURE[loss]


def one_weight_output(displacement: Array, gamma: Array, depth: int) -> tuple[Array, Array]:
    """Output f and w^(L-1) of the one-weight model at w = 1 + displacement.

    The centred form w^L - 1 = (w - 1)(1 + w + ... + w^(L-1)) keeps its relative precision where w
    has moved little, at small gamma.
    """
    w = 1 + displacement
    power, total = np.ones_like(w), np.ones_like(w)
    for _ in range(depth - 1):
        power = power * w
        total = total + power
    return displacement * total / gamma, power


@dataclass(frozen=True)
class Outcome:
    """End of a run in every cell of a grid; NaN where it diverged.

    Attributes
    ----------
    final_loss
        Excess loss after the last step.
    late_loss
        Its mean over the last tenth of the steps (at least one).
    mean_loss
        Its mean over all steps, the state before the first left out.
    peak_loss
        Its maximum, the state before the first step included.
    weight
        The weight after the last step.
    """

    final_loss: Array
    late_loss: Array
    mean_loss: Array
    peak_loss: Array
    weight: Array


def one_weight(
    gamma: Array, eta: Array, depth: int, loss: str, steps: int, sign: bool = False
) -> Outcome:
    """Gradient descent or SignSGD on the one-weight model in all cells at once.

    Parameters
    ----------
    gamma, eta
        Feature strengths and learning rates, broadcast against each other.
    depth
        Power L >= 2 of the weight.
    loss
        Name in `LOSSES`.
    steps
        Number of updates T >= 1.
    sign
        Update by ``eta * sign(gradient)`` (section 2.4).
    """
    gamma, eta = np.broadcast_arrays(*(np.asarray(a, dtype=float) for a in (gamma, eta)))
    shape = gamma.shape
    start = initial_loss(loss)
    ends = {name: np.full(gamma.size, np.nan) for name in Outcome.__dataclass_fields__}
    late_from = steps - max(steps // 10, 1)
    value_and_slope = LOSSES[loss]

    # State of the cells that still move: `cell` is their place in the flattened grid.
    cell = np.arange(gamma.size)
    gamma, eta = gamma.ravel(), eta.ravel()
    moved, power = np.zeros(cell.size), np.ones(cell.size)
    slope = np.full(cell.size, value_and_slope(np.array(0.0))[1])
    excess, peak = np.full(cell.size, start), np.full(cell.size, start)
    total, late = np.zeros(cell.size), np.zeros(cell.size)

    with np.errstate(over="ignore", invalid="ignore"):
        for step in range(1, steps + 1):
            gradient = slope * power
            update = eta * np.sign(gradient) if sign else eta * (depth / gamma) * gradient
            before, moved = moved, moved - update
            moved = np.where(np.abs(moved) <= LARGE, moved, np.nan)
            f, power = one_weight_output(moved, gamma, depth)
            excess, slope = value_and_slope(f)
            peak = np.maximum(peak, excess)  # NaN once diverged
            total += excess
            if step > late_from:
                late += excess
            if step % DROP_EVERY and step < steps:
                continue
            # A step that changes nothing repeats for ever: its loss counts for those to come.
            still = (moved == before) | (step == steps)
            if still.any():
                left = steps - step
                left_late = min(left, steps - late_from)
                done = cell[still]
                ends["final_loss"][done] = excess[still]
                ends["mean_loss"][done] = (total + left * excess)[still] / steps
                ends["late_loss"][done] = (late + left_late * excess)[still] / (steps - late_from)
                ends["peak_loss"][done] = peak[still]
                ends["weight"][done] = 1 + moved[still]
            stays = ~still & np.isfinite(moved)
            cell, gamma, eta, moved, power, slope, peak, total, late = (
                a[stays] for a in (cell, gamma, eta, moved, power, slope, peak, total, late)
            )
    return Outcome(**{name: values.reshape(shape) for name, values in ends.items()})


# --- Two weights ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Pair:
    """Two-weight models, one per cell: weights, and loss and its slope at their output."""

    u: Array
    v: Array
    excess: Array
    slope: Array


def pair_at(u: Array, v: Array, gamma: Array, loss: str) -> Pair:
    """Two-weight models at given weights; NaN where a weight is beyond `LARGE`."""
    inside = (np.abs(u) <= LARGE) & (np.abs(v) <= LARGE)
    u, v = np.where(inside, u, np.nan), np.where(inside, v, np.nan)
    return Pair(u, v, *LOSSES[loss](u * v / gamma))


def pair_step(pair: Pair, gamma: Array, eta: Array, loss: str) -> Pair:
    """One step of gradient descent on f = u v / gamma."""
    rate = eta * pair.slope / gamma
    return pair_at(pair.u - rate * pair.v, pair.v - rate * pair.u, gamma, loss)


def pair_start(shape: tuple[int, ...], gamma: Array, loss: str) -> Pair:
    """Two-weight models at u = 1, v = 0."""
    return pair_at(np.ones(shape), np.zeros(shape), gamma, loss)


def tail_deviation(before: Pair, after: Pair, gamma: Array, eta: Array) -> Array:
    """Relative deviation of one step from ``u^2 - v^2 -> (u^2 - v^2) (1 - (eta l'/gamma)^2)``.

    An identity (section 2.3). NaN where u^2 - v^2 is below 1e-3, its start being 1, before or
    after the step: there the quotient is made of rounding errors.
    """
    first, second = ((p.u - p.v) * (p.u + p.v) for p in (before, after))
    ratio = 1 - (eta * before.slope / gamma) ** 2
    known = (np.abs(first) > 1e-3) & (np.abs(second) > 1e-3)
    return np.where(known, np.abs(second / first / ratio - 1), np.nan)


def two_weights(gamma: Array, eta: Array, loss: str, steps: int) -> dict[str, Array]:
    """Gradient descent on the two-weight model in all cells at once.

    Parameters
    ----------
    gamma, eta
        Broadcast against each other.
    loss
        Name in `LOSSES`.
    steps
        Number of updates T >= 1.

    Returns
    -------
    dict
        ``final_loss`` and ``peak_loss`` (excess, NaN where diverged) and ``tail_deviation``, the
        largest over the steps of the function of that name, in the shape of the grid.
    """
    gamma, eta = np.broadcast_arrays(*(np.asarray(a, dtype=float) for a in (gamma, eta)))
    pair = pair_start(gamma.shape, gamma, loss)
    peak, deviation = pair.excess, np.zeros(gamma.shape)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        for _ in range(steps):
            before, pair = pair, pair_step(pair, gamma, eta, loss)
            peak = np.maximum(peak, pair.excess)
            deviation = np.fmax(deviation, tail_deviation(before, pair, gamma, eta))
    return {"final_loss": pair.excess, "peak_loss": peak, "tail_deviation": deviation}


def pair_path(gamma: float, eta: Array, loss: str, steps: int) -> tuple[Array, Array]:
    """Excess loss and u^2 + v^2 of two-weight models at every step.

    Parameters
    ----------
    gamma
        Feature strength.
    eta
        Learning rates, shape (cell,).

    Returns
    -------
    excess, square : ndarray (cell, steps + 1)
        NaN once diverged.
    """
    eta, gamma = np.asarray(eta, dtype=float), np.asarray(gamma, dtype=float)
    pair = pair_start(eta.shape, gamma, loss)
    excess, square = (np.empty((eta.size, steps + 1)) for _ in range(2))
    with np.errstate(over="ignore", invalid="ignore"):
        for step in range(steps + 1):
            if step:
                pair = pair_step(pair, gamma, eta, loss)
            excess[:, step] = pair.excess
            square[:, step] = pair.u**2 + pair.v**2
    return excess, square


def catapult_steps(gamma: float, eta: Array, loss: str, most: int) -> Array:
    """Steps that a catapult of the two-weight model takes.

    The first step at which a minimiser with the present u^2 + v^2 would be stable, that is
    ``eta * l''(1) * (u^2 + v^2) / gamma^2 < 2`` (section 2.3).

    Parameters
    ----------
    gamma
        Feature strength.
    eta
        Learning rates, shape (cell,).
    loss
        Name in `LOSSES`.
    most
        Number of steps after which a cell is given up.

    Returns
    -------
    ndarray (cell,)
        NaN where the run diverged or was given up.
    """
    eta, gamma = np.asarray(eta, dtype=float).ravel(), np.asarray(gamma, dtype=float)
    threshold = pair_threshold(gamma, loss)  # of eta * (u^2 + v^2)
    found, cell = np.full(eta.size, np.nan), np.arange(eta.size)
    pair = pair_start(eta.shape, gamma, loss)
    with np.errstate(over="ignore", invalid="ignore"):
        for step in range(most + 1):
            if step:
                pair = pair_step(pair, gamma, eta, loss)
            square = pair.u**2 + pair.v**2
            stable = eta * square < threshold
            over = stable | np.isnan(square)
            if over.any():
                found[cell[stable]] = step
                cell, eta = cell[~over], eta[~over]
                pair = Pair(*(a[~over] for a in (pair.u, pair.v, pair.excess, pair.slope)))
            if not cell.size:
                break
    return found


# --- Modes learned one after the other -----------------------------------------------------------


def modes(gamma: float, eta: float, depth: int, targets: Array, steps: int) -> Array:
    """Outputs of decoupled one-weight models with squared loss and several targets.

    Parameters
    ----------
    gamma, eta
        Feature strength and learning rate, shared by the modes.
    depth
        Power L of each weight.
    targets
        Target s of each mode, loss (f - s)^2 / 2.
    steps
        Number of updates T.

    Returns
    -------
    ndarray (steps + 1, mode)
        Output f of each mode at every step.
    """
    targets = np.asarray(targets, dtype=float)
    moved = np.zeros(targets.size)
    outputs = np.zeros((steps + 1, targets.size))
    with np.errstate(over="ignore", invalid="ignore"):
        for step in range(1, steps + 1):
            f, power = one_weight_output(moved, gamma, depth)
            moved = moved - eta * depth / gamma * power * (f - targets)
            moved = np.where(np.abs(moved) <= LARGE, moved, np.nan)
            outputs[step], _ = one_weight_output(moved, gamma, depth)
    return outputs
