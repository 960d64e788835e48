"""When laziness is and is not seen: input dimension and learning rate."""

from __future__ import annotations

import xarray as xr

from regimes.studies.exact_gauss_newton.probes import probed
from regimes.studies.exact_gauss_newton.reading import cases, matching

NAMES = ("ntk_similarity", "cka_initial", "running_loss")


def analyse(experiments: dict[str, xr.Dataset]) -> xr.Dataset:
    """Similarity to the start and train loss of every optimizer and learning rate with probes.

    Parameters
    ----------
    experiments
        ``lazy_low_dim`` and ``lazy_probe``, those that a scale has; ``mini_batch_hard`` where it
        has no ``lazy_probe``.

    Returns
    -------
    xr.Dataset
        ``ntk_similarity``, ``running_loss`` (case, seed, epoch) and ``cka_initial``
        (case, seed, epoch, block), with the settings as coordinates on ``case``. Without runs
        there is no case.
    """
    found = {
        name: experiments[name]
        for name in ("lazy_low_dim", probed(experiments))
        if name in experiments
    }
    data = cases(found, NAMES)
    return data.isel(case=matching(data))
