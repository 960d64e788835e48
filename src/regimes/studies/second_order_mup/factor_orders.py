"""Orders of the factors of a preconditioner and of their dampings in the width (section 2.6).

The factors A (input side) and B (output side) of a layer have largest eigenvalues of the order
M^-d, d the damping exponents of `regimes.nn.abc_parameterization`; traces are of the same order,
since the number of eigenvalues that matter is that of the examples. Shampoo's A is G'G and its B is
GG'; layer-wise Gauss-Newton has J J' alone, under A.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import xarray as xr

from regimes.nn.abc_parameterization import damping_exponents, initial_exponents

FACTORS = ("A", "B")
# Powers of M in the number of rows of a factor, input to output layer.
DIMENSIONS = {"A": (0, 1, 1), "B": (1, 1, 0)}


def eigenvalue_orders(optimizer: str, output_exponent: float = 1) -> np.ndarray:
    """Exponents of the width of the largest eigenvalues of the factors.

    Parameters
    ----------
    optimizer
        Optimizer with factors; for others, and for the missing factor B of layer-wise Gauss-Newton,
        the orders are NaN.
    output_exponent
        Exponent b_L of the output weights.

    Returns
    -------
    np.ndarray
        (factor, layer), factors A and B, layers input to output.
    """
    try:
        found = damping_exponents(optimizer, output_exponent)
    except KeyError:
        found = {}
    unknown = (math.nan,) * 3
    return 0.0 - np.array([found.get(factor, unknown) for factor in FACTORS], dtype=float)


def damping_orders(optimizer: str, rule: str, output_exponent: float = 1) -> np.ndarray:
    """Exponents of the width of the dampings that a rule gives, (factor, layer).

    Parameters
    ----------
    optimizer, output_exponent
        As of `eigenvalue_orders`.
    rule
        "rescaled" (in proportion to the trace), "largest" (to the largest eigenvalue), "heuristic"
        (pi sqrt(rho) and sqrt(rho) / pi with pi^2 the ratio of mean eigenvalues, Martens and Grosse
        2015) or "absolute"; NaN for others.
    """
    orders = eigenvalue_orders(optimizer, output_exponent)
    if rule in ("rescaled", "largest"):
        return orders
    if rule == "absolute":
        return 0 * orders
    if rule != "heuristic":
        return np.full_like(orders, math.nan)
    mean_a, mean_b = orders - np.array([DIMENSIONS[factor] for factor in FACTORS])
    pi = (mean_a - mean_b) / 2
    return np.stack([pi, -pi])


def output_exponents(data: xr.Dataset) -> list[float]:
    """Exponent b_L of each case: its own or that of its parameterization."""
    own = data["output_exponent"].values.astype(float)
    names = data["parameterization"].values.tolist()
    pairs = zip(own.tolist(), names, strict=True)
    return [float(initial_exponents(n)[-1]) if math.isnan(b) else b for b, n in pairs]


def both_factors(data: xr.Dataset, name: str) -> xr.DataArray:
    """Variable of both factors, for instance ``trace``, with a dimension ``factor``."""
    parts = [data[f"{name}_{factor}"] for factor in FACTORS]
    joined = xr.concat(parts, "factor", coords="minimal", compat="override")
    return joined.assign_coords(factor=list(FACTORS)).rename(name)


def of_cases(data: xr.Dataset, rows: Sequence[np.ndarray]) -> xr.DataArray:
    """Orders of each case, (factor, layer), as one array over (case, factor, layer)."""
    values = np.array(rows).reshape(data.sizes["case"], len(FACTORS), data.sizes["layer"])
    return xr.DataArray(values, dims=("case", "factor", "layer"))
