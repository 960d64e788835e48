"""What a giant-step run leaves behind: variables, padding, and the mark of a diverged run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr

_PER_ERROR = ("step", "ridge_batch", "ridge")

# name: (dims after run, dtype, long_name); all are dimensionless
VARIABLES: dict[str, tuple[tuple[str, ...], str, str]] = {
    "w_dot_teacher": (
        ("step", "neuron", "direction"),
        "float32",
        "projection of first-layer weights w_i on teacher direction w*_k",
    ),
    "w_norm": (("step", "neuron"), "float32", "norm of first-layer weights w_i"),
    "g_dot_teacher": (
        ("step", "neuron", "direction"),
        "float32",
        "projection of the step's negative gradient g_i on teacher direction w*_k",
    ),
    "g_norm": (("step", "neuron"), "float32", "norm of the step's negative gradient g_i"),
    "readout_weight": (("neuron",), "float32", "read-out weight a_i during the giant steps"),
    "online_error": (
        ("step",),
        "float64",
        "mean squared error on the step's fresh batch before the update",
    ),
    "ridge_strength": (("ridge",), "float64", "ridge strength lambda of the second stage"),
    "ridge_batch_size": (("ridge_batch",), "float64", "number of samples of the second stage"),
    "test_error": (_PER_ERROR, "float64", "test error after ridge on the step's features"),
    "train_error": (_PER_ERROR, "float64", "training error of ridge on the step's features"),
    "test_error_leak": (
        _PER_ERROR,
        "float64",
        "test error with the linear part of the test labels measured on the test set",
    ),
    "test_error_surrogate": (
        _PER_ERROR,
        "float64",
        "test error after ridge on conditional Gaussian surrogate features",
    ),
    "spike_dot_teacher": (
        ("direction",),
        "float64",
        "projection of the first batch's label-weighted mean input on teacher direction w*_k",
    ),
    "spike_norm": ((), "float64", "norm of the first batch's label-weighted mean input"),
    "g_singular_values": (
        ("singular_value",),
        "float64",
        "singular values of the first negative gradient, rows 1..p/2",
    ),
    "spike_right_cosine": (
        (),
        "float64",
        "absolute cosine of top right singular vector and label-weighted mean input",
    ),
    "right_dot_teacher": (
        ("direction",),
        "float64",
        "projection of the top right singular vector on teacher direction w*_k",
    ),
    "diverged_at": (
        (),
        "int64",
        "first step whose weights or errors are not finite, -1 if none",
    ),
}


def mark_divergence(record: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Add ``diverged_at`` (R,) to a record and blank the trajectories from that step on.

    A run has diverged at the first step whose weights or errors are not finite.

    Parameters
    ----------
    record : mapping of str to array
        Variables of `VARIABLES` with the run as first axis; must hold ``w_norm``. NaN in
        ``online_error`` at step 0 and in ``test_error_surrogate`` means not measured.

    Returns
    -------
    dict of str to array
    """
    finite = np.isfinite(record["w_norm"]).all(axis=2)
    for name in ("online_error", "test_error", "train_error", "test_error_leak"):
        if name in record:
            measured = np.isfinite(record[name])
            finite_error = measured.reshape(*measured.shape[:2], -1).all(axis=2)
            if name == "online_error":
                finite_error[:, 0] = True
            finite &= finite_error
    alive = np.logical_and.accumulate(finite, axis=1)
    marked = dict(record)
    for name, values in record.items():
        if VARIABLES[name][0][:1] == ("step",):
            keep = alive.reshape(*alive.shape, *(1,) * (values.ndim - 2))
            marked[name] = np.where(keep, values, np.nan)
    marked["diverged_at"] = np.where(alive.all(axis=1), -1, alive.sum(axis=1))
    return marked


def to_dataset(records: Sequence[Mapping[str, np.ndarray]]) -> xr.Dataset:
    """One dataset from the records of single runs, padded with NaN where their shapes differ.

    Parameters
    ----------
    records : sequence of mapping
        For each run its variables (without run axis); optional ones may be missing.

    Returns
    -------
    xr.Dataset
        Dims ``run``, ``step`` (with coordinate) and those of `VARIABLES`.
    """
    sizes: dict[str, int] = {}
    for record in records:
        for name, values in record.items():
            for dim, size in zip(VARIABLES[name][0], np.shape(values), strict=True):
                sizes[dim] = max(size, sizes.get(dim, 0))
    variables = {}
    for name, (dims, dtype, long_name) in VARIABLES.items():
        if not any(name in record for record in records):
            continue
        shape = (len(records), *(sizes[dim] for dim in dims))
        padded = np.full(shape, -1 if dtype == "int64" else np.nan, dtype)
        for run, record in enumerate(records):
            if name in record:
                padded[(run, *map(slice, np.shape(record[name])))] = record[name]
        variables[name] = (("run", *dims), padded, {"long_name": long_name, "units": "1"})
    step = ("step", np.arange(sizes["step"]), {"long_name": "giant steps taken", "units": "1"})
    return xr.Dataset(variables, coords={"step": step})
