"""Displacements against learning rate, batch size and momentum (figure 7)."""

from __future__ import annotations

import xarray as xr

from regimes.studies.limiting_dynamics import displacement_sweeps


def analyse(experiments: dict[str, xr.Dataset]) -> xr.Dataset:
    """Levels of the local and exponents of the global displacement over the three sweeps.

    Parameters
    ----------
    experiments
        ``sweep_eta``, ``sweep_batch``, ``sweep_beta``; ``reheat_geometry`` where tr(Sigma) was
        measured.

    Returns
    -------
    xr.Dataset
        See `displacement_sweeps.sweeps`.
    """
    runs = {
        "eta": experiments["sweep_eta"],
        "batch_size": experiments["sweep_batch"],
        "momentum": experiments["sweep_beta"],
    }
    return displacement_sweeps.sweeps(runs, experiments.get("reheat_geometry"))
