"""Phase portraits of a fully connected network at high momentum."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from regimes.plot import style
from regimes.studies.limiting_dynamics.panels import RAW

TURNS = 300  # steps at the end that are drawn in colour


def draw(analyses: dict[str, xr.Dataset]) -> Figure:
    """Draw velocity against position of q1 to q3 (columns) for each batch size (rows).

    Parameters
    ----------
    analyses
        ``fc_portraits``.
    """
    data = analyses["fc_portraits"].isel(seed=0)
    sizes, modes = data["batch_size"].values, data["mode"].values
    figure, grid = plt.subplots(
        len(sizes), len(modes), figsize=(style.PAGE, 0.3 + 2.1 * len(sizes)), squeeze=False,
        sharex="col", sharey="col",
    )  # fmt: skip
    mesh = None
    for row, size in zip(grid, sizes, strict=True):
        for axes, mode in zip(row, modes, strict=True):
            part = data.sel(batch_size=size, mode=mode)
            x, u = part["position"].values, part["velocity"].values
            axes.plot(x, u, color=RAW, linewidth=0.4, zorder=1)
            step = part["last_step"].values
            late = slice(-TURNS, None)
            axes.plot(x[late], u[late], color="0.3", linewidth=0.3, zorder=2)
            mesh = axes.scatter(
                x[late], u[late], c=(step - step[-1])[late], s=3, cmap="viridis", zorder=3,
                linewidth=0, rasterized=True,
            )  # fmt: skip
            axes.set_title(f"$q_{{{int(mode)}}}$, $S={size:g}$")
            axes.margins(0.08)
            axes.locator_params(axis="x", nbins=4)
        row[0].set_ylabel("velocity")
    for axes in grid[-1]:
        axes.set_xlabel("position")
    if mesh is not None and np.isfinite(mesh.get_array()).any():
        figure.colorbar(mesh, ax=grid, label="step before the end", aspect=35)
    return figure
