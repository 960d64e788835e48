"""Stationary clouds under sampling with replacement and in shuffled epochs (spec 7, pitfall 1)."""

from __future__ import annotations

import numpy as np
import xarray as xr

from regimes.studies.limiting_dynamics import theory
from regimes.studies.limiting_dynamics.long_names import described
from regimes.studies.limiting_dynamics.start_points import start_of
from regimes.studies.limiting_dynamics.stationary import (
    BLOCKS,
    STEP,
    TRANSIENT,
    blocks,
    resumed,
)

REGRESSION = ("linreg_stationary_iid", "linreg_stationary_epochs")
NETWORK = ("stationary_cloud_resume", "stationary_cloud_resume_epochs")
LONGEST = 1 / 6  # largest lag as a share of the steps after the transient
LAGS_PER_DECADE = 8
MARKED_LAG = 5000  # of the claims, between the regularly spaced ones

TEXTS = {
    "position_mean": "mean over the block of the position over its standard deviation by theory",
    "position_square": "mean over the block of the squared position over its variance by theory",
    "velocity_mean": "mean over the block of the velocity over its standard deviation by theory",
    "velocity_square": "mean over the block of the squared velocity over its variance by theory",
    "position_theory": "stationary standard deviation of the position by theory",
    "squared_displacement": "squared displacement in the span of the modes, mean over starts in the"
    " block, over theory",
    "local_displacement": "mean over the block of the squared local displacement over theory",
    "eigenvalue": "eigenvalue of the Hessian without weight decay",
    "system": "linear regression or network",
    "sampling": "batches drawn with replacement, or shuffled epochs",
    "seed": "seed of the run",
    "block": "contiguous block of the run after the transient",
    "mode": "mode, by decreasing eigenvalue",
    "lag": "lag in steps",
}


def analyse(experiments: dict[str, xr.Dataset]) -> xr.Dataset:
    """Moments and displacements over their theory, with and without replacement, in blocks.

    Theory takes the measured noise q^T Sigma q of each mode, not sigma^2 rho, so that only the
    sampling can make a difference. For networks eigenvalues and noise are those of the start
    point, and the displacement is the part of it in the span of the recorded modes.

    Parameters
    ----------
    experiments
        Any of ``linreg_stationary_iid``, ``linreg_stationary_epochs``,
        ``stationary_cloud_resume``, ``stationary_cloud_resume_epochs``; for networks
        ``start_geometry`` too.

    Returns
    -------
    xr.Dataset
        Over (system, sampling, seed, block) and ``mode`` or ``lag``; variables as in `TEXTS`.
        Runs are few and long: blocks tell how sure the numbers are.
    """
    known = experiments.get("start_geometry")
    parts = {}
    for system, names, geometry in (("regression", REGRESSION, None), ("network", NETWORK, known)):
        found = [over_theory(experiments[n], geometry) for n in names if n in experiments]
        if found:
            parts[system] = xr.concat(found, dim="sampling", join="outer")
    joined = xr.concat(list(parts.values()), dim="system", join="outer", coords="minimal")
    return described(joined.assign_coords(system=list(parts)), TEXTS)


def over_theory(data: xr.Dataset, geometry: xr.Dataset | None) -> xr.Dataset:
    """Moments and displacements of one experiment over theory, with its sampling as coordinate.

    Parameters
    ----------
    data
        Runs with ``position`` and ``velocity`` at every step.
    geometry
        Kind ``geometry`` at their start point; None for linear regression, whose runs hold
        ``eigenvalue``, ``noise`` and ``noise_trace`` themselves.
    """
    run = resumed(data)
    runs = data.swap_dims(run="seed").sel(seed=run.position["seed"])
    source = runs if geometry is None else start_of(geometry, run.network)
    known = source[["eigenvalue", "noise"]].reset_coords(drop=True)
    known = known.reindex(mode=run.position["mode"])
    # A mode without restoring force has no stationary state.
    known = known.where(known["eigenvalue"] + run.weight_decay > 0)
    known = known.dropna("mode", how="all", subset=["eigenvalue", "noise"])
    position, velocity = (path.sel(mode=known["mode"]) for path in (run.position, run.velocity))
    rho, noise = known["eigenvalue"].astype(float), known["noise"].astype(float)
    settings = (run.eta, run.momentum, run.batch_size)
    variances = theory.stationary_variances(rho, noise, *settings, run.weight_decay)
    deviation, agitation = (rho.copy(data=np.sqrt(value)) for value in variances)
    steps = position.sizes[STEP]
    steps -= int(np.ceil(TRANSIENT * steps))
    lag = lags(steps)
    # As many blocks at the largest lag as elsewhere, of four steps or more.
    count = max(1, min(BLOCKS, (steps - int(lag[-1])) // 4))
    x, u = blocks(position / deviation, count), blocks(velocity / agitation, count)
    result = xr.Dataset(
        {
            "position_mean": x.mean("inside"),
            "position_square": (x**2).mean("inside"),
            "velocity_mean": u.mean("inside"),
            "velocity_square": (u**2).mean("inside"),
            "position_theory": deviation,
            "eigenvalue": rho,
        },
        coords={"block": np.arange(count)},
    )
    predicted = theory.displacement_stationary(
        # Axes: lags, then whatever comes before the modes.
        lag if rho.ndim == 1 else lag[:, None],
        rho.transpose(..., "mode").values,
        noise.transpose(..., "mode").values,
        *settings,
        run.weight_decay,
    )
    over = ("lag", *(dim for dim in rho.dims if dim != "mode"))
    after = position.isel({STEP: slice(-steps, None)})
    measured = squared_displacements(after, lag, count)
    result["squared_displacement"] = measured / xr.DataArray(predicted, dims=over)
    if "local_displacement" in data:
        # Perhaps recorded so rarely that it makes fewer blocks; the others are NaN.
        local = blocks(runs["local_displacement"].astype(float).rename(step=STEP), count)
        local = local.assign_coords(block=np.arange(local.sizes["block"]))
        trace = source["noise_trace"].reset_coords(drop=True)
        level = trace.copy(data=theory.local_displacement(trace.values, *settings))
        result["local_displacement"] = local.mean("inside") / level
    sampling = np.unique(runs["sampling"].values)
    return result.assign_coords(sampling=str(sampling.item())).expand_dims("sampling")


def lags(steps: int) -> np.ndarray:
    """Logarithmically spaced lags, powers of ten and 5000 among them, up to a sixth of the steps.

    Parameters
    ----------
    steps
        Number of recorded steps.
    """
    longest = max(1, int(LONGEST * steps))
    decades = 10.0 ** (np.arange(7 * LAGS_PER_DECADE) / LAGS_PER_DECADE)
    wanted = np.unique(np.concatenate([np.rint(decades), [MARKED_LAG]])).astype(int)
    return wanted[wanted <= longest]


def squared_displacements(path: xr.DataArray, lag: np.ndarray, count: int) -> xr.DataArray:
    """Mean squared displacements |x(k + lag) - x(k)|^2, summed over modes.

    Parameters
    ----------
    path
        Positions over (seed, projection_step, mode), every step.
    lag
        Lags in steps.
    count
        Number of blocks.

    Returns
    -------
    xr.DataArray
        Over (lag, seed, block), means over the start steps k of a block; at every lag the start
        steps that it leaves are divided into so many blocks.
    """
    values = path.transpose("seed", STEP, "mode").values
    found = []
    for j in lag:
        squares = ((values[:, j:] - values[:, :-j]) ** 2).sum(axis=-1)
        cut = blocks(xr.DataArray(squares, dims=("seed", STEP)), count, transient=0.0)
        found.append(cut.mean("inside"))
    return xr.concat(found, dim="lag").assign_coords(lag=lag, seed=path["seed"])
