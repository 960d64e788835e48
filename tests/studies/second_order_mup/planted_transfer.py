"""Made-up runs of the experiments on transfer, with optima and gaps that are known."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import xarray as xr

SEEDS = (0, 1, 2)
BASE = {
    "data": "digits",
    "samples": 1024,
    "model": "mlp",
    "width": 32,
    "base_width": 32,
    "activation": "relu",
    "parameterization": "mup",
    "output_exponent": math.nan,
    "output_multiplier": 1.0,
    "optimizer": "kfac",
    "loss": "mse",
    "fisher": "mc",
    "damping_rule": "rescaled",
    "damping": 1e-2,
    "ema": 0.3,
    "lr": 0.1,
    "batch_size": 128.0,
    "steps": 40,
}
INITIAL_LOSS = 0.1


def runs(
    cases: Sequence[dict],
    ends: Callable[[dict], dict[str, float]],
    grid: Sequence[int],
    seeds: Sequence[int] = SEEDS,
    layers: int = 3,
) -> xr.Dataset:
    """Trained runs whose curves run straight from the start to planted ends.

    Parameters
    ----------
    cases
        Settings that differ from `BASE`.
    ends
        From the settings of a run, seed among them, to its final ``train_loss``,
        ``test_accuracy`` and, where they exist, ``feature_change``, ``nngp_accuracy``,
        ``nngp_distance`` (the last two per ridge). An infinite loss means a diverged run.
    grid
        Steps at which is recorded.
    """
    settings = [BASE | case | {"seed": seed} for case in cases for seed in seeds]
    found = [ends(each) for each in settings]
    step = np.array(sorted({0, *grid, *(each["steps"] for each in settings)}))
    planned = np.array([each["steps"] for each in settings])[:, None]
    share = np.where(step <= planned, step / planned, np.nan)
    loss = np.array([each["train_loss"] for each in found])
    lost = ~np.isfinite(loss)
    share[lost] = np.where(step == 0, 0.0, np.nan)
    ended = np.where(lost, 0.0, loss)[:, None]
    accuracy = np.array([each["test_accuracy"] for each in found])[:, None]
    variables = {
        "train_loss": (("run", "step"), INITIAL_LOSS + share * (ended - INITIAL_LOSS)),
        "test_accuracy": (("run", "step"), 0.1 + share * (accuracy - 0.1)),
        "train_accuracy": (("run", "step"), 0.1 + share * (accuracy + 0.05 - 0.1)),
        "diverged_at": ("run", np.where(lost, 1, -1)),
        "role": (("run", "layer"), np.tile([0] + [1] * (layers - 2) + [2], (len(found), 1))),
    }
    if "feature_change" in found[0]:
        change = np.array([each["feature_change"] for each in found])[:, None, None]
        weight = np.arange(layers) / (layers - 1)  # the images never change
        variables["input_change"] = (
            ("run", "layer_step", "layer"),
            share[:, :, None] * change * weight,
        )
        for name in ("nngp", "kernel"):
            if f"{name}_accuracy" in found[0]:
                levels = np.array([each[f"{name}_accuracy"] for each in found])
                distance = np.array([each[f"{name}_distance"] for each in found])
                dims = ("run", "kernel_step", "ridge")
                variables[f"{name}_accuracy"] = (("run", "ridge"), levels)
                variables[f"{name}_distance"] = (
                    dims,
                    1 + share[:, :, None] * (distance[:, None, :] - 1),
                )
    coords = {name: ("run", [each[name] for each in settings]) for name in settings[0]}
    coords |= {"step": step, "layer": np.arange(layers)}
    if "input_change" in variables:
        coords["layer_step"] = coords["kernel_step"] = step
        coords["ridge"] = [1e-4, 1e-3, 1e-2]
    return xr.Dataset(variables, coords)


# --- Learning rates ------------------------------------------------------------------------------

WIDTHS = (32, 128, 512)
SEED_FACTOR = (1.0, 1.1, 0.9)
# Best log2 learning rate, loss there and test accuracy there for M = 32, 128, 512.
PLANTED = {
    ("kfac", "mup"): ((-2, -2, -3), (0.008, 0.004, 0.002), (0.80, 0.85, 0.88)),
    ("kfac", "sp"): ((-2, -2, -2), (0.010, 0.006, 0.004), (0.79, 0.80, 0.80)),
    ("sgd", "mup"): ((1, 1, 1), (0.03, 0.025, 0.02), (0.7, 0.75, 0.8)),
    ("sgd", "sp"): ((-1, -2, -3), (0.06, 0.05, 0.05), (0.6, 0.65, 0.65)),
    ("shampoo", "mup"): ((-4, -4, -5), (0.02, 0.015, 0.01), (0.7, 0.8, 0.85)),
    ("shampoo", "sp"): ((-4, -5, -6), (0.03, 0.03, 0.03), (0.7, 0.7, 0.7)),
}
GRIDS = {"kfac": range(-11, 1), "sgd": range(-6, 5), "shampoo": range(-9, 1)}
STEEPNESS = {"mup": 0.25, "sp": 0.5}  # log2 of the loss per squared factor of two


def rate_ends(settings: dict) -> dict[str, float]:
    """Parabola of log loss about the planted optimum; diverged three factors of two above it."""
    key = settings["optimizer"], settings["parameterization"]
    place = settings["planted_place"]
    best, loss, accuracy = (values[place] for values in PLANTED[key])
    away = math.log2(settings["lr"]) - best
    factor = SEED_FACTOR[settings["seed"] % 3]
    value = factor * loss * 2 ** min(STEEPNESS[key[1]] * away**2, 6)
    lost = away > 3 or (away > 2 and settings["seed"] == 1)
    return {
        "train_loss": math.inf if lost else value,
        "test_accuracy": accuracy + 0.01 * (factor - 1) - 0.02 * abs(away),
    }


def rates(
    optimizers: Sequence[str], widths: Sequence[int] = WIDTHS, model: str = "mlp", seeds=SEEDS
) -> xr.Dataset:
    """Runs on the grid of learning rates."""
    cases = [
        {
            "optimizer": name,
            "parameterization": parameterization,
            "width": width,
            "planted_place": place,
            "model": model,
            "lr": 2.0**power,
        }
        for name in optimizers
        for parameterization in ("sp", "mup")
        for place, width in enumerate(widths)
        for power in GRIDS[name]
    ]
    return runs(cases, rate_ends, (8, 40), seeds)


# --- Dampings ------------------------------------------------------------------------------------

DAMPED_WIDTHS = (64, 256, 1024)
BEST_DAMPING = {"heuristic": (-5.0, -4.5, -4.0), "rescaled": (-2.75, -2.75, -2.75)}
DAMPINGS = {"heuristic": np.arange(-6, 0.25, 0.5), "rescaled": np.arange(-4.25, 0, 0.5)}


def damping_ends(settings: dict) -> dict[str, float]:
    """Parabola of log loss about the planted optimum; diverged one decade below it."""
    place = settings["planted_place"]
    away = math.log10(settings["damping"]) - BEST_DAMPING[settings["damping_rule"]][place]
    value = SEED_FACTOR[settings["seed"] % 3] * 0.002 * 10 ** min(0.4 * away**2, 1.6)
    return {
        "train_loss": math.inf if away < -0.9 else value,
        "test_accuracy": 0.85 - 0.05 * abs(away),
    }


def dampings(widths: Sequence[int] = DAMPED_WIDTHS) -> xr.Dataset:
    """Runs on the grids of dampings."""
    cases = [
        {
            "damping_rule": rule,
            "width": width,
            "planted_place": place,
            "damping": 10.0**power,
            "lr": 0.03,
            "steps": 24,
        }
        for rule, grid in DAMPINGS.items()
        for place, width in enumerate(widths)
        for power in grid
    ]
    return runs(cases, damping_ends, (8,))


# --- Output layers -------------------------------------------------------------------------------

EXPONENTS = (0.5, 1.0, 64.0)
KINDS = {
    "rescaled": {"lr": 0.1},
    "rescaled_fast": {"lr": 0.3},
    "absolute": {"lr": 1.0, "damping_rule": "absolute", "damping": 0.1},
    "sgd": {"lr": 0.3, "optimizer": "sgd", "damping_rule": "", "damping": math.nan},
    "shampoo": {"lr": 0.1, "optimizer": "shampoo", "damping_rule": "largest", "damping": 1e-4},
}
# Test accuracy for b_L = 1/2, 1, 64 at batches of 32, 128 and 512.
ACCURACY = {
    "rescaled": ((0.74, 0.85, 0.78), (0.73, 0.84, 0.80), (0.70, 0.83, 0.82)),
    "rescaled_fast": ((0.74, 0.84, 0.79), (0.73, 0.83, 0.80), (0.71, 0.82, 0.80)),
    "absolute": ((0.73, 0.74, 0.73), (0.72, 0.75, 0.735), (0.70, 0.76, 0.72)),
    "sgd": ((0.80, 0.814, 0.812), (0.80, 0.815, 0.820), (0.796, 0.818, 0.815)),
    "shampoo": ((0.80, 0.83, 0.82), (0.80, 0.83, 0.82), (0.79, 0.82, 0.832)),
}
BATCHES = (32, 128, 512)
SEED_SHIFT = (0.0, 0.01, -0.01)
CHANGE, DISTANCE = {32: 0.27, 128: 0.2, 512: 0.12}, {32: 0.5, 128: 0.4, 512: 0.2}


def zero_ends(settings: dict) -> dict:
    """Planted accuracies, shifted by seed; NNGP accuracies 0.80, 0.81, 0.70."""
    row = BATCHES.index(int(settings["batch_size"]))
    column = EXPONENTS.index(settings["output_exponent"])
    shift = SEED_SHIFT[settings["seed"] % 3]
    batch = int(settings["batch_size"])
    return {
        "train_loss": 0.02,
        "test_accuracy": ACCURACY[settings["kind"]][row][column] + shift,
        "feature_change": CHANGE[batch] * (1 + 10 * shift),
        "nngp_accuracy": [0.80 + shift, 0.81 + shift, 0.70 + shift],
        "nngp_distance": [DISTANCE[batch] + 0.3, DISTANCE[batch] + shift, DISTANCE[batch] + 0.1],
        "kernel_accuracy": [0.79, 0.80, 0.69],
        "kernel_distance": [0.6, 0.5, 0.55],
    }


def zero_runs(kinds: Sequence[str] = tuple(KINDS), **settings) -> xr.Dataset:
    """Runs from output layers of three sizes."""
    cases = [
        {
            "kind": kind,
            "width": 256,
            "base_width": 1,
            "samples": 512,
            "steps": 80,
            "batch_size": float(batch),
            "output_exponent": exponent,
            "damping": 1e-2,
            **KINDS[kind],
            **settings,
        }
        for kind in kinds
        for exponent in EXPONENTS
        for batch in BATCHES
    ]
    return runs(cases, zero_ends, (1, 5, 10, 20, 40))


def laptop() -> dict[str, xr.Dataset]:
    """All experiments as at laptop scale."""
    return {
        "lr_transfer_mlp_kfac": rates(["kfac"]),
        "lr_transfer_sgd_shampoo": rates(["sgd", "shampoo"]),
        "damping_transfer": dampings(),
        "zero_init_bias": zero_runs(),
    }
