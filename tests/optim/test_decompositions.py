"""Guarded decompositions: against numpy, with runs that fail beside runs that do not."""

import numpy as np
import pytest
import torch

from regimes.optim import decompositions
from tests.optim.test_kronecker import F64, drawn


def semidefinite(runs=3, size=5, rank=3):
    """Matrices of that rank."""
    rows = drawn(runs, rank, size)
    return rows.mT @ rows


def test_eigenvalues_and_vectors_rebuild_the_matrix():
    matrix = semidefinite()
    values, vectors = decompositions.eigh(matrix)
    np.testing.assert_allclose(vectors * values.unsqueeze(1) @ vectors.mT, matrix, atol=1e-12)
    np.testing.assert_allclose(decompositions.eigenvalues(matrix), values, atol=1e-12)
    expected = np.linalg.eigvalsh(matrix.numpy())
    np.testing.assert_allclose(values[:, -3:], expected[:, -3:], rtol=1e-10)


def test_thin_svd_is_that_of_numpy():
    matrix = drawn(2, 7, 4)
    left, values, right = decompositions.thin_svd(matrix)
    np.testing.assert_allclose(left * values.unsqueeze(1) @ right.mT, matrix, atol=1e-12)
    np.testing.assert_allclose(values, np.linalg.svd(matrix.numpy(), compute_uv=False))


def test_cholesky_solves():
    matrix, right = semidefinite(), drawn(3, 5, 2)
    shift = torch.tensor([0.1, 1.0, 2.0], dtype=F64)
    lower, exists = decompositions.cholesky(matrix, shift)
    assert exists.all()
    expected = np.linalg.solve(matrix.numpy() + shift.numpy()[:, None, None] * np.eye(5), right)
    np.testing.assert_allclose(decompositions.cholesky_solve(lower, right), expected, atol=1e-11)


def test_cholesky_says_what_does_not_exist():
    matrix = semidefinite()
    matrix[0] -= 100 * torch.eye(5, dtype=F64)
    matrix[1] = torch.nan
    assert decompositions.cholesky(matrix, torch.ones(3, dtype=F64))[1].tolist() == [
        False,
        False,
        True,
    ]


@pytest.mark.parametrize("name", ["eigh", "eigvalsh", "svd"])
def test_iterations_that_do_not_converge_are_nan_in_their_run_alone(name, monkeypatch):
    matrix = semidefinite()
    wrapped = {"eigh": "eigh", "eigvalsh": "eigenvalues", "svd": "thin_svd"}[name]
    expected = getattr(decompositions, wrapped)(matrix)
    original = getattr(torch.linalg, name)

    def failing(each, **more):
        if (each[:, 0, 0] == matrix[1, 0, 0]).any():
            raise torch.linalg.LinAlgError("the algorithm failed to converge")
        return original(each, **more)

    monkeypatch.setattr(torch.linalg, name, failing)
    found = getattr(decompositions, wrapped)(matrix)
    pairs = [(found, expected)] if name == "eigvalsh" else zip(found, expected, strict=True)
    for part, whole in pairs:
        assert part[1].isnan().all()
        np.testing.assert_array_equal(part[[0, 2]], whole[[0, 2]])


def test_matrices_that_are_not_finite_are_nan_in_their_run_alone():
    matrix = semidefinite()
    matrix[1, 2, 2] = torch.inf
    for part in (*decompositions.eigh(matrix), *decompositions.thin_svd(matrix)):
        assert part[1].isnan().all()
        assert part[[0, 2]].isfinite().all()
