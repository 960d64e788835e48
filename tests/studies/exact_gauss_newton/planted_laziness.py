"""Made-up runs with probes: similarities follow known curves, block outputs are known features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr

from regimes.studies.exact_gauss_newton.reading import DIMENSIONS

SETTINGS = {
    "data": "mnist1d_embedded",
    "samples": 4000.0,
    "blocks": 3.0,
    "width": 1000.0,
    "first_block_linear": True,
    "sigma": 1e-3,
    "optimizer": "gn",
    "lr_code": 0.1,
    "then": "",
    "then_lr_code": np.nan,
    "batch_size": 128.0,
    "weight_decay": 0.0,
    "cross_term": True,
    "inverse": "truncate",
    "rtol": 1e-2,
    "atol": 1e-5,
    "damping": np.nan,
    "noise": np.nan,
    "precision": "float32",
    "epochs": 4,
    "then_epochs": 0,
    "seed": 0,
}
# Loss of similarity to init per epoch, times the seed and, for blocks, their number.
SPEED = {("gn", 0.1): 0.001, ("sgd", 0.1): 0.004, ("adam", 1e-3): 0.04, ("adam", 1e-4): 0.002}
TURN = {"gn": 0.05, "sgd": 0.6, "adam": 0.1}  # cosine of the weights at epoch 10, times 10/epoch
IMAGES, FEATURES = 24, 7


def runs(
    cases: Sequence[Mapping[str, object]],
    blocks: int = 3,
    seeds: Sequence[int] = (0, 1, 2),
    with_grams: bool = True,
) -> xr.Dataset:
    """Runs of given cases over seeds, in mixed order.

    Parameters
    ----------
    cases
        Settings that differ from `SETTINGS`.
    """
    rows = [
        SETTINGS | {"blocks": float(blocks)} | dict(c) | {"seed": s} for c in cases for s in seeds
    ]
    rows = [rows[i] for i in np.random.default_rng(0).permutation(len(rows))]
    last = max(int(row["epochs"]) for row in rows)
    parts = [_run(row, last, blocks, with_grams) for row in rows]
    coords = {n: ("run", np.array([row[n] for row in rows])) for n in SETTINGS}
    coords |= {"epoch": np.arange(last + 1), "block": np.arange(1, blocks + 1)}
    coords |= {"half": np.arange(1, 2 * blocks + 1)}
    named = {
        name: (("run", *DIMENSIONS[name]), np.stack([part[name] for part in parts]))
        for name in parts[0]
    }
    return xr.Dataset(named, coords=coords)


def _run(row: Mapping, last: int, blocks: int, with_grams: bool) -> dict[str, np.ndarray]:
    """Variables of one run, NaN after its last epoch."""
    epoch = np.arange(last + 1.0)
    optimizer, rate, scale = row["optimizer"], row["lr_code"], 1 + 0.1 * row["seed"]
    speed = SPEED.get((optimizer, rate), 0.01) * scale
    block = np.arange(1, blocks + 1)
    half = np.arange(1, 2 * blocks + 1)
    moved = np.outer(epoch, half)
    found = {
        "ntk_similarity": 1 - speed * epoch,
        # Falls like 1/epoch: four times as fast at first as at the end of four epochs.
        "ntk_velocity": np.where(epoch > 0, speed / np.maximum(epoch, 1), np.nan),
        "cka_initial": 1 - speed * np.outer(epoch, block) / 2,
        "running_loss": {"gn": 1.0, "sgd": 1.5, "adam": 0.9}[optimizer] * scale + 0 * epoch,
        "weight_cosine": np.exp(np.log(TURN[optimizer] * scale) * epoch / 10)[:, None]
        * (1 + 0.01 * (half - half.mean())),
        "weight_norm": 2.0 + moved,
        "weight_change": moved,
    }
    if with_grams:
        out = outputs(optimizer, rate, row["seed"], last, blocks)
        found["probe_gram"] = (out @ out.swapaxes(-1, -2)).astype("float32")
    for values in found.values():
        values[int(row["epochs"]) + 1 :] = np.nan
    return found


def outputs(optimizer: str, rate: float, seed: int, last: int, blocks: int) -> np.ndarray:
    """Block outputs (epoch, block, image, feature): initial ones and a growing other part."""
    rng = np.random.default_rng([seed, 5])
    start = rng.standard_normal((blocks, IMAGES, FEATURES)) + 0.5
    new = np.random.default_rng([seed, len(optimizer), 6]).standard_normal(start.shape)
    reach = 10 * SPEED.get((optimizer, rate), 0.01)
    grown = reach * np.arange(last + 1)[:, None, None, None]
    return start + grown * np.arange(1, blocks + 1)[:, None, None] * new


def experiments(epochs: int = 4, blocks: int = 3, **more) -> dict[str, xr.Dataset]:
    """All three experiments of the group; GN, SGD and Adam at two learning rates."""
    pairs = [{"optimizer": o, "lr_code": r, "epochs": epochs} for o, r in SPEED]
    low = [
        {"optimizer": o, "lr_code": r, "data": "mnist1d", "epochs": 10}
        for o, r in SPEED
        if r > 5e-4
    ]
    hard = [case | {"epochs": 60} for case in low]
    return {
        "lazy_probe": runs(pairs, blocks, **more),
        "lazy_low_dim": runs(low, blocks, with_grams=False),
        "mini_batch_hard": runs(hard, blocks, with_grams=False),
    }
