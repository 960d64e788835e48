"""Made-up experiments with known plateaus, spectra and agreement, in the form that training has.

Shapes: ``laptop`` as in the study's configuration, ``smoke`` tiny (T = 20, two gammas).
"""

from __future__ import annotations

from itertools import product

import numpy as np
import xarray as xr

SMOKE_GAMMAS, SEEDS = (-1.0, 1.0), {"laptop": 3, "smoke": 2}
PLATEAU = 15.0  # steps of the plateau at gamma = 1, growing as gamma^(1/3)


def settings(gammas, seeds: int, **axes) -> dict[str, np.ndarray]:
    """Columns of a full grid over log10_gamma, seed and further axes."""
    names = ["log10_gamma", "seed", *axes]
    columns = zip(*product(gammas, range(seeds), *axes.values()), strict=True)
    return {name: np.array(column) for name, column in zip(names, columns, strict=True)}


def steps_of(last: int) -> np.ndarray:
    """Steps 0, 1, 2, 5, 10, ... and the last one."""
    steps = {0, last} | {f * 10**k for k in range(6) for f in (1, 2, 5)}
    return np.array(sorted(step for step in steps if step <= last))


def level(step: np.ndarray, plateau: np.ndarray, tail: np.ndarray) -> np.ndarray:
    """Loss over its initial value: a plateau that ends near ``plateau``, then a power law."""
    scaled = np.asarray(step, dtype=float) / plateau
    left = 1 / (1 + (scaled / 0.9) ** 5 / 6)
    return left + (1 - left) * 0.5 * np.maximum(scaled, 0.5) ** -tail


def dataset(variables: dict, columns: dict[str, np.ndarray], **coords) -> xr.Dataset:
    """Dataset over ``run`` with the settings as coordinates."""
    runs = {name: ("run", values) for name, values in columns.items()}
    return xr.Dataset(
        {name: (dims, values, {"units": "1"}) for name, (dims, values) in variables.items()},
        coords=runs | coords,
    )


def trained(columns: dict, last: int, *, noise: float = 0.04, factor=1.0) -> xr.Dataset:
    """Losses of runs: all but the plateau is a function of step / plateau.

    Columns ``depth`` and ``eta_factor`` are added where they are missing; the loss is smallest
    where eta_factor is 1.
    """
    count = len(columns["seed"])
    columns = {
        "depth": np.full(count, 3),
        "width": np.full(count, 64),
        "steps": np.full(count, last),
        "eta_factor": np.ones(count),
        "log10_eta": np.zeros(count),
        **columns,
    }
    gamma = 10.0 ** columns["log10_gamma"]
    depth = columns["depth"]
    rule = np.where(gamma < 1, gamma**2, gamma ** (2 / depth))
    plateau = PLATEAU * np.maximum(gamma, 0.3) ** (1 - 2 / depth)
    tail = np.where(gamma < 0.05, 0.01, np.where(gamma < 0.5, 0.05, 0.2))
    penalty = 1 + 0.2 * np.abs(np.log(columns["eta_factor"]))
    step, test_step = np.arange(last), steps_of(last)
    rng = np.random.default_rng(0)

    def loss(at: np.ndarray) -> np.ndarray:
        clean = level(at, plateau[:, None], tail[:, None])
        return np.minimum(0.1 * clean * np.where(clean < 0.7, penalty[:, None], 1), 0.1)

    clean = loss(step)
    scatter = 1 + noise * rng.standard_normal(clean.shape) * (1 - clean / 0.1)
    data = dataset(
        {
            "eta": (("run",), factor * columns["eta_factor"] * rule),
            "initial_loss": (("run",), np.full(count, 0.1)),
            "peak_loss": (("run",), np.full(count, 0.101)),
            "final_train_loss": (("run",), clean[:, -max(1, last // 10) :].mean(1)),
            "diverged_at": (("run",), np.full(count, -1)),
            "train_loss": (("run", "step"), (clean * scatter).astype("float32")),
            "test_loss": (("run", "test_step"), loss(test_step)),
            "test_accuracy": (("run", "test_step"), 1.0 - 9 * loss(test_step)),
        },
        columns,
        step=step,
        test_step=test_step,
    )
    return data.assign_coords(gamma=("run", gamma))


def loss_curves(shape: str) -> xr.Dataset:
    """Seven gammas over 8000 steps."""
    gammas, last = (range(-2, 5), 8000) if shape == "laptop" else (SMOKE_GAMMAS, 20)
    return trained(settings(gammas, SEEDS[shape]), last)


def accuracy_equal_time(shape: str) -> xr.Dataset:
    """As `loss_curves`, with several learning rates."""
    gammas, last = (range(-2, 5), 8000) if shape == "laptop" else (SMOKE_GAMMAS, 20)
    factors = (0.3, 1.0, 3.0, 10.0) if shape == "laptop" else (1.0, 3.0)
    data = trained(settings(gammas, SEEDS[shape], eta_factor=factors), last)
    # The largest rate diverges for one seed of the lazy runs.
    lost = (data["eta_factor"] == max(factors)) & (data["seed"] == 1) & (data["log10_gamma"] < 0)
    for name in ("test_loss", "test_accuracy", "final_train_loss"):
        data[name] = data[name].where(~lost)
    return data


def hessian(shape: str, depths=(3,), last: int = 4000, rank: int = 50, seeds=None) -> xr.Dataset:
    """Sharpness gamma^-2 when lazy; when rich 1/gamma, then 0.9 of the edge of stability.

    Lazy spectra have ten outliers, rich ones fall as k^-1/2. Only depth 3 has spectra.
    """
    gammas = range(-3, 5) if shape == "laptop" else SMOKE_GAMMAS
    if shape == "smoke":
        last, rank = 20, 12
    columns = settings(gammas, seeds or SEEDS[shape], depth=depths)
    columns["steps"] = np.where(columns["depth"] == 2, last * 5 // 8, last)
    data = trained(columns, last, factor=9.0)
    step = np.unique(np.append(steps_of(last), last * 5 // 8))
    gamma, eta = 10.0 ** columns["log10_gamma"], data["eta"].values
    plateau = PLATEAU * np.maximum(gamma, 0.3) ** (1 - 2 / columns["depth"])
    rng = np.random.default_rng(1)
    spread = 1 + 0.02 * rng.standard_normal(len(gamma))
    lazy = gamma < 0.5
    begin = np.where(lazy, 1e-3 / gamma**2, 5e-3 / gamma) * spread
    final = np.where(lazy, 1.1e-3 / gamma**2, 0.9 * 2 / (64 * eta)) * spread
    share = 1 / (1 + (plateau[:, None] / np.maximum(step, 1e-9)) ** 4)
    sharpness = begin[:, None] ** (1 - share) * final[:, None] ** share
    beyond = step > columns["steps"][:, None]
    # A run stores its own steps only.
    foreign = (step == last * 5 // 8) & (columns["depth"] != 2)[:, None]
    sharpness = np.where(beyond | foreign, np.nan, sharpness)
    index = np.arange(1, rank + 1)
    outliers = np.where(index <= 10, index**-0.3, 0.2 * (index / 10.0) ** -1)
    shape_of = np.where(lazy[:, None], outliers, index**-0.5)
    spectrum_step = step[::3] if step[-1] in step[::3] else np.append(step[::3], step[-1])
    chosen = np.isin(step, spectrum_step)
    spectrum = sharpness[:, chosen, None] * shape_of[:, None, :]
    spectrum[columns["depth"] != 3] = np.nan
    lowest = np.where(lazy, -0.01 / gamma**2, -6e-3 / gamma)
    new = {
        "sharpness": (("run", "sharpness_step"), sharpness),
        "lowest_eigenvalue": (("run", "sharpness_step"), lowest[:, None] * sharpness / sharpness),
        "sharpness_residual": (("run", "sharpness_step"), 1e-4 * sharpness / sharpness),
        "spectrum": (("run", "spectrum_step", "rank"), spectrum),
    }
    if 3 not in depths:
        del new["spectrum"]
    return data.assign(new).assign_coords(
        sharpness_step=step, spectrum_step=spectrum_step, rank=index
    )


def universality(shape: str, rich: float = 0.97, lazy: float = 0.65) -> xr.Dataset:
    """Outputs and kernels in two clusters with known correlation inside and 0.6 across."""
    gammas, depths, last = ((-2, 0, 1, 2, 3), (2, 3), 8000) if shape == "laptop" else (
        SMOKE_GAMMAS, (2, 3), 20
    )  # fmt: skip
    samples, points = (1000, 128) if shape == "laptop" else (30, 16)
    columns = settings(gammas, SEEDS[shape], depth=depths)
    data = trained(columns, last)
    count, rng = len(columns["seed"]), np.random.default_rng(2)
    is_lazy = columns["log10_gamma"] < -0.5
    labels = np.eye(10)[rng.integers(0, 10, samples)]
    common, own = labels - 0.1, rng.standard_normal((count, samples, 10))
    common = common / common.std()
    side = rng.standard_normal((samples, 10))
    across = 0.6
    # f = a common + b side + c own has unit variance; a_lazy a_rich = across.
    a = np.where(is_lazy, across / np.sqrt(rich), np.sqrt(rich))
    b = np.sqrt(np.where(is_lazy, lazy, rich) - np.minimum(a**2, np.where(is_lazy, lazy, rich)))
    c = np.sqrt(1 - a**2 - b**2)
    weights = [value[:, None, None] for value in (a, b, c)]
    outputs = 0.1 + 0.2 * (weights[0] * common + weights[1] * side + weights[2] * own)
    hidden = rng.standard_normal((points, 40))
    cluster = rng.standard_normal((points, 40))
    features = np.where(is_lazy[:, None, None], hidden, cluster)
    features = features + 0.2 * rng.standard_normal((count, points, 40))
    kernels = features @ features.transpose(0, 2, 1) / 40
    step = steps_of(last)
    begin = np.where(columns["depth"] == 3, 0.12, 0.17)
    final = np.where(is_lazy, begin, np.where(columns["depth"] == 3, 0.78, 0.31))
    plateau = PLATEAU * np.maximum(10.0 ** columns["log10_gamma"], 0.3) ** (1 / 3)
    share = 1 / (1 + (plateau[:, None] / np.maximum(step, 1e-9)) ** 2)
    alignment = begin[:, None] + (final - begin)[:, None] * share
    alignment = np.stack([alignment * 0.8, alignment], axis=-1)
    shallow = columns["depth"] == 2
    alignment[shallow, :, 0] = alignment[shallow, :, 1]
    alignment[shallow, :, 1] = np.nan
    new = {
        "outputs": (("run", "sample", "output_class"), outputs.astype("float32")),
        "last_kernel": (("run", "kernel_sample", "kernel_other"), kernels.astype("float32")),
        "cka_label": (("run", "kernel_step", "layer"), alignment),
    }
    return data.assign(new).assign_coords(kernel_step=step, layer=[1, 2])


def plateau_vit(shape: str) -> xr.Dataset:
    """Several learning rates; the last kernel of lazy runs moves by 1 %, above eta_crit a lot."""
    gammas, last = (range(-2, 5), 1000) if shape == "laptop" else (SMOKE_GAMMAS, 20)
    columns = settings(gammas, 2, eta_factor=(0.3, 1.0, 3.0) if shape == "laptop" else (1.0, 3.0))
    data = trained(columns, last)
    step = steps_of(last)
    lazy = columns["log10_gamma"] < -0.5
    catapult = lazy & (columns["eta_factor"] == 3.0)
    final = np.where(catapult, 0.3, np.where(lazy, 0.99, 0.1))
    similarity = np.stack([1 + (final - 1)[:, None] * (step / last)] * 3, axis=-1)
    similarity[:, :, :2] = 0.5  # other layers do not count
    peak = np.where(catapult, 4.0, 0.1)
    new = {"cka_initial": (("run", "kernel_step", "layer"), similarity), "peak_loss": ("run", peak)}
    return data.assign(new).assign_coords(kernel_step=step, layer=[1, 2, 3])


def experiments(shape: str) -> dict[str, xr.Dataset]:
    """All experiments that the spectra analyses read."""
    return {
        "loss_curves": loss_curves(shape),
        "accuracy_equal_time": accuracy_equal_time(shape),
        "accuracy_mnist1d": accuracy_equal_time(shape),
        "hessian_mlp": hessian(shape, depths=(2, 3, 4)),
        "hessian_cnn": hessian(shape, depths=(4,), last=500, rank=20, seeds=1),
        "hessian_vit": hessian(shape, last=500, rank=10, seeds=1),
        "universality": universality(shape),
        "plateau_vit": plateau_vit(shape),
    }
