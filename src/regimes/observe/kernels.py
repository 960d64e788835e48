"""Kernels of many runs at once and how far networks have moved.

All functions are batched over R runs along the first axis. A kernel is an (n, n) matrix of inner
products between n points; alignments are centred kernel alignments (CKA), cosines between kernels
after both are centred with I - 1 1^T / n.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor
from torch.func import grad, vmap

from regimes import lanes
from regimes.observe.aligned import AlignedProducts


def layer_kernel(features: Tensor) -> Tensor:
    """Kernel h h^T (R, n, n) of features h (R, n, ...), without division by their number."""
    flat = features.flatten(2)
    return lanes.product(flat, flat.transpose(1, 2))


def centred_alignment(first: Tensor, second: Tensor) -> Tensor:
    """Alignment (CKA) of kernels (R, n, n); either may be (n, n), the same for all runs.

    Takes O(n^2) operations, in float64.

    Returns
    -------
    Tensor (R,), float64
        Between 0 and 1 for positive semidefinite kernels; NaN where a centred kernel is zero up
        to rounding, as for a layer that has died, or not finite.
    """
    first, second = map(_centred_kernel, torch.broadcast_tensors(first, second))
    overlap = _inner(first, second)
    return overlap / (_inner(first, first) * _inner(second, second)).sqrt()


def feature_alignment(first: Tensor, second: Tensor) -> Tensor:
    """Alignment (CKA) of the kernels h h^T and g g^T, from the features h and g.

    Equal to `centred_alignment` of the two `layer_kernel`, but takes O(n d e) operations for d and
    e features instead of O(n^2 (d + e)), or the latter where it is smaller.

    Parameters
    ----------
    first, second : Tensor (R, n, ...)
        Features; either may also be (n, d), the same for all runs: one-hot labels Y give the
        alignment with the label kernel Y Y^T.

    Returns
    -------
    Tensor (R,), float64
        As `centred_alignment`.
    """
    runs = max(item.shape[0] if item.dim() > 2 else 1 for item in (first, second))
    first, second = (_centred_features(item, runs, first.dtype) for item in (first, second))
    points, wide, wide_second = first.shape[1], first.shape[2], second.shape[2]
    if points * (wide + wide_second) < wide * wide_second:
        overlap = _inner(layer_kernel(first), layer_kernel(second))
    else:
        overlap = _square(lanes.product(first.transpose(1, 2), second))
    return overlap / (_kernel_square(first) * _kernel_square(second)).sqrt()


def tangent_kernel(
    apply: Callable[..., Tensor],
    params: Mapping[str, Tensor],
    points: Tensor,
    extras: Sequence = (),
    *,
    budget: float = 2**30,
) -> Tensor:
    """Empirical tangent kernel of every run, summed over the outputs (not averaged).

    K_ij = sum over outputs c and parameters p of df_c(x_i)/dp times df_c(x_j)/dp.

    Parameters
    ----------
    apply : callable
        ``apply(params_of_one_run, points (m, ...), *extras_of_one_run) -> (m, C)``; the output of
        a point must not depend on the other points (no normalization over the batch).
    params : dict of Tensor (R, ...)
        Parameters of the runs.
    points : Tensor (n, ...)
        Points, the same for all runs.
    extras : sequence
        What else differs between runs, such as gamma (R,).
    budget : float
        Bytes that the gradients of single points may take; if they do not fit, they are formed
        block by block, and each block about n / (2 block) times.

    Returns
    -------
    Tensor (R, n, n)
        Kernel; divide by C for the mean over the outputs.
    """
    sample = next(iter(params.values()))
    runs, count = sample.shape[0], points.shape[0]
    per_point = sum(value.numel() for value in params.values()) * sample.element_size()
    block = max(1, min(count, int(budget // (2 * per_point))))
    starts = range(0, count, block)
    kernel = lanes.empty(runs, count, count, dtype=sample.dtype, device=sample.device).zero_()

    with torch.no_grad(), AlignedProducts():
        outputs = vmap(lambda p, *e: apply(p, points[:1], *e))(params, *extras).shape[-1]
        for output in range(outputs):
            gradients = _point_gradients(apply, output, params, extras)
            for start in starts:
                rows = gradients(points[start : start + block])
                for other in starts[: start // block + 1]:
                    columns = rows if other == start else gradients(points[other : other + block])
                    here = kernel[:, start : start + block, other : other + block]
                    for row, column in zip(rows, columns, strict=True):
                        here += lanes.product(row, column.transpose(1, 2))
    # Only blocks up to the diagonal are filled.
    return kernel.tril() + kernel.tril(-1).transpose(1, 2)


def relative_move(
    params: Mapping[str, Tensor], initial: Mapping[str, Tensor], names: Sequence[str]
) -> Tensor:
    """Distance from the initial weights over their norm, |W - W0| / |W0|: (R, len(names))."""
    moves = [
        (_square(params[name] - initial[name]) / _square(initial[name])).sqrt() for name in names
    ]
    return torch.stack(moves, 1)


def mean_absolute(outputs: Tensor) -> Tensor:
    """Mean of the absolute outputs (R, ...) of each run: (R,)."""
    return outputs.abs().flatten(1).mean(1)


def _point_gradients(apply, output: int, params, extras) -> Callable:
    """Return a function from points (m, ...) to gradients of one output, list of (R, m, size)."""

    def value(params_of_run, point, *extras_of_run):
        return apply(params_of_run, point[None], *extras_of_run)[0, output]

    over_points = vmap(grad(value), in_dims=(None, 0, *[None] * len(extras)))
    over_runs = vmap(over_points, in_dims=(0, None, *[0] * len(extras)))
    return lambda points: [
        gradient.flatten(2) for gradient in over_runs(params, points, *extras).values()
    ]


def _centred_kernel(kernel: Tensor) -> Tensor:
    """Kernel (R, n, n) centred on both sides, in float64; NaN where only rounding is left."""
    exact = kernel.double()
    rows, columns = exact.mean(-1, keepdim=True), exact.mean(-2, keepdim=True)
    centred = exact - rows - columns + rows.mean(-2, keepdim=True)
    return _nan_where_constant(centred, exact, torch.finfo(kernel.dtype).eps)


def _centred_features(features: Tensor, runs: int, dtype: torch.dtype) -> Tensor:
    """Features (R, n, d) less their mean over the points, from (R, n, ...) or shared (n, d)."""
    if features.dim() == 2:
        features = features.expand(runs, *features.shape)
    flat = features.flatten(2).to(dtype)
    return _nan_where_constant(flat - flat.mean(1, keepdim=True), flat, torch.finfo(dtype).eps)


def _nan_where_constant(centred: Tensor, full: Tensor, precision: float) -> Tensor:
    """NaN in the runs in which the centred numbers (R, ...) are rounding errors of the full ones.

    A layer whose units are all dead or all constant has them, and any cosine between them.
    """
    constant = _square(centred) <= (10 * precision) ** 2 * _square(full)
    return torch.where(constant[:, None, None], torch.nan, centred)


def _kernel_square(features: Tensor) -> Tensor:
    """Squared Frobenius norm of h h^T, that of h^T h; the smaller of the two is formed."""
    if features.shape[2] < features.shape[1]:
        features = features.transpose(1, 2)
    return _square(lanes.product(features, features.transpose(1, 2)))


def _square(tensor: Tensor) -> Tensor:
    return _inner(tensor, tensor)


def _inner(first: Tensor, second: Tensor) -> Tensor:
    """Sum of the products of entries (R, ...), in float64: (R,)."""
    first, second = (lanes.spaced(item.flatten(1).double()) for item in (first, second))
    return lanes.product(first.unsqueeze(1), second.unsqueeze(2)).flatten()
