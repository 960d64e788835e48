"""GN at other learning rates."""

from __future__ import annotations

import numpy as np
import xarray as xr

from regimes.studies.exact_gauss_newton.variants import (
    ADAM,
    BASE_GN,
    epoch_of_lowest,
    gather,
    lowest,
    ratio_at,
    smallest_over,
    with_numbers,
)

OWN = "gn_lr"
BASE = BASE_GN["lr_code"]
NEAR = 1e-6
EARLY, LATE = 5, 60


def name_of(rate: float) -> str:
    """Name of the variant of GN with a learning rate (code convention)."""
    return f"gn_{rate:g}"


def analyse(experiments: dict[str, xr.Dataset]) -> xr.Dataset:
    """Losses of GN for each learning rate, and of Adam.

    Parameters
    ----------
    experiments
        ``gn_lr``, ``mini_batch_hard``.

    Returns
    -------
    xr.Dataset
        Curves as from `variants.gather` for the learning rates that were run, largest first, and
        Adam, with ``lr_code`` (variant), NaN for Adam; over seed, NaN where a learning rate was not
        run: ``slower`` (loss at epoch 5, next smaller rate over 0.1), ``no_cure`` (smaller final
        loss of 1e-3 and 1e-4 over that of 0.1), ``earlier`` (epoch of the minimum at 0.1 minus
        that at 0.3), ``higher`` (minimum at 0.3 over that at 0.1), ``small_over_adam`` (loss at
        epoch 60, 0.03 over Adam).
    """
    rates = learning_rates(experiments)
    # Those that a number needs are gathered even where they were not run: the number is NaN then.
    asked = sorted({*rates, 0.3, BASE, 0.03, 1e-3, 1e-4}, reverse=True)
    variants = {name_of(rate): {**BASE_GN, "lr_code": rate} for rate in asked}
    curves = gather(experiments, {**variants, "adam": ADAM}, OWN)
    base = name_of(BASE)
    smaller = [rate for rate in rates if rate < BASE * (1 - NEAR)]
    numbers = {
        "slower": (
            # Without a smaller rate any that was not run gives NaN.
            ratio_at(curves, name_of(max(smaller, default=1e-4)), base, EARLY),
            "running train loss at epoch 5, next smaller learning rate over 0.1",
        ),
        "no_cure": (
            smallest_over(curves, [name_of(1e-3), name_of(1e-4)], base),
            "final running train loss, smaller of learning rates 1e-3 and 1e-4 over 0.1",
        ),
        "earlier": (
            epoch_of_lowest(curves, base) - epoch_of_lowest(curves, name_of(0.3)),
            "epoch of the smallest running train loss, learning rate 0.1 minus 0.3",
        ),
        "higher": (
            lowest(curves, name_of(0.3)) / lowest(curves, base),
            "smallest running train loss, learning rate 0.3 over 0.1",
        ),
        "small_over_adam": (
            ratio_at(curves, name_of(0.03), "adam", LATE),
            "running train loss at epoch 60, GN at learning rate 0.03 over Adam",
        ),
    }
    shown = [*(name_of(rate) for rate in rates), "adam"]
    curves = with_numbers(curves.sel(variant=shown), numbers)
    attributes = {"long_name": "learning rate, as in the official code", "units": "1"}
    curves["lr_code"] = ("variant", [*rates, np.nan], attributes)
    return curves


def learning_rates(experiments: dict[str, xr.Dataset]) -> list[float]:
    """Learning rates of GN that were run, 0.1 included, largest first, each once."""
    found = [BASE]
    if OWN in experiments:
        runs = experiments[OWN]
        rates = runs["lr_code"].values[runs["optimizer"].values == "gn"]
        for rate in np.unique(rates.astype(float)):
            if not np.isclose(found, rate, rtol=NEAR).any():
                found.append(float(rate))
    return sorted(found, reverse=True)
