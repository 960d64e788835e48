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
from regimes.store import described, long_names
from regimes.studies.second_order_mup.factor_orders import damping_orders, eigenvalue_orders
from regimes.studies.second_order_mup.theory import predicted_slopes, push_through_orders
from regimes.studies.second_order_mup.width_cases import LAYERS, gather
from regimes.studies.second_order_mup.width_fits import (
    FIRST_WIDTH,
    FIT_TEXTS,
    SMALLEST,
    pooled_slopes,
)

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
TEXTS = FIT_TEXTS | {
    "change": "change: dWh by the layer's own update, dh of its pre-activations",
    "window": "widths of the fit: from first_width on, or all",
    "first_width": "narrowest network in the window 'wide'",
    "predicted": "predicted exponent of dWh, wide networks",
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
        the exponent of dWh in wide networks by `damped_slopes`, and ``overdamped``, that with
        factors that are negligible against their dampings.
    """
    data = gather({n: experiments[n] for n in EXPERIMENTS if n in experiments}, CHANGES)
    texts = long_names(data)
    first = [FIRST_WIDTHS.get(str(model), FIRST_WIDTH) for model in data["model"].values]
    data = data.assign(
        first_width=("case", np.array(first, dtype=float)),
        predicted=(("case", "layer"), _predictions(data, damped_slopes)),
        overdamped=(("case", "layer"), _predictions(data, _overdamped)),
    )
    return described(data.merge(_fits(data)), texts | TEXTS)


def damped_slopes(
    optimizer: str, rule: str, parameterization: str, output_exponent: float | None = None
) -> tuple:
    """Exponents of |dW h| in wide networks, whatever the order of the dampings.

    A damping that outgrows its factor replaces it, and divides the update by its own power of the
    width; one that keeps pace or falls behind leaves the exponents of `predicted_slopes` as they
    are. For K-FAC with heuristic damping in muP: (-1, 0, 0), since A of the input layer alone is
    outgrown (section 2.6).

    Parameters
    ----------
    optimizer
        A key of `regimes.nn.abc_parameterization.POWERS`.
    rule
        Damping rule, see `factor_orders.damping_orders`.
    parameterization
        "sp", "up" or "mup".
    output_exponent
        Exponent b_L in place of the parameterization's.

    Returns
    -------
    tuple
        Of input, hidden and output layers; NaN where an optimizer has one damping for both factors
        that does not follow its factor.
    """
    powers = POWERS[optimizer]
    if rule not in ("heuristic", "absolute"):  # follows the factors, or there is none
        return predicted_slopes(powers, parameterization, output_exponent)
    if optimizer not in ("kfac", "foof"):
        return (math.nan,) * LAYERS
    if output_exponent is None:
        output_exponent = float(initial_exponents(parameterization)[-1])
    dampings = damping_orders(optimizer, rule, output_exponent)
    outgrown = dampings > eigenvalue_orders(optimizer, output_exponent)
    rates = preconditioned_exponents(powers, parameterization)
    found = []
    for layer, rate in enumerate(rates):
        left = Powers(*np.where(outgrown[:, layer], 0, powers).tolist())
        lost = np.sum(np.where(outgrown, np.array(powers)[:, None] * dampings, 0)[:, layer])
        found.append(push_through_orders(left, output_exponent)[layer] - lost - rate)
    return tuple(found)


def _overdamped(
    optimizer: str, rule: str, parameterization: str, output_exponent: float | None
) -> tuple:
    """`overdamped_slopes` of an optimizer, the same for all damping rules."""
    return overdamped_slopes(POWERS[optimizer], parameterization, output_exponent)


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
        data["damping_rule"].values.tolist(),
        data["parameterization"].values.tolist(),
        data["output_exponent"].values.tolist(),
        strict=True,
    )
    for row, (optimizer, rule, parameterization, exponent) in zip(found, settings, strict=True):
        if optimizer in POWERS:
            own = None if math.isnan(exponent) else exponent
            row[:] = np.array(slopes(optimizer, rule, parameterization, own), dtype=float)
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
