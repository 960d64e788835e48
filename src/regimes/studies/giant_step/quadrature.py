"""Gaussian averages by quadrature: the rules behind the giant-step theory.

Every rule comes as ``(points, weights)`` with weights that sum to one, so that an
expectation is ``weights @ function(points)``.
"""

from __future__ import annotations

from functools import cache
from math import pi, sqrt

import numpy as np
from numpy.polynomial.hermite_e import hermegauss
from numpy.polynomial.legendre import leggauss

# Gauss-Hermite nodes per dimension. The targets are polynomials of degree at most 4, for which
# even the last entry is exact to rounding; the larger ones leave room for smooth targets.
NODES = {1: 80, 2: 64}
NODES_FROM_THREE = 24


@cache
def gaussian_grid(dimensions: int, nodes: int) -> tuple[np.ndarray, np.ndarray]:
    """Tensor Gauss-Hermite rule for a standard normal vector (section 2.10).

    Parameters
    ----------
    dimensions : int
        Length of the vector; 0 gives the one-point rule.
    nodes : int
        Nodes per dimension (probabilists' rule, exact to degree ``2 nodes - 1``).

    Returns
    -------
    points : ndarray, shape (nodes**dimensions, dimensions)
    weights : ndarray, shape (nodes**dimensions,)
    """
    x, w = hermegauss(nodes)
    points, weights = np.zeros((1, 0)), np.ones(1)
    for _ in range(dimensions):
        points = np.column_stack([np.repeat(points, nodes, axis=0), np.tile(x, len(points))])
        weights = np.kron(weights, w / w.sum())
    points.flags.writeable = weights.flags.writeable = False  # shared by all callers
    return points, weights


def nodes_per_dimension(dimensions: int) -> int:
    """Gauss-Hermite nodes used per dimension for a target of so many directions."""
    return NODES.get(dimensions, NODES_FROM_THREE)


@cache
def two_sided_rule(nodes: int = 200, cutoff: float = 14.0) -> tuple[np.ndarray, np.ndarray]:
    """Rule for E[g(x)], x standard normal, with g smooth on each half-line only.

    Gauss-Hermite nodes converge slowly across the kink of the ReLU. Gauss-Legendre on [0, cutoff]
    and its mirror image see a smooth integrand on either side; beyond the cutoff of 14 the
    normal density is below 1e-43.

    Parameters
    ----------
    nodes : int
        Nodes per half-line.
    cutoff : float
        End of the integration range, in standard deviations.

    Returns
    -------
    points, weights : ndarray, shape (2 * nodes,)
    """
    t, w = leggauss(nodes)
    x = cutoff * (t + 1) / 2
    density = cutoff / 2 * w * np.exp(-(x**2) / 2) / sqrt(2 * pi)
    points, weights = np.concatenate([-x, x]), np.concatenate([density, density])
    points.flags.writeable = weights.flags.writeable = False
    return points, weights


@cache
def chi_square_rule(degrees: int, nodes: int = 800) -> tuple[np.ndarray, np.ndarray]:
    """Rule for averages over a chi-square variable, accurate next to its singular point x = 0.

    Trapezoid rule in log x. The averages needed are of x / (x + a): in log x the integrand is
    analytic in a strip whatever the size of a, so that the error falls exponentially in the
    number of nodes, whereas a rule in x would have to resolve the scale a.

    Parameters
    ----------
    degrees : int
        Degrees of freedom, at least 1.
    nodes : int
        Number of nodes.

    Returns
    -------
    points, weights : ndarray, shape (nodes,)
    """
    t = np.linspace(-75.0, 7.0, nodes)  # the mass below e^-75 is e^-37.5 at one degree of freedom
    x = np.exp(t)
    log_density = degrees / 2 * t - x / 2  # of t = log x, up to a constant
    weights = np.exp(log_density - log_density.max())
    weights /= weights.sum()
    x.flags.writeable = weights.flags.writeable = False
    return x, weights
