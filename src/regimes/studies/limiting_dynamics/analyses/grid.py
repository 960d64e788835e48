"""Displacements from rest over a grid of learning rate, batch size and momentum (figure 8)."""

from __future__ import annotations

import numpy as np
import xarray as xr

from regimes.studies.limiting_dynamics import displacement_curves as curves
from regimes.studies.limiting_dynamics.exponents import fit_window, transient_end
from regimes.studies.limiting_dynamics.long_names import gathered

GRID = ("eta", "batch_size", "momentum")
FIT_FROM = 0.5  # the exponent is fitted on the last half
EARLY = 500  # steps of the rise that are kept: a tenth of an ImageNet epoch, 5 / (1 - .99)
DEFAULT_MOMENTUM = 0.9


def analyse(experiments: dict[str, xr.Dataset]) -> xr.Dataset:
    """Exponents, plateaus and the rise from rest at every setting of the grid.

    Parameters
    ----------
    experiments
        ``grid_eta_batch_beta``; ``reheat_geometry`` where tr(Sigma) was measured.

    Returns
    -------
    xr.Dataset
        Over (eta, batch_size, momentum, seed): ``plateau``, mean squared local displacement after
        5 / (1 - beta) steps, with ``level_theory`` and ``plateau_ratio``; ``calibrated_ratio``,
        the plateau over the law calibrated on the default run; ``rise``, the mean of measured over
        plateau (1 - beta^2k) up to 5 / (1 - beta) steps; ``final_displacement``; the exponents of
        `displacement_curves.fits`; ``local_early`` over ``early_step`` and ``global_samples`` over
        ``log_step``. Scalars ``default_eta`` and so on.
    """
    data = curves.surviving(experiments["grid_eta_batch_beta"])
    local, globally = data["local_displacement"], data["global_displacement"]
    length = curves.last_step(globally)
    momentum = data["momentum"].astype(float)
    end = transient_end(momentum)
    plateau = curves.mean_between(local, end, length)
    law = curves.level_theory(data, xr.DataArray(np.ones(data.sizes["run"]), dims="run"))
    theory = law * curves.noise_trace(data, experiments.get("reheat_geometry"))
    low, high = fit_window(length, momentum, FIT_FROM)
    early = local.isel(step=np.flatnonzero(local["step"].values <= EARLY))
    variables = {
        "plateau": (plateau, "mean squared local displacement after 5 / (1 - beta) steps"),
        "law": (law, "eta^2 / (S (1 - beta^2))"),
        "level_theory": (theory, "eta^2 tr(Sigma) / (S (1 - beta^2)) with measured tr(Sigma)"),
        "plateau_ratio": (plateau / theory, "plateau over theory with measured tr(Sigma)"),
        "rise": (
            rise(local, plateau, momentum),
            "squared local displacement over plateau (1 - beta^2k), mean up to 5 / (1 - beta)",
        ),
        "final_displacement": (
            globally.where(globally["step"] == length).max("step"),
            "squared global displacement at the last step",
        ),
        "local_early": (early.rename(step="early_step"), "squared local displacement"),
        "global_samples": (curves.log_sampled(globally), "squared global displacement"),
        **curves.fits(globally, low, high),
    }
    dense = curves.gridded(variables, [*GRID, "seed"])
    default = default_setting(dense)
    chosen = dense.sel(default)
    constant = (chosen["plateau"] / chosen["law"]).drop_vars(GRID)
    calibrated = dense["plateau"] / (dense["law"] * constant)
    text = "plateau over eta^2 / (S (1 - beta^2)) times that of the default"
    added = {"calibrated_ratio": (calibrated, text)}
    for name, value in default.items():
        added[f"default_{name}"] = (xr.DataArray(value), f"default {name.replace('_', ' ')}")
    return dense.merge(gathered(added))


def rise(local: xr.DataArray, plateau: xr.DataArray, momentum: xr.DataArray) -> xr.DataArray:
    """Mean over k <= 5 / (1 - beta) of ||delta_k||^2 over plateau (1 - beta^(2k)).

    Parameters
    ----------
    local
        Squared local displacements (run, step) from rest.
    plateau, momentum
        (run,)
    """
    step = local["step"]
    expected = plateau * (1 - momentum ** (2 * step.astype(float)))
    return curves.mean_between(local / expected, 0, transient_end(momentum))


def default_setting(grid: xr.Dataset) -> dict[str, float]:
    """Middle learning rate and batch size, and the momentum nearest to `DEFAULT_MOMENTUM`."""
    default = {n: float(grid[n].values[(grid.sizes[n] - 1) // 2]) for n in ("eta", "batch_size")}
    momentum = grid["momentum"].values
    default["momentum"] = float(momentum[np.abs(momentum - DEFAULT_MOMENTUM).argmin()])
    return default
