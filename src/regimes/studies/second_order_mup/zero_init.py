"""Runs that start from an output layer of standard, muP or practically zero size.

The size is M^-b_L with b_L = 1/2 (standard), 1 (muP) or 64 (zero). With a zero output layer the
first K-FAC step solves kernel ridge regression with the kernel of the last hidden layer. Where
that kernel is known in closed form (relu MLP) the reference is the ridge predictor of the
infinitely wide network (NNGP); elsewhere it is that of the network's own initial features.
"""

from __future__ import annotations

import numpy as np
import xarray as xr

from regimes.fit.grids import by_setting
from regimes.studies.second_order_mup.transfer import before_failure, failed, final, near, setup

OUTPUT_EXPONENTS = (0.5, 1.0, 64.0)
OWN_EXPONENT = {"sp": 0.5, "up": 0.5, "mup": 1.0}  # where none was set
CASE = ("optimizer", "damping_rule", "damping", "lr")
"""Settings that tell cases apart, besides output layer, batch size and seed."""
ORDER = ("kfac", "sgd", "shampoo")
RULES = ("rescaled", "heuristic", "absolute")
DIMS = ("case", "output_exponent", "batch_size", "seed")
ACCURACIES = ("train_accuracy", "test_accuracy")
REFERENCES = ("nngp", "kernel")


# --- From runs to cases --------------------------------------------------------------------------


def cases(runs: xr.Dataset) -> xr.Dataset:
    """Accuracies, distances to the kernel solution and feature changes on a grid of settings.

    Parameters
    ----------
    runs
        Trained runs.

    Returns
    -------
    xr.Dataset
        Over `DIMS`, NaN where there is no run or it failed. Along ``step``: ``train_accuracy``,
        ``test_accuracy`` (of a failed run while it was alive); along ``ridge``:
        ``nngp_accuracy``, ``kernel_accuracy`` and, at the end of training, ``nngp_distance``,
        ``kernel_distance``; at the end: ``final_train_accuracy``, ``final_test_accuracy``,
        ``feature_change`` (of the inputs of the output layer); ``ran``: 1 where a run exists;
        ``failed``: 1 where it failed (`transfer.failed`). Coordinates: the settings of `CASE`
        along ``case``, K-FAC first; ``full`` along ``batch_size``, 1 where a batch holds all
        training samples; ``setup``, what was trained.
    """
    dim = "run"
    lost = failed(runs)
    numbers = xr.Dataset({name: before_failure(runs[name], runs) for name in ACCURACIES})
    for name in ACCURACIES:
        numbers[f"final_{name}"] = final(runs[name]).where(~lost)
    for name in REFERENCES:
        numbers[f"{name}_accuracy"] = _known(runs, f"{name}_accuracy", ("ridge",))
        distance = _known(runs, f"{name}_distance", ("kernel_step", "ridge"))
        numbers[f"{name}_distance"] = final(distance, "kernel_step").where(~lost)
    numbers["feature_change"] = _feature_change(runs).where(~lost)
    numbers["failed"] = lost.astype(float)
    numbers["ran"] = (dim, np.ones(runs.sizes[dim]))
    samples = runs["samples"].values.astype(float)
    batch = runs["batch_size"].values.astype(float)
    batch = np.where(np.isnan(batch), samples, batch)
    code, settings = _numbered(runs)
    plain = numbers.drop_vars([n for n, c in numbers.coords.items() if c.dims == (dim,)])
    plain = plain.assign_coords(
        case=(dim, code),
        output_exponent=(dim, _output_exponent(runs)),
        batch_size=(dim, batch),
        seed=(dim, runs["seed"].values),
    )
    grid = by_setting(plain, DIMS).reindex(output_exponent=list(OUTPUT_EXPONENTS))
    grid["ran"] = grid["ran"].fillna(0)
    full = near(grid["batch_size"].values, samples.max()).astype(float)
    along_case = {name: ("case", values) for name, values in settings.items()}
    return grid.assign_coords(full=("batch_size", full), setup=setup(runs), **along_case)


def _known(runs: xr.Dataset, name: str, dims: tuple[str, ...]) -> xr.DataArray:
    """A variable of the runs; NaN throughout if they do not have it."""
    if name in runs:
        return runs[name]
    sizes = {"run": runs.sizes["run"]} | {dim: runs.sizes.get(dim, 1) for dim in dims}
    coords = {dim: runs[dim] for dim in dims if dim in runs.coords}
    unnamed = {dim: np.zeros(sizes[dim]) for dim in dims if dim not in coords}
    coords |= unnamed | {"steps": runs["steps"]}
    return xr.DataArray(np.full(tuple(sizes.values()), np.nan), coords, tuple(sizes))


def _feature_change(runs: xr.Dataset) -> xr.DataArray:
    """Relative change of the last hidden features at the end of training, (run)."""
    if "input_change" not in runs:
        return xr.DataArray(np.full(runs.sizes["run"], np.nan), dims="run")
    change = final(runs["input_change"], "layer_step")
    if "role" not in runs:
        return change.isel(layer=-1, drop=True)
    return change.where(runs["role"] == 2).max("layer")


def _output_exponent(runs: xr.Dataset) -> np.ndarray:
    """Exponent b_L of each run: as set, or that of its parameterization."""
    given = runs["output_exponent"].values.astype(float)
    parameterizations = runs["parameterization"].values.astype(str)
    own = np.select([parameterizations == p for p in OWN_EXPONENT], list(OWN_EXPONENT.values()))
    return np.where(np.isnan(given), own, given)


def _numbered(runs: xr.Dataset) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Number of each run's case, and the settings of the cases: K-FAC first, small rates first."""
    codes = np.stack([np.unique(runs[n].values, return_inverse=True)[1].ravel() for n in CASE])
    _, first, code = np.unique(codes, axis=1, return_index=True, return_inverse=True)
    found = {name: runs[name].values[first] for name in CASE}
    optimizers, rules = found["optimizer"].astype(str), found["damping_rule"].astype(str)
    order = sorted(
        range(first.size),
        key=lambda i: (
            _place(ORDER, optimizers[i]),
            _place(RULES, rules[i]) if optimizers[i] == "kfac" else 0,
            float(found["lr"][i]),
            i,
        ),
    )
    number = np.argsort(order)[code.ravel()]
    settings = {
        name: values[order].astype(str if values.dtype.kind not in "biuf" else float)
        for name, values in found.items()
    }
    return number, settings


def _place(names: tuple[str, ...], name: str) -> int:
    return names.index(name) if name in names else len(names)


# --- Reading cases -------------------------------------------------------------------------------


def matching(data: xr.Dataset, optimizer: str, rule: str | None = None) -> list[int]:
    """Cases of an optimizer (and a damping rule), in order; empty if there is none."""
    chosen = data["optimizer"].values.astype(str) == optimizer
    if rule is not None:
        chosen &= data["damping_rule"].values.astype(str) == rule
    return np.flatnonzero(chosen).tolist()


def main_case(data: xr.Dataset) -> list[int]:
    """The K-FAC case that figures and claims mean without further words, at most one.

    Rescaled damping, the proposal of the paper, at the smallest learning rate; without rescaled
    runs the first K-FAC case.
    """
    return (matching(data, "kfac", "rescaled") or matching(data, "kfac"))[:1]


def case_name(data: xr.Dataset, case: int) -> str:
    """Optimizer, damping and learning rate of a case in words."""
    one = data.isel(case=case)
    optimizer, rule = str(one["optimizer"].values), str(one["damping_rule"].values)
    names = {"kfac": "K-FAC", "sgd": "SGD", "shampoo": "Shampoo"}
    parts = [names.get(optimizer, optimizer)]
    if optimizer == "kfac":
        symbol = {"rescaled": r"$\rho'$", "absolute": r"$\rho$"}.get(rule, r"$\rho$")
        parts.append(f"{rule} {symbol} = {float(one['damping']):g}")
    parts.append(rf"$\eta'$ = {float(one['lr']):g}")
    return ", ".join(parts)


def reference_of(data: xr.Dataset) -> str:
    """``nngp`` where that predictor is known for some run, else ``kernel``."""
    return "nngp" if bool(data["nngp_accuracy"].notnull().any()) else "kernel"


def best_reference(data: xr.Dataset) -> xr.DataArray:
    """Largest test accuracy of the kernel predictor over ridges, over `DIMS`."""
    return data[f"{reference_of(data)}_accuracy"].max("ridge")


def nearest_distance(data: xr.Dataset) -> xr.DataArray:
    """Final relative distance to the nearest of the kernel ridge predictors, over `DIMS`."""
    return data[f"{reference_of(data)}_distance"].min("ridge")
