"""The teacher plane of six giant steps: one drawing for figures A.3 and A.4."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib import pyplot as plt
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

    figure = plt.figure(figsize=(style.PAGE, 3.6))
    grid = figure.add_gridspec(2, 5, width_ratios=[1.05, 1.05, 1, 1, 1])
    main = figure.add_subplot(grid[:, :2])
    clouds = {t: by_sign(cosines.sel(step=t), signs, step_colour(t), f"$T={t}$") for t in steps}
    teacher_plane(main, sum(clouds.values(), []), slopes=[slope], random_level=level)
    main.set_title(f"target {TARGET_FORMULAS[target]}")
    style.panel_label(main, "a")
    for index, step in enumerate(steps[:6]):
        axes = figure.add_subplot(grid[index // 3, 2 + index % 3])
        teacher_plane(axes, clouds[step], slopes=[slope], random_level=level, labels=False)
        axes.set_title(f"$T={step}$", pad=2)
        if index == 0:
            style.panel_label(axes, "b")
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
    return figure
