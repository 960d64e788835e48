"""CIFAR-10 repeat of figure 7: displacements of an interpolating network over the sweeps."""

from __future__ import annotations

import xarray as xr

from regimes.studies.limiting_dynamics import displacement_sweeps


def analyse(experiments: dict[str, xr.Dataset]) -> xr.Dataset:
    """Levels of the local and exponents of the global displacement over the three sweeps.

    Parameters
    ----------
    experiments
        ``cifar_sweep_eta``, ``cifar_sweep_batch``, ``cifar_sweep_beta``; ``cifar_geometry`` where
        tr(Sigma) was measured.

    Returns
    -------
    xr.Dataset
        See `displacement_sweeps.sweeps`.
    """
    runs = {
        "eta": experiments["cifar_sweep_eta"],
        "batch_size": experiments["cifar_sweep_batch"],
        "momentum": experiments["cifar_sweep_beta"],
    }
    # Two CIFAR-10 epochs are shorter than the transient at beta = 0.99; the notebook fits there.
    return displacement_sweeps.sweeps(
        runs, experiments.get("cifar_geometry"), after_transient=False
    )
