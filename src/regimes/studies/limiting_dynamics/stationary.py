"""Reading resumed runs: the part after the transient, blocks of it, the start point behind it.

A stationary run is one realization, so statistics over seeds are not to be had. Instead the part
after the transient is cut into contiguous blocks, much longer than the relaxation times of the
modes: blocks are nearly independent, and leaving out one at a time gives an interval.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import xarray as xr

BLOCKS = 16
TRANSIENT = 0.05  # share of the steps that is dropped: 3000 of 60,000
LATER_MODE = 30  # the less curved of the two plotted modes, where there are as many
STEP = "projection_step"
PATH_POINTS = 4000  # points of a path that is drawn


@dataclass(frozen=True)
class Resumed:
    """Runs resumed from one start point with one setting.

    Attributes
    ----------
    position, velocity
        (seed, projection_step, mode), float64, every step from 0 on; position along the
        eigenvectors relative to the start point, velocity minus the momentum buffer.
    model
        Network.
    eta, batch_size, momentum, weight_decay
        Optimizer's settings.
    """

    position: xr.DataArray
    velocity: xr.DataArray
    model: str
    eta: float
    batch_size: float
    momentum: float
    weight_decay: float

    @property
    def settings(self) -> dict[str, float]:
        """Settings as the functions of `theory` name them, without the batch size."""
        names = ("eta", "momentum", "weight_decay")
        return {name: getattr(self, name) for name in names}


def resumed(runs: xr.Dataset) -> Resumed:
    """Longest runs with projections, all of one network and setting (that of the first one).

    Runs without projections, of another network or setting, or that ended early (diverged) are
    left out, as are modes that the others do not have.

    Parameters
    ----------
    runs
        An experiment of kind ``sgd``.

    Raises
    ------
    ValueError
        If no run has projections, or if they were not recorded every step.
    """
    known = runs["position"].notnull().any("mode").transpose("run", STEP).values
    length = np.where(known.any(1), known.shape[1] - np.argmax(known[:, ::-1], axis=1), 0)
    if not length.any():
        raise ValueError("no run has projections")
    alike = length == length.max()
    first = int(np.argmax(alike))
    for name in ("model", "eta", "batch_size", "momentum", "weight_decay"):
        alike &= runs[name].values == runs[name].values[first]
    kept = runs[["position", "velocity"]].isel(run=np.flatnonzero(alike))
    kept = kept.isel({STEP: slice(int(length.max()))}).transpose("run", STEP, "mode")
    if (np.diff(kept[STEP].values) != 1).any():
        raise ValueError("projections must be recorded at every step")
    kept = kept.dropna("mode", how="all", subset=["position"])
    bare = kept.swap_dims(run="seed").reset_coords(drop=True).astype(np.float64)
    one = runs.isel(run=first)
    return Resumed(
        position=bare["position"],
        velocity=bare["velocity"],
        model=str(one["model"].item()),
        **{n: float(one[n]) for n in ("eta", "batch_size", "momentum", "weight_decay")},
    )


def start_point(geometry: xr.Dataset, model: str, modes: xr.DataArray) -> xr.Dataset:
    """Geometry at the start point of a network (the first run of that network).

    Parameters
    ----------
    geometry
        An experiment of kind ``geometry``.
    modes
        Modes of the resumed runs; those without geometry become NaN. The full spectrum stays
        available as ``all_eigenvalue`` and ``all_noise`` over ``all_mode``.

    Raises
    ------
    ValueError
        If the network has no geometry.
    """
    same = np.flatnonzero(geometry["model"].values == model)
    if not same.size:
        raise ValueError(f"no geometry of network '{model}'")
    # The radius is a setting of the run too, and so may be a coordinate.
    one = geometry.isel(run=int(same[0])).reset_coords("rise_radius").reset_coords(drop=True)
    one = one.drop_vars(["eigenvector", "weights"], errors="ignore")
    all_modes = {"eigenvalue": "all_eigenvalue", "noise": "all_noise", "mode": "all_mode"}
    spectrum = one[["eigenvalue", "noise"]].rename(all_modes)
    # Residuals exist for the modes whose eigenvectors are kept.
    residual = one["eigen_residual"].rename(kept_mode="mode")
    one = one.drop_dims("kept_mode").reindex(mode=modes)
    return one.assign(eigen_residual=residual.reindex(mode=modes)).merge(spectrum)


def plotted_pair(modes: xr.DataArray) -> list[int]:
    """The two modes that are drawn: the first, and mode 30 or the last one before it."""
    numbers = modes.values.astype(int)
    return [int(numbers[0]), int(numbers[numbers <= max(LATER_MODE, numbers[0])][-1])]


def pair_of(values: xr.DataArray, modes: list[int]) -> xr.DataArray:
    """Values of the plotted modes over ``pair`` (0: the first mode, 1: the later one)."""
    chosen = values.sel(mode=modes).rename(mode="pair")
    return chosen.assign_coords(pair=[0, 1])


def blocks(values: xr.DataArray, count: int = BLOCKS, transient: float = TRANSIENT) -> xr.DataArray:
    """Part after the transient, cut into contiguous blocks of equal length.

    Parameters
    ----------
    values
        Over ``projection_step`` (every step) and other dimensions.
    count
        Number of blocks; fewer where a run is so short that a block had less than 4 steps.
    transient
        Share of the steps to drop at least; the remainder of the division goes with it.

    Returns
    -------
    xr.DataArray
        Over ``block`` and ``inside`` (steps within a block) in place of ``projection_step``.
    """
    kept = values.sizes[STEP] - int(np.ceil(transient * values.sizes[STEP]))
    count = max(1, min(count, kept // 4))
    length = kept // count
    tail = values.isel({STEP: slice(values.sizes[STEP] - count * length, None)})
    rest = [dim for dim in tail.dims if dim != STEP]
    tail = tail.transpose(*rest, STEP)
    shape = [tail.sizes[dim] for dim in rest]
    cut = tail.values.reshape(*shape, count, length)
    coords = {dim: tail[dim] for dim in rest if dim in tail.coords}
    return xr.DataArray(cut, dims=[*rest, "block", "inside"], coords=coords)


def moments(run: Resumed) -> dict[str, xr.DataArray]:
    """Block means of positions, velocities and their squares, over (seed, block, mode)."""
    x, u = blocks(run.position), blocks(run.velocity)
    return {
        "position_mean": x.mean("inside"),
        "position_square": (x**2).mean("inside"),
        "velocity_mean": u.mean("inside"),
        "velocity_square": (u**2).mean("inside"),
    }


def variance(mean: xr.DataArray, square: xr.DataArray, dims: str | list[str]) -> xr.DataArray:
    """Variance over all steps of the blocks along ``dims``, from block means of x and x^2."""
    return square.mean(dims) - mean.mean(dims) ** 2


def thinned(values: xr.DataArray, points: int = PATH_POINTS) -> xr.DataArray:
    """About ``points`` evenly spaced steps, the first one included, over ``path_step``."""
    stride = max(1, -(-values.sizes[STEP] // points))
    return values.isel({STEP: slice(None, None, stride)}).rename({STEP: "path_step"})


def described(variables: Mapping[str, tuple[xr.DataArray, str]]) -> xr.Dataset:
    """Dataset from arrays and their long names; everything is in the units of the training.

    Coordinates that are dimensions keep their values and get a long name from `COORDINATES`.
    """
    result = xr.Dataset(
        {name: values.rename(name).drop_attrs() for name, (values, _) in variables.items()}
    )
    for name, (_, text) in variables.items():
        result[name].attrs = {"long_name": text, "units": "1"}
    for name in result.coords:
        result[name].attrs = {"long_name": COORDINATES[str(name)], "units": "1"}
    return result


COORDINATES = {
    "seed": "seed of the resumed run",
    "block": "contiguous block of the run after the transient",
    "mode": "Hessian eigenvector, by decreasing eigenvalue",
    "pair": "plotted modes: 0 the first, 1 mode 30 or the last",
    "path_step": "step of the thinned path",
    "last_step": "step",
    "lag": "lag in steps",
    "frequency": "frequency w = (2/eta) sin(phi/2) per unit of t = eta k",
    "bin": "logarithmic bin of frequencies",
    "grid_1": "offset along the first eigenvector",
    "grid_30": "offset along the second plotted eigenvector",
    "batch_size": "batch size S",
}
