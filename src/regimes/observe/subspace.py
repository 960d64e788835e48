"""Top of the spectrum of a symmetric matrix that is known by its products with vectors."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigsh


class Subspace(NamedTuple):
    """Algebraically largest eigenvalues with their vectors.

    Attributes
    ----------
    values : ndarray (k,)
        Decreasing.
    vectors : ndarray (k, P)
        Orthonormal rows.
    residuals : ndarray (k,)
        |A q - rho q| / |rho| of each.
    """

    values: np.ndarray
    vectors: np.ndarray
    residuals: np.ndarray


def top_subspace(
    product: Callable[[np.ndarray], np.ndarray],
    size: int,
    wanted: int,
    *,
    tolerance: float,
    largest_iterations: int = 300,
    seed: int = 0,
) -> Subspace:
    """Largest eigenvalues by implicitly restarted Lanczos iterations (ARPACK), residuals measured.

    A block power iteration without sorting or checks, as often used for this, returns unconverged
    and negative values where the spectrum is dense; here an unconverged one is an error.

    Parameters
    ----------
    product : callable
        Product of the matrix with a vector (P,).
    size : int
        P.
    wanted : int
        Number k of eigenvalues, below P.
    tolerance : float
        Largest relative residual that counts as converged.
    largest_iterations : int
        Bound on restarts.
    seed : int
        Of the start vector.

    Raises
    ------
    ArithmeticError
        If some do not converge.
    """
    operator = LinearOperator((size, size), matvec=product, dtype=np.float64)
    start = np.random.default_rng(seed).standard_normal(size)
    try:
        values, vectors = eigsh(
            operator, wanted, which="LA", v0=start, tol=tolerance / 10, maxiter=largest_iterations
        )
    except ArpackNoConvergence as error:
        raise ArithmeticError(
            f"{len(error.eigenvalues)} of {wanted} eigenvalues converged in {largest_iterations} "
            "restarts; ask for fewer modes or a larger tolerance"
        ) from None
    order = np.argsort(values)[::-1]
    values, vectors = values[order], vectors[:, order].T
    images = np.stack([product(vector) for vector in vectors])
    residuals = np.linalg.norm(images - values[:, None] * vectors, axis=1) / np.abs(values)
    if residuals.max() > tolerance:
        raise ArithmeticError(
            f"an eigenvector has a relative residual of {residuals.max():.1e}, above {tolerance:g}"
        )
    return Subspace(values, vectors, residuals)


def signed(vectors: np.ndarray) -> np.ndarray:
    """Rows with their largest entry positive: the signs of eigenvectors are arbitrary otherwise."""
    lead = np.take_along_axis(vectors, np.abs(vectors).argmax(1)[:, None], 1)
    return vectors * np.sign(lead)
