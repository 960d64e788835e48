"""Training of the feature-strength runs: networks as batched programs, toys on whole grids."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch
import xarray as xr

from regimes.data.mnist1d import Mnist1D
from regimes.data.streams import numpy_stream, stream_seed
from regimes.data.tasks import (
    GaussianMixture,
    Hierarchical,
    OnlineStream,
    Task,
    TemplateImages,
    held_out,
    image_task,
)
from regimes.ensemble import engine
from regimes.ensemble.batches import SMALLEST_WIDTH
from regimes.ensemble.losses import LOSSES
from regimes.ensemble.networks import FunctionalNetwork, LayeredNetwork
from regimes.ensemble.observations import Points
from regimes.ensemble.programs import in_programs
from regimes.ensemble.updates import UPDATES
from regimes.nn.cnn import CNN
from regimes.nn.mlp import MLP
from regimes.nn.resnet import ResNet
from regimes.nn.vit import ViT
from regimes.studies.feature_strength.record import to_dataset
from regimes.studies.feature_strength.settings import STREAMS, Network
from regimes.studies.feature_strength.toy_experiments import TOY_TRAIN
from regimes.studies.feature_strength.watch import initial_sharpness, observations

# Largest number of runs in one program: on a CPU past a few dozen a wider one gains nothing and
# leaves the cache; on a GPU every program is padded to this width.
WIDEST = {
    "cpu": {"mlp": 32, "cnn": 16, "resnet": 8, "vit": 32},
    "cuda": {"mlp": 64, "cnn": 32, "resnet": 8, "vit": 32},
}

TASKS: dict[str, Callable[[], Task]] = {
    "gmm30": GaussianMixture,
    "gmm30_patches": lambda: GaussianMixture(image=True),
    "hierarchical": Hierarchical,
    "templates": TemplateImages,
    "mnist1d": Mnist1D,
    "mnist_augmented": lambda: image_task("mnist"),
    "mnist_pixels": lambda: image_task("mnist", normalized=False),
    "cifar10_augmented": lambda: image_task("cifar10"),
    "cifar10_jpeg_augmented": lambda: image_task("cifar10_jpeg"),
    "tinyimagenet_augmented": lambda: image_task("tinyimagenet"),
    "mnist1m": lambda: image_task("mnist1m", augmented=False),
    "cifar5m": lambda: image_task("cifar5m", augmented=False),
}

Model = MLP | CNN | ResNet | ViT


def train(settings: Sequence[Network], device: torch.device | str = "cpu") -> xr.Dataset:
    """Train networks online, in programs of equal shape.

    Parameters
    ----------
    settings
        One entry per run.
    device
        Where the runs are trained.

    Returns
    -------
    xr.Dataset
        The variables of `regimes.studies.feature_strength.record` over ``run``, in the order of
        ``settings``.

    Raises
    ------
    regimes.config.ConfigError
        If the stream of a run needs image files that are missing or damaged.
    """
    device = torch.device(device)
    return in_programs(
        settings,
        _shape,
        lambda runs: train_program(runs, device),
        lambda run: WIDEST[device.type][run.architecture],
        fixed=device.type == "cuda",
        # Runs of one seed share start, data and frozen copy within a program.
        beside=lambda run: run.seed,
    )


KINDS: dict[str, Callable[..., xr.Dataset]] = {"network": train, **TOY_TRAIN}


def _shape(run: Network) -> tuple:
    """All that the runs of one program share: whatever fixes array shapes and operations."""
    free = {"seed", "data_seed", "log10_gamma", "eta_rule", "eta_factor", "log10_eta", "precision"}
    return (run.double, *sorted(run.model_dump(exclude=free).items()))


def train_program(runs: Sequence[Network], device: torch.device) -> xr.Dataset:
    """Train R >= 2 runs of equal shape as one program."""
    run = runs[0]
    task, model, loss = TASKS[run.stream](), model_of(run), LOSSES[run.loss]
    if run.architecture == "mlp":
        network = LayeredNetwork(run.depth, loss)
    else:
        network = FunctionalNetwork(model.apply, loss)
    dtype = torch.float64 if run.double else torch.float32
    start = start_of(runs, model, dtype, device)
    data = sorted({_data_seed(each) for each in runs})
    stream = OnlineStream(
        task,
        [stream_seed(seed, "batches", run.stream, run.batch_size) for seed in data],
        run.batch_size,
        run.steps,
        dtype=dtype,
        device=device,
    )
    where = {"dtype": dtype, "device": device}
    fixed = Points.of(network, start, *held_out(task, "points", run.points, **where))
    test = Points.of(network, start, *held_out(task, "test", run.test_size, **where))
    sharpness = np.full(len(runs), np.nan)
    if any(each.eta_rule == "sharpness" for each in runs):
        sharpness = initial_sharpness(run, model, fixed, start)
    eta = np.array([each.eta(value) for each, value in zip(runs, sharpness, strict=True)])
    factor = model.width_multiplier if run.optimizer == "sgd" else 1
    rate = torch.tensor(factor * eta, dtype=dtype, device=device)
    start = replace(start, rate=rate)
    watched = observations(run, model, fixed, test, start)
    trained = engine.train(network, UPDATES[run.optimizer], stream, start, watched)
    return to_dataset(run, trained, watched, eta)


def model_of(run: Network) -> Model:
    """Shapes and forward pass of a run's architecture."""
    shape, classes, _ = STREAMS[run.stream]
    if run.architecture == "mlp":
        return MLP(int(np.prod(shape)), run.width, run.depth, classes, run.bias)
    if run.architecture == "cnn":
        return CNN(*shape, run.width, classes, run.bias)
    if run.architecture == "resnet":
        return ResNet(*shape, run.width, run.blocks, classes, run.bias)
    return ViT(shape, run.patch, run.width, run.blocks, run.heads, classes, run.bias)


def _data_seed(run: Network) -> int:
    return run.seed if run.data_seed is None else run.data_seed


def start_of(
    runs: Sequence[Network], model: Model, dtype: torch.dtype, device: torch.device
) -> engine.Runs:
    """Initial parameters of every (weights, data) pair; the same for all gamma and eta."""
    pairs = sorted({(each.seed, _data_seed(each)) for each in runs})
    data = sorted({pair[1] for pair in pairs})
    group_of = [pairs.index((each.seed, _data_seed(each))) for each in runs]
    padded = pairs + pairs[:1] * (SMALLEST_WIDTH - len(pairs))
    drawn = [model.initial(lambda name, s=seed: numpy_stream(s, "weights", name))
             for seed, _ in padded]  # fmt: skip
    params = {
        name: torch.from_numpy(np.stack([each[name] for each in drawn])).to(device, dtype)
        for name in drawn[0]
    }
    gamma = torch.tensor([each.gamma for each in runs], dtype=dtype, device=device)
    return engine.Runs(
        params,
        torch.tensor(group_of, device=device),
        torch.tensor([data.index(pair[1]) for pair in padded], device=device),
        gamma,
        torch.full_like(gamma, torch.nan),
    )
