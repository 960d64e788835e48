"""Shampoo and layer-wise Gauss-Newton against dense matrices in numpy and scipy."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import fractional_matrix_power

from regimes.optim import kronecker, layerwise_gauss_newton, shampoo
from tests.optim.test_kronecker import F64, Batch, drawn, far


def fourth_root(matrix, rho):
    """(matrix + rho)^-1/4 by scipy."""
    return np.real(fractional_matrix_power(matrix + rho * np.eye(len(matrix)), -0.25))


def dense(gradient, epsilon):
    """Shampoo's direction of one run, ridge relative to the largest eigenvalue."""
    left, right = gradient @ gradient.T, gradient.T @ gradient
    rho = epsilon * np.linalg.eigvalsh(left)[-1]
    return fourth_root(left, rho) @ gradient @ fourth_root(right, rho)


@given(
    st.integers(1, 10), st.integers(1, 15), st.integers(1, 15), st.floats(-4, 0),
    st.integers(0, 99),
)  # fmt: skip
@settings(max_examples=25, deadline=None)
def test_thin_and_dense_directions_are_the_definition(samples, n, m, power, seed):
    batch = Batch(samples, n, m, 2, seed)
    epsilon = torch.tensor([10**power, 0.3], dtype=F64)
    expected = np.stack(
        [dense(g, float(e)) for g, e in zip(batch.gradient.numpy(), epsilon, strict=True)]
    )
    left, right = shampoo.thin_direction(batch.inputs, batch.slopes, "largest", epsilon)
    assert far(left @ right, expected) < 1e-7
    sides = shampoo.factors(batch.gradient)
    assert far(shampoo.dense_direction(batch.gradient, *sides, "largest", epsilon), expected) < 1e-7


def test_singular_values_of_a_thin_gradient():
    batch = Batch(5, 12, 9)
    values = shampoo.eigenvalues(batch.inputs, batch.slopes)
    expected = np.linalg.svd(batch.gradient.numpy(), compute_uv=False)[:, :5] ** 2
    np.testing.assert_allclose(np.sort(values, axis=1)[:, ::-1], expected, rtol=1e-9)


def test_diagonal_sides():
    gradient = drawn(1, 3, 2)
    left, right = torch.tensor([[1.0, 2.0, 3.0]], dtype=F64), torch.ones(1, 2, dtype=F64)
    strength = torch.tensor([0.5], dtype=F64)
    found = shampoo.dense_direction(gradient, left, right, "absolute", strength)
    expected = gradient * (left + 0.5).pow(-0.25).unsqueeze(-1) * 1.5**-0.25
    np.testing.assert_allclose(found, expected)


def test_a_run_that_is_not_finite_is_nan_alone():
    gradient = drawn(2, 6, 5)
    gradient[0, 0, 0] = torch.inf
    sides = shampoo.factors(gradient)
    found = shampoo.dense_direction(gradient, *sides, "largest", torch.ones(2, dtype=F64))
    assert found[0].isnan().all() and found[1].isfinite().all()


def test_no_gradient_no_direction():
    inputs, slopes = drawn(2, 4, 6), torch.zeros(2, 4, 5, dtype=F64)
    strength = torch.full((2,), 1e-4, dtype=F64)
    left, right = shampoo.thin_direction(inputs, slopes, "largest", strength)
    np.testing.assert_array_equal(left @ right, torch.zeros(2, 6, 5))


def test_unknown_damping():
    with pytest.raises(ValueError, match="Shampoo's dampings are largest"):
        shampoo.ridge("heuristic", torch.ones(1), torch.ones(1), torch.ones(1))


@pytest.mark.parametrize("samples", [1, 5])
def test_layerwise_gauss_newton_is_the_damped_newton_step_of_the_layer(samples):
    columns, n, m = 3, 4, 6
    batch = Batch(samples, n, m, columns)
    by_sample = batch.signals.view(2, samples, columns, m)
    jacobian = torch.einsum("rni,rnko->rnkio", batch.inputs, by_sample).reshape(2, -1, n * m)
    kernel = layerwise_gauss_newton.tangent_kernel(batch.inputs, batch.signals, columns)
    np.testing.assert_allclose(kernel, jacobian @ jacobian.mT / samples, atol=1e-12)
    rho = 0.01 * kronecker.trace(kernel)
    left, right = layerwise_gauss_newton.direction(
        batch.inputs, batch.signals, batch.coefficients, kernel, rho
    )
    curvature = jacobian.mT @ jacobian / samples + rho[:, None, None] * torch.eye(n * m)
    expected = np.linalg.solve(curvature.numpy(), batch.gradient.reshape(2, -1, 1).numpy())
    assert far((left @ right).reshape(2, -1, 1), expected) < 1e-10
