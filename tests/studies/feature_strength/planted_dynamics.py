"""Made-up trajectories on dynamics with known answers, in the shapes of laptop and smoke runs."""

from __future__ import annotations

import itertools

import numpy as np
import xarray as xr

from regimes.studies.feature_strength.analyses import (
    alignment,
    alignment_cnn,
    catapult_cnn,
    catapults,
    collapse,
    staircase,
)

WIDTH = 64

# --- Made-up runs --------------------------------------------------------------------------------


def runs(axes: dict, **constants) -> xr.Dataset:
    """Settings of all combinations of axes as coordinates on ``run``."""
    points = list(itertools.product(*axes.values()))
    coords = {name: ("run", [p[i] for p in points]) for i, name in enumerate(axes)}
    coords |= {name: ("run", [value] * len(points)) for name, value in constants.items()}
    data = xr.Dataset(coords=coords)
    if "log10_gamma" in data.coords:
        data = data.assign_coords(gamma=10.0 ** data["log10_gamma"].astype(float))
    return data


def noise(data: xr.Dataset, steps: int, size: float, salt: int = 0) -> np.ndarray:
    """Multiplicative noise from step to step, its own for every run; none at step 0."""
    rng = np.random.default_rng([len(data["run"]), steps, salt])
    factor = np.exp(size * rng.standard_normal((len(data["run"]), steps)))
    factor[:, 0] = 1
    return factor


def with_loss(data: xr.Dataset, loss: np.ndarray, initial: float = 0.1) -> xr.Dataset:
    """Losses relative to the initial one, and what the engine derives from them."""
    values = np.asarray(loss, dtype=float) * initial
    data = data.assign_coords(step=np.arange(values.shape[1]))
    gone = ~np.isfinite(values) | (values > 1e30)
    diverged = np.where(gone.any(1), gone.argmax(1), -1)
    after = (diverged[:, None] >= 0) & (data["step"].values >= diverged[:, None])
    values = np.where(after, np.nan, values)
    tail = values[:, -max(1, values.shape[1] // 10) :]
    peak = np.where(diverged >= 0, 1e30, np.fmax.reduce(values, axis=1))
    data["train_loss"] = (("run", "step"), values.astype("float32"))
    data["initial_loss"] = ("run", values[:, 0])
    data["peak_loss"] = ("run", peak)
    data["final_train_loss"] = ("run", tail.mean(1))
    data["diverged_at"] = ("run", diverged)
    return data


def made_catapults(gammas=(-3, -2, -1), multiples=(0.8, 1.5, 2, 3, 4, 6, 8), seeds=3, steps=1000):
    """Loss grows as exp(t (m - 1)) to a peak 0.3 / gamma^2 and falls; m = 8 diverges if lazy."""
    axes = {"loss": ["mse"], "log10_gamma": gammas, "eta_factor": multiples, "seed": range(seeds)}
    other = axes | {"loss": ["cross_entropy"], "log10_gamma": [-2]}
    parts = [_catapult_part(runs(a, width=WIDTH, steps=steps), steps) for a in (axes, other)]
    return xr.concat(parts, dim="run")


def _catapult_part(data: xr.Dataset, steps: int) -> xr.Dataset:
    m, gamma = (data[name].values.astype(float)[:, None] for name in ("eta_factor", "gamma"))
    t = np.arange(steps)
    peak = 0.3 * m / gamma**2
    rise = np.exp(np.minimum(t * np.minimum(m - 1, 2), 80))
    fall = 0.7 + peak * np.exp(-t / 30.0)
    loss = np.where(m > 1, np.minimum(rise, fall), 0.6 + 0.4 * np.exp(-t / 50))
    loss = loss * noise(data, steps, 0.1)
    gone = (m >= 8) & (gamma < 0.05)
    loss = np.where(gone, np.exp(np.minimum(t * 3.0, 200)), loss)
    data = with_loss(data, loss)
    # eta = m 2 / (N lambda_0) with lambda_0 = 5 / gamma^2; the end lies at 0.7 of the edge.
    data["eta"] = ("run", (m * 2 / (WIDTH * 5 / gamma**2))[:, 0])
    start = 5 / gamma**2
    end = np.where(gone, np.nan, start / m * np.where(m > 1, 0.7, m))
    data["sharpness"] = (("run", "sharpness_step"), np.concatenate([start, end], axis=1))
    return data.assign_coords(sharpness_step=[0, steps])


def made_alignment(gammas=(1, 2, 3, 4), seeds=3, steps=2500, layers=2, every=5, tangent=True):
    """Plateau end 10 gamma^(1/3); CKA begins at 60 % of it; sharpness reaches the edge there."""
    axes = {"log10_gamma": gammas, "seed": range(seeds)}
    data = runs(axes, width=WIDTH, eta_rule="power")
    data["eta"] = ("run", 10 * data["gamma"].values ** (2 / 3))
    end = (15 * data["gamma"] ** (1 / 3) * (1 + 0.02 * data["seed"])).values[:, None]
    data = with_loss(data, _drop(np.arange(steps), end) * noise(data, steps, 0.03))
    kernel = np.unique(np.r_[np.arange(0, min(600, steps), every), np.arange(0, steps + 1, 20)])
    rise = 1 / (1 + (0.9 * end / np.maximum(kernel, 1e-9)) ** 6)
    # The 1.25-fold of the initial value is passed where rise = 0.25 * 0.12 / 0.66.
    last = 0.12 + 0.66 * rise
    depth = np.linspace(0.5, 1, layers)
    data["cka_label"] = (
        ("run", "kernel_step", "layer"),
        0.12 * (1 - depth) + last[:, :, None] * depth,
    )
    edge = 1.0 / (1 + (0.8 * end / np.maximum(kernel, 1e-9)) ** 4)
    raw = edge * 2 / (WIDTH * data["eta"].values[:, None])
    data["sharpness"] = (("run", "sharpness_step"), raw)
    if tangent:
        data["tangent_cka_label"] = (("run", "tangent_step"), 0.6 * last[:, ::4])
        data = data.assign_coords(tangent_step=kernel[::4])
    return data.assign_coords(
        kernel_step=kernel, sharpness_step=kernel, layer=np.arange(1, layers + 1)
    )


def _drop(t, end):
    """Relative loss that passes 0.85 at ``end``."""
    t = np.asarray(t, dtype=float)
    return 0.15 + 0.85 / (1 + (0.15 / 0.70) * (t / end) ** 6)


def made_consistency(gammas=(1, 2, 3, 4), widths=(32, 64, 128), seeds=3, steps=2500):
    """Losses that depend on tau alone and end their plateau at tau = 150; outputs 0.007 tau."""
    axes = {
        "eta_rule": ["power", "gamma"],
        "log10_gamma": gammas,
        "width": widths,
        "seed": range(seeds),
    }
    data = runs(axes)
    gamma = data["gamma"].values
    eta = np.where(data["eta_rule"].values == "power", 10 * gamma ** (2 / 3), gamma)
    data["eta"] = ("run", eta)
    rate = (eta / gamma)[:, None]
    end = 150 / rate
    data = with_loss(data, _drop(np.arange(steps), end) * noise(data, steps, 0.02))
    outputs = np.unique(np.round(np.geomspace(1, steps, 60)).astype(int)) - 1
    scaled = 0.0075 * rate * outputs * (1 + 1e-3 * np.log10(gamma)[:, None])
    data["mean_output"] = (("run", "output_step"), np.minimum(scaled / gamma[:, None], 0.1))
    return data.assign_coords(output_step=outputs)


def made_staircase(gammas=(0, 3), seeds=3, steps=1500):
    """gamma > 1: plateau at 0.1 to 140, at 0.08 to 800, then 0.01; gamma = 1 falls through."""
    data = runs({"log10_gamma": gammas, "seed": range(seeds)})
    test = np.arange(0, steps + 1, 5)
    rich = (data["log10_gamma"].values > 1)[:, None]
    stairs = np.interp(test, [0, 140, 160, 780, 1100], [0.1, 0.1, 0.08, 0.08, 0.01])
    smooth = 0.01 + 0.09 * np.exp(-test / 40)
    data["test_loss"] = (("run", "test_step"), np.where(rich, stairs, smooth))
    return data.assign_coords(test_step=test)


def made_toy(steps=8000):
    """Analysis of the three-mode toy: squared errors that halve at 658, 2026 and 5426."""
    target, half = np.array([1.0, 0.3, 0.1]), np.array([658.0, 2026, 5426])
    step = np.arange(0, steps + 1, 10)
    error = target[:, None] ** 2 / (1 + (step / half[:, None]) ** 12)
    reached = np.where(half <= steps, half, np.nan)
    dims = ("log10_gamma", "step", "mode")
    return xr.Dataset(
        {
            "total_loss": (dims[:2], error.sum(0)[None] / 2),
            "mode_error": (dims, error.T[None]),
            "half_step": (("log10_gamma", "mode"), reached[None]),
            "half_step_theory": (("log10_gamma", "mode"), half[None] * 1.02),
            "target": ("mode", target),
        },
        coords={"log10_gamma": [3.0], "mode": [1, 2, 3], "step": step},
    )


def analysed(smoke: bool = False) -> dict[str, xr.Dataset]:
    """All analyses of the figures on made-up runs of the laptop's or the smoke run's shape."""
    if smoke:
        small = {"seeds": 2, "steps": 20}
        sweep = {"gammas": (-2, -1), "multiples": (0.8, 2), **small}
        catapult = made_catapults(**sweep)
        cnn = catapult.isel(run=np.flatnonzero(catapult["loss"].values == "mse"))
        rich = made_alignment((1, 3), **small)
        rich_cnn = made_alignment((1, 3), layers=3, tangent=False, **small)
        consistency = made_consistency((1, 3), (16,), **small)
        stairs = made_staircase(**small)
    else:
        catapult = made_catapults()
        cnn = made_catapults((-2,), (0.8, 1.5, 2, 4), seeds=1, steps=300)
        cnn = cnn.isel(run=np.flatnonzero(cnn["loss"].values == "mse"))
        rich = made_alignment()
        rich_cnn = made_alignment((1, 2, 3), seeds=1, steps=1000, layers=3)
        consistency = made_consistency()
        stairs = made_staircase()
    return {
        "catapults": catapults.analyse({"catapult_mlp": catapult}),
        "catapult_cnn": catapult_cnn.analyse({"catapult_cnn": cnn}),
        "alignment": alignment.analyse({"alignment_mlp": rich}),
        "alignment_cnn": alignment_cnn.analyse({"alignment_cnn": rich_cnn}),
        "collapse": collapse.analyse({"rich_consistency": consistency}),
        "staircase": staircase.analyse({"staircase_mlp": stairs}),
        "toy_staircase": made_toy(20 if smoke else 8000),
    }
