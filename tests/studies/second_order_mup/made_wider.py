"""Made-up trained runs of group "wider": losses and accuracies with planted answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import product

import numpy as np
import xarray as xr

PARAMETERIZATIONS = ("sp", "mup")
PER_EPOCH = 10  # updates
STEPS = np.array([0, 1, 5, 10, 20, 30, 40])  # records; those from 10 on are whole epochs


def runs(
    settings: Sequence[Mapping[str, object]],
    values: Callable[[Mapping[str, object]], Mapping[str, np.ndarray]],
    steps: np.ndarray = STEPS,
) -> xr.Dataset:
    """Trained runs as an analysis sees them.

    Parameters
    ----------
    settings
        Of each run; common ones are filled in.
    values
        From the settings of a run to curves over ``steps``; from the first value that is not
        finite on, the run counts as diverged. A scalar ``diverged_at`` wins over that.
    """
    common = {
        "model": "cnn",
        "data": "digits",
        "optimizer": "kfac",
        "lr": 0.01,
        "batch_size": 100.0,
        "base_width": 1,
    }
    full = [common | dict(each) | {"steps": int(steps[-1])} for each in settings]
    curves = [dict(values(each)) for each in full]
    diverged = [c.pop("diverged_at", _first_lost(c["train_loss"], steps)) for c in curves]
    data = {
        name: (("run", "step"), np.array([np.broadcast_to(c[name], steps.shape) for c in curves]))
        for name in curves[0]
    }
    data["epoch"] = (("run", "step"), np.tile(steps / PER_EPOCH, (len(full), 1)))
    data["diverged_at"] = ("run", np.array(diverged))
    coords = {name: ("run", np.array([each[name] for each in full])) for name in full[0]}
    found = xr.Dataset(data, {"step": steps, **coords})
    for name in found.variables:
        found[name].attrs = {"long_name": str(name), "units": "1"}
    return found


def _first_lost(loss: np.ndarray, steps: np.ndarray) -> int:
    lost = np.flatnonzero(~np.isfinite(np.broadcast_to(loss, steps.shape)))
    # Divergence happens before the first record that shows it.
    return int(steps[lost[0]]) - 1 if lost.size else -1


def grid(seeds: int = 3, **axes: Sequence) -> list[dict]:
    """Settings of all combinations, both parameterizations and some seeds."""
    names = [*axes, "parameterization", "seed"]
    return [
        dict(zip(names, each, strict=True))
        for each in product(*axes.values(), PARAMETERIZATIONS, range(seeds))
    ]


def wide_losses(setting: Mapping[str, object]) -> dict[str, np.ndarray]:
    """MuP: loss falls with the width at all times. SP: the narrower, the better at the end."""
    width, seed = float(setting["width"]), float(setting["seed"])
    rate = np.log2(width) if setting["parameterization"] == "mup" else 12 / np.log2(width)
    jitter = 1 + 0.002 * (seed - 1)
    loss = np.exp(-0.02 * rate * STEPS) * jitter
    accuracy = 1 - 0.9 * loss
    return {"train_loss": loss, "test_loss": loss, "test_accuracy": accuracy}


def experiments(seeds: int = 3) -> dict[str, xr.Dataset]:
    """All experiments of the group, as at gpu scale, with these losses or plain accuracies."""

    def words(setting: Mapping[str, object]) -> dict[str, np.ndarray]:
        found = wide_losses(setting)
        found.pop("test_accuracy")
        share = 0.05 * np.log2(float(setting["width"])) * (1 - found["train_loss"])
        return {**found, "analogy_accuracy": share}

    def multiplier(setting: Mapping[str, object]) -> dict[str, np.ndarray]:
        ahead = setting["parameterization"] == "mup"
        level = 0.6 + 0.05 * np.log2(float(setting["width"])) + 0.002 * float(setting["seed"])
        level += ahead * (0.01 * np.log2(float(setting["width"])) - 0.005)
        return {"train_loss": 1 - STEPS / 50, "test_accuracy": level * STEPS / STEPS[-1]}

    def robust(setting: Mapping[str, object]) -> dict[str, np.ndarray]:
        ahead = 0.02 if setting["parameterization"] == "mup" else 0.0
        level = 0.8 - 0.03 * (np.log2(setting["lr"]) + 8) ** 2 + ahead
        level += 0.01 * float(setting["seed"])
        lost = setting["lr"] > 0.02 and setting["parameterization"] == "sp"
        loss = np.where(STEPS > 5, np.nan, 1.0) if lost else 1 - STEPS / 50
        return {"train_loss": loss, "test_accuracy": np.where(np.isnan(loss), np.nan, level)}

    word = {"model": ["cbow"], "data": ["made_text"], "optimizer": ["shampoo", "kfac"]}
    net = {"model": ["resnet8"], "data": ["colour_motifs"]}
    vgg = {"model": ["vgg19"], "data": ["cifar100"], "optimizer": ["shampoo", "kfac"]}
    rates = [2.0**k for k in (-11, -9, -8, -7, -5)]
    return {
        "wider_cbow": runs(grid(seeds, width=[32, 64, 128, 256], **word), words),
        "wider_myrtle5": runs(grid(seeds, width=[8, 16, 32, 64]), wide_losses),
        "acc_vgg19": runs(grid(seeds, width=[1, 2, 4, 8], **vgg), multiplier),
        "acc_resnet18": runs(grid(seeds, width=[1, 2, 4], **net), multiplier),
        "lr_robustness_resnet": runs(grid(seeds, width=[4], lr=rates, **net), robust),
    }
