"""Rotation of the plotted modes in phase space, measured on blocks of resumed runs.

In the continuous model a stationary mode circulates clockwise at the rate E[u dx - x du]/dt =
omega^2 Var(x) + Var(u) = 2 Var(u). Of the discrete process, with h = rho + lambda,

    E[u_k x_(k+1) - x_k u_(k+1)] / eta = Var(u) (1 + beta - eta h / 2)

exactly: x_(k+1) = x_k + eta u_(k+1) with u_(k+1) = beta u_k - h x_k + noise, and stationarity of
Var(x) gives E[x_k u_(k+1)] = -eta Var(u)/2 and E[x_k u_k] = eta Var(u)/2. Its exact variance is
Var(u) = q/(S (1 - beta)(1 + beta - eta h/2)) with the noise q of single-sample gradients along the
mode (`theory.discrete_stationary`), so that the circulation is q/(S (1 - beta)) whatever h: the
share (1 + beta)/2, .95 at beta = .9, of the continuous rate 2 Var(u) = 2 q/(S (1 - beta^2)).
"""

from __future__ import annotations

import numpy as np
import xarray as xr

from regimes.studies.limiting_dynamics.oscillator_fit import periodogram, phase_frequency
from regimes.studies.limiting_dynamics.stationary import (
    STEP,
    Resumed,
    blocks,
    pair_of,
    plotted_pair,
)

LAGS = 200
LAST_STEPS = 2000  # drawn as phase portraits


def autocovariances(run: Resumed) -> dict[str, tuple[xr.DataArray, str]]:
    """Mean products of velocities ``lag`` steps apart within each block, centred at the run's mean.

    Over (seed, block, pair, lag), by FFT; the mean is over the n - lag pairs of a block.
    """
    u = blocks(pair_of(run.velocity, plotted_pair(run.velocity["mode"])))
    centred = (u - u.mean(["block", "inside"])).transpose("seed", "block", "pair", "inside")
    n = centred.sizes["inside"]
    lags = np.arange(min(LAGS, n // 2) + 1)
    # Zeros keep the end of a block from meeting its beginning.
    spectrum = np.abs(np.fft.rfft(centred.values, 2 * n)) ** 2
    products = np.fft.irfft(spectrum, 2 * n)[..., lags] / (n - lags)
    values = xr.DataArray(
        products,
        dims=("seed", "block", "pair", "lag"),
        coords={"seed": u["seed"], "pair": u["pair"], "lag": lags},
    )
    return {"autocovariance": (values, "autocovariance of the velocity, per block")}


def spectra(run: Resumed) -> dict[str, tuple[xr.DataArray, str]]:
    """Periodogram of the velocity of each block, over (seed, block, pair, frequency)."""
    u = blocks(pair_of(run.velocity, plotted_pair(run.velocity["mode"])))
    u = u.transpose("seed", "block", "pair", "inside")
    phase, power = periodogram(u.values)
    values = xr.DataArray(
        power,
        dims=("seed", "block", "pair", "frequency"),
        coords={
            "seed": u["seed"],
            "pair": u["pair"],
            "frequency": phase_frequency(phase, run.eta),
        },
    )
    return {"power": (values, "periodogram of the velocity, per block")}


def circulation(run: Resumed) -> dict[str, tuple[xr.DataArray, str]]:
    """Mean of u dx - x du per unit of time t = eta k, per block; positive is clockwise.

    Over (seed, block, pair), positions about the run's mean. Between two steps the integrand
    at the midpoint is u_k x_(k+1) - x_k u_(k+1), without the bias of either end.
    """
    modes = plotted_pair(run.position["mode"])
    x, u = (blocks(pair_of(v, modes)) for v in (run.position, run.velocity))
    x = x - x.mean(["block", "inside"])
    before, after = {"inside": slice(None, -1)}, {"inside": slice(1, None)}
    swept = u.isel(before) * x.isel(after) - x.isel(before) * u.isel(after)
    return {
        "circulation": (
            swept.mean("inside") / run.eta,
            "mean of u dx - x du per unit of t = eta k, clockwise positive, per block",
        )
    }


def last_steps(run: Resumed) -> dict[str, tuple[xr.DataArray, str]]:
    """Position and velocity of the plotted modes at each of the last steps of the first seed."""
    modes = plotted_pair(run.position["mode"])
    found = {}
    for name, values in (("position", run.position), ("velocity", run.velocity)):
        tail = pair_of(values.isel(seed=0, drop=True), modes).isel({STEP: slice(-LAST_STEPS, None)})
        found[f"last_{name}"] = (tail.rename({STEP: "last_step"}), f"{name} at the last steps")
    return found
