"""Products of tangent kernels with vectors, and the similarity of two kernels from them.

The tangent kernel ``Theta = J J^T`` of n points with d outputs is an (n d, n d) matrix; two of them
are compared through their products with the same Gaussian vectors v, for which
``E <Theta_0 v, Theta_t v> = <Theta_0, Theta_t>_F``.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor
from torch.func import jvp, vjp, vmap

Parameters = dict[str, Tensor]


def tangent_products(
    apply: Callable[[Parameters, Parameters, Tensor], Tensor],
    params: Parameters,
    frozen: Parameters,
    x: Tensor,
    vectors: Tensor,
    *,
    at_once: int | None = None,
) -> Tensor:
    """``Theta v`` for every run and every vector, without forming the kernel.

    Parameters
    ----------
    apply
        Outputs (n, d) of ONE network from (trained parameters, frozen tensors, x); batched over
        runs by torch.func.
    params, frozen : dict of Tensor (R, ...)
        Tensors of the runs; the kernel is with respect to ``params``.
    x : Tensor (n, ...)
        Points, the same for all runs.
    vectors : Tensor (V, n, d)
        Vectors, the same for all runs.
    at_once
        Vectors multiplied at a time; all unless memory is short: each holds one gradient.

    Returns
    -------
    Tensor (R, V, n, d)
    """

    def of_one_run(params: Parameters, frozen: Parameters) -> Tensor:
        def outputs(trained: Parameters) -> Tensor:
            return apply(trained, frozen, x)

        _, pull = vjp(outputs, params)

        def product(vector: Tensor) -> Tensor:
            (gradient,) = pull(vector)
            return jvp(outputs, (params,), (gradient,))[1]

        return vmap(product, chunk_size=at_once)(vectors)

    return vmap(of_one_run)(params, frozen)


def kernel_similarity(first: Tensor, second: Tensor) -> Tensor:
    """Cosine ``<Theta_0, Theta_t>_F / (|Theta_0|_F |Theta_t|_F)`` estimated from products.

    Numerator and squared denominators are unbiased; ten vectors suffice for many outputs.

    Parameters
    ----------
    first, second : Tensor (R, V, n, d)
        Products with the same vectors.

    Returns
    -------
    Tensor (R,), float64
    """
    first, second = (each.double().flatten(1) for each in (first, second))
    sizes = first.square().sum(1) * second.square().sum(1)
    return (first * second).sum(1) / sizes.sqrt()
