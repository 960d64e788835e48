"""Figure 3: loss, modified loss and stationary current of a two-dimensional OU process."""

from __future__ import annotations

import xarray as xr
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from regimes.plot import style
from regimes.studies.limiting_dynamics.panels import (
    LOSS_MAP,
    MODIFIED_LOSS_MAP,
    heat_map,
    start_disc,
)

DENSITY = 0.75  # of the streamlines, as in the notebook


def _panel(axes: Axes, data: xr.Dataset, name: str, colours: str) -> None:
    """Map with contours, the path of the first seed and its start."""
    x, y = data["grid_1"].values, data["grid_2"].values
    mesh = heat_map(axes, x, y, data[name].transpose("grid_1", "grid_2").values, colours, 8)
    axes.figure.colorbar(mesh, ax=axes, pad=0.02, shrink=0.85, aspect=25)
    path = data["path"].isel(seed=0)
    first, second = path.sel(row=1), path.sel(row=2)
    axes.plot(first, second, color="black", linewidth=0.35, zorder=3, rasterized=True)
    start_disc(axes, float(first[0]), float(second[0]))
    minimum = data["minimum"].values
    axes.plot(
        *minimum, "P", markersize=7, markerfacecolor=style.YELLOW, markeredgecolor="black",
        markeredgewidth=0.8, zorder=5,
    )  # fmt: skip
    axes.set(
        xlim=(x[0], x[-1]), ylim=(y[0], y[-1]), xlabel="$x_1$", ylabel="$x_2$", aspect="equal",
        xticks=[-0.1, 0, 0.1], yticks=[-0.1, 0, 0.1],
    )  # fmt: skip


def _current(axes: Axes, data: xr.Dataset) -> None:
    """Streamlines of -Q U (x - mu)."""
    one, two = (data["current"].sel(component=c).transpose("grid_2", "grid_1") for c in (1, 2))
    axes.streamplot(
        data["grid_1"].values, data["grid_2"].values, one.values, two.values, density=DENSITY,
        color="0.45", linewidth=0.7, arrowsize=0.8, zorder=2,
    )  # fmt: skip


def draw(analyses: dict[str, xr.Dataset]) -> Figure:
    """Left: loss; right: modified loss with the current.

    Parameters
    ----------
    analyses
        ``ou``.
    """
    data = analyses["ou"]
    figure, (left, right) = plt.subplots(1, 2, figsize=(style.PAGE, 3.2))
    _panel(left, data, "potential", LOSS_MAP)
    left.set_title(r"loss $\Phi$")
    _panel(right, data, "modified_loss", MODIFIED_LOSS_MAP)
    _current(right, data)
    right.set_title(r"modified loss $\Psi$, current $-QU(x-\mu)$")
    for letter, axes in zip("ab", (left, right), strict=True):
        style.panel_label(axes, letter)
    return figure
