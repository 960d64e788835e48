"""Agreement between trained networks: their outputs and kernels, for all pairs of runs.

The results have the dimensions ``run`` and ``other_run``; the settings of the runs are coordinates
of the first under their names and of the second with ``other_`` before them. A run with anything
not finite, or constant, has NaN with every run.
"""

from __future__ import annotations

import numpy as np
import xarray as xr

RUN, OTHER = "run", "other_run"
ROUNDING = 1e-6  # relative; outputs and kernels are stored in single precision


def output_agreement(outputs: xr.DataArray) -> xr.Dataset:
    """Agreement of the outputs of all pairs of runs, over all points and classes.

    Parameters
    ----------
    outputs
        Outputs over ``run`` and any other dimensions (sample, output_class).

    Returns
    -------
    xr.Dataset
        ``pearson`` (run, other_run), Pearson's r; its square is the R^2 of a fitted line.
        ``explained`` (run, other_run), R^2 of the line of equality: one minus the mean square of
        the difference over the variance of the outputs of ``run``. It is not symmetric, and
        negative where the difference exceeds the variance.
    """
    values = _finite_rows(outputs)
    mean = values.mean(1)
    centred = _varying(values - mean[:, None], values)
    product = centred @ centred.T
    square = np.diag(product)
    difference = square[:, None] + square - 2 * product
    difference += values.shape[1] * (mean[:, None] - mean) ** 2
    explained = 1 - difference / square[:, None]
    names = (
        "Pearson's r of the outputs of two runs",
        "share of the variance of the outputs of a run that equals the outputs of another",
    )
    return xr.Dataset(
        {
            "pearson": _pairs(_cosines(centred), outputs, names[0]),
            "explained": _pairs(explained, outputs, names[1]),
        }
    )


def kernel_agreement(kernels: xr.DataArray) -> xr.DataArray:
    """Alignment (CKA) of the kernels of all pairs of runs: (run, other_run), between 0 and 1.

    Parameters
    ----------
    kernels
        Kernels over ``run`` and two dimensions of equal length.
    """
    shape = kernels.transpose(RUN, ...).shape
    if len(shape) != 3 or shape[1] != shape[2]:
        raise ValueError(f"kernels must be one square matrix for each run, not of shape {shape}")
    rows = _finite_rows(kernels)
    values = rows.reshape(shape)
    values = values - values.mean(1, keepdims=True)
    values = values - values.mean(2, keepdims=True)
    centred = _varying(values.reshape(rows.shape), rows)
    return _pairs(_cosines(centred), kernels, "centred alignment of the kernels of two runs")


def _finite_rows(array: xr.DataArray) -> np.ndarray:
    """One row of numbers for each run, all NaN where any of them is not finite."""
    values = np.asarray(array.transpose(RUN, ...).values, dtype=float)
    rows = values.reshape(len(values), -1)
    return np.where(np.isfinite(rows).all(1, keepdims=True), rows, np.nan)


def _varying(centred: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Centred rows, NaN where nothing but rounding of the full rows is left."""
    constant = np.linalg.norm(centred, axis=1) <= ROUNDING * np.linalg.norm(rows, axis=1)
    return np.where(constant[:, None], np.nan, centred)


def _cosines(rows: np.ndarray) -> np.ndarray:
    """Cosines between all pairs of rows."""
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return unit @ unit.T


def _pairs(values: np.ndarray, source: xr.DataArray, long_name: str) -> xr.DataArray:
    """Matrix over pairs of runs, with the settings of both as coordinates."""
    of_run = {name: item for name, item in source.coords.items() if item.dims == (RUN,)}
    coords = {name: (RUN, item.values) for name, item in of_run.items()}
    coords |= {f"other_{name}": (OTHER, item.values) for name, item in of_run.items()}
    attrs = {"long_name": long_name, "units": "1"}
    return xr.DataArray(values, dims=(RUN, OTHER), coords=coords, attrs=attrs)
