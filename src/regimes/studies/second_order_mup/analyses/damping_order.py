"""Dampings against the largest eigenvalues of their factors at the first step, over the width."""

from __future__ import annotations

import xarray as xr

from regimes.store import described, long_names
from regimes.studies.second_order_mup.factor_orders import (
    both_factors,
    damping_orders,
    eigenvalue_orders,
    of_cases,
    output_exponents,
)
from regimes.studies.second_order_mup.width_cases import gather
from regimes.studies.second_order_mup.width_fits import FIT_TEXTS, pooled_slopes

EXPERIMENTS = ("coord_check_main", "coord_check_foof_gn")
QUANTITIES = ("trace", "lambda_max", "ratio")
TEXTS = FIT_TEXTS | {
    "factor": "factor: A of inputs, B of output derivatives (Shampoo: G'G and GG')",
    "trace": "trace of the factor on the first batch",
    "lambda_max": "largest eigenvalue of the factor on the first batch",
    "ratio": "damping over the largest eigenvalue of its factor",
    "quantity": "quantity that is fitted",
    "predicted": "predicted exponent of the width",
}


def analyse(experiments: dict[str, xr.Dataset]) -> xr.Dataset:
    """Factors and dampings before the first update, and their exponents of the width.

    Parameters
    ----------
    experiments
        ``coord_check_main``, ``coord_check_foof_gn``; either may be absent.

    Returns
    -------
    xr.Dataset
        ``trace``, ``lambda_max`` and ``ratio`` (damping over lambda_max) over (case, factor, layer,
        width, seed), see `width_cases.gather`; ``slope``, ``slope_low``, ``slope_high``, ``points``
        (quantity, case, factor, layer) from fits to M >= 128; ``predicted`` (quantity, case,
        factor, layer). NaN for optimizers without factors.
    """
    names = [f"{name}_{factor}" for name in ("trace", "lambda_max", "rho") for factor in "AB"]
    data = gather({n: experiments[n] for n in EXPERIMENTS if n in experiments}, names)
    texts = long_names(data)
    first = data.sel(layer_step=0, drop=True)
    found = {name: both_factors(first, name) for name in ("trace", "lambda_max")}
    largest = found["lambda_max"]
    found["ratio"] = both_factors(first, "rho") / largest.where(largest != 0)
    dims = ("case", "factor", "layer", "width", "seed")
    result = xr.Dataset({name: values.transpose(*dims) for name, values in found.items()})
    fits = [pooled_slopes(result[name].reset_coords(drop=True)) for name in QUANTITIES]
    joined = xr.concat(fits, "quantity").assign_coords(quantity=list(QUANTITIES))
    result = result.merge(joined).assign(predicted=_predicted(result))
    return described(result, texts | TEXTS)


def _predicted(data: xr.Dataset) -> xr.DataArray:
    """Predicted exponents, (quantity, case, factor, layer)."""
    optimizers, rules = (data[n].values.tolist() for n in ("optimizer", "damping_rule"))
    rows = list(zip(optimizers, rules, output_exponents(data), strict=True))
    orders = of_cases(data, [eigenvalue_orders(o, b) for o, _, b in rows])
    dampings = of_cases(data, [damping_orders(o, rule, b) for o, rule, b in rows])
    return xr.concat([orders, orders, dampings - orders], "quantity")
