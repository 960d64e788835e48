"""How far tangent kernel and representations move from where they start (Figs. 4 and 10)."""

from __future__ import annotations

import xarray as xr

from regimes.store import described
from regimes.studies.exact_gauss_newton import probes
from regimes.studies.exact_gauss_newton.probes import by_optimizer, probed

TEXTS = {
    "ntk_similarity": "similarity of the tangent kernel to its initial value",
    "ntk_velocity": "1 - similarity of the tangent kernels of this and the previous epoch",
    "cka_initial": "linear CKA of block outputs with their initial values",
    "running_loss": "mean over the updates of the epoch of the batch loss before each",
}


def analyse(experiments: dict[str, xr.Dataset]) -> xr.Dataset:
    """Similarity to the initial network by optimizer.

    Parameters
    ----------
    experiments
        ``lazy_probe`` or, where a scale has none, ``mini_batch_hard``.

    Returns
    -------
    xr.Dataset
        ``ntk_similarity``, ``ntk_velocity``, ``running_loss`` (optimizer, seed, epoch) and
        ``cka_initial`` (optimizer, seed, epoch, block) of the runs of `probes.by_optimizer`.
    """
    return described(
        by_optimizer(experiments, probed(experiments), list(TEXTS)), probes.TEXTS | TEXTS
    )
