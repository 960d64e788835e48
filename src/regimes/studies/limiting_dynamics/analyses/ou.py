"""Loss, modified loss and current of the 2-D OU process; statistics of its walkers (Fig. 3)."""

from __future__ import annotations

import numpy as np
import xarray as xr

from regimes.fit.grids import by_setting
from regimes.studies.limiting_dynamics import theory
from regimes.studies.limiting_dynamics.long_names import described

EDGE, POINTS = 0.1, 40  # window [-0.1, 0.1]^2 and points per side
TEXTS = {
    "potential": "loss x A x/2 - b x, relative to its minimum",
    "modified_loss": "modified loss Psi, relative to its minimum",
    "current": "velocity -Q U (x - mu) of the stationary probability current",
    "drift": "drift matrix A",
    "rotation": "antisymmetric matrix Q",
    "curvature": "Hessian U of the modified loss",
    "minimum": "minimum mu = A^-1 b",
    "path": "position of a walker",
    "identity_residual": "largest absolute entry of a matrix that theory says is zero",
    "tangency": "largest |J grad Psi|/(|J| |grad Psi|) over the grid",
    "covariance": "covariance of the walkers after the burn-in",
    "covariance_theory": "stationary covariance (eta/2) U^-1",
    "covariance_error": "relative Frobenius error of the covariance of the walkers",
    "circulation": "mean of x1 dx2 - x2 dx1 per unit time over its prediction",
    "circulation_theory": "mean of x1 J2 - x2 J1, J = -Q U (x - mu); positive: counter-clockwise",
    "cloud_angle": "angle of the long axis of the cloud of walkers against the x1 axis, degrees",
    "modified_loss_angle": "angle of the long axis of the modified loss, degrees",
    "potential_angle": "angle of the long axis of the loss, degrees",
    "remaining_distance": "distance of the mean of the late half of the path from the minimum over "
    "that of its start",
    "path_eta": "time step of the path",
    "grid_1": "first coordinate",
    "grid_2": "second coordinate",
    "component": "component of the current",
    "row": "coordinate",
    "column": "coordinate",
    "path_step": "number of updates",
    "seed": "seed of the run",
    "identity": "matrix that is zero",
}


def analyse(experiments: dict[str, xr.Dataset]) -> xr.Dataset:
    """Maps on the window of Figure 3, the identities behind them, and measured walkers.

    Parameters
    ----------
    experiments
        ``ou_2d_path`` and ``ou_2d_ensemble``.

    Returns
    -------
    xr.Dataset
        ``potential``, ``modified_loss`` (grid_1, grid_2), ``current`` (component, grid_1, grid_2);
        matrices over (row, column); ``path`` (seed, path_step, row); ``covariance_error``,
        ``circulation``, ``cloud_angle``, ``remaining_distance`` over ``seed``.
    """
    path = by_setting(experiments["ou_2d_path"], ["seed"])
    walkers = experiments["ou_2d_ensemble"]
    one = experiments["ou_2d_path"].isel(run=0)
    drift, diffusion, bias = (one[name].values for name in ("drift", "diffusion", "drift_offset"))
    rotation, curvature = theory.drift_decomposition(drift, diffusion)
    minimum = np.linalg.solve(drift, bias)
    axis = np.linspace(-EDGE, EDGE, POINTS)
    x = np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1)
    current = theory.stationary_current(x, minimum, rotation, curvature)
    predicted = float(walkers["eta"][0]) / 2 * np.linalg.inv(curvature)
    # E[x1 J2 - x2 J1] over the stationary covariance.
    flux = -rotation @ curvature @ predicted
    turning = float(flux[1, 0] - flux[0, 1])
    both, plane = ("row", "column"), ("grid_1", "grid_2")
    measured = by_setting(walkers[["covariance", "circulation"]], ["seed"])
    measured = measured.assign(circulation=measured["circulation"] / turning)
    statistics = _cloud(measured["covariance"], predicted)
    start = np.hypot(*(one["path"].isel(path_step=0).values - minimum))
    distance = np.sqrt(((path["late_mean"] - xr.DataArray(minimum, dims="row")) ** 2).sum("row"))
    result = xr.Dataset(
        {
            "potential": (plane, theory.modified_loss(x, minimum, drift)),
            "modified_loss": (plane, theory.modified_loss(x, minimum, curvature)),
            "current": (("component", *plane), np.moveaxis(current, -1, 0)),
            "drift": (both, drift),
            "rotation": (both, rotation),
            "curvature": (both, curvature),
            "minimum": ("row", minimum),
            "path": path["path"],
            "path_eta": ((), float(one["eta"])),
            "identity_residual": ("identity", _residuals(drift, diffusion, rotation, curvature)),
            "tangency": ((), _tangency(current, (x - minimum) @ curvature)),
            "covariance_theory": (both, predicted),
            "circulation_theory": ((), turning),
            "modified_loss_angle": ((), _long_axis(np.linalg.inv(curvature))),
            "potential_angle": ((), _long_axis(np.linalg.inv(drift))),
            "remaining_distance": distance / start,
            **measured.data_vars,
            **statistics,
        },
        coords={
            "grid_1": axis,
            "grid_2": axis,
            "component": [1, 2],
            "identity": ["U - U^T", "Q + Q^T", "(D + Q) U - A"],
        },
    )
    return described(result, TEXTS).assign_attrs({})


def _residuals(drift, diffusion, rotation, curvature) -> list[float]:
    zeros = (
        curvature - curvature.T,
        rotation + rotation.T,
        (diffusion + rotation) @ curvature - drift,
    )
    return [float(np.abs(zero).max()) for zero in zeros]


def _tangency(current: np.ndarray, gradient: np.ndarray) -> float:
    """Largest cosine between current and gradient; nothing is asked of a point at rest."""
    lengths = np.linalg.norm(current, axis=-1) * np.linalg.norm(gradient, axis=-1)
    moving = lengths > 0
    product = np.abs(np.sum(current * gradient, axis=-1))
    return float(np.max(product[moving] / lengths[moving]))


def _cloud(covariance: xr.DataArray, predicted: np.ndarray) -> dict[str, tuple]:
    """Relative error of measured covariances and angle of their long axis, over ``seed``."""
    values = covariance.transpose("seed", "row", "column").values
    error = np.linalg.norm(values - predicted, axis=(1, 2)) / np.linalg.norm(predicted)
    return {"covariance_error": ("seed", error), "cloud_angle": ("seed", _long_axis(values))}


def _long_axis(covariance: np.ndarray) -> np.ndarray:
    """Angle of the leading eigenvector against the first axis, in degrees from -90 to 90."""
    leading = np.linalg.eigh(covariance)[1][..., -1]
    leading = leading * np.where(leading[..., :1] < 0, -1, 1)
    return np.degrees(np.arctan2(leading[..., 1], leading[..., 0]))
