"""Kronecker-factored preconditioners: K-FAC and FOOF, their factors and their damping.

Per layer and run, with inputs H (N, n), per-example derivatives D (N, m) of the loss with respect
to the outputs, and Fisher signals S (N K, m):

    G = H^T D / N,    A = H^T H / N,    B = S^T S / N,
    K-FAC: P = (A + rho_A)^-1 G (B + rho_B)^-1,    FOOF: P = (A + rho_A)^-1 G

(Martens and Grosse, arXiv 1503.05671; Benzing, arXiv 2201.12250). All functions take the run as
first axis. D is the derivative of the loss of an example: dividing it by N would make B too small
by N^2.

A factor is one of three things: a dense matrix (R, n, n); a diagonal (R, n), for embeddings and
sides too long to be dense; or its `Samples`, of which the solution needs only an N x N matrix:

    (V^T V + rho)^-1 V^T = V^T (V V^T + rho)^-1    (push-through).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from regimes.nn.lanewise import product
from regimes.optim.decompositions import cholesky, cholesky_solve, eigenvalues, eigh

RULES = ("rescaled", "heuristic", "largest", "absolute")
# Smallest damping: factors that vanish, as those of hidden layers below an output layer of zeros,
# would otherwise be inverted without any.
FLOOR = 1e-12
HEURISTIC_FLOOR = 1e-7  # of the dampings of Martens and Grosse, in the usual implementations


class Samples(NamedTuple):
    """A factor V^T V given by its rows V (R, k, n), already divided by the root of N."""

    rows: Tensor


Factor = Tensor | Samples


def second_moment(rows: Tensor, samples: int) -> Tensor:
    """Sum of the outer products of rows (R, k, n) over the number of samples: (R, n, n)."""
    return product(rows.mT, rows) / samples


def averaged(stored: Tensor, new: Tensor, weight: float) -> Tensor:
    """Moving average ``(1 - weight) * stored + weight * new``, in place of what is stored."""
    return stored.lerp_(new, weight)


def trace(factor: Factor) -> Tensor:
    """Traces (R,)."""
    if isinstance(factor, Samples):
        return factor.rows.square().sum(-1).sum(-1)
    if factor.dim() == 2:
        return factor.sum(-1)
    return factor.diagonal(dim1=1, dim2=2).sum(-1)


def size(factor: Factor) -> int:
    """Length of the side that a factor belongs to."""
    return (factor.rows if isinstance(factor, Samples) else factor).shape[-1]


def largest_eigenvalue(factor: Factor) -> Tensor:
    """Largest eigenvalues (R,), NaN where a factor is not finite."""
    if isinstance(factor, Samples):
        rows = factor.rows
        short = product(rows, rows.mT) if rows.shape[1] < rows.shape[2] else product(rows.mT, rows)
        return eigenvalues(short)[:, -1]
    if factor.dim() == 2:
        return factor.amax(-1)
    return eigenvalues(factor)[:, -1]


class Damping(NamedTuple):
    """Dampings (R,) of the two factors of a layer."""

    inputs: Tensor
    outputs: Tensor


def damping(rule: str, strength: Tensor, inputs: Factor, outputs: Factor | None) -> Damping:
    """Dampings of the factors A and B of a layer.

    Parameters
    ----------
    rule : str
        "rescaled": strength times the trace of each factor, right at every width (paper, section
        on damping). "largest": strength times the largest eigenvalue. "heuristic": strength split
        between the factors by the ratio of their mean eigenvalues (Martens and Grosse, section
        6.3), right in hidden layers only. "absolute": the strength itself.
    strength : Tensor (R,)
    inputs, outputs : Factor
        A and B; None for B where there is none (FOOF).

    Returns
    -------
    Damping
        That of a missing factor is zero.

    Raises
    ------
    ValueError
        If the rule is unknown, or splits a damping between factors of which one is missing.
    """
    if rule not in RULES:
        raise ValueError(f"dampings are {', '.join(RULES)}, not {rule!r}")
    if rule == "heuristic":
        if outputs is None:
            raise ValueError("the heuristic damping needs both factors")
        return _heuristic(strength, inputs, outputs)
    measure = {"rescaled": trace, "largest": largest_eigenvalue}.get(rule)

    def of(factor: Factor | None) -> Tensor:
        if factor is None:
            return torch.zeros_like(strength)
        return strength if measure is None else (strength * measure(factor)).clamp_min(FLOOR)

    return Damping(of(inputs), of(outputs))


def _heuristic(strength: Tensor, inputs: Factor, outputs: Factor) -> Damping:
    """Split by pi^2 = (tr A / dim A) / (tr B / dim B); both alike where pi is zero or infinite."""
    pi = ((trace(inputs) / size(inputs)) / (trace(outputs) / size(outputs))).sqrt()
    usable = (pi > 0) & pi.isfinite()
    root = strength.sqrt()
    shares = ((root * pi).clamp_min(HEURISTIC_FLOOR), (root / pi).clamp_min(HEURISTIC_FLOOR))
    return Damping(*(torch.where(usable, share, strength) for share in shares))


class Prepared(NamedTuple):
    """A damped factor that is ready to be divided by.

    Attributes
    ----------
    lower : Tensor
        Cholesky factors of the damped dense factor, or of the damped N x N matrix; damped
        diagonals (R, n).
    rows : Tensor or None
        Rows V of a factor given by samples.
    damping : Tensor (R,)
    """

    lower: Tensor
    rows: Tensor | None
    damping: Tensor


def prepared(factor: Factor, rho: Tensor) -> Prepared:
    """Damped factor, ready to be divided by; dampings (R,).

    A factor whose damped matrix is not positive definite in its precision is replaced by its
    eigenvalues, those below zero set to zero; a factor that is not finite gives NaN.
    """
    if isinstance(factor, Samples):
        rows = factor.rows
        return Prepared(_lower(product(rows, rows.mT), rho), rows, rho)
    if factor.dim() == 2:
        return Prepared(factor + rho.unsqueeze(-1), None, rho)
    return Prepared(_lower(factor, rho), None, rho)


def _lower(matrix: Tensor, rho: Tensor) -> Tensor:
    """Cholesky factors of ``matrix + rho``."""
    lower, exists = cholesky(matrix, rho)
    if bool(exists.all()):
        return lower
    finite = matrix.isfinite().all(-1).all(-1) & rho.isfinite()
    repaired = (~exists & finite).nonzero().flatten()
    if len(repaired):
        values, vectors = eigh(matrix[repaired])
        # Rounding errors of the eigenvectors must not make the sum indefinite again.
        least = torch.finfo(values.dtype).eps * values.shape[-1] * values.amax(-1)
        half = vectors * values.clamp_min(0).sqrt().unsqueeze(-2)
        shift = torch.maximum(rho[repaired], least)
        lower[repaired] = cholesky(product(half, half.mT), shift)[0]
    return torch.where(finite[:, None, None], lower, torch.nan)


def divided(factor: Prepared, right: Tensor) -> Tensor:
    """Solution (R, n, k) of ``(factor + rho) X = right``, right (R, n, k).

    For a factor given by samples by the Woodbury identity, which loses digits where the damping is
    far below the factor; `pushed_through` does not, where it applies.
    """
    if factor.rows is not None:
        rows = factor.rows
        inside = cholesky_solve(factor.lower, product(rows, right))
        return (right - product(rows.mT, inside)) / factor.damping.view(-1, 1, 1)
    if factor.lower.dim() == 2:
        return right / factor.lower.unsqueeze(-1)
    return cholesky_solve(factor.lower, right)


def pushed_through(factor: Prepared) -> Tensor:
    """Solution (R, n, k) of ``(V^T V + rho) X = V^T`` for a factor given by its rows (R, k, n)."""
    return cholesky_solve(factor.lower, factor.rows).mT


def pushed_through_combined(factor: Prepared, coefficients: Tensor) -> Tensor:
    """Sums of rows of ``V (V^T V + rho)^-1`` with coefficients (R, N, K): (R, N, m).

    Of the rows V (R, N K, m) of a factor, K for each of N examples. Solves for N columns, not m.
    """
    samples, columns = coefficients.shape[1:]
    # Column i of the right side holds the coefficients of example i, at its rows.
    spread = torch.diag_embed(coefficients.mT).movedim(1, 2).reshape(-1, samples * columns, samples)
    return product(cholesky_solve(factor.lower, spread).mT, factor.rows)


def dense_direction(
    gradient: Tensor,
    inputs: Tensor,
    outputs: Tensor | None,
    rho_inputs: Tensor,
    rho_outputs: Tensor,
) -> Tensor:
    """Preconditioned gradient (A + rho_A)^-1 G (B + rho_B)^-1, (R, n, m).

    Parameters
    ----------
    gradient : Tensor (R, n, m)
    inputs : Tensor (R, n, n) or (R, n)
        A.
    outputs : Tensor (R, m, m) or (R, m), or None
        B; None for FOOF.
    rho_inputs, rho_outputs : Tensor (R,)
    """
    left = divided(prepared(inputs, rho_inputs), gradient)
    if outputs is None:
        return left
    return divided(prepared(outputs, rho_outputs), left.mT).mT


def sample_direction(
    inputs: Tensor,
    slopes: Tensor,
    signals: Tensor | None,
    rho_inputs: Tensor,
    rho_outputs: Tensor,
    coefficients: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Preconditioned gradient of one batch as a product of thin matrices, without an n x n matrix.

    Parameters
    ----------
    inputs : Tensor (R, N, n)
        H.
    slopes : Tensor (R, N, m)
        D.
    signals : Tensor (R, N K, m) or None
        S, the K signals of an example one after the other; None for FOOF.
    rho_inputs, rho_outputs : Tensor (R,)
    coefficients : Tensor (R, N, K), optional
        Of the signals in the derivatives, ``D_i = sum_k c_ik S_ik`` (exact Gauss-Newton or
        empirical Fisher): then both sides are pushed through.

    Returns
    -------
    left, right : Tensor (R, n, N), (R, N, m)
        P = left @ right.
    """
    root = inputs.shape[1] ** 0.5
    outputs = None
    if signals is not None:
        outputs = prepared(Samples(signals / root), rho_outputs)
    left = prepared(Samples(inputs / root), rho_inputs)
    return thin_direction(inputs, slopes, left, outputs, coefficients)


def thin_direction(
    inputs: Tensor,
    slopes: Tensor,
    factor: Prepared,
    other: Prepared | None,
    coefficients: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Preconditioned gradient of one batch as a product of thin matrices, from damped factors.

    The gradient H^T D / N has the rank of the batch: N columns are solved for on each side.

    Parameters
    ----------
    inputs, slopes, coefficients
        As of `sample_direction`.
    factor, other : Prepared
        A and B, of this batch (samples) or averages of many (dense or diagonal); B None for FOOF.

    Returns
    -------
    left, right : Tensor (R, n, N), (R, N, m)
        P = left @ right.
    """
    samples = inputs.shape[1]
    if factor.rows is not None:  # V = H / sqrt(N)
        left = pushed_through(factor) / samples**0.5
    else:
        left = divided(factor, inputs.mT) / samples
    if other is None:
        return left, slopes
    if other.rows is not None and coefficients is not None:  # V = S / sqrt(N)
        return left, pushed_through_combined(other, coefficients) * samples**0.5
    return left, divided(other, slopes.mT).mT


def combined(coefficients: Tensor, signals: Tensor) -> Tensor:
    """Sums over the K signals of each example, (R, N, K) and (R, N K, m) to (R, N, m)."""
    samples, columns = coefficients.shape[1:]
    return (coefficients.unsqueeze(-1) * signals.unflatten(1, (samples, columns))).sum(2)
