"""Shampoo with two factors per weight matrix, and its thin form for small batches.

    P = (G G^T + rho)^-1/4 G (G^T G + rho)^-1/4

with moving averages of both products (Gupta, Koren and Singer, arXiv 1802.09568). Kernels of
convolutions are matrices (k k C, N). The usual ridge, rho = epsilon times the largest eigenvalue,
scales with the width as the products do. The run is the first axis of every tensor.
"""

from __future__ import annotations

import torch
from torch import Tensor

from regimes import lanes
from regimes.nn.lanewise import product
from regimes.optim.decompositions import eigh, thin_svd
from regimes.optim.kronecker import FLOOR

POWER = -0.25


def factors(gradient: Tensor) -> tuple[Tensor, Tensor]:
    """Products of a gradient (R, n, m): G G^T (R, n, n) and G^T G (R, m, m)."""
    return product(gradient, gradient.mT), product(gradient.mT, gradient)


def ridge(rule: str, strength: Tensor, largest: Tensor, total: Tensor) -> Tensor:
    """Damping (R,) of a product with this largest eigenvalue and trace.

    Parameters
    ----------
    rule : str
        "largest": strength times the largest eigenvalue. "rescaled": strength times the trace.
        "absolute": the strength.
    strength, largest, total : Tensor (R,)

    Raises
    ------
    ValueError
        If the rule is none of these.
    """
    if rule == "absolute":
        return strength
    if rule not in ("largest", "rescaled"):
        raise ValueError(f"Shampoo's dampings are largest, rescaled and absolute, not {rule!r}")
    return (strength * (largest if rule == "largest" else total)).clamp_min(FLOOR**2)


def root(factor: Tensor, rule: str, strength: Tensor) -> Tensor:
    """Inverse fourth root of a damped factor: (R, n, n) dense, or (R, n) diagonal.

    NaN where a factor is not finite.
    """
    if factor.dim() == 2:
        rho = ridge(rule, strength, factor.amax(-1), factor.sum(-1))
        return _power(factor + rho.unsqueeze(-1), POWER)
    values, vectors = eigh(factor)
    values = values.clamp_min(0)  # below zero by rounding
    rho = ridge(rule, strength, values[:, -1], values.sum(-1))
    powers = _power(values + rho.unsqueeze(-1), POWER)
    return product(vectors * powers.unsqueeze(-2), vectors.mT)


def between(left: Tensor, gradient: Tensor, right: Tensor) -> Tensor:
    """Gradient (R, n, m) between roots of its sides, dense or diagonal."""
    result = left.unsqueeze(-1) * gradient if left.dim() == 2 else product(left, gradient)
    return result * right.unsqueeze(-2) if right.dim() == 2 else product(result, right)


def dense_direction(
    gradient: Tensor, left: Tensor, right: Tensor, rule: str, strength: Tensor
) -> Tensor:
    """Preconditioned gradient (R, n, m) from the factors of its sides, dense or diagonal."""
    return between(root(left, rule, strength), gradient, root(right, rule, strength))


def thin_direction(
    inputs: Tensor, slopes: Tensor, rule: str, strength: Tensor
) -> tuple[Tensor, Tensor]:
    """Preconditioned gradient of one batch, without averages, as a product of thin matrices.

    With G = H^T D / N = U S V^T of rank at most N the update is
    U S (S^2 + rho)^-1/4 (S^2 + rho)^-1/4 V^T; the singular values come from the N x N core of two
    thin QR decompositions.

    Parameters
    ----------
    inputs : Tensor (R, N, n)
        H.
    slopes : Tensor (R, N, m)
        D, derivatives of the loss of each example.
    rule, strength
        See `ridge`.

    Returns
    -------
    left, right : Tensor (R, n, r), (R, r, m)
        P = left @ right, with r at most N.
    """
    first, turn, values, back, second = _singular_system(inputs, slopes)
    squares = values.square()
    rho = ridge(rule, strength, squares.amax(-1), squares.sum(-1))
    scaled = values * _power(squares + rho.unsqueeze(-1), 2 * POWER)
    return product(first, turn) * scaled.unsqueeze(-2), product(second, back).mT


def eigenvalues(inputs: Tensor, slopes: Tensor) -> Tensor:
    """Eigenvalues (R, r) of G G^T and of G^T G that may differ from zero, G = H^T D / N.

    Arguments as of `thin_direction`.
    """
    return _singular_system(inputs, slopes)[2].square()


def _singular_system(inputs: Tensor, slopes: Tensor) -> tuple[Tensor, ...]:
    """Q_1, U, S, V, Q_2 with G = Q_1 U diag(S) V^T Q_2^T."""
    first, upper_first = _thin_qr(inputs.mT)
    second, upper_second = _thin_qr(slopes.mT)
    core = product(upper_first, upper_second.mT) / inputs.shape[1]
    turn, values, back = thin_svd(core)
    return first, turn, values, back, second


def _thin_qr(tall: Tensor) -> tuple[Tensor, Tensor]:
    """Factors Q (R, n, r) and R (R, r, k) of matrices (R, n, k), r = min(n, k), by a thin SVD.

    The polar form Q = U, R = S V^T: one guarded decomposition, no pivots.
    """
    if tall.shape[1] <= tall.shape[2]:  # nothing to save
        size = tall.shape[1]
        identity = torch.eye(size, dtype=tall.dtype, device=tall.device)
        return identity.expand(len(tall), size, size).contiguous(), tall
    left, values, right = thin_svd(tall)
    return left, values.unsqueeze(-1) * right.mT


def _power(values: Tensor, power: float) -> Tensor:
    """Powers of values (R, n), whose bits do not depend on the lane."""
    return lanes.spaced(values).pow(power)
