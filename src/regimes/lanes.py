"""Batched matrix products whose bits do not depend on the lane.

A run is one lane of a batch: one index of the first axis. The linear algebra libraries choose the
order of a sum by the memory alignment of its operands, so equal matrices in two lanes of a compact
batch can give different last bits where a lane's size is not a multiple of 64 bytes. Here every
lane of every operand and result starts on such a boundary.

Lanes are also spaced apart, never compact: elementwise functions run over a compact batch as over
one long vector and treat its last numbers differently, which would be those of the last run.
"""

from __future__ import annotations

from math import prod

import torch

BOUNDARY = 64  # bytes: a cache line, and the widest vector register


def empty(runs: int, *shape: int, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """Uninitialized tensor (R, *shape), row-major within a lane, lanes aligned and spaced."""
    strides = [prod(shape[axis + 1 :]) for axis in range(len(shape))]
    return torch.empty_strided(
        (runs, *shape), (_lane_stride(prod(shape), dtype), *strides), dtype=dtype, device=device
    )


def zeros_like(tensor: torch.Tensor) -> torch.Tensor:
    """Zeros of the same shape, lanes aligned and spaced."""
    return empty(*tensor.shape, dtype=tensor.dtype, device=tensor.device).zero_()


def spaced(tensor: torch.Tensor) -> torch.Tensor:
    """Copy of a tensor, lanes aligned and spaced."""
    return empty(*tensor.shape, dtype=tensor.dtype, device=tensor.device).copy_(tensor)


def aligned(tensor: torch.Tensor) -> torch.Tensor:
    """Return the tensor (R, m, k) itself where its lanes are aligned, otherwise an aligned copy.

    The copy keeps the order of the two inner axes, so that a transposed operand stays one.
    """
    size = tensor.element_size()
    if not (tensor.data_ptr() % BOUNDARY or tensor.stride(0) * size % BOUNDARY):
        return tensor
    if tensor.stride(2) == 1:
        return spaced(tensor)
    return spaced(tensor.transpose(1, 2)).transpose(1, 2)


def product(
    left: torch.Tensor, right: torch.Tensor, out: torch.Tensor | None = None
) -> torch.Tensor:
    """Matrix products of lanes, (R, m, k) times (R, k, l): (R, m, l), lanes aligned and spaced.

    Parameters
    ----------
    left, right : Tensor
        Factors; a transposed view costs nothing.
    out : Tensor, optional
        Aligned result to fill, made by `empty`.
    """
    if out is None:
        shape = (left.shape[0], left.shape[1], right.shape[2])
        out = empty(*shape, dtype=left.dtype, device=left.device)
    return torch.bmm(aligned(left), aligned(right), out=out)


def add_product_(total: torch.Tensor, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """Add the matrix products of lanes to ``total`` in place; ``total`` is made by `zeros_like`."""
    return total.baddbmm_(aligned(left), aligned(right))


def times_vector(matrix: torch.Tensor, vector: torch.Tensor) -> torch.Tensor:
    """Matrix (R, m, k) times vector (R, k): (R, m)."""
    # As a row vector times the transpose: measured ten times faster than a single column.
    return product(vector.unsqueeze(1), matrix.transpose(1, 2)).squeeze(1)


def weighted_sum(weights: torch.Tensor, matrix: torch.Tensor) -> torch.Tensor:
    """Sum of the rows of a matrix (R, m, k) times weights (R, m): (R, k)."""
    return product(weights.unsqueeze(1), matrix).squeeze(1)


def _lane_stride(count: int, dtype: torch.dtype) -> int:
    numbers = BOUNDARY // dtype.itemsize
    return (count // numbers + 1) * numbers
