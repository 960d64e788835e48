"""Networks of the study and the weights that runs start from."""

from __future__ import annotations

import pickle
from math import prod

import numpy as np
import torch
import xarray as xr

from regimes.config import ConfigError
from regimes.data import files
from regimes.data.catalog import CATALOG
from regimes.data.streams import numpy_stream
from regimes.ensemble import probing
from regimes.nn.image_networks import ImageModel, from_torchvision, image_model
from regimes.nn.mlp import MLP
from regimes.studies.limiting_dynamics.settings import FILES, Geometry, Sgd

INPUTS = {
    "teacher_noisy": 20,
    "teacher_clean": 20,
    "regression_cascade": 64,
    "regression_wide": 128,
    "regression_harmonic": 32,
}
LOSS_OF = {"linear": "half_squares"}  # of the others the cross-entropy
LARGE = 64  # sides of images, in pixels, from which networks have their form for large ones
# Reach of the uniform start of a linear layer on CIFAR-10 (torch.nn.Linear): 1 / sqrt(3072).
LINEAR_REACH = 3072**-0.5

Model = MLP | ImageModel


def loss_of(run: Sgd | Geometry) -> str:
    """Entry of `regimes.ensemble.losses.LOSSES`."""
    return LOSS_OF.get(run.model, "cross_entropy")


def model_of(run: Sgd | Geometry) -> Model:
    """Network of a run: image network, one hidden layer, or a linear map.

    A linear map of generated data has one output and no bias, that of images ten outputs with
    biases.
    """
    if run.data in FILES:
        source = CATALOG[FILES[run.data]]
        if run.model == "linear":
            return MLP(prod(source.shape), 1, 1, source.classes, standard=True)
        large = min(source.shape[1:]) >= LARGE
        return image_model(run.model, run.width, source.shape, source.classes, large_images=large)
    inputs = INPUTS[run.data]
    if run.model == "linear":
        return MLP(inputs, 1, 1, 1, bias=False, standard=True)
    return MLP(inputs, run.hidden, 2, 10, activation=run.activation, standard=True)


def size_of(model: Model) -> int:
    """Number of weights P."""
    return sum(map(prod, model.shapes().values()))


def initial_weights(run: Sgd, model: Model) -> np.ndarray:
    """Random start (P,): of the seed for networks, the same for all seeds in regression.

    Regression runs of all seeds start at one point, so that their mean follows one curve.
    """
    if run.model == "linear":
        stream = numpy_stream(0, run.data, "start")
        return stream.uniform(-LINEAR_REACH, LINEAR_REACH, size_of(model))
    drawn = model.initial(lambda name: numpy_stream(run.seed, "weights", name))
    return np.concatenate([value.ravel() for value in drawn.values()])


def torchvision_weights(run: Sgd, model: ImageModel) -> np.ndarray:
    """Weights (P,) of torchvision's network, from its file in the data folder.

    Raises
    ------
    regimes.config.ConfigError
        If there is no such file, it is damaged, or belongs to another network.
    """
    if (probe := probing.current()) is not None:
        if not files.has_weights(run.model):
            probe.missing.add(f"torchvision's weights {run.model}")
        return initial_weights(run, model)
    path = files.weights(run.model)
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        parameters = from_torchvision(model, state)
    except (OSError, RuntimeError, ValueError, AttributeError, pickle.UnpicklingError) as error:
        raise ConfigError(
            f"{path}: {error}; download torchvision's weights {run.model} (IMAGENET1K_V1) anew"
        ) from None
    return np.concatenate([value.ravel() for value in parameters.values()])


def point_of(run: Sgd | Geometry, start: xr.Dataset) -> xr.Dataset:
    """Entry of a start point that belongs to a run: the one of its network.

    Raises
    ------
    regimes.config.ConfigError
        If the start point holds no such network, or several.
    """
    names = ("model", "hidden", "activation", "width", "data")
    matching = np.ones(start.sizes["run"], dtype=bool)
    for name in names:
        matching &= start[name].values == getattr(run, name)
    if matching.sum() != 1:
        wanted = ", ".join(f"{name} = {getattr(run, name)}" for name in names)
        raise ConfigError(
            f"the start point '{start.attrs.get('start', '')}' holds {matching.sum()} runs with "
            f"{wanted}; exactly one is needed"
        )
    return start.isel(run=int(matching.argmax()))


def start_weights(run: Sgd | Geometry, start: xr.Dataset) -> np.ndarray:
    """Weights (P,) of the start point of a run.

    Raises
    ------
    regimes.config.ConfigError
        If the run that left them had diverged.
    """
    count = size_of(model_of(run))
    # A file with larger networks beside this one is filled up with NaN.
    weights = point_of(run, start)["weights"].values.astype(np.float64)[:count]
    if len(weights) < count or not np.isfinite(weights).all():
        raise ConfigError(
            f"the start point '{start.attrs.get('start', '')}' holds no finite weights: the run "
            "that left it diverged; lower its learning rates"
        )
    return weights
