"""Exact Gauss-Newton update of reversible networks, layer by layer (Buffelli et al. 2024).

The network's Jacobian factorizes through the inverse network: a change V of the output of a block
is a change ``(dy/dx)^-1 V`` of its input. One pass from the last block to the first therefore gives
for every half-coupled layer the change that its output has to make, and the pseudo-inverse of its
features gives the weights that make it (equations 16-17, proposition 4.4). The updates of all L
blocks together move the output L times as far as wanted; the paper divides by L, the official code
leaves that to the learning rate. Here is the code's convention, so ``direction / L`` is the right
inverse: ``J direction / L = E``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from regimes.nn.lanewise import product
from regimes.nn.revmlp import Half, Parameters, Pass, RevMLP
from regimes.optim.pseudo_inverse import Rule, Solved, solve, with_ones

Generators = Callable[[], Sequence[torch.Generator]]


class Diagnostics(NamedTuple):
    """How well each half-coupled layer could make its change; each (..., 2 L).

    Attributes
    ----------
    rank_kept : Tensor
        Singular values of the features that the pseudo-inverse kept.
    largest, smallest_kept : Tensor
        Largest singular value, and smallest one kept.
    residual_fraction : Tensor
        Share ``|v - a D| / |v|`` of the wanted change that is not made.
    update_norm : Tensor
        Norm of the update of weights and bias.
    """

    rank_kept: Tensor
    largest: Tensor
    smallest_kept: Tensor
    residual_fraction: Tensor
    update_norm: Tensor


def direction(
    model: RevMLP,
    params: Parameters,
    passed: Pass,
    error: Tensor,
    rule: Rule,
    *,
    cross_term: bool = True,
    factors: Mapping[str, Tensor] | None = None,
    generators: Sequence[torch.Generator] = (),
) -> tuple[dict[str, Tensor], Diagnostics]:
    """Gauss-Newton direction; the update is ``theta <- theta - lr * direction``.

    Parameters
    ----------
    model : RevMLP
    params : dict of Tensor (..., ...)
        Trained and frozen tensors, with no leading axis or R runs.
    passed : Pass
        Forward pass of the batch at these parameters.
    error : Tensor (..., n, d)
        E, the change of the states x_L that one step of rate 1 / L undoes: per-sample gradients of
        the summed loss, lifted by `RevMLP.lift`.
    rule : Rule
        Of the pseudo-inverse.
    cross_term : bool
        Whether G of a block takes into account that F has moved its input (the term m). False
        gives the first version of the official code, which is no right inverse.
    factors : dict of Tensor
        `expansion_factors` of linear layers, to save work.
    generators : sequence of torch.Generator
        One per run, for a rule with noise.

    Returns
    -------
    tuple
        Direction of every trained parameter, and diagnostics.
    """
    factors = {} if factors is None else factors
    found: dict[str, Solved] = {}
    first, second = error.chunk(2, -1)

    def solved(half: str, at: Half, target: Tensor) -> Solved:
        factor = None
        if half in factors:
            factor = with_ones(product(at.source, factors[half]))
        found[half] = solve(at.features, target, rule, factor=factor, generators=generators)
        return found[half]

    for block in range(model.blocks, 0, -1):
        f, g = f"{block}f", f"{block}g"
        of_f, of_g = passed.halves[2 * block - 2 : 2 * block]
        if block > 1:  # nothing trained lies before the first block
            before = model.inverse_tangent(params, block, passed, first, second)
        moved = solved(f, of_f, first).realised
        if cross_term:
            second = second - model.push(params, g, of_g, moved)
        solved(g, of_g, second)
        if block > 1:
            first, second = before
    update = {}
    for half in model.halves:
        update[f"w{half}"], update[f"b{half}"] = found[half].weight, found[half].bias
    every = [found[half] for half in model.halves]
    norms = [
        (each.weight.square().sum((-2, -1)) + each.bias.square().sum(-1)).sqrt() for each in every
    ]
    return update, Diagnostics(
        torch.stack([each.rank for each in every], -1),
        torch.stack([each.largest for each in every], -1),
        torch.stack([each.smallest_kept for each in every], -1),
        torch.stack([each.residual for each in every], -1),
        torch.stack(norms, -1),
    )


def expansion_factors(model: RevMLP, params: Parameters) -> dict[str, Tensor]:
    """Triangular factors (..., h, h) with ``R R^T = C C^T`` of linear half-coupled layers.

    With them ``[u R, 1]`` has the Gram matrix of ``[u C, 1]`` at h + 1 columns instead of d' + 1.
    Without expansion the features themselves are that narrow, and there is nothing to save.
    """
    if model.width is None or model.width <= model.half_width:
        return {}
    factors = {}
    for half in model.halves:
        if model.linear(half):
            expansion = params[f"c{half}"]
            factors[half] = torch.linalg.cholesky(product(expansion, expansion.mT))
    return factors
