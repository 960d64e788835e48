"""Made-up resumed runs: independent modes under SGD with momentum, simulated step by step."""

from __future__ import annotations

import numpy as np
import xarray as xr
from scipy.linalg import solve_discrete_lyapunov

ETA, MOMENTUM, BATCH, DECAY = 0.01, 0.9, 64, 1e-4
SIGMA2 = 0.8  # noise over curvature


def spectrum(modes: int, first: float = 0.526, last: float = 0.148) -> np.ndarray:
    """Eigenvalues, geometric from the first to mode 30 and on."""
    return first * (last / first) ** (np.arange(modes) / 29)


def simulate(rho, noise, steps, seeds, minimum=0.0, momentum=MOMENTUM, batch=BATCH, drift=0.0):
    """Positions and velocities (seed, step, mode), from rest at 0, gradient h (x - minimum)."""
    rng = np.random.default_rng(5)
    h = rho + DECAY
    x = np.zeros((seeds, steps + 1, rho.size))
    v = np.zeros_like(x)
    kicks = np.sqrt(noise / batch) * rng.standard_normal((steps, seeds, rho.size))
    for k in range(steps):
        v[:, k + 1] = momentum * v[:, k] + h * (x[:, k] - minimum - drift * k) + kicks[k]
        x[:, k + 1] = x[:, k] - ETA * v[:, k + 1]
    return x, -v


def exact(rho: float) -> dict[str, float]:
    """Stationary moments of one mode of the recursion (x, u), from the discrete Lyapunov equation.

    u' = beta u - h x + noise, x' = x + eta u'.
    """
    h = rho + DECAY
    step = np.array([[1 - ETA * h, ETA * MOMENTUM], [-h, MOMENTUM]])
    kick = np.array([ETA, 1.0])
    moments = solve_discrete_lyapunov(step, SIGMA2 * rho / BATCH * np.outer(kick, kick))
    shifted = step @ moments  # E[z_(k+1) z_k^T]
    return {
        "position": moments[0, 0],
        "velocity": moments[1, 1],
        # u_k x_(k+1) - x_k u_(k+1)
        "circulation": (shifted[0, 1] - shifted[1, 0]) / ETA,
    }


def sgd_runs(x, u, seeds=None, momentum=MOMENTUM, batch=BATCH, model="mlp") -> xr.Dataset:
    """Experiment of kind sgd with projections, as analyses receive it."""
    count, steps, modes = x.shape
    run = {
        "seed": np.arange(count) if seeds is None else np.asarray(seeds),
        "model": np.full(count, model, dtype=object),
        "eta": np.full(count, ETA),
        "batch_size": np.full(count, batch),
        "momentum": np.full(count, momentum),
        "weight_decay": np.full(count, DECAY),
        "run_id": np.array([f"r{i}" for i in range(count)], dtype=object),
    }
    dims = ("run", "projection_step", "mode")
    coords = {name: ("run", values) for name, values in run.items()}
    coords |= {"projection_step": np.arange(steps), "mode": np.arange(1, modes + 1)}
    return xr.Dataset(
        {
            "position": (dims, x.astype(np.float32)),
            "velocity": (dims, u.astype(np.float32)),
            "diverged_at": ("run", np.full(count, -1)),
        },
        coords=coords,
    )


def geometry(rho, noise, minimum, known, radius=0.1, points=40, reach=0.15) -> xr.Dataset:
    """Experiment of kind geometry at a start point with a quadratic loss, rise 10 % above it."""
    m = rho.size
    offset = np.linspace(-reach, reach, points)
    pair = [0, min(29, known - 1)]
    a, b = np.meshgrid(offset, offset, indexing="ij")
    loss = 1.4 + rho[pair[0]] * (a - minimum[pair[0]]) ** 2 / 2
    loss = loss + rho[pair[1]] * (b - minimum[pair[1]]) ** 2 / 2
    # The gradient, here different on the two sides, cancels in their mean.
    rise = 1.1 * rho[pair] * radius**2 / 2 + np.array([[-0.3], [0.3]]) * 1e-3
    variables = {
        "eigenvalue": ("mode", rho),
        "eigen_residual": ("kept_mode", 1e-6 * np.arange(1, known + 1)),
        "eigenvector": (("kept_mode", "parameter"), np.eye(known, m)),
        "noise": ("mode", noise),
        "bias": ("mode", -minimum),
        "train_loss_grid": (("grid_1", "grid_30"), loss),
        "test_loss_grid": (("grid_1", "grid_30"), loss + 0.1),
        "grid_offset": ("grid_1", offset),
        "loss_rise": (("side", "axis"), rise),
        "rise_radius": ((), radius),
        "train_accuracy": ((), 0.59),
    }
    coords = {"mode": np.arange(1, m + 1), "kept_mode": np.arange(1, known + 1)}
    data = xr.Dataset(variables, coords=coords).expand_dims("run")
    data = data.set_coords("rise_radius")
    return data.assign_coords(model=("run", np.array(["mlp"], dtype=object)), seed=("run", [0]))


def experiments(modes=60, steps=60_000, seeds=1, known=None) -> dict[str, xr.Dataset]:
    """Stationary cloud with planted curvature, noise and minimum, and the geometry behind it.

    Parameters
    ----------
    modes
        Modes that are projected on.
    known
        Modes of the full spectrum.
    """
    rho = spectrum(known or modes + 100)
    noise = SIGMA2 * rho
    minimum = np.zeros(rho.size)
    minimum[0], minimum[min(29, modes - 1)] = 0.02, -0.01
    x, u = simulate(rho[:modes], noise[:modes], steps, seeds, minimum[:modes])
    pretrain = xr.Dataset(
        {"train_accuracy": (("run", "evaluation_step"), [[0.2, 0.5, 0.586, np.nan]])}
    )
    return {
        "stationary_cloud_resume": sgd_runs(x, u),
        "start_geometry": geometry(rho, noise, minimum, modes),
        "mlp_pretrain": pretrain,
    }
