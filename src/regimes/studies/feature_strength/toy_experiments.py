"""Simulation of the toy models: one run holds a whole grid, nothing is random."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import xarray as xr

from regimes import store
from regimes.studies.feature_strength import toys
from regimes.studies.feature_strength.toy_settings import OneWeight, StaircaseToy, TwoWeights, axis

GAMMA, ETA = "log10_gamma", "log10_eta"
TEXTS = {
    GAMMA: "log10 of the feature strength gamma",
    ETA: "log10 of the learning rate eta",
    "shift": "copy of the grid of learning rates",
    "eta_shift": "log10 of the factor by which a copy of the grid exceeds log10_eta",
    "initial_loss": "excess loss at step 0",
    "final_loss": "excess loss after the last step, NaN if diverged",
    "late_loss": "excess loss, mean over the last tenth of the steps, NaN if diverged",
    "mean_loss": "excess loss, mean over all steps, NaN if diverged",
    "peak_loss": "largest excess loss, NaN if diverged",
    "final_weight": "weight after the last step, NaN if diverged",
    "tail_deviation": "largest relative deviation from the one-step law of u^2 - v^2",
    "multiple": "learning rate in units of the catapult threshold",
    "shown_step": "number of updates",
    "shown_loss": "excess loss, NaN once diverged",
    "shown_square": "u^2 + v^2, NaN once diverged",
    "log10_ratio": "log10 of eta/gamma",
    "duration": "first step at which eta times the sharpness is below 2, NaN if never",
    "step": "number of updates",
    "mode": "mode, in the order of the targets",
    "target": "target of the mode",
    "eta": "learning rate eta",
    "total_loss": "sum over modes of (f - target)^2 / 2",
    "mode_error": "squared error (f - target)^2 of a mode",
}


def _each(simulate: Callable[..., xr.Dataset]) -> Callable[..., xr.Dataset]:
    """Turn a function of one run's settings into one of many runs', joined over ``run``."""

    def train(settings: Sequence, device: object = None) -> xr.Dataset:
        """Simulate runs in the order of ``settings``; the device does not matter."""
        return store.join_runs(
            [store.described(simulate(one), TEXTS).expand_dims("run") for one in settings]
        )

    return train


def _one_weight(settings: OneWeight) -> xr.Dataset:
    log10_gamma, log10_eta = axis(settings.log10_gamma_range), axis(settings.log10_eta_range)
    shift = np.arange(settings.grid_shifts)
    eta_shift = shift * settings.log10_eta_range[2] / settings.grid_shifts
    end = toys.one_weight(
        10.0 ** log10_gamma[None, :, None],
        10.0 ** (log10_eta[None, None, :] + eta_shift[:, None, None]),
        settings.depth,
        settings.loss,
        settings.steps,
        sign=settings.optimizer == "sign",
    )
    dims = ("shift", GAMMA, ETA)
    return xr.Dataset(
        {
            "initial_loss": ((), toys.initial_loss(settings.loss)),
            "final_loss": (dims, end.final_loss),
            "late_loss": (dims, end.late_loss),
            "mean_loss": (dims, end.mean_loss),
            "peak_loss": (dims, end.peak_loss),
            "final_weight": (dims, end.weight),
            "eta_shift": ("shift", eta_shift),
        },
        coords={GAMMA: log10_gamma, ETA: log10_eta, "shift": shift},
    )


def _two_weights(settings: TwoWeights) -> xr.Dataset:
    log10_gamma, log10_eta = axis(settings.log10_gamma_range), axis(settings.log10_eta_range)
    grid = toys.two_weights(
        10.0 ** log10_gamma[:, None], 10.0**log10_eta, settings.loss, settings.steps
    )
    shown_gamma = 10.0**settings.shown_log10_gamma
    multiples = np.array(sorted(settings.shown_multiples))
    shown_eta = multiples * toys.pair_threshold(shown_gamma, settings.loss)
    excess, square = toys.pair_path(shown_gamma, shown_eta, settings.loss, settings.shown_steps)
    log10_ratio = axis(settings.duration_range)
    gamma = 10.0**settings.duration_log10_gamma
    duration = toys.catapult_steps(
        gamma, gamma * 10.0**log10_ratio, settings.loss, settings.duration_steps
    )
    return xr.Dataset(
        {
            "initial_loss": ((), toys.initial_loss(settings.loss)),
            **{name: ((GAMMA, ETA), values) for name, values in grid.items()},
            "shown_loss": (("multiple", "shown_step"), excess),
            "shown_square": (("multiple", "shown_step"), square),
            "duration": ("log10_ratio", duration),
        },
        coords={
            GAMMA: log10_gamma,
            ETA: log10_eta,
            "multiple": np.round(multiples, 6),
            "shown_step": np.arange(settings.shown_steps + 1),
            "log10_ratio": log10_ratio,
        },
    )


def _staircase(settings: StaircaseToy) -> xr.Dataset:
    gamma, targets = 10.0**settings.log10_gamma, np.array(settings.targets)
    eta = settings.edge_share * 2 / toys.one_weight_curvature(gamma, settings.depth, "mse")
    outputs = toys.modes(gamma, eta, settings.depth, targets, settings.steps)
    error = (outputs - targets) ** 2
    return xr.Dataset(
        {
            "eta": ((), eta),
            "target": ("mode", targets),
            "total_loss": ("step", error.sum(axis=1) / 2),
            "mode_error": (("step", "mode"), error),
        },
        coords={"step": np.arange(settings.steps + 1), "mode": np.arange(1, targets.size + 1)},
    )


TOY_TRAIN: dict[str, Callable[..., xr.Dataset]] = {
    "one_weight": _each(_one_weight),
    "two_weights": _each(_two_weights),
    "staircase_toy": _each(_staircase),
}
