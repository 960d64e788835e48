"""Rotation of single modes in phase space: autocorrelation, spectrum, circulation (Fig. 6)."""

from __future__ import annotations

import numpy as np
import xarray as xr

from regimes.studies.limiting_dynamics import theory
from regimes.studies.limiting_dynamics.oscillator_fit import fit_both, fit_frequency
from regimes.studies.limiting_dynamics.rotation import (
    autocovariances,
    circulation,
    last_steps,
    spectra,
)
from regimes.studies.limiting_dynamics.stationary import (
    Resumed,
    described,
    moments,
    pair_of,
    plotted_pair,
    resumed,
    start_point,
    variance,
)


def analyse(experiments: dict[str, xr.Dataset]) -> xr.Dataset:
    """Autocorrelation, spectrum and circulation of the plotted modes; equipartition of all.

    Parameters
    ----------
    experiments
        ``stationary_cloud_resume`` (kind sgd) and ``start_geometry`` (kind geometry).
    """
    run = resumed(experiments["stationary_cloud_resume"])
    start = start_point(experiments["start_geometry"], run.model, run.position["mode"])
    found = autocovariances(run) | spectra(run) | circulation(run) | last_steps(run)
    found |= pair_theory(run, start) | equipartition(run, start)
    return described(found | autocorrelations(run, found) | fits(found))


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


def equipartition(run: Resumed, start: xr.Dataset) -> dict[str, tuple[xr.DataArray, str]]:
    """omega^2 Var(position) / Var(velocity) over (seed, mode); 1 in the continuous model."""
    rho = start["eigenvalue"]
    omega = theory.mode_constants(rho.where(rho > 0).values, **run.settings).frequency
    m = moments(run)
    x = variance(m["position_mean"], m["position_square"], "block")
    u = variance(m["velocity_mean"], m["velocity_square"], "block")
    ratio = xr.DataArray(omega**2, {"mode": rho["mode"]}, ("mode",)) * x / u
    return {"equipartition": (ratio, "omega^2 Var(position) / Var(velocity)")}


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
    """Fitted natural frequency of the plotted modes, at known damping and with both free."""
    power = found["power"][0].mean(["seed", "block"]).transpose("pair", "frequency")
    frequency, gamma = power["frequency"].values, found["damping"][0].values
    known = [fit_frequency(frequency, p, g) for p, g in zip(power.values, gamma, strict=True)]
    free = [fit_both(frequency, p, g) for p, g in zip(power.values, gamma, strict=True)]
    coords = {"pair": power["pair"]}
    texts = {
        "fitted_frequency": (known, "fitted natural frequency, damping as in theory"),
        "free_frequency": ([w for w, _ in free], "fitted natural frequency, damping fitted too"),
        "free_damping": ([g for _, g in free], "fitted damping"),
    }
    return {
        name: (xr.DataArray(np.array(values), coords, ("pair",)), text)
        for name, (values, text) in texts.items()
    }
