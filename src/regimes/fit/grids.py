"""From a list of runs to a dense grid over their settings."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr


def by_setting(dataset: xr.Dataset, names: Sequence[str], dim: str = "run") -> xr.Dataset:
    """Unstack the runs into one dimension per named setting, NaN where a run is missing.

    Parameters
    ----------
    dataset
        Variables with a dimension ``run`` that carries the settings as coordinates.
    names
        Settings that become dimensions, in this order; together they tell
        every two runs apart (they usually include ``seed``). Numbers come out
        sorted, text in order of first appearance.
    dim
        Name of the dimension that is replaced.

    Returns
    -------
    xr.Dataset
        Variables with ``run`` have the named dimensions in its place, those
        without it are unchanged; numbers become float; attributes are kept.
        Settings that are not named are dropped.

    Raises
    ------
    KeyError
        If a name is no coordinate of the runs.
    ValueError
        If two runs fall into one cell.
    """
    missing = [name for name in names if name not in dataset.coords]
    if missing:
        raise KeyError(f"no coordinate {', '.join(missing)} on '{dim}'")
    levels, codes = zip(*(_levels(dataset[name].values) for name in names), strict=True)
    cells = np.stack(codes)
    unique, counts = np.unique(cells, axis=1, return_counts=True)
    if (counts > 1).any():
        cell = unique[:, np.argmax(counts)]
        text = ", ".join(f"{n}={v[i]}" for n, v, i in zip(names, levels, cell, strict=True))
        raise ValueError(
            f"{counts.max()} runs share the cell {text}; name the setting they differ in"
        )
    shape = tuple(len(level) for level in levels)
    coords = {
        name: (name, level, dataset[name].attrs) for name, level in zip(names, levels, strict=True)
    }
    others = {n: c for n, c in dataset.coords.items() if dim not in c.dims}
    result = xr.Dataset(coords={**others, **coords}, attrs=dataset.attrs)
    for name, variable in dataset.data_vars.items():
        if dim not in variable.dims:
            result[name] = variable
            continue
        rest = [d for d in variable.dims if d != dim]
        values = variable.transpose(dim, *rest).values
        numeric = values.dtype.kind in "biuf"
        kind = np.result_type(values.dtype, np.float32) if numeric else object
        dense = np.full(shape + values.shape[1:], np.nan if numeric else "", dtype=kind)
        dense[tuple(cells)] = values
        result[name] = ((*names, *rest), dense if numeric else dense.astype(str), variable.attrs)
    return result


NEAR = 1e-6  # relative difference of settings that are equal up to rounding


def same(values: xr.DataArray, wanted: float | str | None) -> np.ndarray:
    """Where settings equal a wanted value: numbers up to rounding, NaN (or None) equals NaN."""
    if isinstance(wanted, str):
        return values.values == wanted
    wanted = np.nan if wanted is None else float(wanted)
    return np.isclose(values.values.astype(float), wanted, rtol=NEAR, atol=0, equal_nan=True)


def _levels(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distinct values of a setting and, for each run, the index of its value."""
    levels, first, codes = np.unique(values, return_index=True, return_inverse=True)
    if values.dtype.kind in "biuf":
        return levels, codes.ravel()
    order = np.argsort(first)
    return levels[order], np.argsort(order)[codes.ravel()]
