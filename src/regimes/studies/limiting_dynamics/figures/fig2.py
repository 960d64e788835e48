"""Figure 2: phase-space dynamics of linear regression for three momenta."""

from __future__ import annotations

from string import ascii_lowercase

import numpy as np
import xarray as xr
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from regimes.plot import style
from regimes.studies.limiting_dynamics.linear_panels import path_curves, path_legend
from regimes.studies.limiting_dynamics.panels import phase_portrait, three_d_axes


def draw(analyses: dict[str, xr.Dataset]) -> Figure:
    """Position, step and velocity of one run and its means by theory, one panel per momentum.

    Parameters
    ----------
    analyses
        ``phase_space``; the first seed of the low-noise runs is drawn.
    """
    data = analyses["phase_space"].sel(regime="low_noise")
    momenta = data["momentum"].values
    # 3-D axes carry wide margins of their own, to which the automatic layout would add.
    size = (0.6 * style.PAGE, 2.8 * momenta.size)
    figure = plt.figure(figsize=size, layout="none")
    grid = figure.add_gridspec(
        momenta.size, 1, left=0.0, right=1.0, bottom=0.07, top=0.995, hspace=0.0
    )
    for row, momentum in enumerate(momenta):
        one = data.sel(momentum=momentum).dropna("seed", how="all").isel(seed=0)
        axes = three_d_axes(figure, grid[row, 0], zoom=0.92)
        axes.patch.set_alpha(0)  # labels of the panel above reach into this one
        phase_portrait(axes, path_curves(one, one["step"].values), ("position", "step", "velocity"))
        axes.set_title(_title(one), y=0.95)
        # Beside the title, not above the axes, where the next panel is.
        place = {"transform": axes.transAxes, "fontweight": "bold", "fontsize": 9}
        axes.text2D(-0.02, 0.95, ascii_lowercase[row], **place)
    figure.legend(handles=path_legend(), loc="lower center", ncols=3, bbox_to_anchor=(0.5, 0.012))
    return figure


def _title(one: xr.Dataset) -> str:
    """Momentum, damping ratio and period by theory."""
    ratio = float(one["damping"] / one["frequency"])
    text = rf"$\beta={float(one['momentum']):g}$, $\zeta={ratio:.2g}$"
    steps = float(one["period"])
    return text + (f", period {steps:.1f} steps" if np.isfinite(steps) else ", overdamped")
