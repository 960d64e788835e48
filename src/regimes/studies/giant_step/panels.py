"""Panels that the figures of the giant-step study share: teacher plane, step colours, intervals."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Circle
from scipy.special import stdtrit

from regimes.plot import style

# One colour per giant step T = 1..6, in order (viridis without its palest end).
STEP_COLOURS = ("#440154", "#414487", "#2a788e", "#22a884", "#7ad151", "#d2c21b")
SIGN_MARKERS = {1: "o", -1: "^"}  # sign of a neuron's read-out weight

TARGET_FORMULAS = {
    "he124": r"$[h(z_1)+h(z_2)]/2,\ h=\mathrm{He}_1+\mathrm{He}_2/2+\mathrm{He}_4/24$",
    "minus": r"$(z_1+z_2+z_1^2-z_2^2)/2$",
    "plus": r"$(z_1+z_2+z_1^2+z_2^2)/2-1$",
    "A": r"$z_1+\mathrm{He}_2(z_1)/\sqrt{2}$",
    "B": r"$z_1+\mathrm{He}_2(z_2)/\sqrt{2}$",
    "example1": r"$(4z_1+z_1^2+z_2)/2$",
    "he2_pair": r"$(z_1^2+z_2^2)/2-1$",
    "z1_z1z2": r"$z_1+z_1z_2$",
    "z1_z2z3": r"$z_1+z_2z_3$",
    "chain": r"$z_1+z_1z_2+z_2z_3$",
    "product": r"$z_1+z_1z_2+z_1z_2z_3$",
    "he1": r"$z_1$",
    "he2": r"$\mathrm{He}_2(z_1)/\sqrt{2}$",
    "he3": r"$\mathrm{He}_3(z_1)/\sqrt{6}$",
    "square": r"$z_1^2-1$",
}


def step_colour(step: int) -> str:
    """Colour of giant step ``step`` (1 to 6)."""
    return STEP_COLOURS[int(step) - 1]


@dataclass(frozen=True)
class Cloud:
    """Neurons of one colour and marker in a teacher-plane scatter.

    Attributes
    ----------
    cosines
        (neuron, 2): cosines with w*_1 and w*_2; rows with NaN are left out.
    hollow
        Draw only the outlines, so that a second cloud at the same place shows through.
    """

    cosines: np.ndarray | xr.DataArray
    colour: str
    label: str = ""
    marker: str = "o"
    hollow: bool = False
    size: float = 9.0


def on_circle(cosines: np.ndarray | xr.DataArray) -> np.ndarray:
    """Project cosines (neuron, 2) on the unit circle of the plane: the variant G^perp."""
    cosines = np.asarray(cosines, dtype=float)
    norm = np.linalg.norm(cosines, axis=-1, keepdims=True)
    return cosines / np.where(norm > 0, norm, np.nan)


def by_sign(
    cosines: np.ndarray | xr.DataArray, signs: np.ndarray | xr.DataArray, colour: str, label: str
) -> list[Cloud]:
    """Two clouds of one colour, circles for positive and triangles for negative read-out.

    Parameters
    ----------
    cosines, signs
        Shapes (neuron, 2) and (neuron,).
    """
    cosines, signs = np.asarray(cosines, dtype=float), np.asarray(signs)
    clouds = [
        Cloud(cosines[signs == sign], colour, label if sign == 1 else "", marker)
        for sign, marker in SIGN_MARKERS.items()
    ]
    return [cloud for cloud in clouds if len(cloud.cosines)]


def teacher_plane(
    axes: Axes,
    clouds: Sequence[Cloud],
    *,
    slopes: Iterable[float] | Mapping[float, dict] = (),
    random_level: float | None = None,
    symbol: str = "g",
    labels: bool = True,
) -> None:
    """Scatter of gradients by their cosines with the two teacher directions.

    Parameters
    ----------
    axes
        Gets equal aspect and limits a little beyond [-1, 1].
    clouds
        Drawn in order, later ones above.
    slopes
        Theory lines through 0, dashed black; a mapping gives each slope line
        properties that replace the common ones. An infinite slope is vertical.
    random_level
        Radius of the blue circle, 2/sqrt(d); none if not given.
    symbol
        What the cosines are of: ``g`` for gradients, ``w`` for rows.
    labels
        Write the axis labels (left out inside a row of equal panels).
    """
    axes.add_patch(Circle((0, 0), 1, fill=False, color="black", linewidth=0.8, zorder=1))
    if random_level is not None:
        axes.add_patch(
            Circle((0, 0), random_level, fill=False, color=style.BLUE, linewidth=1, zorder=4)
        )
    properties = slopes if isinstance(slopes, Mapping) else {slope: {} for slope in slopes}
    for slope, extra in properties.items():
        direction = (0, 1) if np.isinf(slope) else np.array([1, slope]) / np.hypot(1, slope)
        x, y = (np.array([-1, 1]) * component for component in direction)
        axes.plot(x, y, **{**style.THEORY, "zorder": 2, **extra})
    for cloud in clouds:
        cosines = np.asarray(cloud.cosines, dtype=float).reshape(-1, 2)
        cosines = cosines[np.isfinite(cosines).all(axis=1)]
        axes.scatter(
            cosines[:, 0],
            cosines[:, 1],
            s=cloud.size,
            marker=cloud.marker,
            facecolor="none" if cloud.hollow else cloud.colour,
            edgecolor=cloud.colour if cloud.hollow else "white",
            linewidth=0.8 if cloud.hollow else 0.25,
            label=cloud.label or None,
            zorder=3,
        )
    axes.set(xlim=(-1.08, 1.08), ylim=(-1.08, 1.08), xticks=[-1, 0, 1], yticks=[-1, 0, 1])
    axes.set_aspect("equal")
    if labels:
        axes.set_xlabel(rf"$\cos({symbol}, w^*_1)$")
        axes.set_ylabel(rf"$\cos({symbol}, w^*_2)$", labelpad=-1)


def plane_handles(
    random_level: float | None = None, theory: str = "", sign: bool = False
) -> list[Line2D]:
    """Legend handles of a teacher plane: random level, theory line, read-out signs."""
    handles = []
    if sign:
        handles += [
            Line2D([], [], linestyle="", marker=marker, color="0.4", label=f"$a_i {relation} 0$")
            for marker, relation in ((SIGN_MARKERS[1], ">"), (SIGN_MARKERS[-1], "<"))
        ]
    if theory:
        handles.append(Line2D([], [], label=theory, **style.THEORY))
    if random_level is not None:
        text = rf"random level $2/\sqrt{{d}}={random_level:.2g}$"
        handles.append(Line2D([], [], color=style.BLUE, linewidth=1, label=text))
    return handles


def centre(values: xr.DataArray, dim: str = "seed", median: bool = False) -> xr.DataArray:
    """Mean or median over seeds, without warnings where all are missing."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # all-NaN cells stay NaN
        return values.median(dim) if median else values.mean(dim)


def deviation(values: xr.DataArray, dim: str = "seed") -> xr.DataArray:
    """Give the standard deviation over seeds (n-1); 0 where only one seed is present."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        spread = values.std(dim, ddof=1)
    return spread.where(values.notnull().sum(dim) > 1, 0.0)


def interval(values: xr.DataArray, dim: str = "seed") -> xr.DataArray:
    """Half-width of the 95 % interval of the mean over seeds (t); 0 with one seed only."""
    count = values.notnull().sum(dim)
    factor = stdtrit(np.maximum(count - 1, 1), 0.975) / np.sqrt(np.maximum(count, 1))
    return deviation(values, dim) * factor


def describe(values: xr.DataArray, digits: int = 2) -> str:
    """Mean over seeds and half-width of its 95 % interval as text, '0.41 ± 0.01'."""
    mean, half = float(centre(values)), float(interval(values))
    if not np.isfinite(mean):
        return "not run"
    count = int(values.notnull().sum("seed"))
    return f"{mean:.{digits}f} ± {half:.{digits}f}" if count > 1 else f"{mean:.{digits}f}"


def schematic_staircase(
    axes: Axes, levels: Sequence[float], names: Sequence[str], ticks: Mapping[float, str]
) -> None:
    """Cartoon without data: an error that falls in steps, each plateau named.

    Parameters
    ----------
    axes
        One unit of x per plateau; y from 0 to 1.
    levels, names
        Error level and name of each plateau, in order.
    ticks
        Marks on the x axis, position to text.
    """
    edges = np.arange(len(levels) + 1)
    colours = ("0.6", *STEP_COLOURS[::2])
    axes.step(edges, [*levels, levels[-1]], where="post", color="black", linewidth=1.6)
    for left, level, name, colour in zip(edges[:-1], levels, names, colours, strict=False):
        axes.fill_between([left, left + 1], 0, level, color=colour, alpha=0.22, linewidth=0)
        axes.text(
            left + 0.5, level + 0.03, name, ha="center", va="bottom", fontsize=7, linespacing=1.1
        )
    axes.set(xlim=(0, len(levels)), ylim=(0, 1.12), yticks=[])
    axes.set_xticks(list(ticks), list(ticks.values()))
    axes.text(
        0.985,
        0.97,
        "schematic",
        transform=axes.transAxes,
        ha="right",
        va="top",
        style="italic",
        color="0.45",
    )
