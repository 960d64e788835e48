"""The teacher plane of six giant steps: one drawing for figures A.3 and A.4."""

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
    plane_handles,
    step_colour,
    teacher_plane,
)

SEED = 0  # the seed that is drawn; the claims use all


def six_steps(data: xr.Dataset, target: str, line: str) -> Figure:
    """Gradients of neurons 0 to 39 in the teacher plane: all steps at once, then one by one.

    Parameters
    ----------
    data
        The analysis ``six_steps``.
    target
        Name of the target.
    line
        Legend text of the dashed line along the linear part of the target.
    """
    data = data.sel(target=target)
    cosines = data["gradient_cosine"].sel(seed=SEED)
    signs = data["readout_sign"].sel(seed=SEED)
    slope = float(data["linear_slope"])
    level = 2 / np.sqrt(float(data["dimension"]))
    steps = [int(t) for t in data["step"].values if t > 0]
    clouds = {t: by_sign(cosines.sel(step=t), signs, step_colour(t), f"$T={t}$") for t in steps}

    figure = plt.figure(figsize=(style.PAGE, 3.75))
    grid = figure.add_gridspec(2, 5, width_ratios=[1.05, 1.05, 1, 1, 1])
    main = figure.add_subplot(grid[:, :2])
    teacher_plane(main, sum(clouds.values(), []), slopes=[slope], random_level=level)
    main.set_title(f"target {TARGET_FORMULAS[target]}")
    style.panel_label(main, "a")
    limit = _zoom(cosines)
    for index, step in enumerate(steps):
        axes = figure.add_subplot(grid[index // 3, 2 + index % 3])
        teacher_plane(axes, clouds[step], slopes=[slope], random_level=level, labels=False)
        _zoomed(axes, limit, left=index % 3 == 0, bottom=index >= 3)
        axes.set_title(f"$T={step}$", pad=2)
        style.panel_label(axes, "bcdefg"[index])
    _legend(figure, main, level, line)
    return figure


def _zoom(cosines: xr.DataArray) -> float:
    """Half-width of the panels of single steps: what holds all points, in tenths, at most 1.1."""
    largest = float(np.nanmax(np.abs(cosines)))
    return float(min(np.ceil(10 * largest + 0.3) / 10, 1.1))


def _zoomed(axes: Axes, limit: float, left: bool, bottom: bool) -> None:
    """Cut a teacher plane to [-limit, limit]; tick labels on the outer panels only."""
    ticks = [-0.5, 0, 0.5] if limit >= 0.5 else [-0.2, 0, 0.2]
    axes.set(xlim=(-limit, limit), ylim=(-limit, limit), xticks=ticks, yticks=ticks)
    axes.tick_params(labelleft=left, labelbottom=bottom)
    if left:
        axes.set_ylabel(r"$\cos(g, w^*_2)$", labelpad=-2)
    if bottom:
        axes.set_xlabel(r"$\cos(g, w^*_1)$")


def _legend(figure: Figure, main: Axes, level: float, line: str) -> None:
    """Steps first, then signs, line and random level, below the panels."""
    handles, labels = main.get_legend_handles_labels()
    extra = plane_handles(level, line, sign=True)
    figure.legend(
        [*handles, *extra],
        [*labels, *(handle.get_label() for handle in extra)],
        loc="outside lower center",
        ncols=5,
        columnspacing=1.2,
        handletextpad=0.4,
    )
