"""Training of the second-order muP runs: ensembles of one model, all parameterizations together."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
import xarray as xr

from regimes.data.samples import EPOCHS, SampledStream, WholeSet
from regimes.data.streams import numpy_stream, stream_seed
from regimes.ensemble import engine
from regimes.ensemble.batches import width_within
from regimes.ensemble.programs import in_programs
from regimes.nn.taped.layers import TapedModel
from regimes.optim.noise import NOISE_SEED
from regimes.studies.second_order_mup import data_sets, networks
from regimes.studies.second_order_mup.recorder import Observer, to_dataset
from regimes.studies.second_order_mup.settings import DATA, SECOND_ORDER, TEXTS, Train
from regimes.studies.second_order_mup.toy_experiments import TOY_TRAIN

# Largest number of runs in one program: on a GPU programs are padded to it.
WIDEST = {"cpu": 32, "cuda": 8}
MEMORY = {"cpu": 1.5 * 2**30, "cuda": 64 * 2**30}  # bytes that a program may take
PRECISION = {"single": torch.float32, "double": torch.float64}


def train(settings: Sequence[Train], device: torch.device | str = "cpu") -> xr.Dataset:
    """Train networks, in programs of equal shape.

    Parameters
    ----------
    settings
        One entry per run.
    device
        Where the runs are trained.

    Returns
    -------
    xr.Dataset
        The variables of `regimes.studies.second_order_mup.recorder` over ``run``, in the order of
        ``settings``.

    Raises
    ------
    regimes.config.ConfigError
        If a data set needs files, or a network does not fit the images.
    """
    device = torch.device(device)
    return in_programs(
        settings,
        _shape,
        lambda runs: train_program(runs, device),
        lambda run: widest(run, device),
        fixed=device.type == "cuda",
    )


KINDS: dict[str, Callable[..., xr.Dataset]] = {"train": train, **TOY_TRAIN}


def widest(run: Train, device: torch.device) -> int:
    """Largest number of runs in a program like this one, at least 2.

    A run holds its weights, start, gradient and direction; two factors per layer, with averages or
    intervals their inverses as well; and the inputs, outputs and signals of a batch.
    """
    model = networks.model_of(run)
    weights = sum(int(np.prod(shape)) for shape in model.shapes().values())
    layers = model.layers.values()
    factors = sum(layer.fan_in**2 + layer.fan_out**2 for layer in layers)
    seen = _recorded_per_sample(run, model) * run.batch()
    classes = DATA[run.data].classes if run.fisher == "ggn" else 1
    numbers = 5 * weights + 4 * seen
    if run.optimizer in SECOND_ORDER:
        numbers += seen * classes + factors * (2 if run.ema < 1 or run.interval > 1 else 1)
    fitting = width_within(MEMORY[device.type], 0, numbers * PRECISION[run.precision].itemsize)
    return min(WIDEST[device.type], fitting)


def _recorded_per_sample(run: Train, model: TapedModel) -> int:
    """Numbers that the layers see and give per sample, positions of convolutions included."""
    shape, text = DATA[run.data].shape, run.data in TEXTS
    with torch.device("meta"), torch.no_grad():  # shapes only
        params = {name: torch.empty(1, *size) for name, size in model.shapes().items()}
        x = torch.empty(1, 1, *shape, dtype=torch.int64 if text else torch.float32)
        tape = model.run(params, x)[1]
    return sum(each.inputs.numel() + each.outputs.numel() for each in tape.values())


def _shape(run: Train) -> tuple:
    """All that the runs of one program share: whatever fixes array shapes and operations."""
    free = {
        "seed",
        "base_width",
        "damping",
        "lr",
        "output_exponent",
        "output_multiplier",
        "parameterization",
        "weight_decay",
    }
    return tuple(sorted(run.model_dump(exclude=free).items()))


def train_program(runs: Sequence[Train], device: torch.device) -> xr.Dataset:
    """Train R >= 2 runs of equal shape as one program."""
    run = runs[0]
    where = {"dtype": PRECISION[run.precision], "device": device}
    tensors = data_sets.samples(run, **where)._asdict()
    model = networks.model_of(run)
    network = networks.network_of(run, model)
    preconditioner = networks.preconditioner_of(run, model)
    start, frozen = _start(runs, model, where)
    hyper = networks.hyperparameters(runs, model, where)
    analogies = data_sets.analogies(run)
    observer = Observer(run, network, preconditioner, tensors, start, frozen, hyper, analogies)
    each = torch.arange(len(runs), device=device)
    seeds = _seeds(runs)
    stream = torch.tensor([seeds.index(each.seed) for each in runs], device=device)
    rate = torch.tensor([each.lr for each in runs], **where)
    given = engine.Runs(
        start, each, stream, torch.ones_like(rate), rate, hyper, centred=False, frozen=frozen
    )
    found = engine.train(
        network,
        networks.update_of(run, preconditioner),
        _stream(run, runs, tensors, observer),
        given,
        observer.observations(),
    )
    return to_dataset(run, runs, found, observer)


def _start(
    runs: Sequence[Train], model: TapedModel, where: dict
) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Initial parameters (R, ...): the same draws for every parameterization and optimizer."""
    drawn: dict[int, dict[str, np.ndarray]] = {}
    parts: dict[str, list[torch.Tensor]] = {name: [] for name in model.shapes()}
    for run in runs:
        if run.seed not in drawn:
            drawn[run.seed] = model.initial(
                lambda name, seed=run.seed: numpy_stream(seed, "network", name)
            )
        factors = networks.weight_factors(run, model)
        for name, value in drawn[run.seed].items():
            parts[name].append(torch.from_numpy(value * factors.get(name, 1.0)).to(**where))
    seeds = [stream_seed(run.seed, "Fisher noise") % 2**62 for run in runs]
    frozen = {NOISE_SEED: torch.tensor(seeds, device=where["device"])}
    return {name: torch.stack(values) for name, values in parts.items()}, frozen


class _OneHot:
    """A stream whose labels (S, B, 1) become one-hot targets (S, B, C) batch by batch."""

    def __init__(self, stream: SampledStream | WholeSet, observer: Observer) -> None:
        self.stream, self.observer, self.steps = stream, observer, stream.steps

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        for x, targets in self.stream:
            yield x, self.observer.one_hot(targets)

    def state(self) -> dict[str, Any]:
        """Where the last iteration stands."""
        return self.stream.state()

    def resume(self, state: Mapping[str, Any]) -> None:
        """Let the next iteration go on there."""
        self.stream.resume(state)


def _seeds(runs: Sequence[Train]) -> list[int]:
    """Seeds of the runs, each once: runs of one seed see the same batches."""
    return sorted({run.seed for run in runs})


def _stream(run: Train, runs: Sequence[Train], tensors: dict, observer: Observer):
    """Batches: the whole set, or shuffled epochs of full batches."""
    x, targets = tensors["x"], tensors["targets"]
    if run.batch() == run.used():
        return _OneHot(WholeSet(x[:], targets, run.steps), observer)
    augment = data_sets.augmentation_of(run)
    seeds = [stream_seed(seed, "batches", run.batch()) for seed in _seeds(runs)]
    stream = SampledStream(x, targets, seeds, run.batch(), run.steps, EPOCHS, augment=augment)
    return _OneHot(stream, observer)
