"""Orders in the width, the published table of exponents, and the kernel limit of zero outputs.

Sections refer to the specification of the study: M is the width, e_A and e_B are the powers of the
factors on the input and output side of a gradient, a layer's weights have standard deviation M^-b
and its learning rate is eta' / M^c. Roles are input, hidden and output layers, in this order.

`push_through_orders` and `PUBLISHED` owe nothing to `regimes.nn.abc_parameterization`, which the
runs use: one checks the other. Numpy only.
"""

from __future__ import annotations

from fractions import Fraction
from typing import NamedTuple

import numpy as np

from regimes.nn.abc_parameterization import (
    POWERS,
    Parameterization,
    Powers,
    initial_exponents,
    learning_rate_exponents,
    preconditioned_exponents,
)

Array = np.ndarray
Exponent = Fraction | float
Roles = tuple[Exponent, Exponent, Exponent]

HALF = Fraction(1, 2)
ADAM_ORDERS: Roles = (0, 1, 1)


# --- One step, order by order ---------------------------------------------------------------------


def push_through_orders(powers: Powers, output_exponent: Exponent = 1) -> Roles:
    """Exponents of |dW h| per coordinate at a width-independent learning rate (section 2.4).

    By (v v' + rho)^-e v = v (v'v + rho)^-e the update of a layer, applied to the layer's inputs, is

        -eta delta (delta'delta + rho_B)^-e_B chi (h'h + rho_A)^-e_A h'h,

    with residuals chi of order one and each damping of the order of its factor. Here h'h is of
    order 1 for the network's inputs and M for hidden units; delta is of order M^-b_L per unit
    below the output layer, where delta'delta is M^(1 - 2 b_L), and of order 1 at the outputs.

    Parameters
    ----------
    powers
        Powers (e_A, e_B).
    output_exponent
        Exponent b_L of the output weights: 1 in muP, 1/2 otherwise.

    Returns
    -------
    tuple
        Exponents of input, hidden and output layers, exact for fractions.
    """
    e_a, e_b = powers
    derivative = -output_exponent - e_b * (1 - 2 * output_exponent)
    activation = 1 - e_a
    return (derivative, derivative + activation, activation)


def predicted_slopes(
    powers: Powers, parameterization: Parameterization, output_exponent: Exponent | None = None
) -> Roles:
    """Slopes of log |dW h| against log M after one step, of all three roles (section 2.5).

    Parameters
    ----------
    powers
        Powers (e_A, e_B) of the optimizer, an entry of `regimes.nn.abc_parameterization.POWERS`.
    parameterization
        "sp", "up" or "mup": gives the learning rates and, unless overridden, b_L.
    output_exponent
        Exponent b_L in place of the parameterization's.
    """
    if output_exponent is None:
        output_exponent = initial_exponents(parameterization)[-1]
    return _after(
        push_through_orders(powers, output_exponent),
        preconditioned_exponents(powers, parameterization),
    )


def optimizer_slopes(
    optimizer: str,
    parameterization: Parameterization,
    output_exponent: Exponent | None = None,
) -> Roles:
    """`predicted_slopes` of an optimizer by name, Adam included.

    Adam's update has entries of order one, hence (0, 1, 1) before the learning rates.

    Raises
    ------
    KeyError
        If there is no such optimizer or parameterization; for Adam "up" is not in the table.
    """
    if optimizer == "adam":
        return _after(ADAM_ORDERS, learning_rate_exponents(optimizer, parameterization))
    return predicted_slopes(POWERS[optimizer], parameterization, output_exponent)


def _after(orders: Roles, exponents: Roles) -> Roles:
    """Orders of |dW h| once learning rates are proportional to M^-c."""
    first, hidden, last = (order - c for order, c in zip(orders, exponents, strict=True))
    return (first, hidden, last)


def mup_formula(powers: Powers) -> Roles:
    """Learning-rate exponents of muP, (e_B - 1, e_B - e_A, 1 - e_A) (proposition 4.1)."""
    e_a, e_b = powers
    return (e_b - 1, e_b - e_a, 1 - e_a)


# --- Published table ------------------------------------------------------------------------------


class Row(NamedTuple):
    """Exponents of initial weights and of learning rates, input to output."""

    initial: Roles
    rates: Roles


STANDARD: Roles = (0, HALF, HALF)
MUP: Roles = (0, HALF, 1)

# Row by row as published or in the authors' code (section 2.5), not computed from a formula.
PUBLISHED: dict[tuple[str, str], Row] = {
    ("sgd", "sp"): Row(STANDARD, (0, 0, 0)),
    ("adam", "sp"): Row(STANDARD, (0, 0, 0)),
    ("shampoo", "sp"): Row(STANDARD, (0, 0, 0)),
    ("kfac", "sp"): Row(STANDARD, (0, 0, 0)),
    ("foof", "sp"): Row(STANDARD, (0, 0, 0)),
    ("layerwise_gn", "sp"): Row(STANDARD, (0, 0, 0)),
    ("sgd", "up"): Row(STANDARD, (0, 1, 1)),
    ("shampoo", "up"): Row(STANDARD, (0, HALF, HALF)),
    ("kfac", "up"): Row(STANDARD, (0, 0, 0)),
    ("foof", "up"): Row(STANDARD, (0, 0, 0)),
    ("sgd", "mup"): Row(MUP, (-1, 0, 1)),
    ("adam", "mup"): Row(MUP, (0, 1, 1)),
    ("shampoo", "mup"): Row(MUP, (-HALF, 0, HALF)),
    ("kfac", "mup"): Row(MUP, (0, 0, 0)),
    ("foof", "mup"): Row(MUP, (-1, -1, 0)),
    ("layerwise_gn", "mup"): Row(MUP, (0, 0, 0)),
}

# Exponents d of the dampings rho' / M^d (section 2.6), by optimizer, parameterization and factor.
# Shampoo's factors are products of gradients: "A" is the right, "B" the left one. The layer-wise
# Gauss-Newton method has a single damping, of J J', given as "A".
PUBLISHED_DAMPING: dict[tuple[str, str, str], Roles] = {
    ("kfac", "mup", "A"): (0, -1, -1),
    ("kfac", "mup", "B"): (1, 1, 0),
    ("kfac", "sp", "A"): (0, -1, -1),
    ("kfac", "sp", "B"): (0, 0, 0),
    ("shampoo", "mup", "A"): (1, 0, -1),
    ("shampoo", "mup", "B"): (1, 0, -1),
    ("layerwise_gn", "mup", "A"): (1, 0, -1),
}


# --- Kernel of infinitely wide relu networks ------------------------------------------------------


def arc_cosine_step(cross: Array, first: Array, second: Array) -> Array:
    """Mean of relu(u) relu(u') for jointly normal u, u' (Cho and Saul 2009, order one).

    Parameters
    ----------
    cross
        Covariances of u and u', (..., n, m).
    first, second
        Variances of u, (..., n), and of u', (..., m).

    Returns
    -------
    Array
        s (sin t + (pi - t) cos t) / (2 pi) with s = sqrt(var u var u') and cos t = cov / s,
        (..., n, m); 0 where a variance is 0.
    """
    cross = np.asarray(cross, dtype=float)
    scale = np.sqrt(np.asarray(first)[..., :, None] * np.asarray(second)[..., None, :])
    cosine = np.divide(cross, scale, out=np.zeros_like(cross), where=scale > 0)
    cosine = np.clip(cosine, -1.0, 1.0)  # rounding can lead out of the domain of arccos
    angle = np.arccos(cosine)
    return scale * (np.sin(angle) + (np.pi - angle) * cosine) / (2 * np.pi)


def nngp_layers(x: Array, other: Array | None = None, hidden_layers: int = 2) -> Array:
    """Kernels of an infinitely wide relu network, layer by layer (section 2.8).

    Weights N(0, 1 / fan_in), no biases: U_1 = x.x' / d, then `arc_cosine_step` per hidden layer.

    Parameters
    ----------
    x
        Inputs (..., n, d).
    other
        Inputs (..., m, d) of the second argument; ``x`` itself without.
    hidden_layers
        Number of hidden layers, L - 1 of a network with L weight layers.

    Returns
    -------
    Array
        (hidden_layers + 1, ..., n, m): the kernel of the inputs, then of every hidden layer.

    Raises
    ------
    ValueError
        If the numbers of input dimensions differ, or hidden_layers is negative.
    """
    x = np.asarray(x, dtype=float)
    other = x if other is None else np.asarray(other, dtype=float)
    if x.shape[-1] != other.shape[-1] or hidden_layers < 0:
        raise ValueError(
            f"inputs {x.shape} and {other.shape} need equal dimension, {hidden_layers} >= 0"
        )
    dimension = x.shape[-1]
    kernel = x @ np.swapaxes(other, -1, -2) / dimension
    first, second = ((z**2).sum(-1) / dimension for z in (x, other))
    layers = [kernel]
    for _ in range(hidden_layers):
        kernel = arc_cosine_step(kernel, first, second)
        first, second = first / 2, second / 2  # the step at angle 0
        layers.append(kernel)
    return np.stack(layers)


def nngp_kernel(x: Array, other: Array | None = None, hidden_layers: int = 2) -> Array:
    """Kernel of the last hidden layer, (..., n, m); arguments as of `nngp_layers`."""
    return nngp_layers(x, other, hidden_layers)[-1]


# --- Ridge regression with a kernel ---------------------------------------------------------------


def ridge_predictor(
    kernel: Array, cross: Array, targets: Array, ridge: float | Array, relative: bool = True
) -> Array:
    """Predictions K(z, X) (K(X, X) + r)^-1 y of kernel ridge regression.

    Parameters
    ----------
    kernel
        Kernel of the training inputs with themselves, (..., n, n), positive semi-definite.
    cross
        Kernel of the test inputs with the training inputs, (..., m, n).
    targets
        Training targets (..., n, C).
    ridge
        A number or (...): r = ridge tr K(X, X), so that it is the rescaled damping rho' of the
        factor h'h / n with the same features; without ``relative`` r = ridge.

    Returns
    -------
    Array
        (..., m, C).

    Raises
    ------
    ValueError
        If a ridge is negative.
    """
    ridge = np.asarray(ridge, dtype=float)
    if np.any(ridge < 0):
        raise ValueError(f"ridge {ridge} is negative")
    if relative:
        ridge = ridge * np.trace(kernel, axis1=-2, axis2=-1)
    damped = kernel + ridge[..., None, None] * np.eye(kernel.shape[-1])
    return cross @ np.linalg.solve(damped, targets)


def relative_distance(outputs: Array, reference: Array, axes: int = 2) -> Array:
    """|f - g| / |g| over the last ``axes`` axes; infinite where g is 0 and f is not."""
    where = tuple(range(-axes, 0))
    # Outputs of runs that diverge may be infinite, or square to it.
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        size = np.sqrt((np.asarray(reference, dtype=float) ** 2).sum(where))
        gap = np.sqrt(((np.asarray(outputs, dtype=float) - reference) ** 2).sum(where))
        return gap / size
