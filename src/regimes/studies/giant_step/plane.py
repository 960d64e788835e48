"""Statistics of gradients and rows in the teacher plane.

Conventions: ``cosine`` arrays have a dimension ``direction`` (teacher
directions w*_1, w*_2, ...); gradients are negative gradients G, so that a
neuron with positive read-out moves towards the target. The axes of section 2.6
are v* = (w*_1 + w*_2)/sqrt2 (``u``) and v_perp = (w*_1 - w*_2)/sqrt2 (``s``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import numpy as np
import xarray as xr

SIGNS = [1, -1]


def labelled(array: xr.DataArray, long_name: str, units: str = "1") -> xr.DataArray:
    """Array with ``long_name`` and ``units`` as its only attributes."""
    array = array.copy()
    array.attrs = {"long_name": long_name, "units": units}
    return array


def collected(
    variables: Mapping[str, tuple[xr.DataArray, str]], units: Mapping[str, str] | None = None
) -> xr.Dataset:
    """Dataset from arrays and their long names; coordinates without labels get one.

    Parameters
    ----------
    variables
        Name to (array, long name); arrays are joined on the union of their
        coordinates, NaN where one lacks a value.
    units
        Units of variables that are not dimensionless.
    """
    units = units or {}
    arrays = [
        labelled(array, text, units.get(name, "1")).rename(name)
        for name, (array, text) in variables.items()
    ]
    result = xr.merge(arrays, join="outer", compat="override")
    result.attrs = {}
    for name, coordinate in result.coords.items():
        coordinate.attrs.setdefault("long_name", str(name).replace("_", " "))
        coordinate.attrs.setdefault("units", "1")
    return result


def first_of_pairs(dataset: xr.Dataset) -> xr.Dataset:
    """Keep independent neurons: the first half of the rows where the start is symmetric.

    Neurons i and p-i+1 of a symmetric start have opposite first gradients
    (eq. 11), so the second half repeats the first. Left-out neurons become NaN
    and are cut off where all runs leave them out.

    Parameters
    ----------
    dataset
        Variables with dimensions (run, ..., neuron); coordinates ``width`` and
        ``symmetric`` on ``run``.
    """
    kept = xr.where(dataset["symmetric"].astype(bool), dataset["width"] // 2, dataset["width"])
    dataset = dataset.isel(neuron=slice(0, int(kept.max())))
    keep = xr.DataArray(np.arange(dataset.sizes["neuron"]), dims="neuron") < kept
    return dataset.map(lambda v: v.where(keep) if "neuron" in v.dims else v, keep_attrs=True)


def gradient_cosine(dataset: xr.Dataset) -> xr.DataArray:
    """Cosines of the gradients with the teachers, (run, step, neuron, direction)."""
    return _ratio(dataset["g_dot_teacher"], dataset["g_norm"])


def row_cosine(dataset: xr.Dataset) -> xr.DataArray:
    """Cosines of the rows of W with the teachers, (run, step, neuron, direction)."""
    return _ratio(dataset["w_dot_teacher"], dataset["w_norm"])


def _ratio(dot: xr.DataArray, norm: xr.DataArray) -> xr.DataArray:
    return dot.astype(float) / norm.where(norm > 0).astype(float)


def plane_cosine_squared(cosine: xr.DataArray) -> xr.DataArray:
    """Squared cosine with the span of the teachers, sum over directions of cos^2."""
    return (cosine**2).sum("direction", min_count=1)


def in_plane_angle(cosine: xr.DataArray) -> xr.DataArray:
    """Polar angle theta in the plane of the first two teachers, in radians."""
    first, second = (cosine.isel(direction=i, drop=True) for i in (0, 1))
    return xr.apply_ufunc(np.arctan2, second, first)


def concentration(angle: xr.DataArray, dim: str = "neuron") -> xr.DataArray:
    """Concentration R = |mean exp(2 i theta)|: 1 on one line, near 0 for uniform angles.

    For m independent uniform angles the mean of R is about sqrt(pi/(4 m)).
    """
    return np.hypot(np.cos(2 * angle).mean(dim), np.sin(2 * angle).mean(dim))


def teacher_axes(cosine: xr.DataArray) -> xr.DataArray:
    """Components on v* and v_perp (section 2.6): ``direction`` becomes ``axis`` (u, s)."""
    first, second = (cosine.isel(direction=i, drop=True) for i in (0, 1))
    axes = xr.concat([first + second, first - second], dim="axis", coords="minimal") / np.sqrt(2)
    return axes.assign_coords(axis=["u", "s"])


def cluster_mean(values: xr.DataArray, readout: xr.DataArray) -> xr.DataArray:
    """Mean over the neurons of each read-out sign: ``neuron`` becomes ``cluster`` (1, -1)."""
    means = [values.where(np.sign(readout) == sign).mean("neuron") for sign in SIGNS]
    return xr.concat(means, dim="cluster", coords="minimal").assign_coords(cluster=SIGNS)


def cluster_spread(values: xr.DataArray, readout: xr.DataArray) -> xr.DataArray:
    """Spread (standard deviation) over the neurons of each read-out sign, dimension ``cluster``."""
    spreads = [values.where(np.sign(readout) == sign).std("neuron", ddof=1) for sign in SIGNS]
    return xr.concat(spreads, dim="cluster", coords="minimal").assign_coords(cluster=SIGNS)


def on_axis(pair: Iterable[float]) -> xr.DataArray:
    """Pair (u, s) as an array over ``axis``."""
    return xr.DataArray([float(v) for v in pair], dims="axis", coords={"axis": ["u", "s"]})


def per_target(names: Iterable[str], function: Callable[[str], float]) -> xr.DataArray:
    """Value of a function of the target's name for each target, over ``target``."""
    names = [str(name) for name in names]
    values = [float(function(name)) for name in names]
    return xr.DataArray(values, dims="target", coords={"target": names})


def scales(dataset: xr.Dataset) -> tuple[float, float]:
    """Return samples per dimension n/d and rescaled learning rate eta/p, shared by all runs."""
    ratio = common(dataset, "batch_size") / common(dataset, "dimension")
    return ratio, common(dataset, "learning_rate") / common(dataset, "width")


def common(dataset: xr.Dataset, name: str):
    """Value of a setting that all runs share.

    Raises
    ------
    ValueError
        If runs differ in it.
    """
    values = np.unique(dataset[name].values)
    if len(values) != 1:
        raise ValueError(f"runs differ in '{name}': {', '.join(map(str, values))}")
    return values[0].item()


def runs_of_seed(dataset: xr.Dataset, seed: int = 0) -> xr.Dataset:
    """Pick the runs of one seed, whose neurons a scatter shows."""
    return dataset.isel(run=np.flatnonzero(dataset["seed"].values == seed))
