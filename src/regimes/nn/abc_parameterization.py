"""Width exponents of initial weights, learning rates and damping: one table for all optimizers.

A layer's weight has standard deviation M^-b and learning rate eta' / M^c, M the width; b counts
powers of M, so that the input layer's b = 0 also where its deviation is 1 / sqrt(inputs).
A preconditioned update is (B + rho_B)^-e_B G (A + rho_A)^-e_A with the powers of its optimizer:

=====================  =====  =====
optimizer              e_A    e_B
=====================  =====  =====
SGD                    0      0
Shampoo                1/2    1/2
K-FAC                  1      1
FOOF                   1      0
layer-wise Gauss-Newton  1    1
=====================  =====  =====

In muP (Ishikawa and Karakida, arXiv 2312.12226, table 1)

    c = (e_B - 1,  e_B - e_A,  1 - e_A)   with   b = (0, 1/2, 1)

for input, hidden and output layers. In the uniform (neural tangent) parameterization the outputs
change by order one while the features do not: b = (0, 1/2, 1/2), c = (0, 1 - e_A, 1 - e_A). The
standard parameterization has the same b and c = 0. Adam stands apart: its update is of order one
whatever the gradient.

Plain Python: no torch.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Literal, NamedTuple

Parameterization = Literal["sp", "up", "mup"]
ROLES = ("input", "hidden", "output")
HALF = Fraction(1, 2)


class Powers(NamedTuple):
    """Powers e_A and e_B of the factors on the input and the output side of a gradient."""

    inputs: Fraction | float
    outputs: Fraction | float


POWERS: dict[str, Powers] = {
    "sgd": Powers(Fraction(0), Fraction(0)),
    "shampoo": Powers(HALF, HALF),
    "kfac": Powers(Fraction(1), Fraction(1)),
    "foof": Powers(Fraction(1), Fraction(0)),
    "layerwise_gn": Powers(Fraction(1), Fraction(1)),
}

INITIAL: dict[str, tuple[Fraction, Fraction, Fraction]] = {
    "sp": (Fraction(0), HALF, HALF),
    "up": (Fraction(0), HALF, HALF),
    "mup": (Fraction(0), HALF, Fraction(1)),
}

ADAM: dict[str, tuple[Fraction, Fraction, Fraction]] = {
    "sp": (Fraction(0), Fraction(0), Fraction(0)),
    "mup": (Fraction(0), Fraction(1), Fraction(1)),
}


def by_role(values: tuple) -> dict[str, float]:
    """Values of input, hidden and output layers by role."""
    return dict(zip(ROLES, map(float, values), strict=True))


def initial_exponents(parameterization: Parameterization) -> tuple:
    """Exponents b of input, hidden and output layers."""
    return INITIAL[parameterization]


def preconditioned_exponents(powers: Powers, parameterization: Parameterization) -> tuple:
    """Exponents c of the learning rates for any powers of the factors (paper, table 1).

    Raises
    ------
    KeyError
        If there is no such parameterization.
    """
    e_a, e_b = powers
    if parameterization == "mup":
        return (e_b - 1, e_b - e_a, 1 - e_a)
    if parameterization == "up":
        return (0 * e_a, 1 - e_a, 1 - e_a)
    if parameterization != "sp":
        raise KeyError(f"parameterizations are {', '.join(INITIAL)}, not {parameterization!r}")
    return (0 * e_a, 0 * e_a, 0 * e_a)


def learning_rate_exponents(optimizer: str, parameterization: Parameterization) -> tuple:
    """Exponents c of the learning rates of input, hidden and output layers.

    Raises
    ------
    KeyError
        If there is no such optimizer or parameterization; for Adam "up" is not in the table.
    """
    if optimizer == "adam":
        return ADAM[parameterization]
    return preconditioned_exponents(POWERS[optimizer], parameterization)


def damping_exponents(optimizer: str, output_exponent: Fraction | float = 1) -> dict[str, tuple]:
    """Exponents d of dampings rho = rho' / M^d that follow the largest eigenvalue of a factor.

    Parameters
    ----------
    optimizer : str
        "kfac" or "foof" (factors A and B of activations and derivatives), "shampoo" (products of
        gradients), "layerwise_gn" (one damping of J J^T, given as that of A; none for B).
    output_exponent
        Exponent b_L of the output layer.

    Returns
    -------
    dict
        "A" and "B": exponents of input, hidden and output layers.
    """
    below = 2 * output_exponent - 1  # |delta|^2 = M^(1 - 2 b_L) below the output
    if optimizer in ("kfac", "foof"):
        return {"A": (0, -1, -1), "B": (below, below, 0)}
    if optimizer in ("shampoo", "layerwise_gn"):
        both = (below, below - 1, -1)
        return {"A": both, "B": both} if optimizer == "shampoo" else {"A": both}
    raise KeyError(f"{optimizer} has no damping")


def initial_factors(
    parameterization: Parameterization,
    ratio: float,
    output_exponent: float | None = None,
    output_multiplier: float = 1.0,
) -> dict[str, float]:
    """Factor of each role's weights, drawn as N(0, 1 / fan_in) at every width.

    Parameters
    ----------
    parameterization : str
    ratio
        Width over base width, M / M_0: at the base width all parameterizations are equal.
    output_exponent
        Exponent b_L in place of the parameterization's; 1/2 standard, 1 muP, 64 practically zero.
    output_multiplier
        Further factor of the output layer. 1 / sqrt(M_0) makes its deviation 1 / M in muP.
    """
    exponents = by_role(initial_exponents(parameterization))
    if output_exponent is not None:
        exponents["output"] = output_exponent
    # fan_in of hidden and output layers is proportional to M, whence deviation M^-1/2.
    return {
        "input": 1.0,
        "hidden": ratio ** (0.5 - exponents["hidden"]),
        "output": output_multiplier * ratio ** (0.5 - exponents["output"]),
    }


def rate_factors(exponents: tuple, ratio: float) -> dict[str, float]:
    """Learning rate of each role over the base learning rate: (M / M_0)^-c."""
    return {role: ratio**-exponent for role, exponent in by_role(exponents).items()}
