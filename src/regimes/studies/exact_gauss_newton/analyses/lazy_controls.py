"""When laziness is and is not seen: input dimension and learning rate."""

from __future__ import annotations

import xarray as xr

from regimes.studies.exact_gauss_newton.probes import described, probed
from regimes.studies.exact_gauss_newton.reading import cases, matching

TEXTS = {
    "ntk_similarity": "similarity of the tangent kernel to its initial value",
    "cka_initial": "linear CKA of block outputs with their initial values",
    "running_loss": "mean over the updates of the epoch of the batch loss before each",
}


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
    data = cases(found, tuple(TEXTS))
    return described(data.isel(case=matching(data)), TEXTS)
