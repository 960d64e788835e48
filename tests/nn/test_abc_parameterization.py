"""Exponents against orders of magnitude measured on random matrices, and their tables."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regimes.nn import abc_parameterization as abc

half = Fraction(1, 2)


def test_named_rows_of_mup():
    rows = {name: abc.learning_rate_exponents(name, "mup") for name in (*abc.POWERS, "adam")}
    assert rows == {
        "sgd": (-1, 0, 1),
        "shampoo": (-half, 0, half),
        "kfac": (0, 0, 0),
        "foof": (-1, -1, 0),
        "layerwise_gn": (0, 0, 0),
        "adam": (0, 1, 1),
    }


@given(st.floats(0, 1), st.floats(0, 1))
def test_neural_tangent_rates_are_those_that_keep_the_output_change(e_a, e_b):
    # |dW h| at c = 0 and b_L = 1/2: M^(-1/2), M^(1/2 - e_A), M^(1 - e_A).
    powers = abc.Powers(e_a, e_b)
    orders = (-0.5, 0.5 - e_a, 1 - e_a)
    c = abc.preconditioned_exponents(powers, "up")
    left = [o - each for o, each in zip(orders, c, strict=True)]
    assert left == pytest.approx([-0.5, -0.5, 0])
    assert abc.preconditioned_exponents(powers, "sp") == (0, 0, 0)


def test_initial_factors():
    assert abc.initial_factors("sp", 4) == {"input": 1, "hidden": 1, "output": 1}
    assert abc.initial_factors("mup", 4) == {"input": 1, "hidden": 1, "output": 0.5}
    assert abc.initial_factors("mup", 4, output_multiplier=0.125)["output"] == 0.0625
    assert abc.initial_factors("sp", 16, output_exponent=1.0)["output"] == 0.25
    assert abc.initial_factors("sp", 256, output_exponent=64.0)["output"] < 1e-150


def test_rate_factors_undo_the_exponents():
    factors = abc.rate_factors(abc.learning_rate_exponents("sgd", "mup"), 8)
    assert factors == {"input": 8, "hidden": 1, "output": 0.125}


@pytest.mark.parametrize("optimizer", ["kfac", "foof"])
def test_dampings_of_kronecker_factors(optimizer):
    assert abc.damping_exponents(optimizer) == {"A": (0, -1, -1), "B": (1, 1, 0)}
    assert abc.damping_exponents(optimizer, half)["B"] == (0, 0, 0)


def test_dampings_of_products_are_sums_of_both_factors():
    both = abc.damping_exponents("kfac")
    total = tuple(a + b for a, b in zip(both["A"], both["B"], strict=True))
    assert (
        abc.damping_exponents("shampoo")
        == {"A": total, "B": total}
        == {
            "A": (1, 0, -1),
            "B": (1, 0, -1),
        }
    )
    assert abc.damping_exponents("layerwise_gn") == {"A": total}


def test_unknown_rows():
    for given_ in (("adam", "up"), ("lbfgs", "mup"), ("sgd", "ntk")):
        with pytest.raises(KeyError):
            abc.learning_rate_exponents(*given_)
    with pytest.raises(KeyError):
        abc.damping_exponents("sgd")
