"""Kronecker factors, their damping and K-FAC directions against dense linear algebra in numpy."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from regimes.optim import kronecker
from regimes.optim.kronecker import Samples

F64 = torch.float64


def drawn(*shape, seed=0, dtype=F64):
    """Standard normal numbers."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


class Batch:
    """Random inputs, signals and derivatives of two runs, with dense factors and gradient."""

    def __init__(self, samples=7, n=20, m=33, columns=3, seed=0):
        self.inputs = drawn(2, samples, n, seed=seed)
        self.signals = drawn(2, samples * columns, m, seed=seed + 1)
        self.coefficients = drawn(2, samples, columns, seed=seed + 2)
        by_sample = self.signals.view(2, samples, columns, m)
        self.slopes = torch.einsum("rnk,rnkm->rnm", self.coefficients, by_sample)
        self.a = self.inputs.mT @ self.inputs / samples
        self.b = self.signals.mT @ self.signals / samples
        self.gradient = self.inputs.mT @ self.slopes / samples

    def dense(self, rho_a, rho_b, gradient=None):
        """(A + rho_A)^-1 G (B + rho_B)^-1 by explicit inverses."""
        gradient = self.gradient if gradient is None else gradient
        sides = [
            np.linalg.inv(factor.numpy() + rho.numpy()[:, None, None] * np.eye(factor.shape[-1]))
            for factor, rho in ((self.a, rho_a), (self.b, rho_b))
        ]
        return sides[0] @ gradient.numpy() @ sides[1]


def far(found, expected):
    """Relative Frobenius distance."""
    return np.linalg.norm(np.asarray(found) - expected) / np.linalg.norm(expected)


@given(
    st.integers(1, 12), st.integers(1, 24), st.integers(1, 24), st.integers(1, 3),
    st.floats(-3, 1), st.integers(0, 99),
)  # fmt: skip
@settings(max_examples=30, deadline=None)
def test_all_routes_are_the_dense_direction(samples, n, m, columns, power, seed):
    batch = Batch(samples, n, m, columns, seed)
    strength = torch.full((2,), 10**power, dtype=F64)
    rho = kronecker.damping("rescaled", strength, batch.a, batch.b)
    expected = batch.dense(*rho)
    dense = kronecker.dense_direction(batch.gradient, batch.a, batch.b, *rho)
    assert far(dense, expected) < 1e-9
    for known in (None, batch.coefficients):
        left, right = kronecker.sample_direction(
            batch.inputs, batch.slopes, batch.signals, *rho, known
        )
        assert far(left @ right, expected) < 1e-8


def test_foof_has_the_input_side_only():
    batch = Batch()
    rho = torch.tensor([0.1, 2.0], dtype=F64)
    inverse = np.linalg.inv(batch.a.numpy() + rho.numpy()[:, None, None] * np.eye(20))
    expected = inverse @ batch.gradient.numpy()
    dense = kronecker.dense_direction(batch.gradient, batch.a, None, rho, rho)
    left, right = kronecker.sample_direction(batch.inputs, batch.slopes, None, rho, rho)
    assert far(dense, expected) < 1e-12
    assert far(left @ right, expected) < 1e-12


def test_derivatives_outside_the_span_of_the_signals():
    batch = Batch(columns=1)
    slopes = drawn(2, 7, 33, seed=9)
    gradient = batch.inputs.mT @ slopes / 7
    rho = kronecker.damping("rescaled", torch.full((2,), 0.01, dtype=F64), batch.a, batch.b)
    left, right = kronecker.sample_direction(batch.inputs, slopes, batch.signals, *rho)
    assert far(left @ right, batch.dense(*rho, gradient)) < 1e-11


def test_dampings():
    batch = Batch()
    strength = torch.tensor([0.5, 0.01], dtype=F64)
    known = strength.numpy()
    for a, b in (
        (batch.a, batch.b),
        (Samples(batch.inputs / 7**0.5), Samples(batch.signals / 7**0.5)),
    ):
        for rule, of in (
            ("rescaled", lambda each: np.trace(each, axis1=1, axis2=2)),
            ("largest", lambda each: np.linalg.eigvalsh(each)[:, -1]),
        ):
            found = kronecker.damping(rule, strength, a, b)
            np.testing.assert_allclose(found.inputs, known * of(batch.a.numpy()), rtol=1e-10)
            np.testing.assert_allclose(found.outputs, known * of(batch.b.numpy()), rtol=1e-10)
        found = kronecker.damping("heuristic", strength, a, b)
        mean = [np.trace(each.numpy(), axis1=1, axis2=2) / each.shape[1]
                for each in (batch.a, batch.b)]  # fmt: skip
        pi = np.sqrt(mean[0] / mean[1])
        np.testing.assert_allclose(found.inputs, pi * np.sqrt(known), rtol=1e-10)
        np.testing.assert_allclose(found.outputs, np.sqrt(known) / pi, rtol=1e-10)
        assert kronecker.damping("absolute", strength, a, b).inputs is strength


def test_heuristic_damping_of_a_factor_that_vanishes_is_the_strength():
    strength = torch.tensor([0.5], dtype=F64)
    a, nothing = torch.eye(4, dtype=F64)[None], torch.zeros(1, 3, 3, dtype=F64)
    for pair in ((a, nothing), (nothing, a)):
        found = kronecker.damping("heuristic", strength, *pair)
        assert found.inputs == found.outputs == 0.5


def test_factors_that_vanish_with_their_gradient_leave_no_direction():
    a, nothing = torch.eye(4, dtype=F64)[None], torch.zeros(1, 3, 3, dtype=F64)
    gradient = torch.zeros(1, 4, 3, dtype=F64)
    for rule in kronecker.RULES:
        rho = kronecker.damping(rule, torch.tensor([0.01], dtype=F64), a, nothing)
        found = kronecker.dense_direction(gradient, a, nothing, *rho)
        np.testing.assert_array_equal(found, gradient)


def test_one_bad_run_leaves_the_others_alone():
    batch = Batch()
    rho = kronecker.damping("rescaled", torch.full((2,), 0.1, dtype=F64), batch.a, batch.b)
    whole = kronecker.dense_direction(batch.gradient, batch.a, batch.b, *rho)
    spoilt = batch.a.clone()
    spoilt[0, 2, 3] = spoilt[0, 3, 2] = torch.nan
    found = kronecker.dense_direction(batch.gradient, spoilt, batch.b, *rho)
    assert found[0].isnan().all()
    np.testing.assert_array_equal(found[1], whole[1])
    assert kronecker.largest_eigenvalue(spoilt).isnan().tolist() == [True, False]


def test_a_factor_that_rounding_makes_indefinite_is_repaired():
    rows = drawn(1, 3, 40, dtype=torch.float32)
    singular = rows.mT @ rows  # rank 3 of 40; damping far below its rounding errors
    lower = kronecker.prepared(singular, torch.tensor([1e-12])).lower
    assert lower.isfinite().all()
    solved = kronecker.divided(kronecker.Prepared(lower, None, None), rows.mT)
    np.testing.assert_allclose((singular @ solved)[0], rows.mT[0], atol=2e-3)


def test_diagonal_factors():
    diagonal = torch.tensor([[1.0, 0.0, 4.0]], dtype=F64)
    rho = torch.tensor([0.5], dtype=F64)
    gradient, b = drawn(1, 3, 2), torch.eye(2, dtype=F64)[None]
    found = kronecker.dense_direction(gradient, diagonal, b, rho, rho)
    expected = gradient / (diagonal + 0.5).unsqueeze(-1) / 1.5
    np.testing.assert_allclose(found, expected)
    assert kronecker.trace(diagonal) == 5
    assert kronecker.largest_eigenvalue(diagonal) == 4
    assert kronecker.size(diagonal) == 3


def test_average_in_place():
    stored, new = torch.zeros(2), torch.ones(2)
    assert kronecker.averaged(stored, new, 0.25) is stored
    np.testing.assert_allclose(stored, 0.25)


def test_errors():
    a = torch.eye(2, dtype=F64)[None]
    with pytest.raises(ValueError, match="dampings are rescaled"):
        kronecker.damping("none", torch.ones(1), a, a)
    with pytest.raises(ValueError, match="both factors"):
        kronecker.damping("heuristic", torch.ones(1), a, None)
