"""Changing from Adam to GN and back in the middle of training."""

from __future__ import annotations

import xarray as xr

from regimes.studies.exact_gauss_newton.variants import (
    ADAM,
    BASE_GN,
    final_over,
    gather,
    level,
    lowest,
    with_numbers,
)

OWN = "optimizer_switch"
VARIANTS = {
    "gn": BASE_GN,
    "adam": ADAM,
    "adam_gn": {"optimizer": "adam", "then": "gn"},
    "gn_adam": {"optimizer": "gn", "then": "adam"},
}
AFTER = 20


def analyse(experiments: dict[str, xr.Dataset]) -> xr.Dataset:
    """Losses of GN, Adam and both after one another.

    Parameters
    ----------
    experiments
        ``optimizer_switch``, ``mini_batch_hard``.

    Returns
    -------
    xr.Dataset
        Curves as from `variants.gather`; over seed: ``floor`` (lowest loss of GN after Adam over
        the loss of Adam in the last epoch before the switch), ``adam_gn_over_adam``,
        ``adam_gn_over_gn`` (final losses at equal epochs), ``adam_after_gn`` (loss 20 epochs after
        the switch from GN to Adam) and ``gn_adam_over_lowest`` (final loss of GN then Adam over
        the lowest of GN alone).
    """
    curves = gather(experiments, VARIANTS, OWN)
    switch = {name: float(curves["switch_epoch"].sel(variant=name)) for name in VARIANTS}
    end = float(curves["last_epoch"].sel(variant="gn_adam"))
    before = level(curves, "adam_gn", switch["adam_gn"])
    numbers = {
        "floor": (
            lowest(curves, "adam_gn", after=switch["adam_gn"]) / before,
            "lowest running train loss of GN after Adam over the one before the switch",
        ),
        "adam_gn_over_adam": (
            final_over(curves, "adam_gn", "adam"),
            "final running train loss, Adam then GN over Adam",
        ),
        "adam_gn_over_gn": (
            final_over(curves, "adam_gn", "gn"),
            "final running train loss, Adam then GN over GN",
        ),
        "adam_after_gn": (
            level(curves, "gn_adam", switch["gn_adam"] + AFTER),
            f"running train loss {AFTER} epochs after the switch from GN to Adam",
        ),
        "gn_adam_over_lowest": (
            level(curves, "gn_adam", end) / lowest(curves, "gn"),
            "final running train loss of GN then Adam over the lowest of GN",
        ),
    }
    return with_numbers(curves, numbers)
