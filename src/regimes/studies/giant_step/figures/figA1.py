"""Figure A.1: test error against the batch exponent, one to six giant steps."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from regimes.plot import style
from regimes.studies.giant_step.panels import (
    TARGET_FORMULAS,
    by_sign,
    centre,
    deviation,
    on_circle,
    step_colour,
    teacher_plane,
)

HEADROOM = 1.35  # errors above this multiple of the variance are cut off


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
    axes.plot(
        x.values[-1] + 0.06,
        float(data["frozen_plateau"]),
        marker="_",
        color="black",
        markersize=9,
        linestyle="",
        clip_on=False,
        label="plateau of frozen features, theory",
    )
    axes.axhline(variance, color="0.75", linewidth=0.8, zorder=0)
    axes.text(
        x.values[-1], variance, r"Var $f^*$", fontsize=6.5, color="0.45", va="bottom", ha="right"
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
    for model, look in (("output", "--"), ("labels", ":")):
        slope = float(data["second_step_slope"].sel(model=model))
        for value in (slope, 1 / slope):
            lines[value] = {"linestyle": look, "linewidth": 1.0}
    return lines


def _scatter(axes: Axes, data: xr.Dataset, target: str, step: int) -> None:
    cosines = on_circle(data["gradient_cosine"].sel(target=target, step=step))
    clouds = by_sign(cosines, data["readout_sign"].sel(target=target), step_colour(step), "")
    teacher_plane(axes, clouds, slopes=_slopes(data, target, step), labels=False)
    axes.set_title(f"$T={step}$", pad=2)
    axes.set_xlabel(r"$\cos(g,w^*_1)$, in plane", fontsize=7)
    axes.set_ylabel(r"$\cos(g,w^*_2)$" if step == 1 else "", fontsize=7, labelpad=-2)


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
            if row == 0:
                style.panel_label(below, "cd"[column])
    handles, labels = axes.get_legend_handles_labels()
    solid = plt.Line2D([], [], **style.THEORY)
    dotted = plt.Line2D([], [], **{**style.THEORY, "linestyle": ":"})
    figure.legend(
        [*handles, solid, dotted],
        [*labels, "theory of the step", "network output neglected"],
        loc="outside lower center",
        ncols=4,
        columnspacing=1.4,
    )
    return figure
