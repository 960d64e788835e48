"""Matrix decompositions of many runs, one per lane: guarded, and with bits free of the neighbours.

Rows and columns fill every matrix up to sizes at which each lane of a compact batch is aligned in
memory, or the bits of a decomposition would depend on the lane. Matrices that are not finite give
NaN: LAPACK would stop at them, and the other runs with it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

# Sizes of decomposed matrices are multiples of this many numbers, so that lanes stay aligned.
MULTIPLE = 16


def eigh(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues (R, m'), ascending, and eigenvectors (R, m, m') of semidefinite matrices.

    Filled up to m' >= m with eigenvalues zero, whose vectors are zero or belong to the null space,
    so that sums over all m' are what they should be. NaN where a matrix is not finite.
    """
    size = matrix.shape[-1]
    finite, padded = _filled(matrix)
    values, vectors = _lane_by_lane(torch.linalg.eigh, padded)
    values = torch.where(finite.squeeze(-1), values, torch.nan)
    return values, torch.where(finite, vectors[:, :size], torch.nan)


def eigenvalues(matrix: Tensor) -> Tensor:
    """Eigenvalues (R, m'), ascending, of semidefinite matrices, as of `eigh` but faster."""
    finite, padded = _filled(matrix)
    (values,) = _lane_by_lane(lambda each: (torch.linalg.eigvalsh(each),), padded)
    return torch.where(finite.squeeze(-1), values, torch.nan)


def thin_svd(matrix: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """U (R, n, r), S (R, r), V (R, m, r) of matrices (R, n, m), r = min(n, m).

    NaN where a matrix is not finite.
    """
    rows, columns = matrix.shape[-2:]
    count = min(rows, columns)  # the zeros that filling adds come last
    finite, padded = _filled(matrix)
    svd = partial(torch.linalg.svd, full_matrices=False)
    left, values, right = _lane_by_lane(svd, padded)
    values = torch.where(finite.squeeze(-1), values[:, :count], torch.nan)
    left, right = left[:, :rows, :count], right[:, :count, :columns]
    return torch.where(finite, left, torch.nan), values, torch.where(finite, right.mT, torch.nan)


def cholesky(matrix: Tensor, shift: Tensor) -> tuple[Tensor, Tensor]:
    """Cholesky factors (R, m', m') of ``matrix + shift`` (R, m, m), and which exist (R,).

    Filled up to m' >= m with an identity, which keeps the determinant. A factor that does not
    exist, as the matrix is not positive definite in its precision or not finite, has no meaning.
    """
    size = matrix.shape[-1]
    filled = size + -size % MULTIPLE
    padded = matrix.new_zeros(len(matrix), filled, filled)
    padded[:, :size, :size] = matrix
    diagonal = padded.diagonal(dim1=1, dim2=2)
    diagonal[:, :size] += shift.unsqueeze(-1)
    diagonal[:, size:] = 1
    lower, failed = torch.linalg.cholesky_ex(padded)
    pivots = lower.diagonal(dim1=1, dim2=2)
    return lower, (failed == 0) & pivots.isfinite().all(-1)


def cholesky_solve(lower: Tensor, right: Tensor) -> Tensor:
    """Solutions (R, m, k) of the systems with Cholesky factors of `cholesky`, right (R, m, k)."""
    rows, columns = right.shape[-2:]
    padded = F.pad(right, (0, -columns % MULTIPLE, 0, lower.shape[-1] - rows))
    return torch.cholesky_solve(padded, lower)[:, :rows, :columns]


def _lane_by_lane(
    decompose: Callable[[Tensor], Sequence[Tensor]], matrices: Tensor
) -> Sequence[Tensor]:
    """Parts of the decomposition of every matrix, NaN where the iterations do not converge.

    That happens in runs about to diverge, whose numbers are next to overflow; it must not end the
    others.
    """
    try:
        return decompose(matrices)
    except torch.linalg.LinAlgError:
        parts: list[Sequence[Tensor] | None] = []
        for lane in matrices.split(1):
            try:
                parts.append(decompose(lane))
            except torch.linalg.LinAlgError:
                parts.append(None)
        shapes = decompose(torch.zeros_like(matrices[:1]))
        lost = [torch.full_like(part, torch.nan) for part in shapes]
        each = [lost if found is None else found for found in parts]
        return [torch.cat(lanes) for lanes in zip(*each, strict=True)]


def _filled(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Which matrices (R, n, m) are finite, (R, 1, 1), and all of them in aligned lanes.

    Rows and columns of zeros fill them up; matrices that are not finite become zeros.
    """
    rows, columns = matrix.shape[-2:]
    finite = matrix.isfinite().all(-1).all(-1)[:, None, None]
    sized = F.pad(matrix, (0, -columns % MULTIPLE, 0, -rows % MULTIPLE))
    return finite, torch.where(finite, sized, 0.0)
