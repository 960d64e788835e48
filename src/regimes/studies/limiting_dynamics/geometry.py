"""Runs of kind `geometry`: curvature and gradient noise at a start point, as a dataset."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import xarray as xr

from regimes import store
from regimes.config import ConfigError
from regimes.studies.limiting_dynamics import curvature, data_sets
from regimes.studies.limiting_dynamics.networks import LOSS_OF, model_of, start_weights
from regimes.studies.limiting_dynamics.settings import Geometry

PLOTTED = 30  # the mode that figures set against the first, where there are so many

LONG_NAMES = {
    "weights": "weights of the start point",
    "eigenvalue": "eigenvalues of the Hessian, decreasing",
    "eigenvector": "unit eigenvectors of the Hessian",
    "eigen_residual": "|H q - rho q| / |rho|",
    "noise": "variance of single-sample gradients along the eigenvector, q^T Sigma q",
    "noise_trace": "trace of the covariance Sigma of single-sample gradients",
    "hessian_trace": "trace of the Hessian",
    "bias": "distance of the start from the minimum of the quadratic model along the eigenvector",
    "start_position": "q . theta_0",
    "train_loss": "loss on all training data",
    "test_loss": "loss on all test data",
    "train_accuracy": "accuracy on all training data",
    "test_accuracy": "accuracy on all test data",
    "grid_offset": "distances along an axis of the loss maps",
    "train_loss_grid": "training loss on the plane of the first and the other plotted mode",
    "test_loss_grid": "test loss on the plane of the first and the other plotted mode",
    "loss_rise": "training loss at theta_0 +- r q less that at theta_0",
}


def measure(
    settings: Sequence[Geometry], device: torch.device | str = "cpu", *, start: xr.Dataset
) -> xr.Dataset:
    """Curvature and gradient noise at the start point, one entry per run; on the CPU in float64.

    Parameters
    ----------
    settings
        One entry per run.
    device
        Not used: the networks that can be measured so far are small, and need float64.
    start
        Start point with ``weights`` (run, parameter).

    Returns
    -------
    xr.Dataset
        Variables as in `LONG_NAMES`, over ``run``.

    Raises
    ------
    regimes.config.ConfigError
        If the start point lacks the network or has diverged, or eigenvectors do not converge.
    """
    return store.join_runs([_measure_one(run, start) for run in settings])


def _measure_one(run: Geometry, start: xr.Dataset) -> xr.Dataset:
    model, loss = model_of(run), LOSS_OF[run.model]
    data = data_sets.load(run.data, run.residual_sd)
    weights = start_weights(run, start)
    tensors = {name: torch.from_numpy(value) for name, value in data._asdict().items()}
    train = curvature.Point(
        model, loss, torch.from_numpy(weights), tensors["x"], tensors["targets"]
    )
    test = train._replace(x=tensors["test_x"], targets=tensors["test_targets"])

    modes, trace = run.modes, np.nan
    if modes >= len(weights):
        raise ConfigError(f"modes: {modes} are wanted of a network with {len(weights)} weights")
    if run.spectrum == "full":
        values, top = curvature.full_spectrum(train, modes)
        trace = float(values.sum())
    else:
        try:
            top = curvature.top_spectrum(train, modes, run.tolerance)
        except ArithmeticError as error:
            raise ConfigError(f"spectrum: {error}") from None
    noise, noise_trace = curvature.gradient_noise(train, top.vectors)
    slope = curvature.gradient(train) + run.weight_decay * weights
    plotted = top.vectors[[0, min(PLOTTED, modes) - 1]]
    offset = np.linspace(-run.grid_half_width, run.grid_half_width, run.grid_size)
    plane = np.stack(np.meshgrid(offset, offset, indexing="ij"), -1).reshape(-1, 2) @ plotted
    sides = run.rise_radius * np.array([-1.0, 1.0])
    rise = curvature.losses_at(
        train, (sides[None, :, None] * plotted[:, None, :]).reshape(4, -1)
    ).reshape(2, 2)
    train_loss, train_accuracy = curvature.loss_and_accuracy(train)
    test_loss, test_accuracy = curvature.loss_and_accuracy(test)
    grid = ("grid_1", "grid_30")
    side = (run.grid_size, run.grid_size)
    variables = {
        "weights": (("parameter",), weights),
        "eigenvalue": (("mode",), top.values),
        "eigenvector": (("kept_mode", "parameter"), top.vectors[:modes]),
        "eigen_residual": (("kept_mode",), top.residuals),
        "noise": (("mode",), noise),
        "noise_trace": ((), noise_trace),
        "hessian_trace": ((), trace),
        "bias": (("mode",), top.vectors @ slope / (top.values + run.weight_decay)),
        "start_position": (("mode",), top.vectors @ weights),
        "train_loss": ((), train_loss),
        "test_loss": ((), test_loss),
        "train_accuracy": ((), train_accuracy),
        "test_accuracy": ((), test_accuracy),
        "grid_offset": (grid[:1], offset),
        "train_loss_grid": (grid, curvature.losses_at(train, plane).reshape(side)),
        "test_loss_grid": (grid, curvature.losses_at(test, plane).reshape(side)),
        "loss_rise": (("axis", "side"), rise - train_loss),
    }
    named = {
        name: (("run", *dims), np.asarray(value)[None], _attributes(name))
        for name, (dims, value) in variables.items()
    }
    counted = {"mode": len(top.values), "kept_mode": modes}
    coords = {
        dim: (dim, np.arange(1, count + 1), {"long_name": "mode, counted from 1", "units": "1"})
        for dim, count in counted.items()
    }
    return xr.Dataset(named, coords=coords)


def _attributes(name: str) -> dict[str, str]:
    return {"long_name": LONG_NAMES[name], "units": "1"}
