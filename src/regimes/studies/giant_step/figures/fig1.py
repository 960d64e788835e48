"""Fig. 1: one giant step; single-index, multi-index and hard-direction regimes."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from regimes.plot import style
from regimes.studies.giant_step import panels

GRADIENT, PROJECTED = panels.step_colour(1), style.PURPLE
TARGETS = {"plus": "linear part", "he2_pair": "no linear part"}
TARGET_COLOURS = {"plus": style.BLUE, "he2_pair": style.GREEN}
SCATTERS = [("plus", "4d"), ("plus", "4d^2"), ("he2_pair", "4d"), ("he2_pair", "4d^2")]
LAYOUT = [list("aaaaaabbbccc"), list("dddeeefffggg")]


def draw(analyses: dict[str, xr.Dataset]) -> Figure:
    """Draw cartoon, alignment and concentration against batch size, scatters of first gradients.

    Parameters
    ----------
    analyses
        ``one_step``.
    """
    data = analyses["one_step"]
    figure, axes = plt.subplot_mosaic(
        LAYOUT, figsize=(style.PAGE, 4.2), height_ratios=[1, 1.2], empty_sentinel="."
    )
    _cartoon(axes["a"])
    _statistic(axes["b"], data, "plane_cos2")
    axes["b"].set(title="alignment with plane", ylabel=r"$\cos^2(g, V^*)$")
    _statistic(axes["c"], data, "concentration")
    axes["c"].set(title="one line has $R=1$", ylabel=r"$R=|\langle e^{2i\theta}\rangle|$")
    _uniform_level(axes["c"], data)
    legend = {"borderpad": 0, "labelspacing": 0.3, "handlelength": 1.4}
    axes["b"].legend(handles=_target_handles(), loc="upper left", **legend)
    handles = [*_dimension_handles(data), *axes["c"].get_legend_handles_labels()[0]]
    axes["c"].legend(handles=handles, loc="upper left", **legend)
    shown = data.isel(dimension=-1)
    for letter, (target, batch) in zip("defg", SCATTERS, strict=True):
        _scatter(axes[letter], shown, target, batch)
        if letter != "d":
            axes[letter].set(ylabel="", yticklabels=[])
    for letter, panel in axes.items():
        style.panel_label(panel, letter)
    figure.legend(
        handles=_scatter_handles(_random_level(shown)), loc="outside lower center", ncols=4
    )
    return figure


def _cartoon(axes: Axes) -> None:
    panels.schematic_staircase(
        axes,
        [0.9, 0.6, 0.34, 0.12],
        [
            "nothing\nlearned",
            "single-index\nregime",
            "multi-index\nregime",
            "hard\ndirections",
        ],
        {1: "$n\\sim d$", 2: "$n\\sim d^2$", 3: "$n\\sim d^3\\ldots d^{\\,\\ell}$"},
    )
    axes.set(ylabel="generalization error", xlabel="batch size $n$", title="one giant step")


def _statistic(axes: Axes, data: xr.Dataset, name: str) -> None:
    """Mean and 95 % interval over seeds; targets and dimensions side by side at each batch."""
    batches, dimensions = data["batch"].values, data["dimension"].values
    theory = data.get(f"{name}_theory")
    for i, target in enumerate(TARGETS):
        for j, dimension in enumerate(dimensions):
            where = {"target": target, "dimension": dimension}
            values, offset = data[name].sel(where), 0.2 * (i + (j + 1) / (len(dimensions) + 1) - 1)
            largest = dimension == dimensions[-1]
            x = np.arange(len(batches)) + 1.6 * offset
            mean, half = panels.centre(values), panels.interval(values)
            axes.errorbar(
                x,
                mean,
                [np.minimum(half, mean), np.minimum(half, 1 - mean)],  # both lie in [0, 1]
                linestyle="",
                marker="o",
                capsize=1.5,
                color=TARGET_COLOURS[target],
                markerfacecolor=TARGET_COLOURS[target] if largest else "white",
            )
            if theory is not None:
                axes.hlines(theory.sel(where), x - 0.1, x + 0.1, color="black", linewidth=1.1)
    # room for a legend of three lines above the data
    axes.set(
        ylim=(-0.04, 1.7),
        yticks=[0, 0.5, 1],
        xlim=(-0.5, len(batches) - 0.5),
        xlabel="batch size $n$",
    )
    axes.set_xticks(range(len(batches)), [f"${batch}$" for batch in batches])


def _uniform_level(axes: Axes, data: xr.Dataset) -> None:
    """Draw the mean of R for as many independent uniform angles as there are neurons."""
    neurons = data.sizes["neuron"]
    level = np.sqrt(np.pi / (4 * neurons))
    label = f"{neurons} uniform angles"
    axes.axhline(level, color="0.5", linestyle=":", linewidth=1, zorder=0, label=label)


def _target_handles() -> list[Line2D]:
    points = [
        Line2D([], [], linestyle="", marker="o", color=TARGET_COLOURS[name], label=text)
        for name, text in TARGETS.items()
    ]
    return [*points, Line2D([], [], color="black", linewidth=1.1, label="theory")]


def _dimension_handles(data: xr.Dataset) -> list[Line2D]:
    """Markers of the dimensions: filled for the largest, whose scatters are drawn."""
    properties = {"linestyle": "", "marker": "o", "color": "0.4"}
    last = data["dimension"].values[-1]
    return [
        Line2D([], [], markerfacecolor="0.4" if d == last else "w", label=f"$d={d}$", **properties)
        for d in data["dimension"].values
    ]


def _random_level(shown: xr.Dataset) -> float:
    return 2 / np.sqrt(float(shown["dimension"]))


def _scatter(axes: Axes, shown: xr.Dataset, target: str, batch: str) -> None:
    """Scatter of one seed's gradients: inside the circle as they are, on it projected."""
    where = {"target": target, "batch": batch}
    cosines = shown["gradient_cosine"].sel(where).transpose("neuron", "direction").values
    panels.teacher_plane(
        axes,
        [
            panels.Cloud(panels.on_circle(cosines), PROJECTED, hollow=True, size=12),
            panels.Cloud(cosines, GRADIENT, size=11),
        ],
        slopes=[1.0] if target == "plus" else [],
        random_level=_random_level(shown),
    )
    axes.set_title(f"{TARGETS[target]}, $n={batch}$")


def _scatter_handles(random_level: float) -> list[Line2D]:
    return [
        Line2D([], [], linestyle="", marker="o", color=GRADIENT, label="$g_i$, one point a neuron"),
        Line2D(
            [],
            [],
            linestyle="",
            marker="o",
            color=PROJECTED,
            markerfacecolor="none",
            label=r"$g_i$ projected on the circle",
        ),
        *panels.plane_handles(random_level, theory="linear part $C_1$"),
    ]
