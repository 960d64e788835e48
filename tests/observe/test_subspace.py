"""Matrix-free eigenvectors against dense ones."""

from __future__ import annotations

import numpy as np
import pytest

from regimes.observe.subspace import top_subspace


def matrix(values, seed=0):
    basis, _ = np.linalg.qr(np.random.default_rng(seed).standard_normal((len(values),) * 2))
    return basis * values @ basis.T, basis


def test_largest_algebraic_values_not_largest_magnitudes():
    values = np.concatenate([[-50.0, -20.0], np.linspace(0, 1, 60), [5.0, 6.0, 9.0]])
    dense, basis = matrix(values)
    found = top_subspace(lambda v: dense @ v, len(values), 3, tolerance=1e-8)
    np.testing.assert_allclose(found.values, [9, 6, 5], rtol=1e-10)
    np.testing.assert_allclose(found.vectors @ found.vectors.T, np.eye(3), atol=1e-10)
    np.testing.assert_allclose(np.abs(found.vectors @ basis[:, -1:-4:-1]), np.eye(3), atol=1e-6)
    true = dense @ found.vectors.T - found.vectors.T * found.values
    np.testing.assert_allclose(
        found.residuals, np.linalg.norm(true, axis=0) / found.values, atol=1e-13
    )


def test_degenerate_values_are_all_found():
    dense, _ = matrix(np.concatenate([np.linspace(0, 1, 40), [7.0, 7.0, 7.0, 3.0]]))
    found = top_subspace(lambda v: dense @ v, 44, 4, tolerance=1e-6)
    np.testing.assert_allclose(found.values, [7, 7, 7, 3], rtol=1e-8)


def test_no_convergence_is_an_error():
    dense, _ = matrix(np.linspace(0, 1, 400))
    with pytest.raises(ArithmeticError, match="converged in 1 restarts"):
        top_subspace(lambda v: dense @ v, 400, 10, tolerance=1e-12, largest_iterations=1)
