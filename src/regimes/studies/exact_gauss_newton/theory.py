"""Closed forms of exact Gauss-Newton: function-space dynamics and sizes of networks.

Sections refer to the specification of the study; z are logits (n, K), y labels, alpha the step in
function space (the learning rate of the released code times the number of blocks).
"""

from __future__ import annotations

import numpy as np
from scipy.special import logsumexp

Array = np.ndarray


# --- Cross-entropy: gradient descent on the logits ------------------------------------------------


def softmax(logits: Array) -> Array:
    """Probabilities exp(z_k) / sum_j exp(z_j) along the last axis, shape of ``logits``."""
    logits = np.asarray(logits, dtype=float)
    return np.exp(logits - logsumexp(logits, axis=-1, keepdims=True))


def cross_entropy(logits: Array, labels: Array) -> Array:
    """Mean over samples of -ln softmax(z)_y, in nats.

    Parameters
    ----------
    logits
        (..., n, K).
    labels
        Whole numbers from 0 to K - 1, (..., n).

    Returns
    -------
    Array
        (...), NaN where a logit is NaN.
    """
    logits = np.asarray(logits, dtype=float)
    labels = _whole(labels, logits)
    chosen = np.take_along_axis(logits, labels[..., None], -1)[..., 0]
    return np.mean(logsumexp(logits, axis=-1) - chosen, axis=-1)


def function_space_recursion(
    logits: Array, labels: Array, alpha: float | Array, steps: int
) -> Array:
    """Cross-entropy under z <- z - alpha (softmax(z) - y), sample by sample (section 2.4).

    This is what every right inverse of the Jacobian does to the logits to first order in alpha,
    whatever the network: plain Gauss-Newton, with the identity for the Hessian of the loss.

    Parameters
    ----------
    logits
        Logits before the first step, (..., n, K).
    labels
        Whole numbers from 0 to K - 1, (..., n).
    alpha
        Step in function space, a number or (...).
    steps
        Number of steps.

    Returns
    -------
    Array
        Mean cross-entropy after 0, 1, ..., ``steps`` steps, (..., steps + 1).

    Raises
    ------
    ValueError
        If a label is no class.
    """
    z = np.array(logits, dtype=float)
    rate = np.broadcast_to(np.asarray(alpha, dtype=float), z.shape[:-2])[..., None, None]
    target = np.eye(z.shape[-1])[_whole(labels, z)]
    losses = [cross_entropy(z, labels)]
    for _ in range(steps):
        z -= rate * (softmax(z) - target)
        losses.append(cross_entropy(z, labels))
    return np.stack(losses, axis=-1)


def _whole(labels: Array, logits: Array) -> Array:
    """Labels as integers in the leading shape of the logits; they may be stored as floats."""
    given = np.broadcast_to(labels, logits.shape[:-1])
    whole = given.astype(int)
    if not ((whole == given) & (whole >= 0) & (whole < logits.shape[-1])).all():
        raise ValueError(f"labels must be whole numbers from 0 to {logits.shape[-1] - 1}")
    return whole


def symmetric_asymptote(alpha_time: Array, classes: int) -> Array:
    """Late cross-entropy ((K - 1)/K) / (alpha t) when the wrong classes are alike (section 2.4).

    With a margin m between the right and each wrong logit, the loss is (K-1) e^-m and m grows by
    alpha K e^-m a step, so that K e^-m = 1/(alpha t).
    """
    return (classes - 1) / classes / np.asarray(alpha_time, dtype=float)


def first_step_change(alpha: float, classes: int, rows: int, seed: int = 0) -> float:
    """Change of the cross-entropy by the first step from standard normal logits, in percent.

    Labels are independent of the logits, as at initialization (section 4, Fig. 3).

    Parameters
    ----------
    alpha
        Step in function space.
    classes
        Number K of classes.
    rows
        Samples drawn; the standard error is about 40 / sqrt(rows) percent.
    seed
        Seed of the draw.
    """
    random = np.random.default_rng(seed)
    logits = random.standard_normal((rows, classes))
    before, after = function_space_recursion(logits, random.integers(classes, size=rows), alpha, 1)
    return float(100 * (after / before - 1))


# --- Squared loss ---------------------------------------------------------------------------------


def squared_loss_flow(time: Array) -> Array:
    """Squared loss over its start under the exact flow with eps = f - y: exp(-2 t) (eq. 11)."""
    return np.exp(-2 * np.asarray(time, dtype=float))


# --- Sizes ----------------------------------------------------------------------------------------


def parameter_count(inputs: int, blocks: int, width: int | None) -> int:
    """Trainable parameters 2 L (h d' + h) of a reversible network, h = d/2 (section 2.1).

    Parameters
    ----------
    inputs
        Input dimension d, even.
    blocks
        Blocks L of two halves each.
    width
        Bottleneck width d'; None without bottleneck, where d' = h.
    """
    half = inputs // 2
    return 2 * blocks * half * ((half if width is None else width) + 1)


def linear_feature_rank(inputs: int) -> int:
    """Largest rank h + 1 of the features [x2 C, 1] of a linear block, h = d/2 (section 2.1)."""
    return inputs // 2 + 1
