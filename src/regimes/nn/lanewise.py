"""Matrix products and elementwise functions whose bits do not depend on how many runs are stacked.

`torch.func.vmap` turns a matrix product of one network into one batched product over all networks,
and an elementwise function into one pass over all their numbers. The libraries underneath choose
the order of a sum, or the code for the last numbers of a vector, by the size and the memory
alignment of the whole operand, so a run would depend in its last bits on which runs share its
batch. Here each run is one lane of `regimes.lanes` in products, aligned and apart from
the next, and a whole number of vectors in transcendental functions.

The rest of torch needs no such care: additions, multiplications, divisions, square roots and
comparisons are rounded the same way everywhere, and sums along an axis go run by run as long as
runs are the outermost axis, which holds after every operation of `regimes.nn`.

Products take any number of leading axes, equal for both factors; their batching rule adds one axis
in front. Their derivatives are products again, so `torch.func.grad`, `jvp`, `vmap` and compositions
of them keep stable bits.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from regimes import lanes

# A multiple of the numbers that torch's elementwise loops take at a time, for every type and CPU.
VECTOR = 64


def product(left: Tensor, right: Tensor) -> Tensor:
    """Matrix products (..., m, k) times (..., k, l): (..., m, l)."""
    return _Product.apply(left, right)


def gelu(x: Tensor, inner: int | None = None) -> Tensor:
    """Gaussian error linear unit x Phi(x) of one run's numbers, of any shape.

    With ``inner`` these many last axes hold the numbers of a run; axes before them count runs.
    """
    return _padded(F.gelu, x, inner)


def tanh(x: Tensor, inner: int | None = None) -> Tensor:
    """Hyperbolic tangent of one run's numbers, of any shape.

    With ``inner`` these many last axes hold the numbers of a run; axes before them count runs.
    """
    return _padded(torch.tanh, x, inner)


def _padded(function: Callable[[Tensor], Tensor], x: Tensor, inner: int | None = None) -> Tensor:
    """Elementwise function of one run's numbers, filled up to whole vectors.

    torch computes the last numbers of a tensor, where they fill no vector, by other code with
    other last bits; without padding these would be numbers of the last run.
    """
    flat = x.flatten() if inner is None else x.flatten(-inner)
    size = flat.shape[-1]
    return function(F.pad(flat, (0, -size % VECTOR)))[..., :size].reshape(x.shape)


def front(info: Any, tensors: tuple[Tensor, ...], axes: tuple[int | None, ...]) -> list[Tensor]:
    """Tensors of a batching rule, batched axis first; one that runs share repeats without copy."""
    size = info.batch_size
    return [
        tensor.expand(size, *tensor.shape) if axis is None else tensor.movedim(axis, 0)
        for tensor, axis in zip(tensors, axes, strict=True)
    ]


def stack(tensor: Tensor, inner: int) -> Tensor:
    """Leading axes made one axis of lanes, in front of so many inner axes."""
    return tensor.reshape(-1, *tensor.shape[-inner:])


def empty(lead: torch.Size, *shape: int, like: Tensor) -> Tensor:
    """Uninitialized tensor (*lead, *shape), lanes aligned and spaced.

    Not a view of a tensor with one axis of lanes: torch takes no forward derivative of results that
    are views in an unusual layout.
    """
    lane = lanes.empty(0, *shape, dtype=like.dtype, device=like.device).stride()
    strides = [lane[0] * prod(lead[axis + 1 :]) for axis in range(len(lead))]
    return torch.empty_strided(
        (*lead, *shape), (*strides, *lane[1:]), dtype=like.dtype, device=like.device
    )


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(left: Tensor, right: Tensor) -> Tensor:
        if left.dim() == 2:
            return left @ right
        out = empty(left.shape[:-2], left.shape[-2], right.shape[-1], like=left)
        lanes.product(stack(left, 2), stack(right, 2), out=stack(out, 2))
        return out

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: Tensor) -> None:
        ctx.save_for_backward(*inputs)
        ctx.save_for_forward(*inputs)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None]:
        left, right = ctx.saved_tensors
        return (
            product(gradient, right.mT) if ctx.needs_input_grad[0] else None,
            product(left.mT, gradient) if ctx.needs_input_grad[1] else None,
        )

    @staticmethod
    def jvp(ctx: Any, left_tangent: Tensor | None, right_tangent: Tensor | None) -> Tensor:
        left, right = ctx.saved_tensors
        return add_present(
            None if left_tangent is None else product(left_tangent, right),
            None if right_tangent is None else product(left, right_tangent),
        )

    @staticmethod
    def vmap(info: Any, axes: tuple, left: Tensor, right: Tensor) -> tuple[Tensor, int]:
        return product(*front(info, (left, right), axes)), 0


def add_present(first: Tensor | None, second: Tensor | None) -> Tensor:
    """Sum of the terms of a forward derivative; an operand without tangent has no term."""
    if first is None:
        return second
    return first if second is None else first + second
