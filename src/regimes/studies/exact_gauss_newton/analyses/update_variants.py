"""Variants of the GN update and of the first block that the loss curve hardly tells apart."""

from __future__ import annotations

import xarray as xr

from regimes.studies.exact_gauss_newton.variants import (
    BASE_GN,
    gather,
    ratio_at,
    with_numbers,
)

OWN = "gn_update_variants"
VARIANTS = {
    "corrected": BASE_GN,
    "uncorrected": {**BASE_GN, "cross_term": False},
    "all_relu": {**BASE_GN, "first_block_linear": False},
    "tight": {**BASE_GN, "rtol": 1e-3},
}


def analyse(experiments: dict[str, xr.Dataset]) -> xr.Dataset:
    """Losses of GN, without its cross term, with ReLU in all blocks, with a smaller cut-off.

    Parameters
    ----------
    experiments
        ``gn_update_variants``, ``mini_batch_hard``.

    Returns
    -------
    xr.Dataset
        Curves as from `variants.gather`; over seed: ``uncorrected_ratio`` (loss without over with
        the cross term, mean of epochs 5 and 10), ``all_relu_ratio`` (ReLU in all blocks over
        linear first block, epoch 20).
    """
    curves = gather(experiments, VARIANTS, OWN)
    uncorrected = [ratio_at(curves, "uncorrected", "corrected", epoch) for epoch in (5, 10)]
    numbers = {
        "uncorrected_ratio": (
            sum(uncorrected) / 2,
            "running train loss without over with the cross term, mean of epochs 5 and 10",
        ),
        "all_relu_ratio": (
            ratio_at(curves, "all_relu", "corrected", 20),
            "running train loss at epoch 20, ReLU in all blocks over linear first block",
        ),
    }
    return with_numbers(curves, numbers)
