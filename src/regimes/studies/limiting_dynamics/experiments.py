"""Training of the limiting-dynamics runs: ensembles resumed from one point, with recorded paths."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from math import prod

import numpy as np
import torch
import xarray as xr

from regimes import journal
from regimes.config import ConfigError
from regimes.data.catalog import CATALOG
from regimes.data.samples import SampledStream
from regimes.data.streams import numpy_stream, stream_seed
from regimes.ensemble import engine
from regimes.ensemble.batches import width_within
from regimes.ensemble.losses import LOSSES, Loss
from regimes.ensemble.networks import LayeredNetwork, Network
from regimes.ensemble.programs import in_programs
from regimes.ensemble.updates import UPDATES
from regimes.optim.noise import NOISE_SEED
from regimes.studies.limiting_dynamics import data_sets, recorder
from regimes.studies.limiting_dynamics.data_sets import Samples
from regimes.studies.limiting_dynamics.geometry import measure
from regimes.studies.limiting_dynamics.least_squares import LeastSquares, Moments, moments, solve
from regimes.studies.limiting_dynamics.mixed_precision import MixedPrecisionNetwork, held_numbers
from regimes.studies.limiting_dynamics.networks import (
    Model,
    initial_weights,
    loss_of,
    model_of,
    point_of,
    size_of,
    start_weights,
    torchvision_weights,
)
from regimes.studies.limiting_dynamics.settings import FILES, IMAGE_MODELS, Sgd
from regimes.studies.limiting_dynamics.theory import stability_limit
from regimes.studies.limiting_dynamics.theory_experiments import THEORY_TRAIN

# Largest number of runs in one program: past it a wider one gains little and leaves the cache.
WIDEST = 64
# Of image networks: on a GPU, where programs are padded to it, one run alone keeps the device busy.
WIDEST_OF_IMAGES = {"cpu": 8, "cuda": 2}
MEMORY = {"cpu": 1.5 * 2**30, "cuda": 64 * 2**30}  # bytes that a program may take
# Weights are kept in float64: the steps of a resumed run are 1e-6 of them.
PRECISION = torch.float64


def train(
    settings: Sequence[Sgd], device: torch.device | str = "cpu", *, start: xr.Dataset | None = None
) -> xr.Dataset:
    """Train runs with momentum, in programs of equal shape.

    Parameters
    ----------
    settings
        One entry per run.
    device
        Where the runs are trained.
    start
        Start point of the experiment: ``weights`` (run, parameter), for projections also
        ``eigenvector`` (run, kept_mode, parameter) and ``eigenvalue`` (run, mode).

    Returns
    -------
    xr.Dataset
        The variables of `regimes.studies.limiting_dynamics.recorder` over ``run``, in the order of
        ``settings``.

    Raises
    ------
    regimes.config.ConfigError
        If a learning rate lies beyond the stability limit of the largest curvature, a start point
        lacks what is needed, or image files are missing.
    """
    device = torch.device(device)
    return in_programs(
        settings,
        _shape,
        lambda runs: train_program(runs, device, start),
        lambda run: widest(run, device),
        fixed=device.type == "cuda",
    )


KINDS: dict[str, Callable[..., xr.Dataset]] = {"sgd": train, "geometry": measure, **THEORY_TRAIN}


def widest(run: Sgd, device: torch.device) -> int:
    """Largest number of runs in a program like this one, at least 2.

    A run on images holds its batch, several times while it is made; weights, start, buffer,
    gradient and what is recorded of them; and a network what its layers keep of a group for the
    backward pass, measured three times as much in the middle of it.
    """
    if run.data not in FILES:
        return WIDEST
    model, samples = model_of(run), CATALOG[FILES[run.data]]
    numbers = 10 * size_of(model) + 5 * run.batch_size * prod(samples.shape)
    if run.model not in IMAGE_MODELS:
        return min(WIDEST, width_within(MEMORY[device.type], 0, numbers * PRECISION.itemsize))
    # In single precision: half as many numbers in double.
    together = -(-run.batch_size // run.norm_groups)
    numbers += 3 * held_numbers(model, samples.shape, together) // 2
    fitting = width_within(MEMORY[device.type], 0, numbers * PRECISION.itemsize)
    return min(WIDEST_OF_IMAGES[device.type], fitting)


def _shape(run: Sgd) -> tuple:
    """All that the runs of one program share: whatever fixes array shapes and operations."""
    free = {"seed", "eta", "momentum", "weight_decay"}
    return tuple(sorted(run.model_dump(exclude=free).items()))


def train_program(
    runs: Sequence[Sgd], device: torch.device, start: xr.Dataset | None
) -> xr.Dataset:
    """Train R >= 2 runs of equal shape as one program, stage after stage."""
    run = runs[0]
    model, loss = model_of(run), LOSSES[loss_of(run)]
    data = data_sets.on_device(run.data, run.residual_sd, device)
    where = {"dtype": PRECISION, "device": device}
    solutions = _solutions(runs, data)
    weights = np.stack([_origin(each, model, start, solutions) for each in runs])
    _check_stability(runs, start, solutions)

    network = _network(run, model, loss)
    journal.stages(sum(steps for _, steps in run.schedule()))
    passed, offset = [], 0
    for number, (_, steps) in enumerate(run.schedule()):
        rates = [each.schedule()[number][0] for each in runs]
        # Named by the stage of pre-training: a resumed run must not see its batches again.
        phase = f"stage {number}" if run.stages else "run"
        seeds = [stream_seed(each.seed, "batches", phase, run.batch_size) for each in runs]
        here = _runs(runs, rates, seeds, model, weights, where)
        if number == 0:
            watched = _watched(run, here, network, loss, data, start, solutions)
        due = [_between(each, offset, steps) for each in watched]
        due.append(recorder.final_weights(steps))
        stream = SampledStream(
            data.x,
            data.targets,
            list(dict.fromkeys(seeds)),
            run.batch_size,
            steps,
            run.sampling,
            keep_last=True,
            augment=data.augment,
        )
        observations = [each.observation for each in due]
        passed.append(engine.train(network, UPDATES["heavy_ball"], stream, here, observations))
        weights = passed[-1].observed[-1]["numbers"][:, 0]
        offset += steps
    trained = _joined(passed, [steps for _, steps in run.schedule()])
    if not run.keep_weights:
        trained = trained._replace(observed=trained.observed[:-1])
    else:
        watched = [*watched, recorder.final_weights(run.length())]
    constants = _constants(run, runs, model, start, solutions)
    return recorder.to_dataset(run, trained, watched, constants)


def _network(run: Sgd, model: Model, loss: Loss) -> Network:
    """The model and its loss in the engine."""
    if run.model in IMAGE_MODELS:
        return MixedPrecisionNetwork(model, loss, run.norm_groups)
    return LayeredNetwork(model.depth, loss, model.activation, standard=True)


def _solutions(runs: Sequence[Sgd], data: Samples) -> dict[float, LeastSquares]:
    """Least squares in closed form for each weight decay, where the model is linear."""
    run = runs[0]
    if run.model != "linear":
        return {}
    decays = sorted({each.weight_decay for each in runs})
    if run.data not in FILES:
        return {decay: solve(data.x, data.targets, decay) for decay in decays}
    known = _moments_of_images(run.data)
    return {
        decay: solve(data.x, data.targets, decay, bias=True, modes=run.modes, known=known)
        for decay in decays
    }


@cache
def _moments_of_images(name: str) -> Moments:
    """Second moments of a data set of images: half a minute, so once per process."""
    data = data_sets.on_device(name, 0.0, "cpu")
    return moments(data.x, data.targets, bias=True)


def _origin(
    run: Sgd, model: Model, start: xr.Dataset | None, solutions: dict[float, LeastSquares]
) -> np.ndarray:
    """Weights (P,) that a run starts from."""
    if run.origin == "minimum":
        return solutions[run.weight_decay].minimum
    if run.origin == "initial":
        return initial_weights(run, model)
    if run.origin == "torchvision":
        return torchvision_weights(run, model)
    if start is None:
        raise ConfigError("origin: start needs a start point; name one with the key 'start'")
    return start_weights(run, start)


def _check_stability(
    runs: Sequence[Sgd], start: xr.Dataset | None, solutions: dict[float, LeastSquares]
) -> None:
    """Refuse learning rates at which the recursion of the stiffest mode grows without bound."""
    for run in runs:
        if solutions:
            top = solutions[run.weight_decay].eigenvalue[0]
        elif start is not None and "eigenvalue" in start and run.origin == "start":
            top = float(point_of(run, start)["eigenvalue"].max())
        else:
            continue  # curvature at a random start says little about the rest of training
        limit = float(stability_limit(top, run.momentum, run.weight_decay))
        for eta, _ in run.schedule():
            if eta >= limit:
                raise ConfigError(
                    f"eta: {eta:g} is beyond the stability limit {limit:.4g} = 2 (1 + momentum) / "
                    f"(rho + weight_decay) of the largest curvature rho = {top:.4g} at momentum "
                    f"{run.momentum:g}; choose a smaller one"
                )


def _runs(
    runs: Sequence[Sgd],
    rates: Sequence[float],
    seeds: Sequence[int],
    model: Model,
    weights: np.ndarray,
    where: dict,
) -> engine.Runs:
    """Runs of a program: each its own start, nothing subtracted from outputs.

    Runs of equal seeds of batches share their batches.
    """
    sizes = [int(np.prod(shape)) for shape in model.shapes().values()]
    parts = torch.from_numpy(weights).to(**where).split(sizes, 1)
    device = where["device"]
    each = torch.arange(len(runs), device=device)
    distinct = list(dict.fromkeys(seeds))
    stream = torch.tensor([distinct.index(seed) for seed in seeds], device=device)
    start = {
        name: part.reshape(len(runs), *shape)
        for part, (name, shape) in zip(parts, model.shapes().items(), strict=True)
    }
    more = {
        name: torch.tensor([getattr(run, name) for run in runs], **where)
        for name in ("momentum", "weight_decay")
    }
    rate = torch.tensor(rates, **where)
    frozen = {}
    if getattr(model, "dropout", None):
        numbers = [stream_seed(seed, "dropout") % 2**62 for seed in seeds]
        frozen[NOISE_SEED] = torch.tensor(numbers, device=device)
    return engine.Runs(
        start, each, stream, torch.ones_like(rate), rate, more, centred=False, frozen=frozen
    )


def _watched(
    run: Sgd,
    runs: engine.Runs,
    network: Network,
    loss: Loss,
    data: Samples,
    start: xr.Dataset | None,
    solutions: dict[float, LeastSquares],
) -> list[recorder.Watched]:
    """Observations that the settings of a run ask for."""
    watched = []
    if run.record_at:
        watched.append(recorder.displacements(run, runs))
    if run.project_at:
        watched.append(recorder.projections(run, runs, _directions(run, start, solutions)))
    if run.evaluate_at:
        watched.append(recorder.evaluations(run, network, loss, data))
    return watched


def _directions(
    run: Sgd, start: xr.Dataset | None, solutions: dict[float, LeastSquares]
) -> np.ndarray:
    """Unit vectors (modes + controls, P): eigenvectors of the largest curvatures, random ones."""
    if solutions:
        vectors = next(iter(solutions.values())).directions(run.modes)
    elif start is None or "eigenvector" not in start:
        raise ConfigError("modes: projections need a start point that keeps 'eigenvector'")
    else:
        # A file with larger networks beside this one is filled up with NaN.
        vectors = point_of(run, start)["eigenvector"].values[:, : size_of(model_of(run))]
        vectors = vectors[np.isfinite(vectors).all(1)]
    if len(vectors) < run.modes:
        raise ConfigError(f"modes: {run.modes} are wanted, the start point has {len(vectors)}")
    stream = numpy_stream(0, "controls")
    controls = stream.standard_normal((run.controls, vectors.shape[1]))
    controls /= np.linalg.norm(controls, axis=1, keepdims=True)
    return np.concatenate([vectors[: run.modes], controls])


def _constants(
    run: Sgd,
    runs: Sequence[Sgd],
    model: Model,
    start: xr.Dataset | None,
    solutions: dict[float, LeastSquares],
) -> dict[str, tuple[tuple[str, ...], np.ndarray]]:
    """What does not change with the steps: start, and for linear models the closed form."""
    if not run.modes:
        return {}
    origins = np.stack([_origin(each, model, start, solutions) for each in runs])
    vectors = _directions(run, start, solutions)[: run.modes]
    constants = {"start_position": (("mode",), origins @ vectors.T)}
    if solutions:
        found = [solutions[each.weight_decay] for each in runs]
        moved = np.stack([each.minimum for each in found]) - origins
        constants |= {
            "eigenvalue": (("mode",), np.stack([each.eigenvalue[: run.modes] for each in found])),
            "noise": (("mode",), np.stack([each.noise[: run.modes] for each in found])),
            "noise_trace": ((), np.array([each.noise_trace for each in found])),
            "residual_variance": ((), np.array([each.residual_variance for each in found])),
            "minimum": (("mode",), moved @ vectors.T),
        }
    return constants


def _between(watched: recorder.Watched, offset: int, steps: int) -> recorder.Watched:
    """Part of an observation that falls into a stage; its steps counted from the stage."""
    first = 0 if offset == 0 else 1
    due = [s - offset for s in watched.observation.steps if first <= s - offset <= steps]
    return watched._replace(observation=replace(watched.observation, steps=due))


def _joined(stages: Sequence[engine.Trained], steps: Sequence[int]) -> engine.Trained:
    """One training out of its stages; of the last observation, final weights, the last one."""
    offsets = np.cumsum([0, *steps[:-1]])
    at = np.array([stage.diverged_at for stage in stages])  # (stages, R)
    first = np.where(at >= 0, at + offsets[:, None], np.iinfo(np.int64).max).min(0)
    diverged_at = np.where((at >= 0).any(0), first, -1)
    loss = np.concatenate([stage.loss for stage in stages], axis=1)
    observed = [
        {
            name: np.concatenate([part[name] for part in parts if name in part], axis=1)
            for name in dict.fromkeys(name for part in parts for name in part)
        }
        for parts in list(zip(*(stage.observed for stage in stages), strict=True))[:-1]
    ]
    return engine.Trained(loss, diverged_at, [*observed, stages[-1].observed[-1]])
