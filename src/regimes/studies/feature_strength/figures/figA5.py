"""Fig. A5: ultra-rich networks in raw and in rescaled time tau = eta t / gamma."""

from __future__ import annotations

from string import ascii_lowercase

import numpy as np
import xarray as xr
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from regimes.plot import style
from regimes.studies.feature_strength.dynamics_panels import PER_DECADE
from regimes.studies.feature_strength.panels import gamma_colour, gamma_label
from regimes.studies.feature_strength.plateaus import log_binned

WIDTH_STYLES = [(0, (1, 1)), "-", (0, (5, 1.5)), (0, (4, 1, 1, 1))]
# One column of panels each: learning-rate rule and time axis, with the title of the column.
COLUMNS = [
    ("power", "raw", r"$\eta\propto\gamma^{2/L}$, step $t$"),
    ("power", "rescaled", r"$\eta\propto\gamma^{2/L}$, rescaled time"),
    ("gamma", "rescaled", r"$\eta=\gamma$: $\tau=t$"),
]
ROWS = [
    ("relative_loss", "step", "loss_score", "loss / initial loss"),
    ("scaled_output", "output_step", "output_score", r"$\gamma\,\langle|f|\rangle$"),
]


def draw(analyses: dict[str, xr.Dataset]) -> Figure:
    """Draw losses and scaled outputs in raw and rescaled time, with collapse scores.

    Parameters
    ----------
    analyses
        ``collapse``.
    """
    data = analyses["collapse"]
    columns = [column for column in COLUMNS if column[0] in data["rule"].values]
    figure, grid = plt.subplots(
        len(ROWS),
        len(columns),
        figsize=(style.PAGE, 4.4),
        squeeze=False,
        sharey="row",
        sharex="col",
    )
    for j, (rule, time, title) in enumerate(columns):
        part = data.sel(rule=rule)
        for i, (name, dim, score, label) in enumerate(ROWS):
            _curves(grid[i, j], part, name, dim, time)
            mean = float(part[score].sel(time=time).mean())
            _note_score(grid[i, j], mean, lower=i == 0)
            if j == 0:
                grid[i, j].set_ylabel(label)
            grid[i, j].set_xscale("log")
        grid[1, j].set_yscale("log")
        grid[1, j].set_xlabel("step $t$" if time == "raw" else r"$\tau=\eta t/\gamma$")
        grid[0, j].set_title(title)
    for axes, letter in zip(grid.flat, ascii_lowercase, strict=False):
        style.panel_label(axes, letter)
    figure.align_ylabels(grid[:, 0])
    figure.legend(handles=_handles(data), loc="outside lower center", ncols=4)
    return figure


def _curves(axes: Axes, part: xr.Dataset, name: str, dim: str, time: str) -> None:
    """One thin line per gamma, width and seed."""
    values = part[name]
    if dim == "step":
        values, dim = log_binned(values, dim, PER_DECADE), "log_step"
    for width, linestyle in zip(part["width"].values, _width_styles(part), strict=True):
        for gamma in part["log10_gamma"].values:
            at = {"width": width, "log10_gamma": gamma}
            for seed in part["seed"].values:
                line = values.sel(at | {"seed": seed}).dropna(dim)
                rate = 1.0 if time == "raw" else float(part["rate"].sel(at | {"seed": seed}))
                x = rate * line[dim].values.astype(float)
                axes.plot(
                    x[x > 0],
                    line.values[x > 0],
                    color=gamma_colour(gamma),
                    linestyle=linestyle,
                    linewidth=0.7,
                )


def _width_styles(data: xr.Dataset) -> list:
    count = data.sizes["width"]
    return ["-"] if count == 1 else [WIDTH_STYLES[i % len(WIDTH_STYLES)] for i in range(count)]


def _note_score(axes: Axes, score: float, lower: bool) -> None:
    text = f"collapse score {score:.2g}" if np.isfinite(score) else "collapse score: none"
    x, y, ha, va = (0.04, 0.04, "left", "bottom") if lower else (0.96, 0.04, "right", "bottom")
    axes.text(x, y, text, transform=axes.transAxes, ha=ha, va=va, fontsize=7)


def _handles(data: xr.Dataset) -> list[Line2D]:
    handles = [
        Line2D([], [], color=gamma_colour(g), label=gamma_label(float(g)))
        for g in data["log10_gamma"].values
    ]
    return handles + [
        Line2D([], [], color="0.3", linestyle=linestyle, label=f"$N={int(width)}$")
        for width, linestyle in zip(data["width"].values, _width_styles(data), strict=True)
    ]
