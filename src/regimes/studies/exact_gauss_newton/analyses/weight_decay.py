"""GN with weight decay added to its update."""

from __future__ import annotations

import numpy as np
import xarray as xr

from regimes.studies.exact_gauss_newton.variants import (
    ADAM,
    BASE_GN,
    final_over,
    gather,
    ratio_at,
    with_numbers,
)

OWN = "gn_weight_decay"
EPOCH = 20


def analyse(experiments: dict[str, xr.Dataset]) -> xr.Dataset:
    """Losses of GN with and without weight decay, and of Adam.

    Parameters
    ----------
    experiments
        ``gn_weight_decay``, ``mini_batch_hard``.

    Returns
    -------
    xr.Dataset
        Curves as from `variants.gather`, with ``weight_decay`` (variant); over seed:
        ``change_at_20`` and ``change_at_end`` (absolute relative change of the running train loss
        by weight decay), ``over_adam`` (final loss with weight decay over Adam).
    """
    strength = strongest(experiments)
    variants = {"gn": BASE_GN, "gn_decay": {**BASE_GN, "weight_decay": strength}, "adam": ADAM}
    curves = gather(experiments, variants, OWN)
    text = "relative change of the running train loss by weight decay"
    numbers = {
        "change_at_20": (
            abs(ratio_at(curves, "gn_decay", "gn", EPOCH) - 1),
            f"{text} at epoch {EPOCH}, absolute",
        ),
        "change_at_end": (abs(final_over(curves, "gn_decay", "gn") - 1), f"{text}, last epoch"),
        "over_adam": (
            final_over(curves, "gn_decay", "adam"),
            "final running train loss, GN with weight decay over Adam",
        ),
    }
    curves = with_numbers(curves, numbers)
    attributes = {"long_name": "weight decay", "units": "1"}
    curves["weight_decay"] = ("variant", [0.0, strength, 0.0], attributes)
    return curves


def strongest(experiments: dict[str, xr.Dataset]) -> float:
    """Largest weight decay of the study's own runs; NaN, which no run has, without any."""
    if OWN not in experiments:
        return np.nan
    return float(experiments[OWN]["weight_decay"].max())
