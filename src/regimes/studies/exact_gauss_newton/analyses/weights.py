"""How far weights turn and move away from where they start (Fig. 9)."""

from __future__ import annotations

import xarray as xr

from regimes.store import described
from regimes.studies.exact_gauss_newton import probes
from regimes.studies.exact_gauss_newton.probes import by_optimizer

TEXTS = {
    "weight_cosine": "cosine between initial and present weights",
    "weight_change": "distance of the weights from their initial values",
    "weight_norm": "norm of the weights",
}


def analyse(experiments: dict[str, xr.Dataset]) -> xr.Dataset:
    """Change of the weights of every half-layer by optimizer.

    Parameters
    ----------
    experiments
        ``mini_batch_hard``, where a scale has it.

    Returns
    -------
    xr.Dataset
        ``weight_cosine``, ``weight_change``, ``weight_norm`` (optimizer, seed, epoch, half).
    """
    return described(
        by_optimizer(experiments, "mini_batch_hard", list(TEXTS)), probes.TEXTS | TEXTS
    )
