"""Training of the giant-step runs: Algorithm 1 on batches of runs of equal shape."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import torch
import xarray as xr

from regimes import journal, lanes
from regimes.data.streams import BLOCK, GaussianRows, stream_seed
from regimes.ensemble import probing
from regimes.ensemble.batches import width_within
from regimes.ensemble.programs import in_programs
from regimes.studies.giant_step import algorithm
from regimes.studies.giant_step.functions import directions
from regimes.studies.giant_step.record import mark_divergence, to_dataset
from regimes.studies.giant_step.settings import GiantSteps
from regimes.studies.giant_step.surrogate import surrogate_features

# Per kind of device: bytes that a batch of runs may hold; runs that it may hold (past a few, a
# wider batch gains nothing on a CPU; on a GPU every batch is padded to this width); numbers per
# run in one chunk of Z and its preactivations.
MEMORY = {"cpu": 1.2e9, "cuda": 16e9}
WIDEST = {"cpu": 8, "cuda": 8}
CHUNK = {"cpu": 2**19, "cuda": 2**26}


def train(settings: Sequence[GiantSteps], device: torch.device | str = "cpu") -> xr.Dataset:
    """Train runs of Algorithm 1 in batches of equal shape.

    Parameters
    ----------
    settings : sequence of GiantSteps
        One entry per run.
    device : torch.device
        Where the runs are trained.

    Returns
    -------
    xr.Dataset
        The variables of `regimes.studies.giant_step.record.VARIABLES` over ``run``, in the order
        of ``settings``; NaN pads runs that differ in width, steps, directions or ridge settings,
        and follows the step at which a run diverged. Variables that no run has are absent.
    """
    device = torch.device(device)

    def together(runs: Sequence[GiantSteps]) -> xr.Dataset:
        record = _train_batch(runs, device)
        lanes = range(len(runs))
        return to_dataset([{name: each[lane] for name, each in record.items()} for lane in lanes])

    return in_programs(
        settings,
        _shape,
        together,
        lambda run: _largest_width(run, device),
        fixed=device.type == "cuda",
        # Within a batch runs of one seed share the draw of their data.
        beside=lambda run: run.seed,
    )


KINDS: dict[str, Callable[..., xr.Dataset]] = {"giant_steps": train}


def _shape(run: GiantSteps) -> tuple:
    """All that the runs of one batch share: whatever fixes array shapes and operations."""
    free = {"seed", "start_seed", "target", "rows", "readout"}
    free |= {"learning_rate_rule", "learning_rate_factor", "batch_factor", "batch_exponent"}
    shared = run.model_dump(exclude=free)
    return (*sorted(shared.items()), run.batch_size, directions(run.target))


def _largest_width(run: GiantSteps, device: torch.device) -> int:
    """Largest number of runs like this one to train at a time."""
    d, p, n = run.dimension, run.width, run.batch_size
    numbers = min(n, _chunk_rows(run, device)) * (d + p) + 4 * p * d
    if run.ridge_strengths:
        held = min(p, max(run.ridge_batch_sizes or (n,)))
        maps = run.steps + 1 + 2 * run.surrogate
        numbers += (run.steps + 1) * p * d  # weights of every step
        numbers += 2 * maps * p * (p + 2 * held)  # Gram matrices, features; float64
        numbers += min(run.test_size, _chunk_rows(run, device)) * (d + 8 * p)
    return min(width_within(MEMORY[device.type], 0, 4 * numbers), WIDEST[device.type])


# --------------------------------------------------------------------------- one batch of runs


def _train_batch(runs: Sequence[GiantSteps], device: torch.device) -> dict[str, np.ndarray]:
    """Algorithm 1 on R runs of equal shape: the variables of a record, run axis in front."""
    run = runs[0]
    teacher, rows, readout = _start(runs, device)
    eta = torch.tensor([each.learning_rate for each in runs], device=device, dtype=rows.dtype)
    weights, spike, record = [rows], None, {"readout_weight": readout}
    nothing = torch.full_like(readout, torch.nan)
    steps = [_step_record(rows, nothing.unsqueeze(2), nothing[:, 0], teacher)]

    told = journal.training(run.steps, len(runs))
    for step in range(1, run.steps + 1):
        told.step = step - 1
        batch = _batch(runs, device, run.batch_size, "batch", step)
        labels, _ = _labels(runs, teacher, batch)
        if step == 1 and run.symmetric:
            gradient = algorithm.mirrored_gradient(rows, readout, batch, labels, run.activation)
        else:
            gradient = algorithm.negative_gradient(
                rows, readout, batch, labels, run.activation, run.residual
            )
        rows = rows + eta[:, None, None] * gradient.negative
        if step == 1:
            spike = gradient.spike
            record |= _spike_record(gradient, teacher, run.spectrum)
        steps.append(_step_record(rows, gradient.negative, gradient.error, teacher))
        weights = [*weights, rows] if run.ridge_strengths else [rows]

    record |= {name: torch.stack([each[name] for each in steps], dim=1) for name in steps[0]}
    if run.ridge_strengths:
        record |= _second_stage(runs, teacher, weights, spike, device)
    return mark_divergence({name: values.cpu().numpy() for name, values in record.items()})


def _start(
    runs: Sequence[GiantSteps], device: torch.device
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Teacher directions (R, r, d), first-layer weights (R, p, d) and read-out (R, p), float32."""
    starts = []
    for run in runs:
        seed = run.seed if run.start_seed is None else run.start_seed
        starts.append((
            algorithm.teacher_directions(seed, directions(run.target), run.dimension),
            algorithm.initial_rows(seed, run.rows, run.width, run.dimension, run.symmetric),
            algorithm.initial_readout(seed, run.readout, run.width, run.symmetric),
        ))  # fmt: skip
    stacked = (torch.from_numpy(np.stack(part)) for part in zip(*starts, strict=True))
    teacher, rows, readout = (part.to(device, torch.float32) for part in stacked)
    return teacher, rows, readout


def _chunk_rows(run: GiantSteps, device: torch.device) -> int:
    """Rows per chunk: a function of shapes and kind of device only, never of the batch width."""
    rows = CHUNK[device.type] // (run.dimension + run.width)
    return max(rows // BLOCK, 64) * BLOCK


def _batch(
    runs: Sequence[GiantSteps],
    device: torch.device,
    size: int,
    *names: int | str,
    dimension: int | None = None,
) -> Iterable[torch.Tensor]:
    """Gaussian data (R, size, d) of the stream that the names and the size denote in each run."""
    seeds = [stream_seed(run.seed, *names, size) for run in runs]
    chunk = _chunk_rows(runs[0], device)
    rows = GaussianRows(seeds, size, dimension or runs[0].dimension, chunk=chunk, device=device)
    return probing.loop(rows, size / chunk)


def _raw_labels(runs: Sequence[GiantSteps], teacher: torch.Tensor) -> algorithm.Labels:
    targets = [run.target for run in runs]
    return functools.partial(algorithm.target_labels, teacher=teacher, targets=targets)


def _labels(
    runs: Sequence[GiantSteps], teacher: torch.Tensor, batch: Iterable[torch.Tensor]
) -> tuple[algorithm.Labels, algorithm.LinearPart | None]:
    """Labels of a batch, preprocessed where the runs ask for it, and the linear part taken off."""
    raw = _raw_labels(runs, teacher)
    if not runs[0].preprocess:
        return raw, None
    linear = algorithm.linear_part(batch, raw)
    return algorithm.without(linear, raw), linear


def _second_stage(
    runs: Sequence[GiantSteps],
    teacher: torch.Tensor,
    weights: Sequence[torch.Tensor],
    spike: torch.Tensor | None,
    device: torch.device,
) -> dict[str, torch.Tensor]:
    """Ridge regression on the features after every step, and on their surrogates (stage 2)."""
    run = runs[0]
    sizes = run.ridge_batch_sizes or (run.batch_size,)

    def feature_maps(size: int, use: str) -> list[algorithm.FeatureMap]:
        maps = [algorithm.features(rows, run.activation) for rows in weights]
        for step in (0, run.steps) if run.surrogate else ():
            noise = _batch(runs, device, size, "surrogate", use, step, dimension=run.width)
            mirrored = run.symmetric and step == 0
            maps.append(surrogate_features(weights[step], spike, noise, run.activation, mirrored))
        return maps

    stages, test_labels = [], []
    for size in sizes:
        if run.ridge_data == "same":
            batch = _batch(runs, device, size, "batch", run.steps)
        else:
            batch = _batch(runs, device, size, "ridge")
        labels, linear = _labels(runs, teacher, batch)
        stages.append(
            algorithm.ridge_coefficients(
                feature_maps(size, "ridge"), batch, labels, size, run.width, run.ridge_strengths
            )
        )
        test_labels.append(algorithm.without(linear, _raw_labels(runs, teacher)))
    coefficients = torch.stack([stage.coefficients for stage in stages], dim=2)
    train = torch.stack([stage.train_error for stage in stages], dim=2)

    test = _batch(runs, device, run.test_size, "test")
    test_error = algorithm.generalization_error(
        feature_maps(run.test_size, "test"), coefficients, test, test_labels
    )
    count = len(weights)
    ones = torch.ones(len(runs), 1, dtype=torch.float64)
    record = {
        "ridge_strength": ones * torch.tensor(run.ridge_strengths, dtype=torch.float64),
        "ridge_batch_size": ones * torch.tensor(sizes, dtype=torch.float64),
        "test_error": test_error[:count].transpose(0, 1),
        "train_error": train[:count].transpose(0, 1),
    }
    if run.preprocess:
        leak, _ = _labels(runs, teacher, test)
        maps = [algorithm.features(rows, run.activation) for rows in weights]
        record["test_error_leak"] = algorithm.generalization_error(
            maps, coefficients[:count], test, [leak] * len(sizes)
        ).transpose(0, 1)
    if run.surrogate:
        surrogate = torch.full_like(record["test_error"], torch.nan)
        surrogate[:, 0], surrogate[:, run.steps] = test_error[count], test_error[count + 1]
        record["test_error_surrogate"] = surrogate
    return record


# ------------------------------------------------------------------------------- what is recorded


def _step_record(
    rows: torch.Tensor, gradient: torch.Tensor, error: torch.Tensor, teacher: torch.Tensor
) -> dict[str, torch.Tensor]:
    """Projections on the teacher and norms of the weights and of the gradient that led to them."""
    teacher = teacher.double().transpose(1, 2)
    rows = rows.double()
    record = {"w_dot_teacher": lanes.product(rows, teacher), "w_norm": rows.norm(dim=2)}
    del rows  # at most one float64 copy of the weights at a time
    gradient = gradient.double().expand(-1, -1, teacher.shape[1])
    record |= {"g_dot_teacher": lanes.product(gradient, teacher), "g_norm": gradient.norm(dim=2)}
    return record | {"online_error": error.double()}


def _spike_record(
    gradient: algorithm.Gradient, teacher: torch.Tensor, spectrum: bool
) -> dict[str, torch.Tensor]:
    """Spike direction chat, and singular values of the first half of the gradient's rows."""
    teacher, spike = teacher.double(), gradient.spike.double()

    def project(vector: torch.Tensor) -> torch.Tensor:
        return lanes.times_vector(teacher, vector)

    record = {"spike_dot_teacher": project(spike), "spike_norm": spike.norm(dim=1)}
    if spectrum:
        half = gradient.negative[:, : gradient.negative.shape[1] // 2].double()
        # Run by run: LAPACK's last bits depend on the memory alignment of the lane.
        decompositions = [torch.linalg.svd(rows, full_matrices=False) for rows in half]
        record["g_singular_values"] = torch.stack([each.S for each in decompositions])
        top = torch.stack([each.Vh[0] for each in decompositions])
        overlap = (top * spike).sum(dim=1)
        record["spike_right_cosine"] = overlap.abs() / record["spike_norm"]
        # The sign of a singular vector is arbitrary: let it point the way of the spike.
        record["right_dot_teacher"] = project(top) * overlap.sign().unsqueeze(1)
    return record
