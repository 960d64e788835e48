"""Least-squares solutions by the pseudo-inverse of feature matrices with a column of ones.

For features phi (n, d') and a target v (n, h) the solution is ``D = a^+ v`` with ``a = [phi, 1]``:
the smallest weights and bias whose change moves ``phi W + b`` by v, as far as the rank of a allows.
All that is needed is the left singular system ``a = U S V^T``:

    D = a^T U diag(1 / S^2) U^T v,     a D = U U^T v     (truncation).

It comes by one of three interchangeable routes. "gram": the eigendecomposition of the smaller of
a a^T and a^T a, in the precision of the features; fast, and blind to singular values below the
square root of that precision times the largest. "gram64": the same in float64. "svd": a thin SVD
in float64, which also resolves tiny singular values.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from regimes.nn.lanewise import product
from regimes.optim.decompositions import eigh, thin_svd
from regimes.optim.noise import normals

MODES = ("truncate", "damp", "noise")
ROUTES = ("auto", "gram", "gram64", "svd")

# Singular values over the largest that a route resolves: about sqrt(n times the rounding error).
RESOLUTION = {torch.float32: 1e-3, torch.float64: 1e-6}
# What is left of single-precision features where the Gram matrix itself resolves more.
SINGLE_FEATURES = 1e-5


@dataclass(frozen=True)
class Rule:
    """How small singular values are treated (section 2.3 and appendix K of the paper).

    Attributes
    ----------
    mode : str
        "truncate": keep S with ``S >= rtol * S_max`` and ``S >= atol``. "damp": keep all that are
        not zero up to rounding, S made ``S + damping * S_max``. "noise": add Gaussian noise of
        standard deviation ``noise * std(a)`` to a, then invert with all singular values.
    rtol, atol, damping, noise : float
        As above.
    route : str
        One of `ROUTES`; "auto" takes the fastest that resolves what the mode needs.

    Raises
    ------
    ValueError
        If mode or route are unknown.
    """

    mode: str = "truncate"
    rtol: float = 1e-2
    atol: float = 1e-5
    damping: float = 1e-2
    noise: float = 0.1
    route: str = "auto"

    def __post_init__(self) -> None:
        if self.mode not in MODES or self.route not in ROUTES:
            raise ValueError(f"modes are {', '.join(MODES)}, routes {', '.join(ROUTES)}: {self}")

    def route_for(self, dtype: torch.dtype) -> str:
        """Route for features of this precision."""
        if self.route != "auto":
            return self.route
        if self.mode != "truncate":
            return "gram64"
        if self.rtol >= RESOLUTION[dtype]:
            return "gram"
        return "gram64" if self.rtol >= RESOLUTION[torch.float64] else "svd"


class Solved(NamedTuple):
    """A solution and how much of the target it reaches.

    Attributes
    ----------
    weight : Tensor (..., d', h)
        Rows of D that belong to the features.
    bias : Tensor (..., h)
        Row of D that belongs to the ones.
    realised : Tensor (..., n, h)
        a D, the change of ``phi W + b`` that D makes.
    rank : Tensor (...)
        Singular values kept.
    residual : Tensor (...)
        ``|v - a D| / |v|``; 0 where v = 0.
    largest, smallest_kept : Tensor (...)
        Largest singular value, and smallest one kept (NaN if none is).
    """

    weight: Tensor
    bias: Tensor
    realised: Tensor
    rank: Tensor
    residual: Tensor
    largest: Tensor
    smallest_kept: Tensor


def solve(
    features: Tensor,
    target: Tensor,
    rule: Rule,
    *,
    factor: Tensor | None = None,
    generators: Sequence[torch.Generator] = (),
) -> Solved:
    """Minimum-norm solution of ``phi W + 1 b^T = v`` in the least-squares sense.

    Where features or target are not finite, the solution is NaN and nothing else is touched;
    features of rank zero give zeros.

    Parameters
    ----------
    features : Tensor (..., n, d')
        phi, with no leading axis or R runs.
    target : Tensor (..., n, h)
        v.
    rule : Rule
    factor : Tensor (..., n, r), optional
        Narrow matrix with ``factor factor^T = a a^T``, where one is known: the Gram routes then
        decompose an (r, r) matrix.
    generators : sequence of torch.Generator
        One per run (one, without leading axis), on the CPU, for the mode "noise". Runs with the
        same generator get the same numbers.

    Raises
    ------
    ValueError
        If the mode is "noise" and generators are missing.
    """
    if features.dim() == 2:
        kept = None if factor is None else factor.unsqueeze(0)
        found = _solve(features.unsqueeze(0), target.unsqueeze(0), rule, kept, generators)
        return Solved(*(value.squeeze(0) for value in found))
    return _solve(features, target, rule, factor, generators)


def _solve(features, target, rule, factor, generators) -> Solved:
    route = rule.route_for(features.dtype)
    exact = features.dtype if route == "gram" else torch.float64
    if rule.mode == "noise":
        if len(generators) != len(features):
            raise ValueError(f"{len(features)} runs need as many generators for the mode 'noise'")
        true, factor = with_ones(features), None
        noisy = true + _noise(true, rule.noise, generators)
        inverted, ones = noisy[..., :-1], noisy[..., -1:]
    else:
        inverted, ones = features, features.new_ones(*features.shape[:-1], 1)
    if route == "svd":
        left, values, right = thin_svd(torch.cat([inverted, ones], -1).to(exact))
    else:
        left, values = _left_singular_system(inverted.to(exact), ones.to(exact), factor)
        right = None
    largest = values.amax(-1)
    resolution = RESOLUTION[exact]
    if exact != features.dtype:
        resolution = max(resolution, SINGLE_FEATURES)
    kept, inverse = _weights(values, largest, rule, resolution)
    along = product(left.mT, target.to(exact))  # coordinates U^T v
    if right is None:
        # 1 / S twice rather than once squared: tiny values must not overflow in float32.
        scaled = inverse.unsqueeze(-1) * (reciprocals(kept, values).unsqueeze(-1) * along)
        back = product(left, scaled).to(features.dtype)
        weight, bias = product(inverted.mT, back), (ones * back).sum(-2)
    else:
        solution = product(right, inverse.unsqueeze(-1) * along).to(features.dtype)
        weight, bias = solution[..., :-1, :], solution[..., -1, :]
    if rule.mode == "noise":  # the change that the true features make of it
        realised = product(features, weight) + bias.unsqueeze(-2)
    else:
        realised = product(left, (values * inverse).unsqueeze(-1) * along)
    realised = realised.to(features.dtype)
    length = _norm(target)
    missed = _norm(target - realised) / torch.where(length > 0, length, torch.ones_like(length))
    smallest = torch.where(kept, values, torch.inf).amin(-1)
    return Solved(
        weight,
        bias,
        realised,
        kept.sum(-1).to(features.dtype),
        missed,
        largest.to(features.dtype),
        torch.where(smallest.isinf(), torch.nan, smallest).to(features.dtype),
    )


def with_ones(features: Tensor) -> Tensor:
    """Features with their column of ones, [phi, 1] (..., n, d' + 1)."""
    return torch.cat([features, features.new_ones(*features.shape[:-1], 1)], -1)


def reciprocals(kept: Tensor, values: Tensor) -> Tensor:
    """1 / S where a singular value is kept, 0 elsewhere."""
    return torch.where(kept, 1 / torch.where(kept, values, 1.0), 0.0)


def _weights(values: Tensor, largest: Tensor, rule: Rule, resolution: float):
    """Which singular values (R, r) are kept, and what stands for 1 / S in the inverse."""
    top = largest.unsqueeze(-1)
    if rule.mode == "truncate":
        kept = (values >= rule.rtol * top) & (values >= rule.atol) & (values > 0)
        return kept, reciprocals(kept, values)
    # What cannot be told from zero has directions of rounding errors: no update there.
    kept = values > resolution * top
    shift = rule.damping * top if rule.mode == "damp" else 0.0
    return kept, reciprocals(kept, values + shift)


def _left_singular_system(
    features: Tensor, ones: Tensor, factor: Tensor | None
) -> tuple[Tensor, Tensor]:
    """U (R, n, r) and S (R, r) of ``[phi, c]`` from the smallest Gram matrix; c (R, n, 1).

    Values below the resolution of the Gram matrix are set to zero: their vectors are noise.
    """
    samples = features.shape[-2]
    if factor is None and features.shape[-1] + 1 < samples:
        factor = torch.cat([features, ones], -1)
    if factor is not None and factor.shape[-1] < samples:
        narrow = factor.to(features.dtype)
        squares, right = eigh(product(narrow.mT, narrow))
        values = _roots(squares)
        left = product(narrow, right * reciprocals(values > 0, values).unsqueeze(-2))
        return left, values
    # The column is added by itself: appended to the features it would cost a copy of them.
    squares, left = eigh(product(features, features.mT).add_(ones * ones.mT))
    return left, _roots(squares)


def _roots(squares: Tensor) -> Tensor:
    """Singular values from eigenvalues of a Gram matrix, zero below its rounding errors."""
    floor = 4 * torch.finfo(squares.dtype).eps * squares.amax(-1, keepdim=True)
    return torch.where(squares > floor, squares, 0.0).sqrt()


def _noise(matrix: Tensor, share: float, generators: Sequence[torch.Generator]) -> Tensor:
    """Gaussian noise for matrices (R, n, m), as large as this share of their deviation."""
    flat = matrix.flatten(1)
    # torch's own standard deviation takes ten times as long.
    spread = (flat - flat.mean(1, keepdim=True)).square().sum(1) / (flat.shape[1] - 1)
    drawn = normals(generators, matrix.shape[1:])
    return drawn.to(matrix) * (share * spread.sqrt())[:, None, None]


def _norm(matrix: Tensor) -> Tensor:
    """Frobenius norm of matrices (R, n, h)."""
    return matrix.square().sum(-1).sum(-1).sqrt()
