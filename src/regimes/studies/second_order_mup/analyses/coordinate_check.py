"""Change of each layer in one or a few steps against the width, with fitted powers of the width."""

from __future__ import annotations

import math

import numpy as np
import xarray as xr

from regimes.nn.abc_parameterization import (
    POWERS,
    Powers,
    initial_exponents,
    preconditioned_exponents,
)
from regimes.store import described
from regimes.studies.second_order_mup.theory import predicted_slopes, push_through_orders
from regimes.studies.second_order_mup.width_cases import gather, long_names
from regimes.studies.second_order_mup.width_fits import FIRST_WIDTH, SMALLEST, pooled_slopes

EXPERIMENTS = (
    "coord_check_main",
    "coord_check_activations",
    "coord_check_foof_gn",
    "coord_check_cross_entropy",
    "coord_check_up",
    "coord_check_output_multiplier",
)
CHANGES = ("dWh", "dh")
# Twice the base width, which is 8 for convolutional networks and 64 for perceptrons.
FIRST_WIDTHS = {"cnn": 16.0}
TEXTS = {
    "change": "change: dWh by the layer's own update, dh of its pre-activations",
    "window": "widths of the fit: from first_width on, or all",
    "first_width": "narrowest network in the window 'wide'",
    "slope": "fitted exponent of the width",
    "slope_low": "lower end of the 95% interval of the exponent",
    "slope_high": "upper end of the 95% interval of the exponent",
    "points": "networks in the fit",
    "predicted": "predicted exponent of dWh, dampings of the order of their factors",
    "overdamped": "predicted exponent of dWh, factors negligible against their dampings",
}


def analyse(experiments: dict[str, xr.Dataset]) -> xr.Dataset:
    """Changes of layers against width and their exponents, beside the predicted ones.

    Parameters
    ----------
    experiments
        The ``coord_check_*`` experiments; those without runs at a scale may be absent.

    Returns
    -------
    xr.Dataset
        ``dWh`` and ``dh`` over (case, layer_step, layer, width, seed), see `width_cases.gather`;
        ``slope``, ``slope_low``, ``slope_high``, ``points`` over (window, change, case, layer_step,
        layer), in the window "wide" from ``first_width`` (case) on; ``predicted`` (case, layer),
        the exponent of dWh with dampings of the order of their factors, and ``overdamped``, that
        with factors that are negligible against their dampings.
    """
    data = gather({n: experiments[n] for n in EXPERIMENTS if n in experiments}, CHANGES)
    texts = long_names(data)
    first = [FIRST_WIDTHS.get(str(model), FIRST_WIDTH) for model in data["model"].values]
    data = data.assign(
        first_width=("case", np.array(first, dtype=float)),
        predicted=(("case", "layer"), _predictions(data, predicted_slopes)),
        overdamped=(("case", "layer"), _predictions(data, overdamped_slopes)),
    )
    return described(data.merge(_fits(data)), texts | TEXTS)


def overdamped_slopes(
    powers: Powers, parameterization: str, output_exponent: float | None = None
) -> tuple:
    """Exponents of |dW h| when the factors are negligible against constant dampings.

    The update is then proportional to the gradient, at the learning rates of the optimizer
    (section 2.6): for K-FAC in muP (-1, 0, 1).

    Parameters
    ----------
    powers
        Powers (e_A, e_B) that the learning rates are made for.
    parameterization
        "sp", "up" or "mup".
    output_exponent
        Exponent b_L in place of the parameterization's.
    """
    if output_exponent is None:
        output_exponent = initial_exponents(parameterization)[-1]
    orders = push_through_orders(Powers(0, 0), output_exponent)
    rates = preconditioned_exponents(powers, parameterization)
    return tuple(order - c for order, c in zip(orders, rates, strict=True))


def _predictions(data: xr.Dataset, slopes) -> np.ndarray:
    """Exponents of every case, (case, layer); NaN for other optimizers."""
    found = np.full((data.sizes["case"], data.sizes["layer"]), np.nan)
    settings = zip(
        data["optimizer"].values.tolist(),
        data["parameterization"].values.tolist(),
        data["output_exponent"].values.tolist(),
        strict=True,
    )
    for row, (optimizer, parameterization, exponent) in zip(found, settings, strict=True):
        if optimizer in POWERS:
            own = None if math.isnan(exponent) else exponent
            row[:] = np.array(slopes(POWERS[optimizer], parameterization, own), dtype=float)
    return found


def _fits(data: xr.Dataset) -> xr.Dataset:
    """Exponents in both windows, (window, change, case, layer_step, layer)."""
    changes = xr.concat([data[name] for name in CHANGES], "change", coords="minimal")
    changes = changes.assign_coords(change=list(CHANGES)).reset_coords(drop=True)
    starts = data["first_width"].values
    by_start = [
        pooled_slopes(changes.isel(case=np.flatnonzero(starts == start)), start)
        for start in np.unique(starts)
    ]
    everything = pooled_slopes(changes, SMALLEST)
    wide = xr.concat(by_start, "case").sortby("case") if by_start else everything
    return xr.concat([wide, everything], "window").assign_coords(window=["wide", "all"])
