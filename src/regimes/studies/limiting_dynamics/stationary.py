"""Reading resumed runs: the part after the transient, blocks of it, the start point behind it.

A stationary run is one realization, so statistics over seeds are not to be had. Instead the part
after the transient is cut into contiguous blocks, much longer than the relaxation times of the
modes: blocks are nearly independent, and leaving out one at a time gives an interval.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr

from regimes.studies.limiting_dynamics.start_points import NET, net_names, start_of

BLOCKS = 16
TRANSIENT = 0.05  # share of the steps that is dropped: 3000 of 60,000
LATER_MODE = 30  # the less curved of the two plotted modes, where there are as many
STEP = "projection_step"
SETTINGS = ("eta", "batch_size", "momentum", "weight_decay")
PATH_POINTS = 4000  # points of a path that is drawn

COORDINATES = {
    "seed": "seed of the resumed run",
    "block": "contiguous block of the run after the transient",
    "mode": "Hessian eigenvector, by decreasing eigenvalue",
    "pair": "plotted modes: 0 the first, 1 the later one",
    "path_step": "step of the thinned path",
    "last_step": "step",
    "lag": "lag in steps",
    "frequency": "frequency w = (2/eta) sin(phi/2) per unit of t = eta k",
    "bin": "logarithmic bin of frequencies",
    "grid_1": "offset along the first plotted mode",
    "grid_30": "offset along the later plotted mode",
    "batch_size": "batch size S",
}


@dataclass(frozen=True)
class Resumed:
    """Runs resumed from one start point with one setting.

    Attributes
    ----------
    position, velocity
        (seed, projection_step, mode), float64, every step from 0 on; position along the
        eigenvectors relative to the start point, velocity minus the momentum buffer.
    network
        The first of the runs, with the coordinates `start_points.NET` that tell networks apart.
    eta, batch_size, momentum, weight_decay
        Optimizer's settings.
    """

    position: xr.DataArray
    velocity: xr.DataArray
    network: xr.Dataset
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

    Runs without projections, of another network or setting, or that diverged are left out, as are
    modes that the others do not have. Where all diverged, what is left is NaN after step 0.

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
    lost = runs["diverged_at"].values >= 0
    if not lost.all():
        length[lost] = 0
    alike = length == length.max()
    first = int(np.argmax(alike))
    for name in SETTINGS:
        alike &= runs[name].values == runs[name].values[first]
    nets = net_names(runs)
    alike &= nets == nets[first]
    kept = runs[["position", "velocity"]].isel(run=np.flatnonzero(alike))
    kept = kept.isel({STEP: slice(int(length.max()))}).transpose("run", STEP, "mode")
    if (np.diff(kept[STEP].values) != 1).any():
        raise ValueError("projections must be recorded at every step")
    kept = kept.dropna("mode", how="all", subset=["position"])
    if lost.all():  # a run on its way to infinity is no cloud: everything about it is unknown
        kept = kept.where(kept[STEP] == 0)
    bare = kept.swap_dims(run="seed").reset_coords(drop=True).astype(np.float64)
    one = runs.isel(run=first)
    return Resumed(
        position=bare["position"],
        velocity=bare["velocity"],
        network=runs[[name for name in NET if name in runs.coords]].isel(run=[first]),
        **{name: float(one[name]) for name in SETTINGS},
    )


def start_point(geometry: xr.Dataset, run: Resumed) -> xr.Dataset:
    """Geometry at the start point of resumed runs, see `start_points.start_of`.

    Parameters
    ----------
    geometry
        An experiment of kind ``geometry``.
    run
        Resumed runs; their modes without geometry become NaN. The full spectrum stays available
        as ``all_eigenvalue`` and ``all_noise`` over ``all_mode``.
    """
    one = start_of(geometry, run.network)
    # The radius is a setting of the run too, and so may be a coordinate.
    one = one.reset_coords("rise_radius").reset_coords(drop=True)
    one = one.drop_vars(["eigenvector", "weights"], errors="ignore")
    all_modes = {"eigenvalue": "all_eigenvalue", "noise": "all_noise", "mode": "all_mode"}
    spectrum = one[["eigenvalue", "noise"]].rename(all_modes)
    # Residuals exist for the modes whose eigenvectors are kept.
    residual = one["eigen_residual"].rename(kept_mode="mode")
    modes = run.position["mode"]
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


def variance(data: xr.Dataset, kind: str, over: str | Sequence[str]) -> xr.DataArray:
    """Variance of ``position`` or ``velocity`` over all steps of all blocks.

    Parameters
    ----------
    data
        With ``<kind>_mean`` and ``<kind>_square``, block means of x and x^2.
    over
        Dimensions that count blocks, and seeds.
    """
    dims = [over] if isinstance(over, str) else list(over)
    return data[f"{kind}_square"].mean(dims) - data[f"{kind}_mean"].mean(dims) ** 2


def equipartition(
    data: xr.Dataset, over: str | Sequence[str], frequency: xr.DataArray | float = 1.0
) -> xr.DataArray:
    """omega^2 Var(position) / Var(velocity), which is 1 in the continuous model.

    Parameters
    ----------
    data, over
        As for `variance`, of both kinds.
    frequency
        Natural frequency omega; 1 for moments that are divided by those of theory, which obey
        equipartition.
    """
    return frequency**2 * variance(data, "position", over) / variance(data, "velocity", over)


def thinned(values: xr.DataArray, points: int = PATH_POINTS) -> xr.DataArray:
    """About ``points`` evenly spaced steps, the first one included, over ``path_step``."""
    stride = max(1, -(-values.sizes[STEP] // points))
    return values.isel({STEP: slice(None, None, stride)}).rename({STEP: "path_step"})
