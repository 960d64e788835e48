"""Made-up displacements with planted exponents and levels, in the shapes of laptop and smoke runs.

Written down directly, without the study's theory: ln of the squared global displacement is a
broken line in ln k (slope 2.3 up to 1 / (1 - beta) steps, then the planted exponent), the squared
local displacement rises as 1 - beta^(2k) to eta^2 TRACE / (S (1 - beta^2)) times a planted factor.
"""

from __future__ import annotations

import itertools

import numpy as np
import xarray as xr

from regimes.studies.limiting_dynamics.analyses import (
    cifar_displacements,
    cifar_sweeps,
    displacements,
    grid,
    lengths,
    sweeps,
    weight_decay,
)

TRACE = 21.4
ETA, SIZE, BETA = 2e-4, 64, 0.9
SMALL_EXPONENT, MIDDLE_EXPONENT, LARGE_EXPONENT = 1.40, 0.96, 0.43  # at eta 5e-5, 2e-4, 1e-3
INITIAL_SLOPE = 2.3
EXCESS = {"eta": (1e-2, 1.02), "batch_size": (8, 1.025), "momentum": (0.99, 0.985)}


def runs(axes: dict, model: str = "mlp", **constants) -> xr.Dataset:
    """All combinations of axes (and the defaults) as coordinates on ``run``."""
    points = list(itertools.product(*axes.values()))
    settings = {
        "eta": ETA,
        "batch_size": SIZE,
        "momentum": BETA,
        "weight_decay": 1e-4,
        "model": model,
        "hidden": 24,
    } | constants
    coords = {name: ("run", [value] * len(points)) for name, value in settings.items()}
    coords |= {name: ("run", [p[i] for p in points]) for i, name in enumerate(axes)}
    return xr.Dataset(coords=coords)


def planted(data, exponent, steps, every=1, factor=1.0, scatter=0.05, bend=None, last=None):
    """Displacements with planted exponents (per run) and levels; seeds differ by known amounts.

    Over the seeds 0..n-1 the exponent is spread by .02 per seed about its mean.
    """
    seeds = data["seed"].values
    spread = 0.02 * (seeds - np.unique(seeds).mean())
    c = (np.broadcast_to(exponent, seeds.shape) + spread)[:, None]
    beta, eta, size = (
        data[n].values.astype(float)[:, None] for n in ("momentum", "eta", "batch_size")
    )
    k = np.unique(np.r_[np.arange(1, min(20, steps) + 1), np.arange(every, steps + 1, every)])
    rng = np.random.default_rng([len(seeds), steps])
    level = eta**2 * TRACE / (size * (1 - beta**2)) * np.reshape(factor, (-1, 1))
    # Independent noise of unit mean.
    noise = 1 + scatter * rng.uniform(-1, 1, (len(seeds), len(k)))
    data["local_displacement"] = (("run", "step"), level * (1 - beta ** (2 * k)) * noise)
    start = 1 / (1 - beta) if bend is None else bend
    x, at = np.log(k), np.log(start)
    line = np.where(x < at, INITIAL_SLOPE * x, INITIAL_SLOPE * at + c * (x - at))
    data["global_displacement"] = (("run", "step"), level * (1 - beta**2) * np.exp(line))
    constant = ("run", [steps] * len(seeds))
    data = data.assign_coords(step=k, steps=constant, length=constant)
    data["diverged_at"] = ("run", np.full(len(seeds), -1))
    if last is not None:
        known = data["step"] <= xr.DataArray(last, dims="run")
        for name in ("local_displacement", "global_displacement"):
            data[name] = data[name].where(known)
    return data


def with_performance(data, steps, change=0.001, every=1000):
    """Train accuracy that rises by a known amount from .587, and what goes with it."""
    when = np.arange(0, steps + 1, min(every, steps))
    share = when / when[-1]
    sign = np.where(data["seed"].values % 2, -1, 1)[:, None]
    accuracy = 0.587 + sign * change * share
    data["train_accuracy"] = (("run", "evaluation_step"), accuracy)
    data["test_accuracy"] = (("run", "evaluation_step"), accuracy - 0.01)
    data["train_loss"] = (("run", "evaluation_step"), 1.4 + 0 * accuracy)
    rate = data["eta"].values[:, None]
    data["test_loss"] = (("run", "evaluation_step"), 1.42 + 20 * rate * share)
    return data.assign_coords(evaluation_step=when)


def geometry(trace=TRACE, model="mlp", hidden=24.0):
    """Measured tr(Sigma) of one start point; ``hidden`` is a float here on purpose."""
    data = runs({"seed": [0]}, model=model, hidden=hidden)
    data["noise_trace"] = ("run", [trace])
    return data


def made_converged(steps=10_000, seeds=4, rates=(5e-5, 2e-4, 1e-3)):
    data = runs({"eta": rates, "seed": range(seeds)})
    exponents = {5e-5: SMALL_EXPONENT, 2e-4: MIDDLE_EXPONENT, 1e-3: LARGE_EXPONENT}
    c = np.array([exponents[eta] for eta in data["eta"].values])
    every = max(steps // 10, 1)
    return with_performance(planted(data, c, steps), steps, every=every)


def swept_exponent(data):
    """c = .97 - .4 log10(eta/2e-4) + .2 log10(S/64) + .6 log10((1-beta)/.1)."""
    eta, size, beta = (data[n].values.astype(float) for n in ("eta", "batch_size", "momentum"))
    return (
        0.97
        - 0.4 * np.log10(eta / ETA)
        + 0.2 * np.log10(size / SIZE)
        + 0.6 * np.log10((1 - beta) / (1 - BETA))
    )


RATES = (5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2)
SIZES = (8, 16, 32, 64, 128, 256, 512)
MOMENTA = (0.8, 0.85, 0.9, 0.95, 0.98, 0.99)


def made_sweep(setting, values, steps=8000, seeds=4, **constants):
    """One sweep; the level at the setting in `EXCESS` is off the theory by a known factor."""
    data = runs({setting: values, "seed": range(seeds)}, **constants)
    at, factor = EXCESS[setting]
    off = np.where(np.isclose(data[setting].values.astype(float), at), factor, 1.0)
    data = planted(data, swept_exponent(data), steps, factor=off)
    return with_performance(data, steps, every=max(steps // 2, 1))


def made_sweeps(steps=8000, seeds=4, prefix="", thin=1, **constants):
    names = {"sweep_eta": ("eta", RATES), "sweep_batch": ("batch_size", SIZES)}
    names["sweep_beta"] = ("momentum", MOMENTA)
    return {
        prefix + name: made_sweep(setting, values[::thin], steps, seeds, **constants)
        for name, (setting, values) in names.items()
    }


def made_grid(steps=8000, seeds=3, rates=(1e-4, 2e-4, 1e-3), sizes=(32, 64, 128), **constants):
    axes = {"eta": rates, "batch_size": sizes, "momentum": (0.9, 0.99), "seed": range(seeds)}
    data = runs(axes, **constants)
    return planted(data, swept_exponent(data), steps, bend=100.0)


def made_long(steps=80_000, seeds=3):
    """Slope 1.2 up to 2000 steps, .5 from then on."""
    data = planted(runs({"seed": range(seeds)}), 0.5, steps, every=min(10, max(steps // 20, 1)))
    k = data["step"].values.astype(float)
    x, at = np.log(k), np.log(2000.0)
    c = 0.02 * (data["seed"].values - data["seed"].values.mean())[:, None]
    line = np.where(x < at, (1.2 + c) * x, (1.2 + c) * at + (0.5 + c) * (x - at))
    data["global_displacement"] = (("run", "step"), 1e-6 * np.exp(line))
    return data


def made_decay(steps=8000, seeds=2):
    data = runs({"weight_decay": (1e-4, 1e-3, 1e-2, 1e-1, 1.0), "seed": range(seeds)})
    decay = data["weight_decay"].values
    data = planted(data, 1 + 0 * decay, steps)
    fade = np.exp(-decay[:, None] * data["step"].values / steps)
    data["local_displacement"] = data["local_displacement"] * (("run", "step"), fade)[1]
    data["weight_norm2"] = (("run", "step"), 40 * fade**2)
    data = with_performance(data, steps, every=max(steps // 8, 1))
    lost = 0.4 * (decay >= 0.1)[:, None] * data["evaluation_step"].values / steps
    data["train_accuracy"] = data["train_accuracy"] - (("run", "evaluation_step"), lost)[1]
    return data


def made_cifar_resume(steps=1960, seeds=1):
    """Two nets on CIFAR-10, recorded every 10 steps; a longer run is there for projections."""
    parts = []
    for model, c in (("resnet18", 1.54), ("resnet34", 1.41)):
        data = runs({"seed": range(seeds)}, model=model, eta=1e-4, batch_size=256)
        parts.append(with_performance(planted(data, c, steps, every=10), steps, every=196))
    longer = runs({"seed": range(seeds)}, model="resnet18", eta=1e-4, batch_size=256)
    longer = planted(longer, 1.0, 4 * steps, every=10)
    parts.append(with_performance(longer, 4 * steps, every=196))
    return xr.concat(parts, dim="run", join="outer")


def made_pretrain():
    data = runs({"model": ("resnet18", "resnet34"), "seed": [0]})
    data["train_accuracy"] = (("run", "evaluation_step"), [[0.1, 0.9995], [0.1, 0.999]])
    data["test_accuracy"] = (("run", "evaluation_step"), [[0.1, 0.930], [0.1, 0.919]])
    return data.assign_coords(evaluation_step=[0, 19_600])


def made_cifar_sweeps(steps=780, seeds=1):
    """Levels ten times too large at S = 32."""
    settings = {
        "eta": (1e-5, 1e-4, 3e-4, 1e-3),
        "batch_size": (32, 64, 256, 1024),
        "momentum": (0.8, 0.9, 0.95, 0.99),
    }
    result = {}
    for name, (setting, values) in zip(
        ("cifar_sweep_eta", "cifar_sweep_batch", "cifar_sweep_beta"), settings.items(), strict=True
    ):
        base = {"eta": 1e-4, "batch_size": 256} | {"model": "resnet18"}
        axes = {setting: values, "seed": range(seeds)}
        data = runs(axes, **{k: v for k, v in base.items() if k not in axes})
        factor = np.where(data["batch_size"].values == 32, 10.0, 1.0)
        c = 1.26 + 5.4 * np.clip(data["momentum"].values - 0.9, 0, None)
        result[name] = planted(data, c, steps, factor=factor, bend=10.0)
    return result


def analysed(smoke: bool = False) -> dict[str, xr.Dataset]:
    """All analyses of the group on made-up runs of the laptop's or the smoke run's shape."""
    small = {"steps": 40, "seeds": 2} if smoke else {}
    known = {"reheat_geometry": geometry()}
    converged = made_converged(**small)
    if smoke:
        # A run that diverges, and nothing else at its setting.
        gone = (converged["eta"] == 1e-3).values
        converged["diverged_at"] = ("run", np.where(gone, 7, -1))
    return {
        "displacements": displacements.analyse({"converged_long_resume": converged, **known}),
        "sweeps": sweeps.analyse({**made_sweeps(**small, thin=2 if smoke else 1), **known})
        if not smoke
        else sweeps.analyse({**_smoke_sweeps(), **known}),
        "grid": grid.analyse({"grid_eta_batch_beta": _grid(smoke), **known}),
        "lengths": lengths.analyse({"very_long_resume": made_long(**small)}),
        "weight_decay": weight_decay.analyse({"weight_decay_resume": made_decay(**small)}),
        "cifar_displacements": cifar_displacements.analyse(
            {
                "cifar_resume": made_cifar_resume(**({"steps": 40} if smoke else {})),
                "cifar_pretrain": made_pretrain(),
                "cifar_geometry": geometry(model="resnet18"),
            }
        ),
        "cifar_sweeps": cifar_sweeps.analyse(made_cifar_sweeps(40 if smoke else 780)),
    }


def _grid(smoke: bool) -> xr.Dataset:
    return made_grid(40, 1, rates=(1e-4, 1e-3), sizes=(32,)) if smoke else made_grid()


def _smoke_sweeps() -> dict[str, xr.Dataset]:
    """Two values each, no evaluation."""
    values = {"sweep_eta": ("eta", (2e-4, 1e-3)), "sweep_batch": ("batch_size", (32, 64))}
    values["sweep_beta"] = ("momentum", (0.9, 0.99))
    drop = ["test_loss", "train_loss", "train_accuracy", "test_accuracy"]
    return {
        name: made_sweep(setting, points, 40, 2).drop_vars([*drop, "evaluation_step"])
        for name, (setting, points) in values.items()
    }
