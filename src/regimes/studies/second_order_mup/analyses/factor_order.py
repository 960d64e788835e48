"""Traces of the K-FAC factors during training, and their exponents of the width."""

from __future__ import annotations

import xarray as xr

from regimes.store import described, long_names
from regimes.studies.second_order_mup.factor_orders import (
    both_factors,
    eigenvalue_orders,
    of_cases,
    output_exponents,
)
from regimes.studies.second_order_mup.width_cases import gather
from regimes.studies.second_order_mup.width_fits import FIT_TEXTS, SMALLEST, pooled_slopes

TEXTS = FIT_TEXTS | {
    "factor": "factor: A of inputs, B of output derivatives",
    "trace": "trace of the factor on the first batch",
    "predicted": "predicted exponent of the width",
}


def analyse(experiments: dict[str, xr.Dataset]) -> xr.Dataset:
    """Traces of both factors at all stored steps, fitted over all widths.

    Parameters
    ----------
    experiments
        ``factor_order``; may be absent.

    Returns
    -------
    xr.Dataset
        ``trace`` over (case, factor, layer_step, layer, width, seed), see `width_cases.gather`;
        ``slope``, ``slope_low``, ``slope_high``, ``points`` (case, factor, layer_step, layer);
        ``predicted`` (case, factor, layer).
    """
    read = {n: experiments[n] for n in ("factor_order",) if n in experiments}
    data = gather(read, ["trace_A", "trace_B"])
    texts = long_names(data)
    trace = both_factors(data, "trace")
    trace = trace.transpose("case", "factor", "layer_step", "layer", "width", "seed")
    result = trace.to_dataset().merge(pooled_slopes(trace.reset_coords(drop=True), SMALLEST))
    pairs = zip(result["optimizer"].values.tolist(), output_exponents(result), strict=True)
    orders = [eigenvalue_orders(optimizer, b) for optimizer, b in pairs]
    return described(result.assign(predicted=of_cases(result, orders)), texts | TEXTS)
