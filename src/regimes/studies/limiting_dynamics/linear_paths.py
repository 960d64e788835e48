"""Paths of single modes of linear regression, with the means that theory gives them.

A path is counted from the minimum, as known from the data, and the eigenvector is turned so that
the path starts on the positive side: the sign of an eigenvector has no meaning, and runs of
different start points can be averaged. Velocity is minus the momentum buffer, dtheta/dt with
t = eta k.
"""

from __future__ import annotations

import numpy as np
import xarray as xr

from regimes.studies.limiting_dynamics import theory

SETTINGS = ("eta", "batch_size", "momentum", "weight_decay")
BAND = 1.959963984540054  # standard deviations on either side that hold 95 % of a Gaussian

TEXTS = {
    "position": "position of the mode relative to the minimum",
    "velocity": "velocity of the mode, minus the momentum buffer",
    "eigenvalue": "eigenvalue of the Hessian without weight decay",
    "start": "position of the start point relative to the minimum",
    "continuous_position": "position, mean of the continuous-time theory",
    "continuous_velocity": "velocity, mean of the continuous-time theory",
    "recursion_position": "position, mean of the exact recursion",
    "recursion_velocity": "velocity, mean of the exact recursion",
    "band_position": "half width of the 95 % band of positions, sigma^2 the residual variance",
    "band_velocity": "half width of the 95 % band of velocities, sigma^2 the residual variance",
    "covered": "share of steps with the position inside the 95 % band about the continuous mean",
    "damping": "damping rate gamma of the continuous-time theory, per unit t",
    "frequency": "natural frequency omega of the continuous-time theory, per unit t",
    "period": "period of the damped oscillation in steps, infinite if overdamped",
    "single_error": "rms of position minus continuous mean over rms of the mean, each run",
    "eta": "learning rate",
    "sampling": "how batches are drawn",
    "step": "number of updates",
}


def about_minimum(data: xr.Dataset) -> xr.Dataset:
    """Path of the mode of largest eigenvalue about the minimum.

    Parameters
    ----------
    data
        Runs of linear regression with ``position`` and ``velocity`` (run, projection_step, mode),
        ``eigenvalue`` and ``minimum`` (run, mode).

    Returns
    -------
    xr.Dataset
        ``position``, ``velocity`` (run, step); ``eigenvalue``, ``start`` (run).
    """
    kept = data[["position", "velocity", "eigenvalue", "minimum"]].drop_vars(
        "step", errors="ignore"
    )
    first = kept.isel(mode=0, drop=True).rename(projection_step="step")
    start = -first["minimum"].astype(float)
    side = xr.where(start < 0, -1.0, 1.0)
    return xr.Dataset(
        {
            "position": side * (first["position"].astype(float) + start),
            "velocity": side * first["velocity"].astype(float),
            "eigenvalue": first["eigenvalue"].astype(float),
            "start": abs(start),
        }
    ).transpose("run", ...)


def mean_paths(path: xr.Dataset) -> xr.Dataset:
    """Constants of the oscillator and its mean path (spec 2.2 and 2.3).

    Parameters
    ----------
    path
        From `about_minimum`, with the settings as coordinates of ``run``.

    Returns
    -------
    xr.Dataset
        ``damping``, ``frequency``, ``period`` (run); ``continuous_position``,
        ``continuous_velocity``, ``recursion_position``, ``recursion_velocity`` (run, step). The
        continuous mean starts at rest at step 0, without the half-step shift, as in the paper.
    """
    eta, batch_size, momentum, weight_decay = (path[name].values.astype(float) for name in SETTINGS)
    rho, start = path["eigenvalue"].values, path["start"].values
    constants = theory.mode_constants(rho, eta, momentum, weight_decay)
    time = eta[:, None] * path["step"].values
    position, velocity = theory.mean_path(
        time, constants.damping[:, None], constants.frequency[:, None], start[:, None]
    )
    # The mean of the recursion does not depend on the noise.
    exact = theory.moment_recursion(
        int(path["step"].max()), rho, np.zeros_like(rho), eta, momentum, batch_size,
        weight_decay, start,
    )  # fmt: skip
    steps = path["step"].values.astype(int)
    over = ("run", "step")
    return xr.Dataset(
        {
            "damping": ("run", constants.damping),
            "frequency": ("run", constants.frequency),
            "period": ("run", constants.period_steps),
            "continuous_position": (over, position),
            "continuous_velocity": (over, velocity),
            "recursion_position": (over, start[:, None] + exact.mean_x[steps].T),
            "recursion_velocity": (over, exact.mean_v[steps].T),
        },
        coords={"step": path["step"]},
    )


def bands(path: xr.Dataset, means: xr.Dataset, variance: xr.DataArray) -> xr.Dataset:
    """Half widths of the 95 % band about the mean, z sigma sqrt(cov(t)_11) and the like.

    The official code multiplies by sigma^2 and takes the standard deviation of the velocity given
    the position; here both are the plain ones (spec 7, pitfall 4).

    Parameters
    ----------
    path
        From `about_minimum`.
    means
        From `mean_paths`.
    variance
        Variance sigma^2 of the residuals at the minimum, (run,).

    Returns
    -------
    xr.Dataset
        ``band_position``, ``band_velocity`` (run, step).
    """
    eta, batch_size, momentum, weight_decay = (path[name].values.astype(float) for name in SETTINGS)
    rho = path["eigenvalue"].values
    stationary = theory.stationary_variances(
        rho, variance.values * rho, eta, momentum, batch_size, weight_decay
    )
    covariance = theory.covariance(
        eta[:, None] * path["step"].values,
        means["damping"].values[:, None],
        means["frequency"].values[:, None],
        *(np.asarray(v)[:, None] for v in stationary),
    )
    # Rounding can leave a tiny negative variance at step 0.
    width = BAND * np.sqrt(np.maximum(np.diagonal(covariance, axis1=-2, axis2=-1), 0))
    return xr.Dataset(
        {
            "band_position": (("run", "step"), width[..., 0]),
            "band_velocity": (("run", "step"), width[..., 1]),
        },
        coords={"step": path["step"]},
    )


def relative_rms(values: xr.DataArray, reference: xr.DataArray) -> xr.DataArray:
    """Root mean square over ``step`` of the difference, divided by that of the reference.

    NaN where a value is missing: a run that diverged follows nothing.
    """
    difference = ((values - reference) ** 2).mean("step", skipna=False)
    return np.sqrt(difference / (reference**2).mean("step", skipna=False))
