"""Matrix products of vmapped networks whose bits do not depend on the lane.

`torch.func.vmap` turns the products of one run into `torch.bmm` of compact batches, in which the
lanes of odd sizes lie differently to the boundaries of memory and differ in the last bits (see
`regimes.lanes`).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.func import vmap
from torch.utils._python_dispatch import TorchDispatchMode

from regimes import lanes


class AlignedProducts(TorchDispatchMode):
    """Context in which batched products on the CPU go through `lanes.product`.

    It covers the forward pass and every derivative taken inside it, and costs some microseconds
    for each operation (measured: 0.6 ms for a product with the Hessian of a three-layer network).
    """

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Not wrapped against the compiler, which would be imported for that: 1 to 2 s a job."""
        return False

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        """Replace the batched product, pass all else through."""
        if func is torch.ops.aten.bmm.default and args[0].device.type == "cpu":
            return lanes.product(*args)
        return func(*args, **(kwargs or {}))


def over_runs(function: Callable) -> Callable:
    """`torch.func.vmap` over the first axis of all arguments, with aligned products.

    Frozen outputs, features and the like whose bits are to depend on their run alone go through
    it; in training code that has its own batched products it is not needed.
    """

    def batched(*arguments):
        with AlignedProducts():
            return vmap(function)(*arguments)

    return batched
