"""Networks of the study and the weights that runs start from."""

from __future__ import annotations

import numpy as np
import xarray as xr

from regimes.config import ConfigError
from regimes.data.streams import numpy_stream
from regimes.nn.mlp import MLP
from regimes.studies.limiting_dynamics.settings import IMAGE_MODELS, Geometry, Sgd

INPUTS = {
    "teacher_noisy": 20,
    "teacher_clean": 20,
    "regression_cascade": 64,
    "regression_wide": 128,
    "regression_harmonic": 32,
}
LOSS_OF = {"mlp": "cross_entropy", "linear": "half_squares"}
# Reach of the uniform start of a linear layer on CIFAR-10 (torch.nn.Linear): 1 / sqrt(3072).
LINEAR_REACH = 3072**-0.5


def model_of(run: Sgd | Geometry) -> MLP:
    """Network of a run: tanh or ReLU with one hidden layer, or a linear map without bias.

    Raises
    ------
    regimes.config.ConfigError
        If it is a network for images, or its data are images.
    """
    if run.model in IMAGE_MODELS or run.data not in INPUTS:
        what = f"model: '{run.model}'" if run.model in IMAGE_MODELS else f"data: '{run.data}'"
        raise ConfigError(
            f"{what} needs image files and networks for them, which this version does not read "
            "yet; the scales smoke and laptop need none"
        )
    inputs = INPUTS[run.data]
    if run.model == "linear":
        return MLP(inputs, 1, 1, 1, bias=False, standard=True)
    return MLP(inputs, run.hidden, 2, 10, activation=run.activation, standard=True)


def initial_weights(run: Sgd, model: MLP) -> np.ndarray:
    """Random start (P,): of the seed for networks, the same for all seeds in regression.

    Regression runs of all seeds start at one point, so that their mean follows one curve.
    """
    if run.model == "linear":
        stream = numpy_stream(0, run.data, "start")
        return stream.uniform(-LINEAR_REACH, LINEAR_REACH, model.inputs)
    drawn = model.initial(lambda name: numpy_stream(run.seed, "weights", name))
    return np.concatenate([value.ravel() for value in drawn.values()])


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
    count = sum(int(np.prod(shape)) for shape in model_of(run).shapes().values())
    # A file with larger networks beside this one is filled up with NaN.
    weights = point_of(run, start)["weights"].values.astype(np.float64)[:count]
    if len(weights) < count or not np.isfinite(weights).all():
        raise ConfigError(
            f"the start point '{start.attrs.get('start', '')}' holds no finite weights: the run "
            "that left it diverged; lower its learning rates"
        )
    return weights
