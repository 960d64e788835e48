"""GN from initial weights of different spread."""

from __future__ import annotations

import xarray as xr

from regimes.studies.exact_gauss_newton.reading import common_end
from regimes.studies.exact_gauss_newton.variants import (
    ADAM,
    BASE_GN,
    curve_of,
    final_over,
    gather,
    late_share,
    smallest_over,
    with_numbers,
)

OWN = "init_std"
SIGMAS = {"gn_1e-2": 1e-2, "gn_1e-3": 1e-3, "gn_1e-6": 1e-6}
VARIANTS = {
    **{name: {**BASE_GN, "sigma": sigma} for name, sigma in SIGMAS.items()},
    "adam": ADAM,
}


def analyse(experiments: dict[str, xr.Dataset]) -> xr.Dataset:
    """Losses of GN for each spread of the initial weights, and of Adam.

    Parameters
    ----------
    experiments
        ``init_std``, ``mini_batch_hard``.

    Returns
    -------
    xr.Dataset
        Curves as from `variants.gather`; over seed: ``wide_over_narrow`` (final loss for sigma
        1e-2 over that for 1e-6), ``late_share`` (largest over sigma of the share of the decrease
        that falls into the second half) and ``over_adam`` (smallest final loss over sigma, over
        Adam). The last epoch is the last that all compared runs have.
    """
    curves = gather(experiments, VARIANTS, OWN)
    end = common_end(*(curve_of(curves, name) for name in SIGMAS))
    shares = [late_share(curves, name, end) for name in SIGMAS]
    numbers = {
        "wide_over_narrow": (
            final_over(curves, "gn_1e-2", "gn_1e-6"),
            "final running train loss, sigma 1e-2 over sigma 1e-6",
        ),
        "late_share": (
            xr.concat(shares, "variant").max("variant", skipna=False),
            "share of the decrease in the second half of epochs, largest over sigma",
        ),
        "over_adam": (
            smallest_over(curves, list(SIGMAS), "adam"),
            "smallest final running train loss over sigma, over Adam",
        ),
    }
    return with_numbers(curves, numbers)
