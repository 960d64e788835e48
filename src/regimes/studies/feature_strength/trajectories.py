"""Reading trajectories: the online loss, values between steps of a schedule, first crossings.

Kernels and sharpness are known at the steps of a schedule only. Between two of them they are
taken to change linearly; nothing is extrapolated.
"""

from __future__ import annotations

import numpy as np
import xarray as xr

from regimes.studies.feature_strength.plateaus import HALF_WINDOW, smoothed


def online_loss(data: xr.Dataset) -> xr.DataArray:
    """Loss on the batch of each step before its update, over (run, step).

    Long runs store means over bins of steps instead of every step (``train_loss_binned``); then
    ``step`` holds the steps of the bins, which runs of equal length share. The attribute
    ``binned`` (0 or 1) tells the two apart.

    Raises
    ------
    ValueError
        If runs store bins at different steps.
    """
    if "train_loss" in data:
        return data["train_loss"].assign_attrs(binned=0)
    steps = data["bin_step"].transpose("run", "bin").values
    if not np.allclose(steps, steps[:1], equal_nan=True):
        raise ValueError("runs of different length have no common steps of binned losses")
    loss = data["train_loss_binned"].rename(bin="step").assign_coords(step=steps[0])
    return loss.assign_attrs(binned=1)


def with_losses(data: xr.Dataset) -> xr.Dataset:
    """Online loss of an experiment as ``loss`` over ``step``, whether stored binned or not."""
    # The setting of that name, mse or cross_entropy, makes room.
    stored = ["train_loss", "train_loss_binned", "bin_step", "step", "loss"]
    return data.drop_vars(stored, errors="ignore").assign(loss=online_loss(data))


def at_last_step(values: xr.DataArray, steps: xr.DataArray, dim: str) -> xr.DataArray:
    """Values at each run's own last recorded step; NaN where the run had diverged.

    Parameters
    ----------
    values
        Over ``dim``, whose coordinate holds the recorded steps of all runs together.
    steps
        Number of steps of each run; every run records its last step.
    """
    return values.where(values[dim] == steps).max(dim)


def last_layer(values: xr.DataArray) -> xr.DataArray:
    """Values of each run's last layer: the largest ``layer`` with any finite value."""
    others = [dim for dim in values.dims if dim.endswith("_step")]
    known = values.notnull().any(others)
    last = values["layer"].where(known).max("layer")
    return values.where(values["layer"] == last).max("layer")


def smoothing(loss: xr.DataArray) -> int:
    """Half-width of the moving average that suits an online loss: none for means over bins."""
    return 0 if loss.attrs.get("binned") else HALF_WINDOW


def smooth(loss: xr.DataArray) -> xr.DataArray:
    """Online loss without most of its batch noise; see `plateaus.smoothed`."""
    return smoothed(loss, "step", smoothing(loss))


def at_step(values: xr.DataArray, dim: str, where: xr.DataArray | float) -> xr.DataArray:
    """Values at given steps, interpolated linearly between the steps of a schedule.

    Parameters
    ----------
    values
        Over ``dim``, whose coordinate counts updates, and any other dimensions.
    where
        Step for each element of the other dimensions, or one number; NaN gives NaN.

    Returns
    -------
    xr.DataArray
        Over the other dimensions; NaN before the first and after the last known step.
    """
    where = where if isinstance(where, xr.DataArray) else xr.DataArray(float(where))
    return xr.apply_ufunc(
        _interpolate,
        values[dim].astype(float).drop_vars(dim),
        values.drop_vars(dim).astype(float),
        where,
        input_core_dims=[[dim], [dim], []],
        vectorize=True,
        output_dtypes=[float],
    )


def _interpolate(steps: np.ndarray, values: np.ndarray, where: float) -> float:
    known = np.isfinite(values)
    if not known.any() or np.isnan(where):
        return float("nan")
    return np.interp(where, steps[known], values[known], left=np.nan, right=np.nan)


def first_above(values: xr.DataArray, level: xr.DataArray, dim: str) -> xr.DataArray:
    """Step at which values first exceed a level, interpolated between the steps of a schedule.

    Parameters
    ----------
    values
        Over ``dim``, whose coordinate counts updates, and any other dimensions.
    level
        Over the other dimensions.

    Returns
    -------
    xr.DataArray
        Over the other dimensions, in steps; infinite if values are known but never exceed the
        level, NaN if none is known.
    """
    return xr.apply_ufunc(
        _first_above,
        values[dim].astype(float).drop_vars(dim),
        values.drop_vars(dim).astype(float),
        level,
        input_core_dims=[[dim], [dim], []],
        vectorize=True,
        output_dtypes=[float],
    )


def _first_above(steps: np.ndarray, values: np.ndarray, level: float) -> float:
    known = np.isfinite(values)
    if not known.any() or np.isnan(level):
        return float("nan")
    steps, values = steps[known], values[known]
    above = np.flatnonzero(values > level)
    if not above.size:
        return float("inf")
    right = above[0]
    if right == 0:
        return steps[0]
    share = (level - values[right - 1]) / (values[right] - values[right - 1])
    return steps[right - 1] + share * (steps[right] - steps[right - 1])


def largest_between(
    values: xr.DataArray, dim: str, start: xr.DataArray, stop: xr.DataArray
) -> xr.DataArray:
    """Largest value over the steps from ``start`` to ``stop``, both ends interpolated.

    Parameters
    ----------
    values
        Over ``dim``, whose coordinate counts updates, and any other dimensions.
    start, stop
        Steps for each element of the other dimensions; NaN gives NaN.

    Returns
    -------
    xr.DataArray
        Over the other dimensions; what lies beyond the last known step is left out.
    """
    inside = values.where((values[dim] >= start) & (values[dim] <= stop)).max(dim)
    ends = [at_step(values, dim, end) for end in (start, stop)]
    largest = xr.concat([inside, *ends], dim="part", coords="minimal", compat="override")
    return largest.max("part").where(np.isfinite(start) & np.isfinite(stop))


def described(variables: dict[str, tuple[xr.DataArray, str]]) -> xr.Dataset:
    """Dataset of (values, long name) pairs; everything here is without dimension."""
    data = xr.Dataset({name: values for name, (values, _) in variables.items()})
    for name, (_, long_name) in variables.items():
        data[name].attrs = {"long_name": long_name, "units": "1"}
    for name in data.coords:
        data[name].attrs.setdefault("long_name", str(name).replace("_", " "))
        data[name].attrs.setdefault("units", "1")
    return data
