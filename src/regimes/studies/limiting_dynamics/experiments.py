"""Training of the limiting-dynamics runs: ensembles resumed from one point, with recorded paths."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch
import xarray as xr

from regimes.config import ConfigError
from regimes.data.samples import SampledStream
from regimes.data.streams import numpy_stream, stream_seed
from regimes.ensemble import engine
from regimes.ensemble.losses import LOSSES
from regimes.ensemble.networks import LayeredNetwork
from regimes.ensemble.programs import in_programs
from regimes.ensemble.updates import UPDATES
from regimes.nn.mlp import MLP
from regimes.studies.limiting_dynamics import data_sets, recorder
from regimes.studies.limiting_dynamics.geometry import measure
from regimes.studies.limiting_dynamics.least_squares import LeastSquares, solve
from regimes.studies.limiting_dynamics.networks import (
    LOSS_OF,
    initial_weights,
    model_of,
    point_of,
    start_weights,
)
from regimes.studies.limiting_dynamics.settings import Sgd
from regimes.studies.limiting_dynamics.theory import stability_limit
from regimes.studies.limiting_dynamics.theory_experiments import THEORY_TRAIN

# Largest number of runs in one program: past it a wider one gains little and leaves the cache.
WIDEST = 64
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
        lacks what is needed, or data are image files.
    """
    device = torch.device(device)
    return in_programs(
        settings,
        _shape,
        lambda runs: train_program(runs, device, start),
        WIDEST,
        fixed=device.type == "cuda",
    )


KINDS: dict[str, Callable[..., xr.Dataset]] = {"sgd": train, "geometry": measure, **THEORY_TRAIN}


def _shape(run: Sgd) -> tuple:
    """All that the runs of one program share: whatever fixes array shapes and operations."""
    free = {"seed", "eta", "momentum", "weight_decay"}
    return tuple(sorted(run.model_dump(exclude=free).items()))


def train_program(
    runs: Sequence[Sgd], device: torch.device, start: xr.Dataset | None
) -> xr.Dataset:
    """Train R >= 2 runs of equal shape as one program, stage after stage."""
    run = runs[0]
    model, loss = model_of(run), LOSSES[LOSS_OF[run.model]]
    data = data_sets.load(run.data, run.residual_sd)
    where = {"dtype": PRECISION, "device": device}
    tensors = {name: torch.from_numpy(value).to(**where) for name, value in data._asdict().items()}
    solutions = _solutions(runs, data)
    weights = np.stack([_origin(each, model, start, solutions) for each in runs])
    _check_stability(runs, start, solutions)

    network = LayeredNetwork(model.depth, loss, model.activation, standard=True)
    passed, offset = [], 0
    for number, (_, steps) in enumerate(run.schedule()):
        rates = [each.schedule()[number][0] for each in runs]
        here = _runs(runs, rates, model, weights, where)
        if number == 0:
            watched = _watched(run, here, network, loss, tensors, start, solutions)
        due = [_between(each, offset, steps) for each in watched]
        due.append(recorder.final_weights(steps))
        # Named by the stage of pre-training: a resumed run must not see its batches again.
        phase = f"stage {number}" if run.stages else "run"
        seeds = [stream_seed(each.seed, "batches", phase, run.batch_size) for each in runs]
        stream = SampledStream(
            tensors["x"], tensors["targets"], seeds, run.batch_size, steps, run.sampling
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


def _solutions(runs: Sequence[Sgd], data: data_sets.DataSet) -> dict[float, LeastSquares]:
    """Least squares in closed form for each weight decay, where the model is linear."""
    if runs[0].model != "linear":
        return {}
    decays = sorted({each.weight_decay for each in runs})
    return {decay: solve(data.x, data.targets, decay) for decay in decays}


def _origin(
    run: Sgd, model: MLP, start: xr.Dataset | None, solutions: dict[float, LeastSquares]
) -> np.ndarray:
    """Weights (P,) that a run starts from."""
    if run.origin == "minimum":
        return solutions[run.weight_decay].minimum
    if run.origin == "initial":
        return initial_weights(run, model)
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
    runs: Sequence[Sgd], rates: Sequence[float], model: MLP, weights: np.ndarray, where: dict
) -> engine.Runs:
    """Runs of a program: each its own start and data, nothing subtracted from outputs."""
    sizes = [int(np.prod(shape)) for shape in model.shapes().values()]
    parts = torch.from_numpy(weights).to(**where).split(sizes, 1)
    each = torch.arange(len(runs), device=where["device"])
    start = {
        name: part.reshape(len(runs), *shape)
        for part, (name, shape) in zip(parts, model.shapes().items(), strict=True)
    }
    more = {
        name: torch.tensor([getattr(run, name) for run in runs], **where)
        for name in ("momentum", "weight_decay")
    }
    rate = torch.tensor(rates, **where)
    return engine.Runs(start, each, each, torch.ones_like(rate), rate, more, centred=False)


def _watched(
    run: Sgd,
    runs: engine.Runs,
    network: LayeredNetwork,
    loss,
    tensors: dict[str, torch.Tensor],
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
        data = [
            ("train", tensors["x"], tensors["targets"]),
            ("test", tensors["test_x"], tensors["test_targets"]),
        ]
        watched.append(recorder.evaluations(run, network, loss, data))
    return watched


def _directions(
    run: Sgd, start: xr.Dataset | None, solutions: dict[float, LeastSquares]
) -> np.ndarray:
    """Unit vectors (modes + controls, P): eigenvectors of the largest curvatures, random ones."""
    if solutions:
        vectors = next(iter(solutions.values())).eigenvector
    elif start is None or "eigenvector" not in start:
        raise ConfigError("modes: projections need a start point that keeps 'eigenvector'")
    else:
        vectors = point_of(run, start)["eigenvector"].values
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
    model: MLP,
    start: xr.Dataset | None,
    solutions: dict[float, LeastSquares],
) -> dict[str, tuple[tuple[str, ...], np.ndarray]]:
    """What does not change with the steps: start, and for linear models the closed form."""
    constants: dict[str, tuple[tuple[str, ...], np.ndarray]] = {}
    origins = np.stack([_origin(each, model, start, solutions) for each in runs])
    if run.modes:
        vectors = _directions(run, start, solutions)[: run.modes]
        constants["start_position"] = (("mode",), origins @ vectors.T)
    if solutions and run.modes:
        found = [solutions[each.weight_decay] for each in runs]
        moved = np.stack([each.minimum for each in found]) - origins
        constants |= {
            "eigenvalue": (("mode",), np.stack([each.eigenvalue[: run.modes] for each in found])),
            "noise": (("mode",), np.stack([each.noise[: run.modes] for each in found])),
            "noise_trace": ((), np.array([each.noise.sum() for each in found])),
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
