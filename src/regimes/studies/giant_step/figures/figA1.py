"""Figure A.1: test error against the batch exponent, one to six giant steps."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import xarray as xr
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from regimes.plot import style
from regimes.studies.giant_step.panels import (
    TARGET_FORMULAS,
    by_sign,
    centre,
    deviation,
    on_circle,
    plane_handles,
    step_colour,
    teacher_plane,
)

HEADROOM = 1.3  # errors above this multiple of the variance are cut off
PLATEAU_FROM = 1.5  # batch exponent from which the plateau of frozen features is drawn
# Second step of the staircase target, by model of (2.3): line properties and legend text.
SECOND_STEP = {
    "output": ({}, "theory"),
    "labels": ({"linestyle": ":"}, r"theory without $\hat f$"),
    "published": (
        {"linestyle": "-.", "color": "0.6", "linewidth": 0.9},
        r"published: $\hat f=0$, $n/d\to\infty$",
    ),
}


def _label(step: int) -> str:
    return f"$T={step}$" if step else "frozen features"


def _equal_rates(data: xr.Dataset) -> list[slice]:
    """Stretches of batch exponents with one learning-rate factor (target minus has two)."""
    count = data.sizes["batch_exponent"]
    if str(data["target"].values) != "minus":
        return [slice(None)]
    changes = np.flatnonzero(np.diff(data["drawn_factor"].values)) + 1
    edges = [0, *changes.tolist(), count]
    return [slice(a, b) for a, b in zip(edges[:-1], edges[1:], strict=True)]


def _mark_rates(axes: Axes, data: xr.Dataset, parts: list[slice]) -> None:
    """Say where the learning-rate factor changes: a kink there is no property of the target."""
    x, factors = data["batch_exponent"].values, data["drawn_factor"].values
    for part, beside in zip(parts[:-1], parts[1:], strict=True):
        edge = (x[part][-1] + x[beside][0]) / 2
        axes.axvline(edge, color="0.75", linewidth=0.8, linestyle=":", zorder=0)
        for stretch, align, sign in ((part, "right", -1), (beside, "left", 1)):
            factor = "" if factors[stretch][0] == 1 else f"{factors[stretch][0]:g}"
            axes.annotate(
                rf"$\eta={factor}p\sqrt{{n/d}}$",
                (edge, 0.985),
                xycoords=("data", "axes fraction"),
                xytext=(3 * sign, 0),
                textcoords="offset points",
                ha=align,
                va="top",
                fontsize=6.5,
                color="0.35",
            )


def _errors(axes: Axes, data: xr.Dataset) -> None:
    """Frozen features with error bars, one to six steps, the linear floor."""
    mean, spread = centre(data["error"]), deviation(data["error"])
    x = data["batch_exponent"]
    parts = _equal_rates(data)
    for step in data["step"].values:
        frozen = step == 0
        for part in [slice(None)] if frozen else parts:
            axes.errorbar(
                x[part],
                mean.sel(step=step)[part],
                spread.sel(step=step)[part],
                color=style.BASELINE if frozen else step_colour(step),
                marker="^" if frozen else "o",
                markersize=3.5,
                linewidth=1.3 if frozen else 0.8,
                elinewidth=0.7,
                label=None if part.start else _label(int(step)),
            )
    if len(parts) > 1:
        _mark_rates(axes, data, parts)
    variance = float(data["variance"])
    axes.axhline(float(data["linear_floor"]), color=style.FLOOR, linestyle="--",
                 label="linear floor")  # fmt: skip
    # The plateau is a statement about large batches: draw it there only.
    axes.plot(
        [PLATEAU_FROM, x.values[-1]],
        [float(data["frozen_plateau"])] * 2,
        **{**style.THEORY, "zorder": 5},
        label="frozen features at large $n$, theory",
    )
    axes.axhline(variance, color="0.75", linewidth=0.8, zorder=0)
    axes.text(
        x.values[-1],
        variance,
        r"$\mathrm{Var}\,f^*$",
        fontsize=6.5,
        color="0.45",
        va="bottom",
        ha="right",
    )
    axes.set(
        xlabel=r"batch exponent $\log n/\log d$",
        ylabel="test error",
        ylim=(0, HEADROOM * variance),
        title=f"target {TARGET_FORMULAS[str(data['target'].values)]}",
    )


def _slopes(data: xr.Dataset, target: str, step: int) -> dict[float, dict]:
    """Theory lines of a scatter: the diagonal, or both clusters of the second step."""
    if step == 1 or target != "minus":
        return {1.0: {}}
    lines = {}
    for model, (look, _) in SECOND_STEP.items():
        slope = float(data["second_step_slope"].sel(model=model))
        lines |= {value: look for value in (slope, 1 / slope)}
    return lines


def _scatter(axes: Axes, data: xr.Dataset, target: str, step: int) -> None:
    cosines = on_circle(data["gradient_cosine"].sel(target=target, step=step))
    clouds = by_sign(cosines, data["readout_sign"].sel(target=target), step_colour(step), "")
    clouds = [replace(cloud, size=16.0) for cloud in clouds]
    teacher_plane(axes, clouds, slopes=_slopes(data, target, step), labels=False)
    kind = "staircase" if target == "minus" else "no staircase"
    axes.set_title(f"{kind}, $T={step}$", pad=3)
    axes.set_xlabel(r"$\cos(g^\perp, w^*_1)$")
    if step == 1:
        axes.set_ylabel(r"$\cos(g^\perp, w^*_2)$", labelpad=-1)
    else:
        axes.set_yticklabels([])


def _legend(figure: Figure, axes: Axes) -> None:
    """One legend below: curves by step, floors, lines and markers of the scatters."""
    curves = dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
    steps = {text: handle for text, handle in curves.items() if text.startswith("$T=")}
    others = {text: handle for text, handle in curves.items() if text not in steps}
    lines = {
        f"c–f: {text}": Line2D([], [], **{**style.THEORY, **look})
        for look, text in SECOND_STEP.values()
    }
    signs = {f"c–f: {handle.get_label()}": handle for handle in plane_handles(sign=True)}
    entries = {**steps, **others, **lines, **signs}
    figure.legend(entries.values(), entries, loc="outside lower center", ncols=5, columnspacing=1.3)


def draw(analyses: dict[str, xr.Dataset]) -> Figure:
    """Curves of two targets; below each its first two gradients on the unit circle."""
    errors, plane = analyses["batch_exponent"], analyses["two_steps"]
    figure = plt.figure(figsize=(style.PAGE, 5.6))
    grid = figure.add_gridspec(2, 4, height_ratios=[1.6, 1])
    for column, target in enumerate(("he124", "minus")):
        axes = figure.add_subplot(grid[0, 2 * column : 2 * column + 2])
        part = errors.sel(target=target).dropna("batch_exponent", how="all", subset=["error"])
        _errors(axes, part)
        style.panel_label(axes, "ab"[column])
        for row, step in enumerate((1, 2)):
            below = figure.add_subplot(grid[1, 2 * column + row])
            _scatter(below, plane, target, step)
            style.panel_label(below, "cdef"[2 * column + row])
    _legend(figure, axes)
    return figure
