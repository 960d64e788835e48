"""Ridge regression in float64, batched over runs and over strengths.

Sum-loss convention: minimize ``|y - Phi a|^2 + lambda |a|^2``, the strength is NOT multiplied by
the number of samples n (giant-step paper, Algorithm 1 and official notebooks).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn import functional

from regimes import lanes


def ridge_primal(
    gram: torch.Tensor, moment: torch.Tensor, strengths: Sequence[float]
) -> torch.Tensor:
    """Coefficients ``(Phi^T Phi + lambda I)^{-1} Phi^T y``, for n >= p.

    Parameters
    ----------
    gram : Tensor (R, p, p)
        ``Phi^T Phi`` in float64.
    moment : Tensor (R, p)
        ``Phi^T y`` in float64.
    strengths : sequence of float
        The S ridge strengths lambda > 0.

    Returns
    -------
    Tensor (R, S, p)
        Coefficients per strength; NaN where the Gram matrix is not finite.

    Raises
    ------
    TypeError
        If the Gram matrix is not in float64.
    """
    return _solve(gram, moment, strengths)


def ridge_dual(
    features: torch.Tensor, labels: torch.Tensor, strengths: Sequence[float]
) -> torch.Tensor:
    """Coefficients ``Phi^T (Phi Phi^T + lambda I)^{-1} y``, for n < p.

    Parameters
    ----------
    features : Tensor (R, n, p)
        Phi in float64.
    labels : Tensor (R, n)
        y in float64.
    strengths : sequence of float
        The S ridge strengths lambda > 0.

    Returns
    -------
    Tensor (R, S, p)
        Coefficients per strength; NaN where the features are not finite.

    Raises
    ------
    TypeError
        If the features are not in float64.
    """
    kernel = lanes.product(features, features.transpose(1, 2))
    return lanes.product(_solve(kernel, labels, strengths), features)


def ridge(features: torch.Tensor, labels: torch.Tensor, strengths: Sequence[float]) -> torch.Tensor:
    """Ridge coefficients (R, S, p) by the smaller of the two systems (see `ridge_primal`)."""
    _, samples, width = features.shape
    if samples < width:
        return ridge_dual(features, labels, strengths)
    gram = lanes.product(features.transpose(1, 2), features)
    return ridge_primal(gram, lanes.weighted_sum(labels, features), strengths)


def _solve(matrix: torch.Tensor, vector: torch.Tensor, strengths: Sequence[float]) -> torch.Tensor:
    """``(matrix + lambda I)^{-1} vector`` for a positive semidefinite matrix, per strength.

    One Cholesky factorization per strength: for the few strengths of a study it is cheaper than
    one eigendecomposition, and backward stable, so that it stays accurate at lambda = 1e-6 where
    the smallest eigenvalues near n = p vanish.
    """
    if matrix.dtype != torch.float64:
        raise TypeError(f"ridge regression is solved in float64, not in {matrix.dtype}")
    # Zero padding keeps the lanes of LAPACK's own copies aligned, see `regimes.lanes`.
    size = matrix.shape[-1]
    padding = -size % (lanes.BOUNDARY // matrix.element_size())
    matrix = functional.pad(matrix, (0, padding, 0, padding))
    vector = functional.pad(vector, (0, padding))
    identity = torch.eye(size + padding, dtype=matrix.dtype, device=matrix.device)
    solutions = []
    for strength in strengths:
        factor, failed = torch.linalg.cholesky_ex(matrix + strength * identity)
        solution = torch.cholesky_solve(vector.unsqueeze(2), factor).squeeze(2)
        solutions.append(_repair(solution, failed > 0, matrix, vector, strength))
    return torch.stack(solutions, dim=1)[:, :, :size]


def _repair(
    solution: torch.Tensor,
    failed: torch.Tensor,
    matrix: torch.Tensor,
    vector: torch.Tensor,
    strength: float,
) -> torch.Tensor:
    """Replace failed factorizations by eigendecompositions, by NaN where nothing is finite.

    A factorization fails where lambda is below the rounding error of the largest eigenvalue (a run
    about to diverge). Eigenvectors below that error carry nothing but rounding and are left out.
    """
    if not failed.any():
        return solution
    finite = matrix.isfinite().flatten(1).all(dim=1)
    solution = solution.masked_fill(failed.unsqueeze(1), torch.nan)
    for lane in (failed & finite).nonzero().flatten().tolist():
        values, vectors = torch.linalg.eigh(matrix[lane])
        rounding = len(values) * torch.finfo(values.dtype).eps * values[-1]
        weights = (vectors.T @ vector[lane]) / (values + strength)
        solution[lane] = vectors @ weights.where(values > rounding, 0.0)
    return solution
