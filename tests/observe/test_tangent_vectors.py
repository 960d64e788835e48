"""Products with tangent kernels against dense Jacobians."""

import numpy as np
import pytest
import torch
from torch.func import jacrev

from regimes.observe.tangent_vectors import kernel_similarity, tangent_products

F64 = torch.float64


def apply(params, frozen, x):
    """Nonlinear function of trained parameters, (n, 3) to (n, 4)."""
    return torch.tanh(x @ frozen["c"] @ params["w"]) @ params["v"] + params["b"]


def networks(count, seed=0):
    """Trained and frozen tensors of some runs."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(count, *shape, generator=generator, dtype=F64)

    return {"w": normal(6, 5), "v": normal(5, 4), "b": normal(4)}, {"c": normal(3, 6)}


X = torch.randn(7, 3, generator=torch.Generator().manual_seed(9), dtype=F64)


def kernel(params, frozen, run):
    """Tangent kernel (n d, n d) of one run from its whole Jacobian; C is not trained."""
    own = {name: value[run] for name, value in params.items()}
    fixed = {name: value[run] for name, value in frozen.items()}
    jac = jacrev(lambda p: apply(p, fixed, X).flatten())(own)
    whole = torch.cat([value.flatten(1) for value in jac.values()], 1)
    return whole @ whole.T


@pytest.mark.parametrize("at_once", [None, 1, 2])
def test_products_are_those_of_the_dense_kernel(at_once):
    params, frozen = networks(3)
    vectors = torch.randn(4, 7, 4, generator=torch.Generator().manual_seed(1), dtype=F64)
    found = tangent_products(apply, params, frozen, X, vectors, at_once=at_once)
    for run in range(3):
        expected = vectors.flatten(1) @ kernel(params, frozen, run)
        np.testing.assert_allclose(found[run].flatten(1), expected, rtol=1e-10)


def test_the_similarity_estimates_the_cosine_of_the_kernels():
    params, frozen = networks(2)
    moved = {name: value + 0.5 * networks(2, 5)[0][name] for name, value in params.items()}
    vectors = torch.randn(4000, 7, 4, generator=torch.Generator().manual_seed(1), dtype=F64)
    first, second = (tangent_products(apply, p, frozen, X, vectors) for p in (params, moved))
    found = kernel_similarity(first, second)
    for run in range(2):
        one, two = kernel(params, frozen, run), kernel(moved, frozen, run)
        expected = (one * two).sum() / (one.norm() * two.norm())
        assert 0.2 < expected < 0.95
        assert found[run] == pytest.approx(float(expected), abs=0.02)
    np.testing.assert_allclose(kernel_similarity(first, 3 * first), 1)
