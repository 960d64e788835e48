"""Which network a run trains, and the geometry at the start point of that network."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr

NET = ("model", "hidden", "activation", "data", "width")  # coordinates that tell networks apart


def net_names(data: xr.Dataset, names: Sequence[str] = NET) -> np.ndarray:
    """Text per run that tells networks apart: model, data and width, as far as recorded."""
    parts = [_texts(data[name].values) for name in names if name in data.coords]
    return np.array([" ".join(texts) for texts in zip(*parts, strict=True)])


def _texts(values: np.ndarray) -> list[str]:
    numeric = values.dtype.kind in "biuf"
    return [f"{float(value):g}" if numeric else str(value) for value in np.atleast_1d(values)]


def of_same_network(runs: xr.Dataset, geometry: xr.Dataset) -> np.ndarray:
    """Whether a run and a geometry belong to one network, shape (runs, geometries).

    Compared by the coordinates `NET`, as far as both have them.
    """
    common = [name for name in NET if name in runs.coords and name in geometry.coords]
    return net_names(runs, common)[:, None] == net_names(geometry, common)[None]


def start_of(geometry: xr.Dataset, network: xr.Dataset) -> xr.Dataset:
    """Geometry at the first start point of a network.

    Parameters
    ----------
    geometry
        An experiment of kind ``geometry``.
    network
        Run of the network, with the coordinates `NET`; its dimension ``run`` has length 1.

    Raises
    ------
    ValueError
        If there is none.
    """
    same = np.flatnonzero(of_same_network(network, geometry)[0])
    if not same.size:
        raise ValueError(f"no geometry of network '{net_names(network)[0]}'")
    return geometry.isel(run=int(same[0]))
