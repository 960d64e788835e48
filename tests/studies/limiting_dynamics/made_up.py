"""Made-up runs: every experiment of the study at a scale, in the form `experiments.KINDS` gives.

Names, dimensions and schedules are those of the study (`experiments._watched`,
`recorder.to_dataset`). Modes follow their own recursion with Gaussian gradient noise, displacements
are power laws, curvature is a power law. Runs without a network are trained.

All has its planned size, apart from eigenvectors and final weights, which nothing reads: they have
`PARAMETERS` entries.
"""

from __future__ import annotations

from collections.abc import Sequence
from unittest import mock

import numpy as np
import torch
import xarray as xr
from scipy.signal import lfilter

from regimes import jobs, plan, store
from regimes.ensemble.batches import group
from regimes.ensemble.engine import Runs, Trained
from regimes.studies.limiting_dynamics import experiments, geometry, recorder
from regimes.studies.limiting_dynamics.settings import EPOCHS, SAMPLES, Geometry, Sgd
from regimes.studies.limiting_dynamics.theory_experiments import THEORY_TRAIN

STUDY = "limiting_dynamics"
PARAMETERS = 40
GROWTH = 20  # steps before a divergence over which everything grows by a factor e each
BIAS = 0.02  # distance of the minimum from the start point of networks
# Largest eigenvalue of the Hessian, its decay with the mode, and modes in all; a network on vectors
# has as many as weights, one on images is taken to have 10,000.
SPECTRA = {
    "regression_cascade": (919.61, 1.5, 64),
    "regression_harmonic": (1.0, 1.0, 32),
    "regression_wide": (500.0, 1.0, 128),
    "cifar10_regression": (919.61, 1.2, 3072),
    "teacher_noisy": (0.526, 0.4, None),
    "teacher_clean": (1.2, 0.5, None),
}
IMAGES = (52.8, 0.5, 10_000)


def spectrum(run: Sgd | Geometry, count: int | None = None) -> np.ndarray:
    """Largest eigenvalues of the Hessian, or all; those of a network on vectors end below zero."""
    top, decay, size = SPECTRA.get(run.data, IMAGES)
    rho = top * np.arange(1.0, (size or (20 + 1 + 10) * run.hidden + 10) + 1) ** -decay
    return (rho - (0.0 if size else 1.2 * rho[-1]))[:count]


def noise_of(run: Sgd | Geometry, rho: np.ndarray) -> np.ndarray:
    """Variance of single-sample gradients along the modes."""
    scatter = np.exp(0.1 * np.sin(7.0 * np.arange(len(rho))))
    return abs(rho) * scatter * (run.residual_sd**2 if run.model == "linear" else 0.8)


def trace_of(run: Sgd | Geometry) -> float:
    """Trace of the covariance of single-sample gradients."""
    return float(noise_of(run, spectrum(run)).sum())


def minimum_of(run: Sgd | Geometry, count: int) -> np.ndarray:
    """Minimum relative to the start point along the modes."""
    if getattr(run, "origin", "start") == "minimum":
        return np.zeros(count)
    reach = 0.5 if run.model == "linear" else BIAS
    return reach * np.cos(1.0 + 2.0 * np.arange(count))


class Program:
    """Made-up numbers of runs that share shapes, in place of training.

    Parameters
    ----------
    runs
        Settings.
    lost
        Which of them diverge, after two fifths of their steps.
    """

    def __init__(self, runs: Sequence[Sgd], lost: np.ndarray) -> None:
        self.runs, self.run, self.steps = runs, runs[0], runs[0].length()
        self.diverged_at = np.where(lost, max(2 * self.steps // 5, 1), -1)
        self.rng = np.random.default_rng([len(runs), self.steps, self.run.batch_size])
        self.eta = np.array([run.schedule()[-1][0] for run in runs])[:, None]
        self.momentum = np.array([[run.momentum] for run in runs])
        self.seed = np.array([[run.seed] for run in runs])

    def trained(self, watched: list[recorder.Watched]) -> Trained:
        """What `engine.train` would give."""
        k = np.arange(self.steps)
        loss = 1.4 + 0.5 / (1 + k / 20) + 0.1 * self.rng.standard_normal((len(self.runs), len(k)))
        measure = {
            "step": self.displacements,
            "projection_step": self.projections,
            "evaluation_step": self.evaluations,
            "final": self.weights,
        }
        observed = []
        for each in watched:
            steps = np.asarray(each.observation.steps)
            grows = each.dim != "evaluation_step"  # accuracies do not
            numbers = self.alive(measure[each.dim](steps), steps, grows)
            if each.dim != "projection_step":
                assert numbers.shape[2] == len(each.names) or each.dim == "final", each.names
            observed.append({"numbers": numbers})
        return Trained(self.alive(loss, k + 1), self.diverged_at, observed)

    def alive(self, values: np.ndarray, steps: np.ndarray, grows: bool = True) -> np.ndarray:
        """Values (R, S, ...) that may grow before a divergence and are NaN after it."""
        for row in np.flatnonzero(self.diverged_at >= 0):
            late = steps - self.diverged_at[row]
            shape = (-1, *[1] * (values.ndim - 2))
            values[row] *= np.exp(grows * np.clip(late + GROWTH, 0, GROWTH)).reshape(shape)
            values[row, late > 0] = np.nan
        return values

    def displacements(self, steps: np.ndarray) -> np.ndarray:
        """Rise from rest to a level, and a power law of the global displacement."""
        k = np.maximum(steps, 0.0)
        kick = self.eta**2 * trace_of(self.run) / self.run.batch_size
        shape = (len(self.runs), len(k))
        local = kick / (1 - self.momentum**2) * (1 - self.momentum ** (2 * k))
        local = local * (1 + 0.05 * self.rng.standard_normal(shape))
        exponent = 1.15 - 0.4 * np.log10(self.eta / 2e-4) + 0.3 * np.log10(10 * (1 - self.momentum))
        exponent = exponent + 0.2 * np.log10(self.run.batch_size / 64) + 0.01 * np.sin(self.seed)
        x = np.log(np.maximum(k, 0.5) / 100)  # the curve bends a little
        moved = kick / (1 - self.momentum) ** 2 * 100 * np.exp(exponent * x - 0.02 * x**2) * (k > 0)
        moved = moved * (1 + 0.01 * self.rng.standard_normal(shape))
        overlap = 40.0 - moved / 2
        return np.stack([abs(local), abs(moved), 40 + 0 * moved, overlap], -1)

    def projections(self, steps: np.ndarray) -> np.ndarray:
        """Positions and velocities of independent modes, from rest at the start point."""
        modes, controls, full = self.run.modes, self.run.controls, np.arange(self.steps + 1)
        assert (steps == full).all(), "projections are planned at every step"
        rho = np.r_[spectrum(self.run, modes), np.full(controls, 0.01)]
        size = np.sqrt(noise_of(self.run, rho) / self.run.batch_size)
        minimum = np.r_[minimum_of(self.run, modes), np.zeros(controls)]
        found = np.zeros((len(self.runs), len(full), 2, len(rho)))
        for row, run in enumerate(self.runs):
            rng = np.random.default_rng([run.seed, run.batch_size, modes])
            kick = size * self.drawn(rng.standard_normal((self.steps, len(rho))))
            for j, curvature in enumerate(rho + run.weight_decay):
                force = run.eta * (curvature * minimum[j] - kick[:, j])
                recursion = [1, run.eta * curvature - 1 - run.momentum, run.momentum]
                found[row, 1:, 0, j] = lfilter([1.0], recursion, force)
            found[row, 1:, 1] = np.diff(found[row, :, 0], axis=0) / run.eta
        return found

    def drawn(self, kick: np.ndarray) -> np.ndarray:
        """Gradient noise of the batches; in shuffled epochs it adds up to zero over each."""
        epoch = SAMPLES[self.run.data] // self.run.batch_size
        whole = self.steps // epoch * epoch
        if self.run.sampling != EPOCHS or not whole:
            return kick
        cut = kick[:whole].reshape(-1, epoch, kick.shape[1])
        return np.concatenate([(cut - cut.mean(1, keepdims=True)).reshape(whole, -1), kick[whole:]])

    def evaluations(self, steps: np.ndarray) -> np.ndarray:
        """Loss and, for networks, accuracy on the training and the test data."""
        share = steps / max(self.steps, 1)
        wiggle = 0.002 * self.rng.standard_normal((2, len(self.runs), len(steps)))
        loss, accuracy = 1.42 - 0.01 * share + wiggle[0], 0.58 + 0.005 * share + wiggle[1]
        if self.run.model == "linear":
            return np.stack([loss, loss + 0.1], -1)
        return np.stack([loss, accuracy, loss + 0.1, accuracy - 0.01], -1)

    def weights(self, steps: np.ndarray) -> np.ndarray:
        """Final weights."""
        return self.rng.standard_normal((len(self.runs), len(steps), PARAMETERS))

    def constants(self) -> dict[str, tuple[tuple[str, ...], np.ndarray]]:
        """As `experiments._constants`."""
        count, modes = len(self.runs), self.run.modes
        if not modes:
            return {}
        minimum = minimum_of(self.run, modes)
        found = {"start_position": (("mode",), np.tile(np.sin(np.arange(modes)), (count, 1)))}
        if self.run.model == "linear":
            rho = spectrum(self.run, modes)
            per_mode = {"eigenvalue": rho, "noise": noise_of(self.run, rho), "minimum": minimum}
            per_run = {
                "noise_trace": trace_of(self.run),
                "residual_variance": self.run.residual_sd**2,
            }
            found |= {n: (("mode",), np.tile(v, (count, 1))) for n, v in per_mode.items()}
            found |= {n: ((), np.full(count, v)) for n, v in per_run.items()}
        return found


def watched(run: Sgd) -> list[recorder.Watched]:
    """Observations that the study would make of a run, not bound to any network."""
    one = torch.ones(1)
    runs = Runs({"w": one[:, None]}, torch.zeros(1, dtype=torch.int64), one, one, one)
    directions = np.zeros((run.modes + run.controls, 1), dtype="float32")
    with mock.patch.object(experiments, "_directions", return_value=directions):
        found = experiments._watched(run, runs, None, None, None, None, {})
    return [*found, recorder.final_weights(run.length())] if run.keep_weights else found


def sgd(runs: Sequence[Sgd], lost: bool = False) -> xr.Dataset:
    """What `experiments.train` would give for these runs; ``lost``: the last one diverges."""
    parts, order = [], []
    for members in group(runs, experiments._shape):
        program = Program(
            [runs[index] for index in members],
            np.array([lost and index == len(runs) - 1 for index in members]),
        )
        seen = watched(program.run)
        trained = program.trained(seen)
        parts.append(recorder.to_dataset(program.run, trained, seen, program.constants()))
        order += members
    return store.join_runs(parts).isel(run=np.argsort(order))


def start_points(runs: Sequence[Geometry]) -> xr.Dataset:
    """What `geometry.measure` would give for these runs."""
    return store.join_runs([_start_point(run) for run in runs])


def _start_point(run: Geometry) -> xr.Dataset:
    full, modes = run.spectrum == "full", run.modes
    rho = spectrum(run, None if full else modes)
    noise, minimum = noise_of(run, rho), minimum_of(run, len(rho))
    pair = [0, min(geometry.PLOTTED, modes) - 1]
    offset = np.linspace(-run.grid_half_width, run.grid_half_width, run.grid_size)
    a, b = np.meshgrid(offset, offset, indexing="ij")
    loss = sum(rho[j] * (x - minimum[j]) ** 2 / 2 for j, x in zip(pair, (a, b), strict=True))
    rise = 1.05 * rho[pair, None] * run.rise_radius**2 / 2 + np.array([-1e-5, 1e-5])
    grid = ("grid_1", "grid_30")
    variables = {
        "weights": (("parameter",), np.ones(PARAMETERS)),
        "eigenvalue": (("mode",), rho),
        "eigenvector": (("kept_mode", "parameter"), np.ones((modes, PARAMETERS))),
        "eigen_residual": (("kept_mode",), np.full(modes, 1e-6 if full else run.tolerance)),
        "noise": (("mode",), noise),
        "noise_error": (("mode",), 0.05 * noise),
        "noise_trace": ((), trace_of(run)),
        "hessian_trace": ((), rho.sum() if full else np.nan),
        "bias": (("mode",), -minimum),
        "bias_error": (("mode",), 0.01 * abs(minimum)),
        "start_position": (("mode",), np.sin(np.arange(len(rho)))),
        "train_loss": ((), 1.4),
        "test_loss": ((), 1.5),
        "train_accuracy": ((), 0.58),
        "test_accuracy": ((), 0.57),
        "grid_offset": (grid[:1], offset),
        "train_loss_grid": (grid, 1.4 + loss),
        "test_loss_grid": (grid, 1.5 + 1.2 * loss),
        "loss_rise": (("axis", "side"), rise),
    }
    named = {
        name: (("run", *dims), np.asarray(value)[None], geometry._attributes(name))
        for name, (dims, value) in variables.items()
    }
    assert set(named) == set(geometry.LONG_NAMES)
    attributes = {"long_name": "mode, counted from 1", "units": "1"}
    counted = {"mode": len(rho), "kept_mode": modes}
    coords = {d: (d, np.arange(1, count + 1), attributes) for d, count in counted.items()}
    return xr.Dataset(named, coords=coords)


def experiment(config, name: str, scale: str, lost: bool = False) -> xr.Dataset:
    """All runs of an experiment at a scale, as `jobs.read_experiment` would read them.

    With ``lost`` the last run of the experiment has diverged, if it is one of training.
    """
    found = list(plan.batches(config, STUDY, name, scale).values())
    parts = []
    for batch in found:
        if batch.kind == "sgd":
            trained = sgd(batch.runs, lost and batch is found[-1])
        elif batch.kind == "geometry":
            trained = start_points(batch.runs)
        else:
            trained = THEORY_TRAIN[batch.kind](batch.runs)
        parts.append(jobs.with_hyperparameters(trained, batch.kind, batch.runs))
    return store.join_runs(parts)
