"""Linear regression over learning rate, batch size, momentum and weight decay."""

from __future__ import annotations

import itertools

import numpy as np
import xarray as xr
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from regimes.plot import style
from regimes.studies.limiting_dynamics import theory
from regimes.studies.limiting_dynamics.linear_panels import DATA_LOOK
from regimes.studies.limiting_dynamics.panels import CONTINUOUS_THEORY

ROWS, COLUMNS = ("eta", "weight_decay"), ("momentum", "batch_size")
SYMBOLS = {"eta": r"\eta", "weight_decay": r"\lambda", "momentum": r"\beta", "batch_size": "S"}
POINTS = 4000  # of a theory curve: at large learning rates a turn takes few steps


def draw(analyses: dict[str, xr.Dataset]) -> Figure:
    """Velocity against position of one run and its mean by theory, a small panel per setting.

    Parameters
    ----------
    analyses
        ``regression_grid``; the first seed is drawn.
    """
    data = analyses["regression_grid"].isel(seed=0)
    rows, columns = (list(itertools.product(*(data[n].values for n in s))) for s in (ROWS, COLUMNS))
    size = (style.PAGE, 0.4 + style.PAGE * max(len(rows), 3) / max(len(columns), 3))
    figure, grid = plt.subplots(len(rows), len(columns), figsize=size, squeeze=False)
    for (i, row), (j, column) in itertools.product(enumerate(rows), enumerate(columns)):
        settings = dict(zip(ROWS + COLUMNS, row + column, strict=True))
        _panel(grid[i, j], data.sel(settings), settings["eta"])
        if i == 0:
            grid[i, j].set_title(_names(COLUMNS, column), fontsize=6.5)
        if j == 0:
            grid[i, j].set_ylabel(_names(ROWS, row), fontsize=6.5)
    handles = [
        Line2D([], [], label="one run", **DATA_LOOK | {"linewidth": 0.8}),
        Line2D([], [], label="continuous theory, mean", **CONTINUOUS_THEORY),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=2)
    return figure


def _names(settings: tuple[str, ...], values: tuple[float, ...]) -> str:
    parts = [rf"${SYMBOLS[n]}={_number(v)}$" for n, v in zip(settings, values, strict=True)]
    return "\n".join(parts)


def _number(value: float) -> str:
    """Write a setting: powers of ten below 0.01 as such."""
    power = np.log10(value) if value > 0 else 0.0
    if value and value <= 0.01 and abs(power - round(power)) < 1e-9:
        return rf"10^{{{round(power)}}}"
    return f"{value:g}"


def _panel(axes: Axes, one: xr.Dataset, eta: float) -> None:
    axes.set(xticks=[], yticks=[])
    if not np.isfinite(one["start"]):
        axes.text(0.5, 0.5, "not run", transform=axes.transAxes, ha="center", fontsize=6)
        return
    time = eta * np.linspace(0, float(one["step"].max()), POINTS)
    constants = (float(one[name]) for name in ("damping", "frequency", "start"))
    axes.plot(*theory.mean_path(time, *constants), **CONTINUOUS_THEORY | {"linewidth": 0.4})
    limits = axes.get_xlim(), axes.get_ylim()
    axes.plot(one["position"], one["velocity"], **DATA_LOOK | {"linewidth": 0.45})
    if one["diverges"]:
        # What is left of the run would hide the theory.
        axes.set(xlim=limits[0], ylim=limits[1])
        axes.text(0.03, 0.03, "diverges", transform=axes.transAxes, fontsize=6)
