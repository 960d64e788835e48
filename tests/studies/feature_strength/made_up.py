"""Made-up training: every run of an experiment at a scale, in the form `experiments.train` gives.

Losses, divergence, kernels and curvature are simple functions of gamma, eta and the step; names,
dimensions, schedules and bins are those of the study (`watch.observations`, `record.to_dataset`).
"""

from __future__ import annotations

from types import SimpleNamespace
from unittest import mock

import numpy as np
import xarray as xr

from regimes import jobs, plan, store
from regimes.ensemble.batches import group
from regimes.ensemble.engine import LIMIT, Trained
from regimes.studies.feature_strength import watch
from regimes.studies.feature_strength.experiments import _shape, model_of
from regimes.studies.feature_strength.record import to_dataset
from regimes.studies.feature_strength.settings import window_exponents
from regimes.studies.feature_strength.toy_experiments import TOY_TRAIN

STUDY = "feature_strength"
AT_ONCE = 16_000_000  # numbers of a trajectory that are held in double precision
CLASSES = 10
DIVERGES_ABOVE = 1.0  # decades above the largest trainable learning rate


class Program:
    """Made-up dynamics of runs of equal shape.

    The plateau lasts a third of the steps at eta = gamma^2 (gamma < 1) or gamma, and inversely to
    eta; under SignSGD at a hundredth of the powers there. In a portrait a run fails above a top
    learning rate, and diverges a decade above that. Where eta follows a rule the plateau is a
    hundredth as long; where the rule is the sharpness, runs are catapulted above the critical
    rate and diverge from 7 times it.
    """

    def __init__(self, runs, lost):
        self.runs, self.count, first = runs, len(runs), runs[0]
        self.steps, self.cross_entropy = first.steps, first.loss == "cross_entropy"
        self.rng = np.random.default_rng([self.count, self.steps])
        log10_gamma = np.array([run.log10_gamma for run in runs])
        self.gamma, self.lazy = 10.0**log10_gamma, log10_gamma < -0.5
        self.curvature = 5 / self.gamma**2
        self.eta = np.array([r.eta(c) for r, c in zip(runs, self.curvature, strict=True)])
        seeds = np.array([run.seed for run in runs])
        by_seed = np.exp(0.02 * np.sin(1.0 + seeds))
        upper, lower = window_exponents(first.loss, first.optimizer, first.depth)
        side = (log10_gamma >= 0).astype(int)
        log10_eta = np.log10(self.eta * by_seed)
        above = log10_eta - np.array(upper)[side] * log10_gamma
        sign = first.optimizer == "sign"
        top = -0.5 if sign else 1.26
        rate = 10.0 ** (log10_eta - np.array(lower)[side] * log10_gamma + 2 * sign)
        portrait = first.eta_rule == "absolute"
        part = 0.3 if portrait else 0.003
        self.plateau = np.clip(part * self.steps / rate, 0.5, 1e9)
        self.floor = np.where(self.lazy, 0.55, 0.12) * by_seed
        self.peak, diverges = np.ones(self.count), np.zeros(self.count, dtype=bool)
        if first.eta_rule == "sharpness":
            multiple = np.array([run.eta_factor for run in runs])
            self.peak = np.where(multiple > 1, 30 * multiple, 1.0)
            diverges = (multiple > 7) & (log10_gamma < -1.5)
        elif portrait:
            # Cross-entropy below gamma = 1: between gamma^2 and gamma runs oscillate.
            oscillates = self.cross_entropy & (log10_gamma < 0)
            oscillates &= log10_eta - 2 * log10_gamma > top
            self.peak = np.where(oscillates, 5.0, 1.0)
            failed = above > top
            self.floor = np.where(oscillates, 3.0, self.floor)
            self.floor = np.where(failed, 0.95, self.floor)
            diverges = above > top + DIVERGES_ABOVE
        diverges[-1] |= lost
        self.diverged_at = np.where(diverges, max(self.steps // 5, 1), -1)

    @property
    def initial(self):
        return np.log(CLASSES) if self.cross_entropy else 1 / CLASSES

    def share(self, steps):
        """Loss over its initial value (R, S) after some numbers of updates; NaN once diverged."""
        t = np.asarray(steps, dtype=float)
        late = t / self.plateau[:, None]
        late *= late
        share = self.floor[:, None] + (1 - self.floor[:, None]) / (1 + late)
        rows = self.peak > 1
        bump = t * np.exp(1 - t / 5) / 5  # one at its largest, at step 5
        share[rows] += (self.peak[rows, None] - 1) * bump
        wiggle = np.sin(2.399963 * t * t) * (t > 0)
        share *= 1 + 0.01 * self.rng.uniform(-1, 1, (self.count, 1)) * wiggle
        return self.alive(share, t)

    def alive(self, values, steps):
        gone = (self.diverged_at[:, None] >= 0) & (steps >= self.diverged_at[:, None])
        values[gone] = np.nan
        return values

    def learned(self, steps):
        """Share of the learning that is done (R, S), 0 to 1."""
        t = np.asarray(steps, dtype=float)
        late = (t / (0.7 * self.plateau[:, None])) ** 2
        return self.alive(late / (1 + late), t)

    def trained(self, watched):
        loss = self.share(np.arange(self.steps))
        loss *= self.initial
        observed = [what.measure(self, np.array(what.steps)) for what in watched]
        return Trained(loss, self.diverged_at, observed)

    def noisy(self, *shape):
        return np.exp(0.03 * self.rng.standard_normal((self.count, *shape)))


class _Points(SimpleNamespace):
    """As many fixed points as asked for."""

    def first(self, count):
        return _Points(count=count)


def _performance(test, loss):
    def measure(program, steps):
        share = program.share(steps)
        accuracy = np.clip(0.1 + 1.0 * (1 - share), 0.1, 1.0)
        accuracy = np.where(share > 2, 0.6, accuracy)
        return {"test_loss": share * program.initial, "test_accuracy": accuracy}

    return measure


def _mean_output(fixed):
    def measure(program, steps):
        rate = (program.eta / program.gamma)[:, None] * steps
        values = 0.1 * rate / (10 + rate) / np.maximum(program.gamma, 1)[:, None]
        return {"mean_output": program.alive(values, steps)}

    return measure


def _layers(fixed, features, weights, runs):
    def measure(program, steps):
        rich = np.where(program.lazy, 0.02, 1.0)[:, None, None]
        done = program.learned(steps)[..., None] * np.linspace(0.6, 1, len(weights)) * rich
        return {
            "cka_label": 0.12 + 0.6 * done,
            "cka_initial": 1 - 0.8 * done,
            "relative_move": 2 * done,
        }

    return measure


def _tangent(fixed, apply):
    return lambda program, steps: {"tangent_cka_label": 0.2 + 0.3 * program.learned(steps)}


def _sharpness(program, steps):
    edge = 2 / (program.runs[0].width * program.eta)
    start = np.where(program.lazy, program.curvature, 0.05 / program.gamma)[:, None]
    end = np.where(program.lazy, np.minimum(program.curvature, edge), 0.9 * edge)[:, None]
    return (start + (end - start) * program.learned(steps)) * program.noisy(len(steps))


def _extremes(fixed, apply, loss):
    def measure(program, steps):
        largest = _sharpness(program, steps)
        lowest = np.where(program.lazy[:, None], -0.01, -1.2) * largest
        residual = 1e-3 * np.ones_like(largest)
        return {
            "sharpness": largest,
            "lowest_eigenvalue": lowest,
            "sharpness_residual": residual,
        }

    return measure


def _spectrum(fixed, apply, loss, size, tolerance):
    def measure(program, steps):
        rank = np.arange(1, size + 1)
        lazy = np.where(rank <= 10, rank**-0.3, 0.02 / rank)
        shape = np.where(program.lazy[:, None], lazy, rank**-0.8)
        values = _sharpness(program, steps)[..., None] * shape[:, None, :]
        values[:, :, size - size // 8 :] = np.nan  # residuals above the tolerance
        return {"spectrum": values}

    return measure


def _outputs(test):
    def measure(program, steps):
        common = np.random.default_rng(3).standard_normal((test.count, CLASSES))
        own = program.rng.standard_normal((program.count, 1, test.count, CLASSES))
        share = np.where(program.lazy, 0.6, 0.05)[:, None, None, None]
        values = common + share * own
        values[program.diverged_at >= 0] = np.nan
        return {"outputs": values}

    return measure


def _last_kernel(fixed, features):
    def measure(program, steps):
        hidden = np.random.default_rng(4).standard_normal((fixed.count, 20))
        own = program.rng.standard_normal((program.count, fixed.count, 20))
        hidden = hidden + np.where(program.lazy, 1.0, 0.2)[:, None, None] * own
        kernel = (hidden @ hidden.transpose(0, 2, 1) / 20)[:, None]
        kernel[program.diverged_at >= 0] = np.nan
        return {"last_kernel": kernel}

    return measure


MADE_UP = SimpleNamespace(
    performance=_performance,
    mean_output=_mean_output,
    layers=_layers,
    tangent=_tangent,
    extremes=_extremes,
    spectrum=_spectrum,
    outputs=_outputs,
    last_kernel=_last_kernel,
)


def networks(runs, lost: bool = False) -> xr.Dataset:
    """What `experiments.train` would give for these runs, in their order.

    With ``lost`` the last run of every program has diverged as well.
    """
    parts, order = [], []
    with mock.patch.object(watch, "observe", MADE_UP):
        for members in group(runs, _shape):
            count = max(1, AT_ONCE // runs[members[0]].steps)
            for start in range(0, len(members), count):
                chosen = members[start : start + count]
                program = Program([runs[index] for index in chosen], lost)
                run = program.runs[0]
                fixed, test = _Points(count=run.points), _Points(count=run.test_size)
                watched = watch.observations(run, model_of(run), fixed, test, None)
                trained = program.trained(watched)
                assert np.nanmax(trained.loss) < LIMIT
                parts.append(to_dataset(run, trained, watched, program.eta))
                order += chosen
    return store.join_runs(parts).isel(run=np.argsort(order))


def experiment(config, name, scale, lost: bool = False) -> xr.Dataset:
    """All runs of an experiment at a scale, as `jobs.read_experiment` would read them.

    Networks are made up (``lost``: see `networks`), toy models simulated.
    """
    parts = []
    for batch in plan.batches(config, STUDY, name, scale).values():
        if batch.kind == "network":
            trained = networks(batch.runs, lost)
        else:
            trained = TOY_TRAIN[batch.kind](batch.runs)
        parts.append(jobs.with_hyperparameters(trained, batch.kind, batch.runs))
    return store.join_runs(parts)
