"""Made-up runs: every experiment of the study at a scale, in the form `experiments.KINDS` gives.

Names, dimensions and schedules are those of the study (`recorder.Observer`,
`recorder.to_dataset`): only the numbers of training are invented. Losses fall fastest at a learning
rate that depends on the width under SP alone; layers change, and factors grow, by the powers of
the width of the theory. Random matrices are those of the study, and single steps from zero outputs
those of networks of at most `LARGEST` hidden units.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from math import log, sqrt
from types import SimpleNamespace
from unittest import mock

import numpy as np
import torch
import xarray as xr

from regimes import jobs, plan, store
from regimes.ensemble.engine import Observation, Trained
from regimes.studies.second_order_mup import experiments, networks, recorder, theory
from regimes.studies.second_order_mup.settings import DATA, SECOND_ORDER, TEXTS, Train
from regimes.studies.second_order_mup.toy_experiments import TOY_TRAIN

STUDY = "second_order_mup"
TESTED = 40  # test samples whose outputs are made up
SCATTER = 0.02  # of numbers between runs, relative
GROWTH = 1e25  # of the losses of a run that diverges
USUAL = {"sgd": 1.0, "adam": 1e-3, "kfac": 0.06, "shampoo": 0.06, "foof": 0.06, "layerwise_gn": 0.1}
BEST_DAMPING = {"rescaled": 1e-2, "heuristic": 1e-3, "largest": 1e-4, "absolute": 0.1}
LARGEST = 64  # hidden units of networks that take a step for real


class Program(recorder.Observer):
    """Made-up numbers of runs that share shapes, in place of training.

    What is observed and when is decided by `recorder.Observer`; its measurements are replaced by
    functions of the steps (S,), all at once, with values (R, S, ...).

    Parameters
    ----------
    runs
        Settings.
    lost
        Which of them diverge, after two fifths of their training.
    """

    def __init__(self, runs: Sequence[Train], lost: Sequence[bool]) -> None:
        run, self.runs = runs[0], runs
        self.rng = np.random.default_rng(int(plan.run_id("train", run), 16))
        last = min(max(2 * run.steps // 5, 1), run.steps - 1)
        self.lost_at = np.where(lost, last, -1)
        model = networks.model_of(run)
        network = SimpleNamespace(layers=model.layers, model=model)
        classes = min(DATA[run.data].classes, TESTED)
        tested = torch.eye(classes)[torch.arange(TESTED) % classes]
        data = {"test_x": torch.zeros(1, 1), "test_targets": tested}
        start = {}
        for name, layer in model.layers.items():
            usual = 1.0 if layer.kind == "embedding" else 1 / sqrt(layer.fan_in)
            factors = [networks.weight_factors(each, model)[name] for each in runs]
            start[name] = usual * torch.tensor(factors, dtype=torch.float64)[:, None]
        words = np.zeros((1, 4), dtype=int) if run.data in TEXTS else None
        hyper = {"damping": torch.tensor([each.damping for each in runs])}
        super().__init__(run, network, None, data, start, {}, hyper, words)
        self.level = 1 + SCATTER * self.drawn(1)

    def dataset(self) -> xr.Dataset:
        """What `experiments.train_program` would give."""
        update = np.arange(self.run.steps)
        loss = self.alive(self.losses(update), update, growing=True)
        loss[(self.lost_at[:, None] >= 0) & (update >= self.lost_at[:, None])] = np.nan
        observed = [self.observed(each) for each in self.observations()]
        return recorder.to_dataset(self.run, self.runs, Trained(loss, self.lost_at, observed), self)

    @staticmethod
    def observed(observation: Observation) -> dict[str, np.ndarray]:
        """Measurements at all steps of an observation."""
        return observation.measure(np.asarray(observation.steps, dtype=int))

    def drawn(self, *shape: int) -> np.ndarray:
        """Standard normal numbers (R, ...)."""
        return self.rng.standard_normal((len(self.runs), *shape))

    def of(self, name: str) -> np.ndarray:
        """A setting of the runs (R, 1)."""
        return np.array([[getattr(run, name)] for run in self.runs])

    def alive(self, values: np.ndarray, steps: np.ndarray, growing: bool = False) -> np.ndarray:
        """Values (R, S, ...) that may grow before a divergence and are NaN after it."""
        values = np.array(values, dtype=float)
        for row in np.flatnonzero(self.lost_at >= 0):
            if growing:
                values[row, steps == self.lost_at[row]] *= GROWTH
            values[row, steps > self.lost_at[row]] = np.nan
        return values

    # --- Losses ---

    @functools.cached_property
    def start_loss(self) -> float:
        """Loss of outputs that say nothing."""
        classes = DATA[self.run.data].classes
        return log(classes) if self.run.loss == "cross_entropy" else (1 - 1 / classes) / classes

    @functools.cached_property
    def ratio(self) -> np.ndarray:
        """Width over base width (R, 1)."""
        return np.array([[run.ratio()] for run in self.runs])

    @functools.cached_property
    def speed(self) -> np.ndarray:
        """How fast the losses fall (R, 1): by a parabola in the log of learning rate and damping.

        The best learning rate falls with the width under SP; wider networks are faster under muP.
        """
        run = self.run
        mup = self.of("parameterization") == "mup"
        away = np.log2(self.of("lr") / USUAL[run.optimizer])
        away = away + np.where(mup, 0, 0.5) * np.log2(self.ratio)
        speed = (
            2 ** (-0.1 * away**2) * np.where(mup, 1.0, 0.8) * self.ratio ** np.where(mup, 0.2, 0)
        )
        if run.optimizer in SECOND_ORDER:
            best = BEST_DAMPING[run.damping_rule]
            speed = speed * 10 ** (-0.1 * np.log10(self.of("damping") / best) ** 2)
        return speed * self.level

    def losses(self, step: np.ndarray) -> np.ndarray:
        """Training loss after so many steps (R, S)."""
        return self.start_loss * (1 + 20 * self.speed * step / self.run.steps) ** -0.7

    def evaluate(self, step: np.ndarray) -> dict[str, np.ndarray]:
        """Losses and accuracies; word analogies where there are words."""
        classes, found = DATA[self.run.data].classes, {}
        for part, factor in (("train", 1.0), ("test", 1.1)):
            loss = factor * self.losses(step)
            right = 1 - (1 - 1 / classes) * np.minimum(loss / self.start_loss, 1)
            found[f"{part}_loss"] = self.alive(loss, step, growing=True)
            found[f"{part}_accuracy"] = self.alive(right, step)
        if self.analogies is not None:
            share = 1 - self.losses(step) / self.start_loss
            found["analogy_accuracy"] = self.alive(share / 2, step)
        return found

    # --- Layers: names are those of `recorder.Observer` ---

    def powers(self, values: Sequence) -> np.ndarray:
        """M^p (R, 1, L) for powers p of input, hidden and output layers."""
        roles = [recorder.ROLES[layer.role] for layer in self.layers.values()]
        powers = np.array([float(value) for value in values])[roles]
        return self.of("width")[..., None].astype(float) ** powers

    def scattered(self, values: np.ndarray, step: np.ndarray) -> np.ndarray:
        """Values (R, 1, L) at all steps, different between runs and layers."""
        layers = len(self.layers)
        factor = 1 + SCATTER * self.drawn(1, layers)
        return np.broadcast_to(values * factor, (len(self.runs), len(step), layers))

    @functools.cached_property
    def own(self) -> np.ndarray:
        """Change of each layer by one update (R, 1, L), of the predicted power of the width."""
        rows = [
            theory.optimizer_slopes(run.optimizer, run.parameterization, run.output_exponent)
            for run in self.runs
        ]
        # (R, 1, L) row by row: runs of one program may be of several parameterizations.
        each = np.concatenate([self.powers(row)[[i]] for i, row in enumerate(rows)])
        return each * self.of("lr")[..., None]

    def look(self, step: np.ndarray) -> dict[str, np.ndarray]:
        """Observables of every layer."""
        passed = np.sqrt(step)[None, :, None]
        changed = self.scattered(self.own, step) * passed
        one = np.ones_like(self.own)
        found = {
            "dh": np.cumsum(changed, axis=2),
            "h_abs": self.scattered(one, step) + changed,
            "dWh": changed,
            "input_change": changed.cumsum(axis=2) - changed,
            "w_norm": self.scattered(self.powers((0.5, 0.5, 0)), step) + changed,
            **dict.fromkeys(recorder.BATCH_VARIABLES, np.full(changed.shape, np.nan)),
        }
        if self.run.factors == "start":
            seen = (step == 0)[None, :, None]
        else:
            seen = np.ones((1, len(step), 1), dtype=bool)
        for name, values in self.factors(step).items():
            found[name] = np.where(seen, values, np.nan)
        return {name: self.alive(values, step) for name, values in found.items()}

    def factors(self, step: np.ndarray) -> dict[str, np.ndarray]:
        """Gradients, and factors of orders M^0, M, M (A) and 1 / M, 1 / M, M^0 (B)."""
        run = self.run
        gradient = self.scattered(self.powers((-0.5, 0, 0.5)), step)
        found = {"grad_norm": gradient, "precond_grad_norm": gradient}
        if run.optimizer not in SECOND_ORDER:
            return found
        orders = {"A": (0, 1, 1), "B": (-1, -1, 0)}
        if run.optimizer == "shampoo":
            orders = dict.fromkeys("AB", (-1, 0, 1))
        elif run.optimizer in ("foof", "layerwise_gn"):
            orders = {"A": (-1, 0, 1) if run.optimizer == "layerwise_gn" else orders["A"]}
        strength = self.of("damping")[..., None]
        for side, powers in orders.items():
            largest = self.scattered(self.powers(powers), step)
            found[f"lambda_max_{side}"], found[f"trace_{side}"] = largest, 2 * largest
            rho = {"rescaled": 2 * largest * strength, "largest": largest * strength}
            found[f"rho_{side}"] = rho.get(run.damping_rule, strength + 0 * largest)
        return found

    # --- Kernel regression ---

    def compare(self, step: np.ndarray) -> dict[str, np.ndarray]:
        """Relative distances to both kernel predictors, (R, S, ridges)."""
        near = 1 - 0.5 * np.minimum(step / self.run.steps, 1)
        ridge = 1 + 0.1 * np.arange(len(recorder.RIDGES))
        far = (self.level * near)[..., None] * ridge
        return {f"{name}_distance": self.alive(far, step) for name in self._references}

    @functools.cached_property
    def _references(self) -> dict[str, np.ndarray]:
        """Test outputs (R or 1, ridges, n, C) of which four fifths are right."""
        wanted = self.data["test_targets"].numpy()
        wrong = np.arange(len(wanted)) % 5 == 0
        outputs = np.where(wrong[:, None], np.roll(wanted, 1, axis=1), wanted)
        outputs = np.broadcast_to(outputs, (len(recorder.RIDGES), *outputs.shape))
        found = {"kernel": np.broadcast_to(outputs, (len(self.runs), *outputs.shape))}
        if self.run.model == "mlp" and self.run.activation == "relu":
            found["nngp"] = outputs[None]
        return found


def train(runs: Sequence[Train], lost: Train | None = None) -> xr.Dataset:
    """What `experiments.train` would give for these runs; ``lost``: the one that diverges."""

    def program(members: Sequence[Train], device: object) -> xr.Dataset:
        return Program(members, [run == lost for run in members]).dataset()

    with mock.patch.object(experiments, "train_program", program):
        return experiments.train(runs)


@functools.cache
def toys(batch: plan.Batch) -> xr.Dataset:
    """Runs without training, simulated once where scales share them, networks narrow ones."""
    runs = list(batch.runs)
    if batch.kind == "nngp":
        # One run for each: two of a seed that would become equal are computed once.
        narrow = [run.model_copy(update={"width": min(run.width, LARGEST)}) for run in runs]
        unique = list(dict.fromkeys(narrow))
        found = TOY_TRAIN["nngp"](unique)
        return found.isel(run=[unique.index(run) for run in narrow])
    return TOY_TRAIN[batch.kind](runs)


def experiment(config, name: str, scale: str, lost: bool = False) -> xr.Dataset:
    """All runs of an experiment at a scale, as `jobs.read_experiment` would read them.

    With ``lost`` the last run of the experiment has diverged, if it is one of training.
    """
    found = list(plan.batches(config, STUDY, name, scale).values())
    parts = []
    for batch in found:
        if batch.kind == "train":
            here = lost and batch is found[-1]
            made = train(batch.runs, batch.runs[-1] if here else None)
        else:
            made = toys(batch)
        parts.append(jobs.with_hyperparameters(made, batch.kind, batch.runs))
    return store.join_runs(parts)
