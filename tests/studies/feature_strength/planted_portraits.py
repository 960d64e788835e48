"""Made-up runs of a portrait: the wedge of the theory with known edges, no training.

All edges are decimal logarithms. Below the lower edge a run is too slow: its loss decays as
exp(-t/tau) with tau inversely proportional to eta, so that the lower edge moves as 1/T. Above the
upper edge networks are dead (rich) or diverged (lazy); with cross-entropy they oscillate between
the threshold of catapults and the edge of accuracy.
"""

from __future__ import annotations

import numpy as np
import xarray as xr

LEVEL_MAX, LEVEL_MIN, LEVEL_ACCURATE = 1.5, -0.5, 1.5
RICH_NAN = 1.5  # decades between useful and NaN-free edge in the rich regime
STEP = 0.25
GAMMAS = np.arange(-4, 4.01, 0.5)


def piecewise(log10_gamma, lazy: float, rich: float, level: float):
    """Power law with one exponent below and one above gamma = 1."""
    g = np.asarray(log10_gamma, dtype=float)
    return level + np.where(g < 0, lazy, rich) * g


def planted_edges(log10_gamma, loss: str, depth: int, sign: bool = False) -> dict[str, np.ndarray]:
    """Edges opt_max, opt_min, accuracy and NaN-free of the made-up runs, before rounding."""
    g = np.asarray(log10_gamma, dtype=float)
    if sign:
        top = piecewise(g, 1, 1 / depth, LEVEL_MAX)
        low = piecewise(g, 1, 1 / depth, LEVEL_MIN)
        return {"opt_max": top, "opt_min": low, "accurate": top, "finite": top + RICH_NAN}
    top = piecewise(g, 2, 2 / depth, LEVEL_MAX)
    low = piecewise(g, 2, 1, LEVEL_MIN)
    if loss == "mse":
        return {
            "opt_max": top,
            "opt_min": low,
            "accurate": top,
            "finite": top + np.where(g < 0, 0.5, RICH_NAN),
        }
    accurate = piecewise(g, 1, 2 / depth, LEVEL_ACCURATE)
    return {"opt_max": top, "opt_min": low, "accurate": accurate, "finite": accurate + RICH_NAN}


def planted_runs(
    loss: str = "mse",
    depth: int = 3,
    gammas=GAMMAS,
    step: float = STEP,
    seeds: int = 3,
    steps: int = 500,
    shift=None,
    top: float = 3.0,
    bottom: float = -1.0,
    shuffle: bool = False,
    **settings,
) -> xr.Dataset:
    """Trained runs as an analysis sees them, with the edges of `planted_edges`.

    Parameters
    ----------
    shift
        Decades by which the edges of each seed are moved (seeds,); none by default.
    top, bottom
        Window of the learning rate relative to the upper and lower edge, decades.
    settings
        Further coordinates of all runs, such as width; ``optimizer`` changes the edges.
    """
    sign = settings.get("optimizer") == "sign"
    shift = np.zeros(seeds) if shift is None else np.asarray(shift, dtype=float)
    rows = []
    for g in gammas:
        edge = {k: float(v) for k, v in planted_edges(g, loss, depth, sign).items()}
        high = max(edge["accurate"], edge["opt_max"]) - LEVEL_MAX + top
        first = np.ceil((edge["opt_min"] + bottom) / step - 1e-9)
        for multiple in np.arange(first, np.floor(high / step + 1e-9) + 1):
            rows += [(g, multiple * step, seed) for seed in range(seeds)]
    table = np.array(rows)
    if shuffle:
        np.random.default_rng(0).shuffle(table)
    g, eta, seed = table.T
    edge = planted_edges(g, loss, depth, sign)
    tiny = 1e-6
    eta_own = eta - shift[seed.astype(int)]  # the wedge moves, the grid does not
    trains = eta_own <= edge["opt_max"] + tiny
    accurate = eta_own <= edge["accurate"] + tiny
    diverges = eta_own > edge["finite"] + tiny
    initial = 0.1 if loss == "mse" else np.log(10)
    # Loss below 0.7 initial over the last tenth of the steps exactly from the lower edge on.
    rate = np.log(1 / 0.69) / 0.95 * 10.0 ** (eta_own - edge["opt_min"])
    time = np.arange(steps) / steps
    floor = 0.2 + 0.05 * np.abs(eta_own - (edge["opt_max"] - STEP))
    share = np.maximum(np.exp(-np.minimum(rate[:, None] * time, 50)), floor[:, None])
    share[~trains] = np.where(accurate, 3.0, 0.9)[~trains, None]
    share[:, 0] = 1.0
    share[diverges, steps // 5 :] = np.nan
    last = max(steps // 10, 1)
    final = initial * share[:, -last:].mean(axis=1)
    accuracy = np.where(trains, 0.95 - 0.5 * share[:, -1], np.where(accurate, 0.8, 0.1))
    accuracy = np.where(diverges, np.nan, accuracy)
    peak = np.where(diverges, 1e30, initial * np.where(trains, 1.0, 3.0))
    test_step = np.array([0, steps // 2, steps])
    grown = 0.1 + (accuracy[:, None] - 0.1) * test_step / steps
    coords = {
        "seed": seed.astype(int),
        "architecture": "mlp",
        "depth": depth,
        "width": 64,
        "batch_size": 64,
        "steps": steps,
        "stream": "gmm30",
        "loss": loss,
        "optimizer": "sgd",
        "log10_gamma": g,
        "log10_eta": eta,
    } | settings
    units = {"units": "1"}
    result = xr.Dataset(
        {
            "eta": ("run", 10.0**eta),
            "initial_loss": ("run", np.full(len(g), initial)),
            "peak_loss": ("run", peak),
            "final_train_loss": ("run", final),
            "diverged_at": ("run", np.where(diverges, steps // 5, -1)),
            "train_loss": (("run", "step"), (initial * share).astype(np.float32)),
            "test_accuracy": (("run", "test_step"), grown),
        },
        coords={"test_step": test_step, "step": np.arange(steps)},
    )
    for variable in result.variables.values():
        variable.attrs = {"long_name": "made up", **units}
    values = {n: ("run", np.broadcast_to(v, len(g)), units) for n, v in coords.items()}
    return result.assign_coords(values)
