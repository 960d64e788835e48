"""Hermite structure of targets and activations: tensors, leap index, error floors, staircase.

Symbols follow the paper: f* the target with teacher projections z in R^r, C_k = E[grad^k f*]
its Hermite tensors, c_k = E[sigma He_k] those of the activation. Section numbers are those of
``docs/studies/giant_step.md``. Targets and activations are given by name (`KeyError` for an
unknown one) and nothing about them is typed in: a new line in
`regimes.studies.giant_step.functions` gets its constants from here.
"""

from __future__ import annotations

from itertools import combinations_with_replacement, permutations
from math import prod, sqrt
from typing import NamedTuple

import numpy as np
from numpy.polynomial.hermite_e import hermevander

from regimes.studies.giant_step.functions import ACTIVATIONS, TARGETS, directions
from regimes.studies.giant_step.quadrature import (
    gaussian_grid,
    nodes_per_dimension,
    two_sided_rule,
)

# A coefficient counts as zero below this fraction of the target's root mean square: far above
# the rounding of the quadrature (1e-13), far below any coefficient one would write down.
ZERO = 1e-8


# --- Hermite coefficients (2.5) ---------------------------------------------------------------


def hermite_coefficients(activation: str, order: int) -> np.ndarray:
    """Unnormalized Hermite coefficients of an activation, c_k = E[sigma(x) He_k(x)] (2.5).

    Parameters
    ----------
    activation : str
        Name in ``ACTIVATIONS``.
    order : int
        Largest k.

    Returns
    -------
    ndarray, shape (order + 1,)
        c_0, ..., c_order. For ReLU every odd c_k with k >= 3 vanishes.
    """
    x, weights = two_sided_rule()
    value, _ = ACTIVATIONS[activation]
    return (weights * value(x)) @ hermevander(x, order)


def activation_second_moment(activation: str) -> float:
    """E[sigma(x)^2] for x standard normal."""
    x, weights = two_sided_rule()
    return float(weights @ ACTIVATIONS[activation][0](x) ** 2)


def derivative_second_moment(activation: str) -> float:
    """E[sigma'(x)^2] for x standard normal, the noise factor of the gradient: 1/2 for ReLU."""
    x, weights = two_sided_rule()
    return float(weights @ np.asarray(ACTIVATIONS[activation][1](x), dtype=float) ** 2)


def hermite_tensor(target: str, k: int) -> np.ndarray:
    """Hermite tensor of a target, C_k = E[grad^k f*] = E[f* He_alpha] by Stein's lemma (2.5).

    Parameters
    ----------
    target : str
        Name in ``TARGETS``, with r teacher directions.
    k : int
        Order, at least 0.

    Returns
    -------
    ndarray, shape (r,) * k
        Symmetric and unnormalized: He_k(z1) / k! has the single entry 1.
    """
    r = directions(target)
    z, weights = gaussian_grid(r, nodes_per_dimension(r))
    weighted = weights * _evaluate(target, z)
    he = hermevander(z, k)  # (points, r, k + 1)
    tensor = np.zeros((r,) * k)
    for index in combinations_with_replacement(range(r), k):
        polynomial = prod((he[:, j, index.count(j)] for j in set(index)), start=np.ones(len(z)))
        entry = weighted @ polynomial
        for permuted in permutations(index):
            tensor[permuted] = entry
    return tensor


def leap_index(target: str, largest: int = 6) -> int:
    """Leap index of a target: the smallest k >= 1 with C_k != 0 (2.5).

    Raises
    ------
    ValueError
        If all tensors up to order ``largest`` vanish.
    """
    for k in range(1, largest + 1):
        if np.linalg.norm(hermite_tensor(target, k)) > ZERO * sqrt(second_moment(target)):
            return k
    raise ValueError(f"target {target!r}: every Hermite tensor up to order {largest} vanishes")


def tensor_span(target: str, k: int) -> np.ndarray:
    """Teacher directions that C_k sees: V*_l of section 2.9 for k = l.

    Returns
    -------
    ndarray, shape (r, rank)
        Orthonormal basis, from the singular vectors of C_k read as a matrix (r, r^(k-1)).
    """
    tensor = hermite_tensor(target, k).reshape(directions(target), -1)
    return _row_space(tensor.T, ZERO * sqrt(second_moment(target)))


# --- Target constants and error floors (2.7, 2.10) --------------------------------------------


def second_moment(target: str) -> float:
    """E[f*^2]."""
    r = directions(target)
    z, weights = gaussian_grid(r, nodes_per_dimension(r))
    return float(weights @ _evaluate(target, z) ** 2)


def variance(target: str) -> float:
    """Var f*."""
    return second_moment(target) - float(hermite_tensor(target, 0)) ** 2


def linear_part(target: str) -> float:
    """|C_1|^2, the variance of the linear part of f*."""
    return float(np.sum(hermite_tensor(target, 1) ** 2))


def linear_floor(target: str) -> float:
    """Error floor of frozen features and kernels, n, p = Theta(d): |P_{>1} f*|^2 (2.7).

    Equals Var f* - |C_1|^2; computed as the floor of U = {0}.
    """
    return subspace_floor(target, np.zeros((directions(target), 0)))


def subspace_floor(target: str, basis: np.ndarray, degree: int = 1) -> float:
    """Error floor once the subspace U is learned, |P_{U,>degree} f*|^2 (2.7).

    What remains of f* after its best fit by functions of degree <= ``degree`` in z_perp, whose
    coefficients may depend in any way on the projection of z on U: f* - h_0(x) - <h_1(x), z_perp>
    with h_0 = E[f* | x] and h_1 = E[f* z_perp | x].

    Parameters
    ----------
    target : str
        Name in ``TARGETS``, with r teacher directions.
    basis : ndarray, shape (r, k)
        Orthonormal basis of U in teacher coordinates; k = 0 is U = {0}.
    degree : {0, 1}
        0: width bounded; 1: width and samples proportional to the dimension.

    Raises
    ------
    ValueError
        If the basis is not orthonormal or the degree is neither 0 nor 1.
    """
    if degree not in (0, 1):
        raise ValueError(f"degree must be 0 or 1, got {degree}")
    given = _condition(target, basis)
    rest = given.values - given.h_0[:, None]
    if degree == 1:
        rest = rest - given.h_1 @ given.z_perp.T
    return float(given.x_weights @ rest**2 @ given.z_perp_weights)


def one_step_floor(target: str) -> float:
    """Error floor after one step at n, p = Theta(d): U = span(C_1), {0} if C_1 = 0 (2.7, k=1)."""
    return subspace_floor(target, staircase(target, 1))


# --- Staircase (2.6) --------------------------------------------------------------------------


def staircase(target: str, steps: int) -> np.ndarray:
    """Subspace U_T learned by T steps with fresh batches of n = Theta(d) (2.6).

    U_0 = {0} and U_{t+1} = U_t + span{mu_{U_t,x}: x in U_t}, where
    mu_{U,x} = E[grad_perp f*(x + z_perp)] = E[f*(x + z_perp) z_perp] is the first Hermite
    coefficient of f* given its component in U.

    Parameters
    ----------
    target : str
        Name in ``TARGETS``, with r teacher directions.
    steps : int
        Number of steps T, at least 0.

    Returns
    -------
    ndarray, shape (r, dim U_T)
        Orthonormal basis in teacher coordinates, ordered by the step that adds a column.
    """
    basis = np.zeros((directions(target), 0))
    tolerance = ZERO * sqrt(second_moment(target))
    for _ in range(steps):
        given = _condition(target, basis)
        # Weighting by the square root of the Gaussian weight keeps the span and makes the
        # singular values those of x -> mu_{U,x} in mean square.
        mu = np.sqrt(given.x_weights)[:, None] * given.h_1
        basis = np.hstack([basis, _oriented(given.complement @ _row_space(mu, tolerance))])
    return basis


# --- Helpers ----------------------------------------------------------------------------------


def _evaluate(target: str, z: np.ndarray) -> np.ndarray:
    """Values of a named target at teacher projections z of shape (..., r)."""
    return TARGETS[target](*np.moveaxis(z, -1, 0))


class _Conditional(NamedTuple):
    """A target on a product grid x (in U) by z_perp, with its Hermite coefficients given x."""

    values: np.ndarray  # f*(x + z_perp), shape (points in U, points in the complement)
    x_weights: np.ndarray
    z_perp: np.ndarray  # coordinates in `complement`, shape (points, r - k)
    z_perp_weights: np.ndarray
    h_0: np.ndarray  # E[f* | x], shape (points in U,)
    h_1: np.ndarray  # E[f* z_perp | x], shape (points in U, r - k)
    complement: np.ndarray  # orthonormal basis of the complement of U, shape (r, r - k)


def _condition(target: str, basis: np.ndarray) -> _Conditional:
    """Degree-0 and degree-1 Hermite coefficients of f* in z_perp, given the component x in U."""
    basis = np.asarray(basis, dtype=float)
    r = directions(target)
    if basis.ndim != 2 or len(basis) != r:
        raise ValueError(f"basis must have shape ({r}, k) for {target!r}, got {basis.shape}")
    k = basis.shape[1]
    if not np.allclose(basis.T @ basis, np.eye(k), atol=1e-10):
        raise ValueError("basis must have orthonormal columns")
    complement = np.linalg.qr(basis, mode="complete")[0][:, k:]
    nodes = nodes_per_dimension(r)
    x, x_weights = gaussian_grid(k, nodes)
    z_perp, z_perp_weights = gaussian_grid(r - k, nodes)
    values = _evaluate(target, (x @ basis.T)[:, None] + (z_perp @ complement.T)[None])
    h_0 = values @ z_perp_weights
    h_1 = (values * z_perp_weights) @ z_perp
    return _Conditional(values, x_weights, z_perp, z_perp_weights, h_0, h_1, complement)


def _row_space(rows: np.ndarray, tolerance: float) -> np.ndarray:
    """Orthonormal basis (columns) of the span of the rows, singular values above a tolerance."""
    _, singular_values, right = np.linalg.svd(rows, full_matrices=False)
    return right[singular_values > tolerance].T


def _oriented(basis: np.ndarray) -> np.ndarray:
    """Columns with the sign that makes their first entry away from zero positive."""
    basis = np.array(basis)
    for column in basis.T:
        column *= np.sign(column[np.abs(column) > 1e-6][0])
    return basis
