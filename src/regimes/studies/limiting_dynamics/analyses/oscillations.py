"""Rotation of single modes in phase space: autocorrelation, spectrum, circulation (Fig. 6)."""

from __future__ import annotations

import numpy as np
import xarray as xr

from regimes.studies.limiting_dynamics import theory
from regimes.studies.limiting_dynamics.long_names import gathered
from regimes.studies.limiting_dynamics.oscillator_fit import fit_frequency
from regimes.studies.limiting_dynamics.rotation import (
    autocovariances,
    circulation,
    last_steps,
    spectra,
)
from regimes.studies.limiting_dynamics.stationary import (
    COORDINATES,
    Resumed,
    pair_of,
    plotted_pair,
    resumed,
    start_point,
)


def analyse(experiments: dict[str, xr.Dataset]) -> xr.Dataset:
    """Autocorrelation, spectrum and circulation of the plotted modes, with their theory.

    Parameters
    ----------
    experiments
        ``stationary_cloud_resume`` (kind sgd) and ``start_geometry`` (kind geometry).
    """
    run = resumed(experiments["stationary_cloud_resume"])
    start = start_point(experiments["start_geometry"], run)
    found = autocovariances(run) | spectra(run) | circulation(run) | last_steps(run)
    found |= pair_theory(run, start)
    return gathered(found | autocorrelations(run, found) | fits(found), COORDINATES)


def pair_theory(run: Resumed, start: xr.Dataset) -> dict[str, tuple[xr.DataArray, str]]:
    """Oscillator constants and stationary variance of the velocity of the plotted modes."""
    modes = plotted_pair(run.position["mode"])
    rho, noise = (pair_of(start[name], modes) for name in ("eigenvalue", "noise"))
    rho = rho.where(rho > 0)  # other modes have no stationary state
    constants = theory.mode_constants(rho.values, **run.settings)
    _, velocity = theory.stationary_variances(
        rho.values, noise.values, batch_size=run.batch_size, **run.settings
    )
    of_pair = {
        "pair_mode": (modes, "number of the plotted modes"),
        "pair_eigenvalue": (rho.values, "Hessian eigenvalue of the plotted modes"),
        "damping": (constants.damping, "damping gamma per unit of t = eta k"),
        "natural_frequency": (constants.frequency, "natural frequency omega, theory"),
        "velocity_theory": (velocity, "stationary variance of the velocity, theory"),
    }
    found = {
        name: (xr.DataArray(np.broadcast_to(values, 2), {"pair": [0, 1]}, ("pair",)), text)
        for name, (values, text) in of_pair.items()
    }
    settings = {
        "eta": "learning rate eta",
        "momentum": "momentum beta",
        "weight_decay": "weight decay lambda",
    }
    return found | {n: (xr.DataArray(getattr(run, n)), text) for n, text in settings.items()}


def autocorrelations(
    run: Resumed, found: dict[str, tuple[xr.DataArray, str]]
) -> dict[str, tuple[xr.DataArray, str]]:
    """Autocorrelation of the velocity over all blocks and in theory, over (pair, lag)."""
    covariance = found["autocovariance"][0].mean(["seed", "block"])
    lag, rho = covariance["lag"], found["pair_eigenvalue"][0]
    predicted = theory.velocity_autocorrelation(
        lag.values[None, :], rho.values[:, None], **run.settings
    )
    return {
        "autocorrelation": (
            covariance / covariance.isel(lag=0, drop=True),
            "autocorrelation of the velocity",
        ),
        "autocorrelation_theory": (
            xr.DataArray(predicted, {"pair": rho["pair"], "lag": lag}, ("pair", "lag")),
            "autocorrelation of the velocity, theory E22",
        ),
    }


def fits(found: dict[str, tuple[xr.DataArray, str]]) -> dict[str, tuple[xr.DataArray, str]]:
    """Natural frequency of the plotted modes, fitted to the periodogram at known damping."""
    power = found["power"][0].mean(["seed", "block"]).transpose("pair", "frequency")
    frequency, gamma = power["frequency"].values, found["damping"][0].values
    fitted = [fit_frequency(frequency, p, g) for p, g in zip(power.values, gamma, strict=True)]
    values = xr.DataArray(np.array(fitted), {"pair": power["pair"]}, ("pair",))
    return {"fitted_frequency": (values, "fitted natural frequency, damping as in theory")}
