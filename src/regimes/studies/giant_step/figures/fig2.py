"""Fig. 2: several giant steps climb the staircase of directions."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from regimes.plot import style
from regimes.studies.giant_step import panels

LAYOUT = ["aaaabbbb", "ccddeeff", "gghhiijj", "kkllmmnn"]
SCATTERS = {"c": ("minus", 1), "d": ("minus", 2), "e": ("plus", 1), "f": ("plus", 2)}
CURVES = {
    "g": "minus",
    "h": "plus",
    "i": "z1_z1z2",
    "j": "z1_z2z3",
    "k": "he3",
    "l": "chain",
    "m": "product",
}
SHORT = {"minus": "staircase", "plus": "no staircase"}
DIRECTION_COLOURS = (style.BLUE, style.GREEN, style.PURPLE)
DIRECTION_MARKERS = ("o", "s", "^")
NEGLECTED = {"linestyle": ":", "linewidth": 1.2}
RANDOM = {"color": "0.45", "linestyle": ":", "linewidth": 1}


def draw(analyses: dict[str, xr.Dataset]) -> Figure:
    """Draw cartoon, second step against the closed form, scatters, alignment against steps.

    Parameters
    ----------
    analyses
        ``several_steps``.
    """
    data = analyses["several_steps"]
    figure, axes = plt.subplot_mosaic(
        [list(row) for row in LAYOUT],
        figsize=(style.PAGE, 6.5),
        height_ratios=[1, 1.25, 0.95, 0.95],
    )
    _legend(axes.pop("n"), data)
    _cartoon(axes["a"])
    _projection(axes["b"], data)
    for letter, (target, step) in SCATTERS.items():
        _scatter(axes[letter], data, target, step)
        if letter != "c":
            axes[letter].set(ylabel="", yticklabels=[])
    for letter, target in CURVES.items():
        _curves(axes[letter], data, target)
        if letter in "gk":
            axes[letter].set_ylabel(r"$\langle\cos^2(w_i, w^*_k)\rangle$")
        else:
            axes[letter].set_yticklabels([])
    _direction_legend(axes["k"])
    for letter, panel in axes.items():
        style.panel_label(panel, letter)
    return figure


def _cartoon(axes: Axes) -> None:
    panels.schematic_staircase(
        axes,
        [0.9, 0.62, 0.38, 0.16],
        ["start", "single-index", "two-index", "three-index"],
        {k: f"$T={k}$" for k in (1, 2, 3)},
    )
    title = r"one more direction at each step, all batches $n\sim d$"
    axes.set(ylabel="test error", xlabel="giant steps $T$", title=title)


def _projection(axes: Axes, data: xr.Dataset) -> None:
    """Mean second-step gradient of each cluster and seed at a large batch, and the theory."""
    for sign, marker in panels.SIGN_MARKERS.items():
        measured = data["projection"].sel(cluster=sign)
        theory = data["projection_theory"].sel(cluster=sign)
        label = "one seed, $a_i>0$" if sign > 0 else "one seed, $a_i<0$"
        axes.plot(
            measured.sel(axis="u"),
            measured.sel(axis="s"),
            linestyle="",
            marker=marker,
            color=panels.step_colour(2),
            markeredgecolor="white",
            markeredgewidth=0.3,
            label=label,
        )
        point = [float(theory.sel(axis=name)) for name in ("u", "s")]
        axes.plot([0, point[0]], [0, point[1]], **style.THEORY, zorder=1)
        axes.plot(*point, "+", color="black", markersize=9, label="theory" if sign < 0 else None)
    reach = 1.6 * float(abs(data["projection_theory"]).sel(axis="u").max())
    axes.axhline(0, color="0.8", linewidth=0.6, zorder=0)
    axes.set(
        xlim=(-reach, reach),
        xlabel=r"$p\,\langle g, v^*\rangle$",
        ylabel=r"$p\,\langle g, v_\perp\rangle$",
        title="staircase, second step at a larger batch",
    )
    axes.margins(y=0.25)
    axes.legend(loc="upper center", borderpad=0, labelspacing=0.3)


def _slopes(data: xr.Dataset, target: str, step: int) -> dict[float, dict]:
    """Theory lines: the linear part, or the two clusters of the staircase target's step 2."""
    if (target, step) != ("minus", 2):
        return {1.0: {}}
    lines = {}
    for output, extra in ((1, {}), (0, NEGLECTED)):
        u, s = (
            float(data["second_step_theory"].sel(network_output=output, axis=name))
            for name in ("u", "s")
        )
        for slope in ((u - s) / (u + s), (u + s) / (u - s)):
            lines[slope] = extra
    return lines


def _random_level(data: xr.Dataset) -> float:
    return 2 / np.sqrt(float(data["dimension"]))


def _scatter(axes: Axes, data: xr.Dataset, target: str, step: int) -> None:
    shown = data.sel(plane_target=target)
    cosines = shown["gradient_cosine"].sel(step=step).transpose("neuron", "direction")
    panels.teacher_plane(
        axes,
        panels.by_sign(
            cosines.isel(direction=slice(0, 2)), shown["readout_sign"], panels.step_colour(step), ""
        ),
        slopes=_slopes(data, target, step),
        random_level=_random_level(data),
    )
    axes.set_title(f"{SHORT[target]}, $T={step}$")


def _curves(axes: Axes, data: xr.Dataset, target: str) -> None:
    """Mean squared cosine of the rows with each direction against steps, std over seeds as band."""
    if target in SHORT:
        values = data["row_cos2_axes"].sel(plane_target=target).rename(axis="direction")
    else:
        values = data["row_cos2"].sel(target=target)
    values = values.dropna("direction", how="all").dropna("step", how="all")
    mean, spread = panels.centre(values), panels.deviation(values)
    low = 0.1 / float(data["dimension"])
    for i in range(values.sizes["direction"]):
        middle, band = mean.isel(direction=i), spread.isel(direction=i)
        axes.plot(
            values["step"],
            middle,
            color=DIRECTION_COLOURS[i],
            marker=DIRECTION_MARKERS[i],
            markersize=3.5,
        )
        axes.fill_between(
            values["step"],
            np.maximum(middle - band, low),
            middle + band,
            color=DIRECTION_COLOURS[i],
            alpha=0.25,
            linewidth=0,
        )
    axes.axhline(1 / float(data["dimension"]), **RANDOM, zorder=0)
    axes.set(
        yscale="log", ylim=(low, 1.5), xlim=(-0.3, 6.3), xticks=range(0, 7, 2), xlabel="steps $T$"
    )
    axes.set_title(panels.TARGET_FORMULAS[target])


def _direction_legend(axes: Axes) -> None:
    """Name the directions in a panel with room above its curve."""
    names = ("$w^*_1$ (g, h: $v^*$)", r"$w^*_2$ (g, h: $v_\perp$)", "$w^*_3$")
    handles = [
        Line2D([], [], color=colour, marker=marker, label=name)
        for colour, marker, name in zip(DIRECTION_COLOURS, DIRECTION_MARKERS, names, strict=True)
    ]
    axes.legend(handles=handles, loc="upper left", borderpad=0, labelspacing=0.3)


def _legend(axes: Axes, data: xr.Dataset) -> None:
    """Legend of scatters and reference lines in a cell of its own."""
    axes.axis("off")
    dimension = int(data["dimension"])
    handles = [
        *panels.plane_handles(theory="theory", sign=True),
        Line2D([], [], label=r"theory without $\hat f$", **{**style.THEORY, **NEGLECTED}),
        Line2D([], [], color=style.BLUE, linewidth=1, label=r"c–f: random $2/\sqrt{d}$"),
        Line2D([], [], **RANDOM, label="g–m: random $1/d$"),
        Line2D([], [], linestyle="", label=f"c–m: $d={dimension}$"),
    ]
    axes.legend(handles=handles, loc="center left", borderpad=0, labelspacing=0.5)
