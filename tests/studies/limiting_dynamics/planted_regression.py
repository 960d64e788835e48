"""Runs of linear regression mode by mode, from the recursion itself, in the shape of real runs."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import xarray as xr

from regimes.plot import style
from regimes.store import read_netcdf, write_netcdf

SETTINGS = {
    "eta": 1e-5,
    "batch_size": 512,
    "momentum": 0.9,
    "weight_decay": 0.0,
    "sampling": "with_replacement",
    "model": "linear",
    "seed": 0,
}


def recursion(rho, kick, eta, momentum, weight_decay, offset, epoch=None):
    """Positions about the minimum and velocities of v <- beta v + (rho + lambda) x + kick.

    Parameters
    ----------
    rho, offset
        Shape (modes,).
    kick
        Gradient noise of the batches, shape (runs, steps, modes).
    eta, momentum, weight_decay
        Shape (runs, 1).
    epoch
        Steps after which the noise sums to zero, as it does without replacement.

    Returns
    -------
    tuple of ndarray
        Shapes (runs, steps + 1, modes).
    """
    runs, steps, modes = kick.shape
    if epoch:
        whole = steps // epoch * epoch
        cut = kick[:, :whole].reshape(runs, -1, epoch, modes)
        cut = cut - cut.mean(axis=2, keepdims=True)
        kick = np.concatenate([cut.reshape(runs, whole, modes), kick[:, whole:]], axis=1)
    x = np.broadcast_to(offset, (runs, modes)).astype(float)
    buffer = np.zeros((runs, modes))
    position, velocity = np.zeros((2, runs, steps + 1, modes))
    position[:, 0] = x
    for k in range(steps):
        buffer = momentum * buffer + (rho + weight_decay) * x + kick[:, k]
        x = x - eta * buffer
        position[:, k + 1], velocity[:, k + 1] = x, -buffer
    return position, velocity


def runs_of(
    settings: list[dict], rho, noise, offset, steps: int, epoch: int | None = None
) -> xr.Dataset:
    """Runs with additive Gaussian gradient noise of variance ``noise`` / S per mode.

    Parameters
    ----------
    settings
        What differs from `SETTINGS`, for each run.
    rho, noise, offset
        Per mode: eigenvalue, variance of single-sample gradients, start minus minimum.
    epoch
        As in `recursion`.
    """
    settings = [SETTINGS | one for one in settings]
    rho, noise, offset = (np.asarray(v, float) for v in (rho, noise, offset))

    def column(name: str) -> np.ndarray:
        return np.array([one[name] for one in settings], float)[:, None]

    kick = np.stack(
        [
            np.random.default_rng([7, i]).standard_normal((steps, rho.size))
            for i in range(len(settings))
        ]
    )
    kick *= np.sqrt(noise / column("batch_size"))[:, None]
    eta, momentum, decay = (column(n) for n in ("eta", "momentum", "weight_decay"))
    position, velocity = recursion(rho, kick, eta, momentum, decay, offset, epoch)
    count = len(settings)
    every = np.ones((count, 1))
    variables = {
        "position": (("run", "projection_step", "mode"), (position - offset).astype(np.float32)),
        "velocity": (("run", "projection_step", "mode"), velocity.astype(np.float32)),
        "local_displacement": (
            ("run", "step"),
            (eta[:, None] * velocity[:, 1:]) ** 2 @ np.ones(rho.size),
        ),
        "eigenvalue": (("run", "mode"), every * rho),
        "noise": (("run", "mode"), every * noise),
        "noise_trace": ("run", every[:, 0] * noise.sum()),
        "residual_variance": ("run", every[:, 0] * noise[0] / rho[0]),
        "minimum": (("run", "mode"), every * -offset),
        "diverged_at": ("run", np.full(count, -1)),
    }
    coords = {
        "mode": np.arange(1, rho.size + 1),
        "projection_step": np.arange(steps + 1),
        "step": np.arange(1, steps + 1),
        **{name: ("run", [one[name] for one in settings]) for name in SETTINGS},
    }
    data = xr.Dataset(variables, coords=coords)
    for variable in data.variables.values():
        variable.attrs = {"long_name": "planted", "units": "1"}
    return data


def geometry_of(rho, noise, model: str = "mlp") -> xr.Dataset:
    """Geometry of a network's start point."""
    return xr.Dataset(
        {
            "eigenvalue": (("run", "mode"), np.asarray(rho, float)[None]),
            "noise": (("run", "mode"), np.asarray(noise, float)[None]),
            "noise_trace": ("run", [float(np.sum(noise))]),
        },
        coords={
            "mode": np.arange(1, len(rho) + 1),
            "model": ("run", [model]),
            "seed": ("run", [0]),
        },
    )


def drawn(module, analyses: dict[str, xr.Dataset], folder) -> mpl.figure.Figure:
    """Draw after a round through files, as the workflow does."""
    stored = {}
    for name, data in analyses.items():
        write_netcdf(folder / f"{name}.nc", data, {})
        stored[name] = read_netcdf(folder / f"{name}.nc")
    with style.applied():
        figure = module.draw(stored)
        style.footer(figure, "smoke", [(1, 1)], "0" * 12)
        figure.draw_without_rendering()
    return figure
