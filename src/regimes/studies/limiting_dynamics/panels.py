"""What the limiting-dynamics figures share: colours, 3-D phase portraits, maps of losses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import FigureBase
from matplotlib.gridspec import SubplotSpec
from matplotlib.lines import Line2D
from mpl_toolkits.mplot3d.axes3d import Axes3D

from regimes.plot import style

# --- Colours by meaning --------------------------------------------------------------------------

# One colour per setting that is swept, as in the paper.
SWEEP_COLOURS = {"eta": style.BLUE, "batch_size": style.ORANGE, "momentum": style.GREEN}
SWEEP_LABELS = {
    "eta": r"learning rate $\eta$",
    "batch_size": r"batch size $S$",
    "momentum": r"momentum $\beta$",
}
NET_COLOURS = {
    "vgg16_bn": style.BLUE,
    "vgg16": style.ORANGE,
    "vgg11_bn": style.GREEN,
    "resnet18": style.VERMILLION,
    "resnet34": style.PURPLE,
}
NET_NAMES = {
    "vgg16_bn": "VGG16-BN",
    "vgg16": "VGG16",
    "vgg11_bn": "VGG11-BN",
    "resnet18": "ResNet-18",
    "resnet34": "ResNet-34",
    "mlp": "tanh MLP",
    "linear": "linear regression",
}
DATA = "black"
RAW = "0.75"
LOSS_MAP, MODIFIED_LOSS_MAP = "Blues", "Reds"
CONTINUOUS_THEORY = {"color": "red", "linewidth": 1.2}
RECURSION = style.THEORY | {"linewidth": 0.8}


def net_colour(model: str) -> str:
    """Colour of a network, grey if it has none of its own."""
    return NET_COLOURS.get(model, style.GREY)


def net_name(model: str) -> str:
    """Name of a network as written in legends."""
    return NET_NAMES.get(model, model)


def value_colours(values: Sequence[float]) -> dict[float, tuple[float, float, float, float]]:
    """One colour per value of a setting, small values dark, large ones bright."""
    ordered = sorted({float(value) for value in values})
    # The palest tenth of the map is illegible on white.
    shares = np.linspace(0, 0.88, len(ordered)) if len(ordered) > 1 else [0.3]
    return {v: mpl.colormaps["viridis"](float(s)) for v, s in zip(ordered, shares, strict=True)}


def setting_colours(count: int) -> list[tuple[float, ...]]:
    """Colours of up to 20 combinations of settings (tab20, as in the paper)."""
    return [mpl.colormaps["tab20"](i % 20) for i in range(count)]


def power_text(value: float) -> str:
    """Number as m x 10^n for mathematical text, plain between .01 and 1000."""
    if value == 0 or 0.01 <= abs(value) < 1000:
        return f"{value:g}"
    mantissa, power = f"{value:.1e}".split("e")
    mantissa = mantissa.removesuffix(".0")
    return (r"10^{%d}" if mantissa == "1" else mantissa + r"\times10^{%d}") % int(power)


def start_disc(axes: Axes, x: float, y: float, **look) -> Line2D:
    """White disc with black rim that marks where a path starts."""
    kept = {"markersize": 6, "markeredgewidth": 1.1, "zorder": 5} | look
    (disc,) = axes.plot(
        [x], [y], "o", markerfacecolor="white", markeredgecolor="black", linestyle="", **kept
    )
    return disc


# --- Maps of losses ------------------------------------------------------------------------------


def heat_map(
    axes: Axes,
    x: np.ndarray,
    y: np.ndarray,
    values: np.ndarray,
    colours: str = LOSS_MAP,
    contours: int | Sequence[float] = 5,
) -> mpl.collections.QuadMesh:
    """Colour map of a function of the plane with dashed contours over it.

    Parameters
    ----------
    x, y
        Coordinates of the grid, shapes (n,) and (m,).
    values
        Function on the grid, shape (n, m): first axis along ``x``; NaN is left blank.
    colours
        Colour map: ``Blues`` for losses, ``Reds`` for the modified loss.
    contours
        The levels, or their number: then evenly spaced for a quadratic function, in the square
        root of the height above the lowest value.

    Returns
    -------
    matplotlib.collections.QuadMesh
        For a colour bar.
    """
    values = np.ma.masked_invalid(np.asarray(values, dtype=float))
    mesh = axes.pcolormesh(x, y, values.T, cmap=colours, shading="nearest", rasterized=True)
    mesh.set_zorder(0)
    # Contours of a constant or empty map are undefined.
    if values.count() and np.ptp(values.compressed()) > 0:
        levels = quadratic_levels(values, contours) if isinstance(contours, int) else contours
        axes.contour(
            x, y, values.T, levels, colors=[mpl.colormaps[colours](0.95)], linestyles="dashed",
            linewidths=1.2, alpha=0.6, zorder=2.5,
        )  # fmt: skip
    return mesh


def quadratic_levels(values: np.ma.MaskedArray, count: int) -> np.ndarray:
    """Levels between the extremes of a map, evenly spaced in the root of the height."""
    low, high = float(values.min()), float(values.max())
    return low + (high - low) * (np.arange(1, count + 1) / (count + 1)) ** 2


# --- Phase portraits in three dimensions ---------------------------------------------------------

ELEVATION, AZIMUTH = 35, -45
BOX = (1.0, 2.0, 1.5)  # position : time : velocity, stretched along time


@dataclass(frozen=True)
class PhaseCurve:
    """A path in (position, time, velocity) and its looks.

    Attributes
    ----------
    time, position, velocity
        Arrays of equal length.
    look
        Properties of the line in space.
    wall
        Properties of its projections on floor (position, time) and back wall (time, velocity);
        None for no projections, empty for the line's own colour, faint.
    space
        Draw the line in space; False leaves only the projections.
    """

    time: np.ndarray
    position: np.ndarray
    velocity: np.ndarray
    look: Mapping[str, object] = field(default_factory=dict)
    wall: Mapping[str, object] | None = field(default_factory=dict)
    space: bool = True


def three_d_axes(
    figure: FigureBase,
    spec: SubplotSpec | tuple[int, int, int] = (1, 1, 1),
    zoom: float = 1.0,
) -> Axes3D:
    """Empty 3-D axes with the common view, x: position, y: time, z: velocity.

    Parameters
    ----------
    figure
        Figure or sub-figure.
    spec
        Place: an entry of a grid, or (rows, columns, number) as for ``add_subplot``.
    zoom
        Larger than 1 fills the margins that matplotlib leaves around the box.
    """
    place = spec if isinstance(spec, tuple) else (spec,)
    # 3-D axes read the looks of their grid when they are made.
    with mpl.rc_context({"grid.color": "0.9", "grid.linewidth": 0.4}):
        axes = figure.add_subplot(*place, projection="3d")
    axes.patch.set_visible(False)  # it would cover labels of the portrait above
    axes.view_init(elev=ELEVATION, azim=AZIMUTH)
    axes.set_box_aspect(BOX, zoom=zoom)
    for axis in (axes.xaxis, axes.yaxis, axes.zaxis):
        axis.set_pane_color((1, 1, 1, 0))
        axis.set_major_locator(mpl.ticker.MaxNLocator(4))
    axes.tick_params(labelsize=6, pad=-1)
    return axes


def phase_portrait(
    axes: Axes3D,
    curves: Sequence[PhaseCurve],
    labels: tuple[str, str, str] = ("position", "step", "velocity"),
) -> None:
    """Draw paths in (position, time, velocity) with their projections on floor and back wall.

    Parameters
    ----------
    axes
        From `three_d_axes`.
    curves
        Data and theory curves, later ones on top; points with NaN are left out.
    labels
        Names of position, time and velocity.
    """
    limits = _limits(curves)
    if limits is not None:
        for setter, ends in zip((axes.set_xlim, axes.set_ylim, axes.set_zlim), limits, strict=True):
            setter(*ends)
        left, floor = limits[0][0], limits[2][0]
        for i, curve in enumerate(curves):
            look = {"color": DATA, "linewidth": 0.9, "zorder": 5 + i} | dict(curve.look)
            t, x, u = (np.asarray(v, float) for v in (curve.time, curve.position, curve.velocity))
            if curve.wall is not None:
                # Line widths and styles of the walls do not depend on those in space.
                faint = {"color": look["color"], "alpha": 0.25, "linewidth": 0.6} | dict(curve.wall)
                axes.plot(x, t, np.full_like(t, floor), zorder=1, **faint)
                axes.plot(np.full_like(t, left), t, u, zorder=1, **faint)
            if curve.space:
                axes.plot(x, t, u, **look)
    setters = (axes.set_xlabel, axes.set_ylabel, axes.set_zlabel)
    for setter, label in zip(setters, labels, strict=True):
        setter(label, labelpad=-4)


def _limits(curves: Sequence[PhaseCurve]) -> list[tuple[float, float]] | None:
    """Limits of position, time and velocity over all curves, a little widened; None if empty."""
    found = []
    for name, margin in (("position", 0.05), ("time", 0.0), ("velocity", 0.05)):
        values = np.concatenate([np.ravel(getattr(curve, name)) for curve in curves])
        values = values[np.isfinite(values)].astype(float)
        if not values.size:
            return None
        low, high = float(values.min()), float(values.max())
        extra = margin * (high - low) if high > low else 0.5 * (abs(low) or 1.0)
        found.append((low - extra, high + extra))
    return found


def moving_average(values: np.ndarray, width: int) -> np.ndarray:
    """Means of ``width`` consecutive values along the first axis, shape (n - width + 1, ...).

    Averaging the times as well keeps them centred. Where there are fewer values than ``width``,
    their one mean is returned.
    """
    values = np.asarray(values, dtype=float)
    width = max(1, min(int(width), len(values)))
    total = np.cumsum(np.concatenate([np.zeros_like(values[:1]), values]), axis=0)
    return (total[width:] - total[:-width]) / width
