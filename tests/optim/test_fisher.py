"""Fisher signals: their second moment is the Hessian of the loss, their sum the derivative."""

import numpy as np
import pytest
import torch
from torch.func import grad, hessian, vmap

from regimes.ensemble.losses import LOSSES
from regimes.optim import fisher
from regimes.optim.noise import Generators

F64 = torch.float64
CASES = ("mse", "half_squares", "cross_entropy")


def drawn(runs=2, samples=3, classes=4):
    """Outputs and one-hot targets."""
    generator = torch.Generator().manual_seed(0)
    outputs = torch.randn(runs, samples, classes, generator=generator, dtype=F64)
    label = torch.randint(classes, (runs, samples), generator=generator)
    return outputs, torch.nn.functional.one_hot(label, classes).to(F64)


def of_each_example(loss, operator, outputs, targets):
    """Derivatives of the loss of every example."""

    def single(o, t):
        return LOSSES[loss].value(o[None], t[None])

    return vmap(vmap(operator(single)))(outputs, targets)


@pytest.mark.parametrize("loss", CASES)
def test_columns_are_a_root_of_the_hessian(loss):
    outputs, targets = drawn()
    columns = fisher.columns(loss, outputs)
    found = torch.einsum("rnkc,rnkd->rncd", columns, columns)
    expected = of_each_example(loss, hessian, outputs, targets)
    np.testing.assert_allclose(found, expected, atol=1e-12)


@pytest.mark.parametrize("loss", CASES)
def test_coefficients_give_the_derivative(loss):
    outputs, targets = drawn()
    outputs[0, 0] *= 30  # probabilities next to zero
    columns = fisher.columns(loss, outputs)
    weights = fisher.coefficients(loss, outputs, targets)
    found = torch.einsum("rnk,rnkc->rnc", weights, columns)
    expected = of_each_example(loss, grad, outputs, targets)
    np.testing.assert_allclose(found, expected, atol=1e-9)


@pytest.mark.parametrize("loss", CASES)
def test_the_second_moment_of_sampled_signals_is_the_hessian(loss):
    outputs, targets = drawn(1, 1, 3)
    many = outputs.expand(1, 100_000, 3)
    signals = fisher.sampled(loss, many, Generators().of(torch.tensor([5])))[0, :, 0]
    found = signals.T @ signals / len(signals)
    expected = of_each_example(loss, hessian, outputs, targets)[0, 0]
    np.testing.assert_allclose(found, expected, atol=0.02)
    np.testing.assert_allclose(signals.mean(0), 0, atol=0.02)


@pytest.mark.parametrize("loss", ["mse", "cross_entropy"])
def test_runs_of_one_seed_share_their_noise_whoever_is_beside_them(loss):
    outputs = drawn(1, 5)[0].expand(3, 5, 4)
    first = fisher.sampled(loss, outputs, Generators().of(torch.tensor([1, 2, 1])))
    alone = fisher.sampled(loss, outputs[:1], Generators().of(torch.tensor([1])))
    np.testing.assert_array_equal(first[0], first[2])
    np.testing.assert_array_equal(first[0], alone[0])
    assert (first[0] != first[1]).any()


def test_noise_goes_on():
    generators, seeds = Generators(), torch.tensor([3])
    outputs = drawn(1, 5)[0]
    first, second = (fisher.sampled("mse", outputs, generators.of(seeds)) for _ in range(2))
    assert (first != second).all()


def test_unknown_loss():
    with pytest.raises(ValueError, match="not of 'hinge'"):
        fisher.columns("hinge", drawn()[0])
