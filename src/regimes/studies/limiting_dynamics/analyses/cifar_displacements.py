"""CIFAR-10 repeat of figure 1: displacements of interpolating networks after training."""

from __future__ import annotations

import xarray as xr

from regimes.studies.limiting_dynamics.displacement_cases import (
    PERFORMANCE,
    nearest_length,
    statistics,
)
from regimes.studies.limiting_dynamics.displacement_curves import last_value
from regimes.studies.limiting_dynamics.long_names import gathered

TEN_EPOCHS = 1960  # steps of the paper's runs; longer ones are resumed for projections alone


def analyse(experiments: dict[str, xr.Dataset]) -> xr.Dataset:
    """Statistics of displacements, and the performance that training ended with.

    Parameters
    ----------
    experiments
        ``cifar_resume``; ``cifar_geometry`` where tr(Sigma) was measured; ``cifar_pretrain`` with
        ``train_loss`` and others over evaluation_step.

    Returns
    -------
    xr.Dataset
        See `displacement_cases.statistics`; ``pretrained_train_accuracy`` and so on over
        ``pretrained_run``, the last recorded values of training, with ``pretrained_model``.
    """
    result = statistics(
        nearest_length(experiments["cifar_resume"], TEN_EPOCHS), experiments.get("cifar_geometry")
    )
    trained = experiments.get("cifar_pretrain")
    if trained is None:
        return result
    ends = {
        f"pretrained_{name}": (
            xr.DataArray(last_value(trained, name).values, dims="pretrained_run"),
            f"{text} at the end of training",
        )
        for name, text in PERFORMANCE.items()
    }
    models = xr.DataArray(trained["model"].values.astype(str), dims="pretrained_run")
    return result.merge(gathered({**ends, "pretrained_model": (models, "network")}))
