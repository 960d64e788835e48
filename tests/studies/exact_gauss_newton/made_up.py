"""Made-up runs: every experiment of the study at a scale, in the form `experiments.KINDS` gives.

Names, dimensions and schedules are those of the study (`recorder.Observer`,
`recorder.to_dataset`): only the numbers of training are invented. Full-batch Gauss-Newton follows
the recursion in function space from made-up logits, on mini-batches it saturates and rises again;
Adam and SGD fall as power laws. Runs without a network are simulated for real, once, apart from
features of data sets that have to be read from files.

All has its planned size, apart from inner products of block outputs, which are those of `KEPT`
samples.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from types import SimpleNamespace
from unittest import mock

import numpy as np
import torch
import xarray as xr

from regimes import jobs, plan, store
from regimes.ensemble.engine import Observation, Trained
from regimes.studies.exact_gauss_newton import experiments, recorder, theory, toy_experiments
from regimes.studies.exact_gauss_newton.settings import DATA, REGRESSION, Train
from regimes.studies.exact_gauss_newton.toy_experiments import TOY_TRAIN
from regimes.studies.exact_gauss_newton.toy_settings import FeatureRank

STUDY = "exact_gauss_newton"
UNREAD = ("mnist", "cifar10")  # data sets that have to be read from files
KEPT = 32  # samples whose inner products are made up, at most
RANK = 20  # of the made-up block outputs
FOLLOWED = 0.8  # of alpha, at which full-batch Gauss-Newton with a linear block falls
GROWTH = (20, 1e30)  # steps before a divergence and factor by which losses grow over them
SCATTER = 0.03  # of losses between runs, relative
USUAL = {"gn": 0.1, "adam": 1e-3, "sgd": 0.1}  # learning rates
USUAL_ON_IMAGES = {"gn": 0.1, "adam": 1e-4, "sgd": 0.01}
OWN_BATCH = {"gn": -10.0, "adam": -3.0, "sgd": -2.0}  # change of a batch's loss, percent
MOVED = {"gn": 0.03, "adam": 0.25, "sgd": 0.06}  # change of the tangent kernel in the end,
FEW, MORE_MOVED = 100, 15  # and with fewer features so many times as much
TURNED = {"gn": 8.0, "adam": 5.0, "sgd": 1.5}  # how fast weights turn, per epoch


class Program(recorder.Observer):
    """Made-up numbers of runs that share shapes, in place of training.

    What is observed and when is decided by `recorder.Observer`; its measurements are replaced by
    functions of the epochs (S,), all at once, with values (R, S, ...).

    Parameters
    ----------
    runs
        Settings.
    lost
        Which of them diverge, at the end of an epoch after two fifths of their training.
    """

    def __init__(self, runs: Sequence[Train], lost: Sequence[bool]) -> None:
        run = runs[0].model_copy(update={"kept_samples": min(runs[0].kept_samples, KEPT)})
        self.runs, self.run, self.per_epoch = runs, run, run.updates_per_epoch()
        self.full_batch = run.batch() == run.used()
        self.regression = run.data in REGRESSION
        last = self.per_epoch * max(2 * run.total_epochs() // 5, 1)
        self.lost_at = np.where(lost, last, -1)
        self.rng = np.random.default_rng(int(plan.run_id("train", runs[0]), 16))
        self.usual = USUAL_ON_IMAGES if run.data in UNREAD else USUAL
        n, classes = (run.used() if self.full_batch else 1), DATA[run.data].outputs
        self.logits = np.stack([rng.standard_normal((n, classes)) for rng in self.starts()])
        self.classes = np.arange(run.used()) % classes
        self.level, self.mobility = np.exp(SCATTER * self.drawn(1)), 1 + 0.1 * self.drawn(1)
        targets = torch.eye(classes)[torch.from_numpy(self.classes)]
        data = {"x": torch.zeros(run.used(), 1), "targets": targets}
        model = SimpleNamespace(
            halves=["1f"], apply=lambda params, x: torch.from_numpy(self.logits)
        )
        super().__init__(run, model, None, data, {"w1f": torch.zeros(len(runs), 1)}, {})

    def dataset(self) -> xr.Dataset:
        """What `experiments.train_program` would give."""
        passed, done = [], 0
        for optimizer, _, epochs in self.run.stages():
            watched = self.observations(done, epochs, keep_weights=False)
            passed.append((self.trained(optimizer, done, epochs, watched), watched))
            done += epochs
        return recorder.to_dataset(self.run, passed, self)

    def trained(
        self, optimizer: str, done: int, epochs: int, watched: Sequence[Observation]
    ) -> Trained:
        """What `engine.train` would give for a stage that begins after so many epochs."""
        first, length = done * self.per_epoch, epochs * self.per_epoch
        step = first + np.arange(length)
        epoch = step / self.per_epoch
        before = self.losses(epoch)
        if self.full_batch:
            after = self.losses(epoch + 1)
        else:
            before = before * np.exp(0.05 * self.drawn(length))
            change = OWN_BATCH[optimizer] * (0.5 + 0.5 * np.exp(-epoch / 30))
            after = before * (1 + (change + 0.3 * self.drawn(length)) / 100)
        # A loss is known before the update that spoils the weights, and after it as well.
        before, after = (self.alive(v, step + k, 1) for k, v in enumerate((before, after)))
        gone = (self.lost_at[:, None] >= 0) & (step >= self.lost_at[:, None])
        before[gone], after[gone] = np.nan, np.nan
        here = np.maximum(self.lost_at - first, 0)
        diverged_at = np.where((self.lost_at >= 0) & (here < length), here, -1)
        observed = []
        for each in watched:
            steps = first + np.asarray(each.steps, dtype=int)
            found = each.measure(steps // self.per_epoch) if len(steps) else {}
            observed.append(found)
        return Trained(before, diverged_at, observed, after)

    def drawn(self, *shape: int) -> np.ndarray:
        """Standard normal numbers (R, ...)."""
        return self.rng.standard_normal((len(self.runs), *shape))

    def alive(self, values: np.ndarray, steps: np.ndarray, power: float = 0) -> np.ndarray:
        """Values (R, S, ...) that may grow before a divergence and are NaN after it."""
        values = np.array(values, dtype=float)
        for row in np.flatnonzero(self.lost_at >= 0):
            late = (steps - self.lost_at[row]).reshape(-1, *[1] * (values.ndim - 2))
            length = min(GROWTH[0], self.lost_at[row] - 1) or 1
            values[row] *= GROWTH[1] ** (power * np.clip(late / length + 1, 0, 1))
            values[row, late.ravel() > 0] = np.nan
        return values

    def at_epochs(self, epoch: np.ndarray, power: float = 0, **named) -> dict[str, np.ndarray]:
        """Observations (R, S, ...) of runs that may be lost."""
        steps = epoch * self.per_epoch
        return {name: self.alive(values, steps, power) for name, values in named.items()}

    # --- Losses ---

    def losses(self, epoch: np.ndarray) -> np.ndarray:
        """Training loss after so many epochs, also fractions of them (R, S)."""
        if self.full_batch and not self.regression:
            start = self.recursion[:, :1]
        else:
            usual = 1.2 if self.regression else 2.65
            start = np.array([[rng.normal(usual, 0.05)] for rng in self.starts()])
        values, done = start + 0 * epoch, 0
        for number, (optimizer, _, epochs) in enumerate(self.run.stages()):
            rate = np.array([[run.stages()[number][1]] for run in self.runs])
            since = np.clip(epoch - done, 0, epochs)
            here = self.course(optimizer, rate, since, start)
            start = self.course(optimizer, rate, np.array([float(epochs)]), start)
            values = np.where(epoch > done, here, values)
            done += epochs
        return values

    def starts(self) -> list[np.random.Generator]:
        """Generators of the start: runs of equal seed begin alike, whatever trains them."""
        return [np.random.default_rng([run.seed, len(self.run.data)]) for run in self.runs]

    @functools.cached_property
    def recursion(self) -> np.ndarray:
        """Cross-entropies (R, steps + 1) from the initial logits, as of Gauss-Newton."""
        labels = np.broadcast_to(self.classes, self.logits.shape[:2])
        alpha = np.array([run.lr_code * run.blocks for run in self.runs])
        alpha = alpha * (FOLLOWED if self.run.first_block_linear else 1)
        steps = self.run.total_epochs() if self.run.uses_gauss_newton() else 0
        return theory.function_space_recursion(self.logits, labels, alpha, steps)

    def course(
        self, optimizer: str, rate: np.ndarray, epoch: np.ndarray, start: np.ndarray
    ) -> np.ndarray:
        """Loss so many epochs after an optimizer has begun (R, S)."""
        relative = rate / self.usual[optimizer]
        level = self.level ** np.minimum(epoch, 1)  # none at the start
        if optimizer == "gn" and self.full_batch and not self.regression:
            return self.recursion[:, epoch.astype(int)] * level
        if optimizer == "gn" and self.full_batch:
            return start * (0.01 + 0.99 * np.exp(-3 * relative * epoch)) * level
        if optimizer == "gn":
            floor = (0.3 if self.regression else 0.8) * relative**0.4
            part = epoch * relative / 20  # of the time after which the loss rises
            falling = floor + (start - floor) * np.exp(-10 * part)
            return falling * (2 - np.exp(-np.maximum(part - 1, 0) / 2)) * level
        speed, power = (0.15, 0.8) if optimizer == "adam" else (0.1, 0.5)
        power = power * (2 if self.full_batch else 1)
        return start * (1 + speed * relative**0.5 * epoch) ** -power * level

    # --- Measurements: names are those of `recorder.Observer` ---

    def training(self, epoch: np.ndarray) -> dict[str, np.ndarray]:
        """Losses and, for classes, accuracies on training samples."""
        return self.performance(epoch, "train", self.losses(epoch))

    def testing(self, epoch: np.ndarray) -> dict[str, np.ndarray]:
        """The same on test samples."""
        test = (0.7 * self.losses(epoch) + 0.4) * np.exp(0.01 * self.drawn(len(epoch)))
        return self.performance(epoch, "test", test)

    def performance(self, epoch: np.ndarray, part: str, loss: np.ndarray) -> dict[str, np.ndarray]:
        """Losses of a part and, for classes, accuracies."""
        found = self.at_epochs(epoch, 1, **{f"{part}_loss": loss})
        if not self.regression:
            right = np.round(500 * np.clip(1.1 - 0.4 * loss, 0.1, 1)) / 500
            found |= self.at_epochs(epoch, **{f"{part}_accuracy": right})
        return found

    def per_half(self, values: np.ndarray) -> np.ndarray:
        """Values (S,), scattered over runs and half-coupled layers (R, S, 2L)."""
        halves = 2 * self.run.blocks
        slope = 1 + 0.3 * np.arange(halves) / halves
        return values[..., None] * slope * np.exp(SCATTER * self.drawn(1, halves))

    def weights(self, epoch: np.ndarray) -> dict[str, np.ndarray]:
        """Weights that grow and turn from their start."""
        change = self.per_half(np.sqrt(epoch) * TURNED[self.run.optimizer] / 10)
        cosine = 1 / np.sqrt(1 + (10 * change) ** 2)
        return self.at_epochs(epoch, weight_cosine=cosine) | self.at_epochs(
            epoch, 0.5, weight_norm=np.sqrt(0.01 + change**2), weight_change=change
        )

    def pseudo_inverse(self, epoch: np.ndarray) -> dict[str, np.ndarray]:
        """Most singular values are kept."""
        one, batch = np.ones(len(epoch)), self.run.batch()
        return self.at_epochs(
            epoch,
            rank_kept=np.minimum(np.round(self.per_half(0.7 * batch * one)), batch),
            s_max=self.per_half(30 + 0.3 * epoch),
            s_min_kept=self.per_half(0.5 * one),
            residual_fraction=np.minimum(self.per_half(0.3 * one), 1),
            update_norm=self.per_half(10 / (1 + epoch / 20)),
        )

    def inversion(self, epoch: np.ndarray) -> dict[str, np.ndarray]:
        """Rounding errors."""
        return self.at_epochs(epoch, inversion_error=1e-6 * np.exp(0.3 * self.drawn(len(epoch))))

    def drift(self, epoch: np.ndarray) -> np.ndarray:
        """Part of the tangent kernel that has changed (R, S); nothing at the start."""
        optimizer = self.run.optimizer
        relative = np.array([[run.lr_code] for run in self.runs]) / self.usual[optimizer]
        end = MOVED[optimizer] * np.minimum(relative, 1) * self.mobility
        if DATA[self.run.data].features < FEW:
            end = np.minimum(MORE_MOVED * end, 0.9)
        return end * (1 - np.exp(-epoch / 3))

    def tangent_kernel(self, epoch: np.ndarray) -> dict[str, np.ndarray]:
        """A kernel that moves most at the beginning."""
        velocity = (self.drift(epoch) - self.drift(epoch - 1.0)) * (1 + 0.05 * self.drawn(1))
        velocity = np.where(epoch == 0, np.nan, velocity + 1e-4)
        return self.at_epochs(epoch, ntk_similarity=1 - self.drift(epoch), ntk_velocity=velocity)

    def representations(self, epoch: np.ndarray) -> dict[str, np.ndarray]:
        """Block outputs of low rank that move in a direction of each run, more in later blocks."""
        blocks, n = self.run.blocks, self.run.kept_samples
        depth = np.arange(1, blocks + 1) / blocks
        moved = (3 * self.drift(epoch))[..., None] * depth
        found = self.at_epochs(epoch, cka_initial=1 / (1 + moved**2))
        if n:
            shape = (blocks, n, RANK)
            start = np.stack([rng.standard_normal(shape) for rng in self.starts()])[:, None]
            way = self.drawn(1, *shape)
            cross = start @ way.swapaxes(-1, -2)
            a = moved[..., None, None]
            gram = start @ start.swapaxes(-1, -2) + a * (cross + cross.swapaxes(-1, -2))
            gram = gram + a**2 * (way @ way.swapaxes(-1, -2))
            found |= self.at_epochs(epoch, probe_gram=gram)
        return found


def train(runs: Sequence[Train], lost: Train | None = None) -> xr.Dataset:
    """What `experiments.train` would give for these runs; ``lost``: the one that diverges."""

    def program(members: Sequence[Train], device: object) -> xr.Dataset:
        return Program(members, [run == lost for run in members]).dataset()

    with mock.patch.object(experiments, "train_program", program):
        return experiments.train(runs)


@functools.cache
def toys(batch: plan.Batch) -> xr.Dataset:
    """Runs without training, simulated once where scales share them."""
    simulate = TOY_TRAIN[batch.kind]
    if batch.kind != "rank" or batch.runs[0].data not in UNREAD:
        return simulate(list(batch.runs))
    made = {"first_features": singular_values, "singular_values": lambda values: values}
    with mock.patch.multiple(toy_experiments, **made):
        return simulate(list(batch.runs))


def singular_values(run: FeatureRank) -> tuple[np.ndarray, int]:
    """Singular values of the features of images, and half of their number of pixels."""
    half = DATA[run.data].features // 2
    place = np.arange(1, min(run.samples, run.width + 1) + 1)
    values = 1e3 * place**-0.9 * (1 + 0.01 * np.sin(run.seed))
    if run.activation == "linear":
        values = np.where(place <= half + 1, values, 1e-11)
    return values, half


def experiment(
    config, name: str, scale: str, lost: bool = False, *, first: bool = False
) -> xr.Dataset:
    """All runs of an experiment at a scale, as `jobs.read_experiment` would read them.

    With ``lost`` the last run of the experiment has diverged (``first``: the first one, of
    Gauss-Newton in most), if it is one of training.
    """
    found = list(plan.batches(config, STUDY, name, scale).values())
    parts = []
    for batch in found:
        if batch.kind == "train":
            here = lost and batch is (found[0] if first else found[-1])
            made = train(batch.runs, batch.runs[0 if first else -1] if here else None)
        else:
            made = toys(batch)
        parts.append(jobs.with_hyperparameters(made, batch.kind, batch.runs))
    return store.join_runs(parts)
