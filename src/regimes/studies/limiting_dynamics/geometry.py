"""Runs of kind `geometry`: curvature and gradient noise at a start point, as a dataset."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import xarray as xr

from regimes import store
from regimes.config import ConfigError
from regimes.ensemble.checkpoints import is_out_of_memory
from regimes.studies.limiting_dynamics import curvature, data_sets, image_curvature
from regimes.studies.limiting_dynamics.curvature import Point
from regimes.studies.limiting_dynamics.image_curvature import ImagePoint
from regimes.studies.limiting_dynamics.networks import loss_of, model_of, start_weights
from regimes.studies.limiting_dynamics.settings import IMAGE_MODELS, Geometry

PLOTTED = 30  # the mode that figures set against the first, where there are so many
# Settings that memory grows with; the images that are looked at pass in parts.
LARGE = ("curvature_batch", "noise_batch", "modes", "width")

LONG_NAMES = {
    "weights": "weights of the start point",
    "eigenvalue": "eigenvalues of the Hessian, decreasing",
    "eigenvector": "unit eigenvectors of the Hessian",
    "eigen_residual": "|H q - rho q| / |rho|",
    "noise": "variance of single-sample gradients along the eigenvector, q^T Sigma q",
    "noise_error": "standard error of the noise; zero where all samples were looked at",
    "noise_trace": "trace of the covariance Sigma of single-sample gradients",
    "hessian_trace": "trace of the Hessian",
    "bias": "distance of the start from the minimum of the quadratic model along the eigenvector",
    "bias_error": "standard error of the bias; zero where all samples were looked at",
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
    """Curvature and gradient noise at the start point, one entry per run.

    Parameters
    ----------
    settings
        One entry per run.
    device
        Where image networks are measured, in float32; others are small, and measured on the CPU in
        float64.
    start
        Start point with ``weights`` (run, parameter).

    Returns
    -------
    xr.Dataset
        Variables as in `LONG_NAMES`, over ``run``.

    Raises
    ------
    regimes.config.ConfigError
        If the start point lacks the network or has diverged, eigenvectors do not converge, image
        files are missing, or memory does not suffice.
    """
    return store.join_runs([_fitting(run, torch.device(device), start) for run in settings])


def _fitting(run: Geometry, device: torch.device, start: xr.Dataset) -> xr.Dataset:
    """Measured, or a message if memory does not suffice."""
    try:
        return _measure_one(run, device, start)
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
    given = ", ".join(f"{name}: {getattr(run, name)}" for name in LARGE)
    raise ConfigError(
        f"out of memory while the curvature of {run.model} on {run.data} was measured; lower the "
        f"settings that memory grows with ({given}), raise norm_groups (now {run.norm_groups}), "
        "which divides noise_batch, or measure it where there is more"
    )


def _measure_one(run: Geometry, device: torch.device, start: xr.Dataset) -> xr.Dataset:
    weights, modes = start_weights(run, start), run.modes
    if modes >= len(weights):
        raise ConfigError(f"modes: {modes} are wanted of a network with {len(weights)} weights")
    images = run.model in IMAGE_MODELS
    tools = image_curvature if images else curvature
    train, test = _points(run, weights, device if images else torch.device("cpu"))

    trace = np.nan
    if run.spectrum == "full":
        values, top = curvature.full_spectrum(train, modes)
        trace = float(values.sum())
    else:
        try:
            top = tools.top_spectrum(train, modes, run.tolerance)
        except ArithmeticError as error:
            raise ConfigError(f"spectrum: {error}") from None
    drawn = (run.noise_batch, run.noise_batches, run.norm_groups) if images else ()
    noise = tools.gradient_noise(train, top.vectors, *drawn)
    slope, stiffness = noise.mean + run.weight_decay * weights, top.values + run.weight_decay
    plotted = top.vectors[[0, min(PLOTTED, modes) - 1]]
    offset = np.linspace(-run.grid_half_width, run.grid_half_width, run.grid_size)
    plane = np.stack(np.meshgrid(offset, offset, indexing="ij"), -1).reshape(-1, 2)
    sides = run.rise_radius * np.array([[-1.0, 0.0], [1.0, 0.0], [0.0, -1.0], [0.0, 1.0]])
    rise = tools.losses_at(train, sides, plotted).reshape(2, 2)
    train_loss, train_accuracy = tools.loss_and_accuracy(train)
    test_loss, test_accuracy = tools.loss_and_accuracy(test)
    # Of a large network float32 holds what was computed in float32.
    vectors = top.vectors[:modes].astype("float32" if images else "float64")
    grid = ("grid_1", "grid_30")
    side = (run.grid_size, run.grid_size)
    variables = {
        "weights": (("parameter",), weights),
        "eigenvalue": (("mode",), top.values),
        "eigenvector": (("kept_mode", "parameter"), vectors),
        "eigen_residual": (("kept_mode",), top.residuals),
        "noise": (("mode",), noise.variance),
        "noise_error": (("mode",), noise.variance_error),
        "noise_trace": ((), noise.trace),
        "hessian_trace": ((), trace),
        "bias": (("mode",), top.vectors @ slope / stiffness),
        "bias_error": (("mode",), noise.mean_error / abs(stiffness)),
        "start_position": (("mode",), top.vectors @ weights),
        "train_loss": ((), train_loss),
        "test_loss": ((), test_loss),
        "train_accuracy": ((), train_accuracy),
        "test_accuracy": ((), test_accuracy),
        "grid_offset": (grid[:1], offset),
        "train_loss_grid": (grid, tools.losses_at(train, plane, plotted).reshape(side)),
        "test_loss_grid": (grid, tools.losses_at(test, plane, plotted).reshape(side)),
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


def _points(
    run: Geometry, weights: np.ndarray, device: torch.device
) -> tuple[Point, Point] | tuple[ImagePoint, ImagePoint]:
    """The network at its weights on the training and on the test data."""
    data = data_sets.on_device(run.data, run.residual_sd, device)
    here = model_of(run), loss_of(run), torch.from_numpy(weights).to(device)
    if run.model not in IMAGE_MODELS:
        return Point(*here, data.x, data.targets), Point(*here, data.test_x, data.test_targets)
    taken = run.curvature_samples, run.curvature_batch
    train = ImagePoint(*here, data.x, data.targets, data.augment, *taken)
    return train, ImagePoint(*here, data.test_x, data.test_targets, None, *taken)


def _attributes(name: str) -> dict[str, str]:
    return {"long_name": LONG_NAMES[name], "units": "1"}
