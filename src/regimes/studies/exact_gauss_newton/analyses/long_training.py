"""Long mini-batch training (Fig. 6)."""

from __future__ import annotations

from collections.abc import Mapping

import xarray as xr

from regimes.studies.exact_gauss_newton.analyses.mini_batch import CURVES
from regimes.studies.exact_gauss_newton.reading import cases


def analyse(experiments: Mapping[str, xr.Dataset]) -> xr.Dataset:
    """Losses and accuracies against epoch of the long runs.

    Parameters
    ----------
    experiments
        ``mini_batch_long``; without runs of it, as at laptop scale, ``mini_batch_hard`` is read.

    Returns
    -------
    xr.Dataset
        `CURVES` over (case, seed, epoch).
    """
    long = {name: data for name, data in experiments.items() if name == "mini_batch_long"}
    return cases(long or experiments, CURVES)
