"""Moments of the clouds of a resumed run beside what curvature, gradient noise and losses say."""

from __future__ import annotations

import numpy as np
import xarray as xr

from regimes.studies.limiting_dynamics.stationary import (
    Resumed,
    blocks,
    moments,
    pair_of,
    plotted_pair,
    thinned,
)
from regimes.studies.limiting_dynamics.theory import mode_constants, stationary_variances

TOP_MODES = 200  # modes over which gradient noise is compared with curvature


def cloud(run: Resumed, start: xr.Dataset) -> dict[str, tuple[xr.DataArray, str]]:
    """Everything that the figures of clouds and the claims on them need, with long names.

    Parameters
    ----------
    run
        Resumed runs.
    start
        Geometry at their start point, see `stationary.start_point`.
    """
    modes = plotted_pair(run.position["mode"])
    pair = {name: pair_of(start[name], modes) for name in ("eigenvalue", "bias", "eigen_residual")}
    x, u = (pair_of(values, modes) for values in (run.position, run.velocity))
    texts = {
        "position_mean": "mean position relative to the start point, per block",
        "position_square": "mean squared position relative to the start point, per block",
        "velocity_mean": "mean velocity (minus the momentum buffer), per block",
        "velocity_square": "mean squared velocity, per block",
    }
    variables = {name: (values, texts[name]) for name, values in moments(run).items()}
    variables |= predictions(run, start)
    variables |= {
        "velocity_product": (
            blocks(u).prod("pair").mean("inside"),
            "mean product of the velocities of the two plotted modes, per block",
        ),
        "pair_mode": (xr.DataArray(modes, dims="pair"), "number of the plotted modes"),
        "pair_eigenvalue": (pair["eigenvalue"], "Hessian eigenvalue of the plotted modes"),
        "pair_residual": (pair["eigen_residual"], "|H q - rho q|/|rho| of the plotted modes"),
        "minimum": (-pair["bias"], "predicted minimum relative to the start point"),
        "path_position": (thinned(x.isel(seed=0, drop=True)), "position along the path"),
        "path_velocity": (thinned(u.isel(seed=0, drop=True)), "velocity along the path"),
        "eta": (xr.DataArray(run.eta), "learning rate eta"),
        "batch_size": (xr.DataArray(run.batch_size), "batch size S"),
        "momentum": (xr.DataArray(run.momentum), "momentum beta"),
        "weight_decay": (xr.DataArray(run.weight_decay), "weight decay lambda"),
        "noise_correlation": (
            noise_correlation(start["all_eigenvalue"], start["all_noise"]),
            f"correlation of ln noise with ln curvature over the top {TOP_MODES} modes",
        ),
    }
    return variables | loss_maps(start) | loss_rise(start, pair["eigenvalue"])


def predictions(run: Resumed, start: xr.Dataset) -> dict[str, tuple[xr.DataArray, str]]:
    """Oscillator constants and stationary variances, from measured curvature and noise.

    NaN for modes whose curvature is not positive: they have no stationary state.
    """
    rho = start["eigenvalue"].where(start["eigenvalue"] > 0)
    constants = mode_constants(rho.values, **run.settings)
    noise = start["noise"]
    position, velocity = stationary_variances(
        rho.values, noise.values, batch_size=run.batch_size, **run.settings
    )

    def of_modes(values: np.ndarray) -> xr.DataArray:
        return xr.DataArray(np.broadcast_to(values, rho.shape), {"mode": rho["mode"]}, ("mode",))

    return {
        "eigenvalue": (start["eigenvalue"], "Hessian eigenvalue rho at the start point"),
        "noise": (noise, "variance of single-sample gradients along the eigenvector"),
        "natural_frequency": (of_modes(constants.frequency), "natural frequency omega"),
        "position_theory": (of_modes(position), "stationary variance of the position, theory"),
        "velocity_theory": (of_modes(velocity), "stationary variance of the velocity, theory"),
    }


def noise_correlation(rho: xr.DataArray, noise: xr.DataArray) -> xr.DataArray:
    """Correlation of ln(noise) with ln(rho) over the top modes; NaN for fewer than three modes.

    Parameters
    ----------
    rho, noise
        Over ``all_mode``, by decreasing eigenvalue.
    """
    top = slice(TOP_MODES)
    rho, noise = rho.values[top].astype(float), noise.values[top].astype(float)
    known = (rho > 0) & (noise > 0)
    if known.sum() < 3:
        return xr.DataArray(np.nan)
    return xr.DataArray(np.corrcoef(np.log(rho[known]), np.log(noise[known]))[0, 1])


def loss_maps(start: xr.Dataset) -> dict[str, tuple[xr.DataArray, str]]:
    """Train and test loss in the plane of the plotted modes, over (grid_1, grid_30)."""
    offset = start["grid_offset"].values.astype(float)
    found = {}
    for part in ("train", "test"):
        grid = start[f"{part}_loss_grid"].transpose("grid_1", "grid_30")
        grid = grid.assign_coords(grid_1=offset, grid_30=offset)
        found[f"{part}_loss"] = (grid, f"{part} loss in the plane of the plotted modes")
    return found


def loss_rise(start: xr.Dataset, rho: xr.DataArray) -> dict[str, tuple[xr.DataArray, str]]:
    """Loss rise at a distance r along the plotted modes over that of the quadratic model.

    The mean over both sides, in which the gradient cancels.
    """
    rise = start["loss_rise"].mean("side").rename(axis="pair").assign_coords(pair=[0, 1])
    radius = start["rise_radius"]
    return {
        "loss_rise_ratio": (
            rise / (rho * radius**2 / 2),
            "loss rise at distance r along the plotted modes over rho r^2/2",
        ),
        "rise_radius": (radius, "distance r from the start point"),
    }
