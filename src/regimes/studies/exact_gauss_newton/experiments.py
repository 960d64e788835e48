"""Training of the exact Gauss-Newton runs: ensembles of reversible networks, stage after stage."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
import xarray as xr

from regimes import journal
from regimes.data.augmentation import resized_crop
from regimes.data.samples import EPOCHS, SampledStream, WholeSet
from regimes.data.streams import numpy_stream, stream_seed
from regimes.ensemble import engine
from regimes.ensemble.batches import width_within
from regimes.ensemble.losses import LOSSES
from regimes.ensemble.programs import in_programs
from regimes.ensemble.reversible import NOISE_SEED
from regimes.ensemble.updates import UPDATES
from regimes.nn.revmlp import RevMLP
from regimes.studies.exact_gauss_newton import data_sets, recorder
from regimes.studies.exact_gauss_newton.networks import model_of, network_of
from regimes.studies.exact_gauss_newton.settings import REGRESSION, Train
from regimes.studies.exact_gauss_newton.toy_experiments import TOY_TRAIN

# Largest number of runs in one program: on a CPU the features of more leave the cache, on a GPU
# programs are padded to it.
WIDEST = {"cpu": 16, "cuda": 4}
MEMORY = {"cpu": 2 * 2**30, "cuda": 64 * 2**30}  # bytes that a program may take
UPDATE_OF = {"gn": "decayed", "sgd": "decayed", "adam": "adam"}
PRECISION = {"single": torch.float32, "double": torch.float64}


def train(settings: Sequence[Train], device: torch.device | str = "cpu") -> xr.Dataset:
    """Train reversible networks, in programs of equal shape.

    Parameters
    ----------
    settings
        One entry per run.
    device
        Where the runs are trained.

    Returns
    -------
    xr.Dataset
        The variables of `regimes.studies.exact_gauss_newton.recorder` over ``run``, in the order
        of ``settings``.

    Raises
    ------
    regimes.config.ConfigError
        If a data set has to be read from files that are missing or damaged.
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

    A run holds weights, expansions, update, two moments and start, and the features of a batch
    with what is computed from them.
    """
    model = model_of(run)
    weights = sum(int(np.prod(shape)) for shape in model.shapes().values())
    features = 2 * run.blocks * model.features * (run.batch() + run.evaluated())
    numbers = 8 * weights + 4 * features
    fitting = width_within(MEMORY[device.type], 0, numbers * PRECISION[run.precision].itemsize)
    return min(WIDEST[device.type], fitting)


def _shape(run: Train) -> tuple:
    """All that the runs of one program share: whatever fixes array shapes and operations."""
    free = {"seed", "lr_code", "then_lr_code", "weight_decay", "sigma"}
    return tuple(sorted(run.model_dump(exclude=free).items()))


def train_program(runs: Sequence[Train], device: torch.device) -> xr.Dataset:
    """Train R >= 2 runs of equal shape as one program, the second optimizer after the first."""
    run = runs[0]
    _report_rank(run)
    where = {"dtype": PRECISION[run.precision], "device": device}
    tensors = data_sets.samples(run.data, run.used(), **where)._asdict()
    model = model_of(run)
    loss = LOSSES["mse" if run.data in REGRESSION else "cross_entropy"]
    start, frozen = _start(runs, model, where)
    observer = recorder.Observer(run, model, loss, tensors, start, frozen)
    journal.stages(run.total_epochs() * run.updates_per_epoch())
    passed, params, done = [], start, 0
    for number, (optimizer, _, epochs) in enumerate(run.stages()):
        network = network_of(run, optimizer, model, loss)
        rates = [each.stages()[number][1] for each in runs]
        each = torch.arange(len(runs), device=device)
        more = {"weight_decay": torch.tensor([each.weight_decay for each in runs], **where)}
        rate = torch.tensor(rates, **where)
        here = engine.Runs(
            params, each, each, torch.ones_like(rate), rate, more, centred=False, frozen=frozen
        )
        # A resumed run draws fresh batches, and its optimizer remembers nothing.
        stream = _stream(run, runs, tensors, f"stage {number}", epochs)
        last = number == len(run.stages()) - 1
        watched = observer.observations(done, epochs, keep_weights=not last)
        after = loss if run.judge_updates else None
        rule = UPDATES[UPDATE_OF[optimizer]]
        found = engine.train(network, rule, stream, here, watched, after)
        if not last:
            kept, watched = found.observed.pop(), watched[:-1]
            params = {name: torch.from_numpy(kept[name][:, 0]).to(**where) for name in params}
        passed.append((found, watched))
        done += epochs
    return recorder.to_dataset(run, passed, observer)


def _start(runs: Sequence[Train], model: RevMLP, where: dict) -> tuple[dict, dict]:
    """Initial parameters and frozen tensors (R, ...): those of a seed, for every optimizer."""

    def stacked(draw: Callable[[Train], dict[str, np.ndarray]]) -> dict[str, torch.Tensor]:
        # Converted run by run: large networks in float64 would not fit beside each other.
        each = [{n: torch.from_numpy(v).to(**where) for n, v in draw(run).items()} for run in runs]
        return {name: torch.stack([one[name] for one in each]) for name in each[0]}

    def stream_of(run: Train) -> Callable[[str], np.random.Generator]:
        return lambda name: numpy_stream(run.seed, "network", name)

    start = stacked(lambda run: model.initial(stream_of(run), run.sigma))
    frozen = stacked(lambda run: model.frozen(stream_of(run)))
    seeds = [stream_seed(run.seed, "pseudo-inverse noise") % 2**62 for run in runs]
    frozen[NOISE_SEED] = torch.tensor(seeds, device=where["device"])
    return start, frozen


def _stream(run: Train, runs: Sequence[Train], tensors: dict, phase: str, epochs: int):
    """Batches of a stage: the whole set, or shuffled epochs with their smaller last batch."""
    steps = epochs * run.updates_per_epoch()
    x, targets = tensors["x"], tensors["targets"]
    if run.batch_size is None or run.batch() == run.used():
        return WholeSet(x[:], targets, steps)
    seeds = [stream_seed(each.seed, "batches", phase, run.batch()) for each in runs]
    augment = resized_crop() if run.augment else None
    return SampledStream(
        x, targets, seeds, run.batch(), steps, EPOCHS, keep_last=True, augment=augment
    )


def _report_rank(run: Train) -> None:
    """Say in the log of the job where Gauss-Newton cannot fit a batch for lack of features."""
    if not run.uses_gauss_newton():
        return
    model = model_of(run)
    for half in model.halves[:3:2]:  # F of the first and of the second block, like all others
        inner = model.half_width if model.linear(half) else model.features
        rank = min(inner, model.features) + 1
        if rank < run.batch():
            kind = "linear" if model.linear(half) else "nonlinear"
            print(
                f"note: {kind} half-coupled layers have features of rank at most {rank}, less than "
                f"the {run.batch()} samples of a batch: their Gauss-Newton updates fit the batch "
                "only in part (rank_kept and residual_fraction say how far)",
                flush=True,
            )
