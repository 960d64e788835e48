"""GN with pseudo-inverses that are regularized in different ways."""

from __future__ import annotations

import xarray as xr

from regimes.studies.exact_gauss_newton.variants import (
    ADAM,
    BASE_GN,
    final_over,
    gather,
    ratio_at,
    smallest_over,
    with_numbers,
)

OWN = "pinv_regularization"
INVERSES = ("truncate", "damp", "noise")
# Damping and noise have no cut-off: what their runs carry in its place does not tell them apart.
GN = {name: value for name, value in BASE_GN.items() if name not in ("inverse", "rtol")}
VARIANTS = {
    "truncate": BASE_GN,
    "damp": {**GN, "inverse": "damp"},
    "noise": {**GN, "inverse": "noise"},
    "adam": ADAM,
}
LAPTOP_DATA, LAPTOP_EPOCH = "mnist1d", 20


def analyse(experiments: dict[str, xr.Dataset]) -> xr.Dataset:
    """Losses of GN with truncation, damping and noise, and of Adam.

    Parameters
    ----------
    experiments
        ``pinv_regularization``, ``mini_batch_hard``.

    Returns
    -------
    xr.Dataset
        Curves as from `variants.gather`; over seed: ``damp_over_truncate`` (at epoch 20 on
        MNIST-1D, where all of them rise again later, else at the last epoch),
        ``noise_over_damp``, ``truncate_over_adam`` and ``smallest_over_adam`` (smallest final
        loss of the three over Adam).
    """
    curves = gather(experiments, VARIANTS, OWN)
    small = str(curves["data"].sel(variant="damp").values) == LAPTOP_DATA
    damping = (
        ratio_at(curves, "damp", "truncate", LAPTOP_EPOCH)
        if small
        else final_over(curves, "damp", "truncate")
    )
    text = "running train loss"
    numbers = {
        "damp_over_truncate": (
            damping,
            f"{text} at epoch 20 (MNIST-1D) or last, damping over truncation",
        ),
        "noise_over_damp": (
            final_over(curves, "noise", "damp"),
            f"final {text}, noise over damping",
        ),
        "truncate_over_adam": (
            ratio_at(curves, "truncate", "adam", 60),
            f"{text} at epoch 60, truncation over Adam",
        ),
        "smallest_over_adam": (
            smallest_over(curves, INVERSES, "adam"),
            f"final {text}, smallest of truncation, damping and noise over Adam",
        ),
    }
    return with_numbers(curves, numbers)
