"""Panels of the figures on clouds and phase portraits, for the plain and the CIFAR-10 network."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure, FigureBase

from regimes.plot import style
from regimes.studies.limiting_dynamics.panels import (
    DATA,
    LOSS_MAP,
    MODIFIED_LOSS_MAP,
    RAW,
    PhaseCurve,
    heat_map,
    moving_average,
    phase_portrait,
    start_disc,
    three_d_axes,
)
from regimes.studies.limiting_dynamics.stationary import TRANSIENT
from regimes.studies.limiting_dynamics.theory import modified_loss

POINTS = 80  # grid of the modified loss
MEAN_OVER = 20  # steps of the moving average in phase portraits
SPREAD = {"color": style.ORANGE, "linewidth": 1.3, "zorder": 4}


def names(data: xr.Dataset, quantity: str) -> tuple[str, str]:
    """Axis labels of a quantity along the two plotted modes."""
    first, later = data["pair_mode"].values
    return f"{quantity} along $q_{{{first}}}$", f"{quantity} along $q_{{{later}}}$"


def path(axes: Axes, points: xr.DataArray) -> None:
    """Thinned path over (path_step, pair) in black, with its start and twice its spread.

    The ellipse has semi-axes of two standard deviations of the part after the transient.
    """
    x, y = (points.sel(pair=i).values for i in (0, 1))
    if not (np.isfinite(x) & np.isfinite(y)).all():
        axes.text(0.5, 0.5, "the run diverged", transform=axes.transAxes, ha="center")
        return
    axes.plot(x, y, color=DATA, alpha=0.4, linewidth=0.2, zorder=2)
    kept = slice(int(np.ceil(TRANSIENT * x.size)), None)
    axes.plot(*spread_ellipse(x[kept], y[kept]), **SPREAD)
    start_disc(axes, x[0], y[0])


def spread_ellipse(x: np.ndarray, y: np.ndarray, factor: float = 2.0) -> np.ndarray:
    """Ellipse of ``factor`` standard deviations of points about their mean, shape (2, 200)."""
    centre = np.array([x.mean(), y.mean()])
    values, vectors = np.linalg.eigh(np.atleast_2d(np.cov(x, y)))
    angle = np.linspace(0, 2 * np.pi, 200)
    circle = np.stack([np.cos(angle), np.sin(angle)])
    axes = vectors * np.sqrt(np.maximum(values, 0))
    return centre[:, None] + factor * axes @ circle


# --- Positions -----------------------------------------------------------------------------------


def position_box(data: xr.Dataset) -> float:
    """Half-width of the plotted square about the start: the range of the path.

    Smaller where the loss was not measured that far out, but never cutting the path.
    """
    points = data["path_position"].values
    if not np.isfinite(points).all():
        return 1.0
    widest = float(np.ptp(points, axis=0).max())
    reach = float(np.abs(points).max())
    measured = float(np.abs(data["grid_1"]).max())
    half = min(widest, measured) if np.isfinite(measured) else widest
    return max(half, 1.05 * reach) or 1.0


def position_part(data: xr.Dataset, half: float) -> tuple[np.ndarray, np.ndarray]:
    """Position part of the modified loss, sum (1 + lambda/rho)(x - mu)^2 / (eta (1 + beta)).

    Returns
    -------
    tuple
        Coordinates of shape (n,) and values of shape (n, n), first axis along the first mode.
    """
    eta, beta, decay = (float(data[n]) for n in ("eta", "momentum", "weight_decay"))
    rho = data["pair_eigenvalue"].values
    stiffness = np.diag(2 / (eta * (1 + beta)) * (1 + decay / rho))
    grid = np.linspace(-half, half, POINTS)
    plane = np.stack(np.meshgrid(grid, grid, indexing="ij"), axis=-1)
    return grid, modified_loss(plane, data["minimum"].values, stiffness)


def inside_box(grid: xr.DataArray, half: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Loss map cut to the plotted square, one grid line beyond it kept."""
    offset = grid["grid_1"].values
    step = float(np.diff(offset).max()) if offset.size > 1 else 0.0
    near = np.flatnonzero(np.abs(offset) <= half + step)
    return offset[near], offset[near], grid.values[np.ix_(near, near)]


def position_figure(data: xr.Dataset) -> Figure:
    """Path of positions over train loss, test loss and position part of the modified loss."""
    figure, row = plt.subplots(1, 3, figsize=(style.PAGE, 3.25), sharey=True)
    half = position_box(data)
    grid, psi = position_part(data, half)
    maps = [
        ("train loss", LOSS_MAP, inside_box(data["train_loss"], half)),
        ("test loss", LOSS_MAP, inside_box(data["test_loss"], half)),
        (r"modified loss, position part", MODIFIED_LOSS_MAP, (grid, grid, psi)),
    ]
    horizontal, vertical = names(data, "position")
    for axes, letter, (title, colours, drawn) in zip(row, "abc", maps, strict=True):
        if np.isfinite(drawn[2]).any():
            if colours == LOSS_MAP:  # a loss varies by a small part of itself
                lowest = float(np.nanmin(drawn[2]))
                drawn = (*drawn[:2], drawn[2] - lowest)
                title += f" \N{MINUS SIGN} {lowest:.4g}"
            mesh = heat_map(axes, *drawn, colours)
            bar = figure.colorbar(mesh, ax=axes, location="bottom", aspect=25, shrink=0.9)
            bar.locator = plt.MaxNLocator(3)
            bar.formatter.set_powerlimits((-2, 3))
            bar.update_ticks()
        else:
            title += " (map not measured)"
        path(axes, data["path_position"])
        axes.set(xlim=(-half, half), ylim=(-half, half), aspect="equal")
        axes.ticklabel_format(scilimits=(-2, 3))
        axes.locator_params(nbins=4)
        axes.set(xlabel=horizontal, title=title)
        style.panel_label(axes, letter)
    row[0].set_ylabel(vertical)
    return figure


# --- Velocities ----------------------------------------------------------------------------------


def velocity_figure(data: xr.Dataset) -> Figure:
    """Path of velocities over sum u^2/rho of the plotted modes, from the modified loss."""
    figure, axes = plt.subplots(figsize=(style.COLUMN + 0.6, style.COLUMN))
    points = data["path_velocity"]
    half = 0.6 * float(np.ptp(points.values, axis=0).max())
    half = half if np.isfinite(half) and half else 1.0
    grid = np.linspace(-half, half, POINTS)
    plane = np.stack(np.meshgrid(grid, grid, indexing="ij"), axis=-1)
    rho = data["pair_eigenvalue"].values
    values = modified_loss(plane, np.zeros(2), np.diag(2 / rho))
    first, later = data["pair_mode"].values
    label = rf"$u_{{{first}}}^2/\rho_{{{first}}}+u_{{{later}}}^2/\rho_{{{later}}}$"
    if np.isfinite(values).any():
        mesh = heat_map(axes, grid, grid, values, MODIFIED_LOSS_MAP, contours=7)
        figure.colorbar(mesh, ax=axes, label=label, shrink=0.9)
    path(axes, points)
    axes.set(xlim=(-half, half), ylim=(-half, half), aspect="equal")
    axes.ticklabel_format(scilimits=(-2, 3))
    axes.locator_params(nbins=7)
    horizontal, vertical = names(data, "velocity")
    axes.set(xlabel=horizontal, ylabel=vertical)
    return figure


# --- Phase portraits -----------------------------------------------------------------------------


def mode_portrait(figure: FigureBase, spec, data: xr.Dataset, pair: int, zoom: float = 1.0) -> Axes:
    """Phase portrait of a plotted mode: moving average in space, raw path on the walls.

    Parameters
    ----------
    figure, spec, zoom
        As for `panels.three_d_axes`.
    data
        With ``last_position`` and ``last_velocity`` over (pair, last_step).
    """
    axes = three_d_axes(figure, spec, zoom)
    step = data["last_step"].values.astype(float)
    x, u = (data[f"last_{n}"].sel(pair=pair).values for n in ("position", "velocity"))
    smooth = [moving_average(values, MEAN_OVER) for values in (step, x, u)]
    raw = {"color": RAW, "alpha": 0.8, "linewidth": 0.4}
    mean_wall = {"alpha": 0.6, "linewidth": 0.4}
    curves = [
        PhaseCurve(step, x, u, wall=raw, space=False),
        PhaseCurve(*smooth, look={"linewidth": 0.7}, wall=mean_wall),
    ]
    phase_portrait(axes, curves)
    number = int(data["pair_mode"].sel(pair=pair))
    axes.text2D(0.12, 0.88, f"$q_{{{number}}}$", transform=axes.transAxes, fontsize=9)
    return axes
