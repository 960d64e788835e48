"""Stationary clouds with and without replacement, over theory."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from string import ascii_lowercase

import numpy as np
import xarray as xr
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from regimes.plot import style
from regimes.studies.limiting_dynamics.sampling_ratios import ALL, equipartition, variance_ratio

COLOURS = {"with_replacement": style.BLUE, "epochs": style.VERMILLION}
NAMES = {"with_replacement": "with replacement", "epochs": "shuffled epochs"}
MARKERS = {"regression": "o", "network": "s"}
SYSTEMS = {"regression": "linear regression", "network": "network"}


def draw(analyses: dict[str, xr.Dataset]) -> Figure:
    """Variance of each mode and squared displacement at each lag, measured over predicted.

    Parameters
    ----------
    analyses
        ``sampling``.
    """
    data = analyses["sampling"]
    panels = [
        (_position, "mode", "mode", "variance of position / theory"),
        (equipartition, "mode", "mode", r"$\omega^2$ Var(position) / Var(velocity)"),
        (_displacement, "lag", "lag in steps", "squared displacement / theory"),
    ]
    figure, grid = plt.subplots(1, 3, figsize=(style.PAGE, 2.9))
    for axes, (read, dim, xlabel, title), letter in zip(
        grid, panels, ascii_lowercase, strict=False
    ):
        for system, sampling in itertools.product(data["system"].values, data["sampling"].values):
            _ratios(axes, data.sel(system=system, sampling=sampling), read, dim)
        axes.axhline(1.0, **style.THEORY, zorder=3)
        axes.set(yscale="log", xscale="log", xlabel=xlabel)
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.set_title(title)
        style.panel_label(axes, letter)
    handles, labels = grid[0].get_legend_handles_labels()
    if handles:
        figure.legend(handles, labels, loc="outside lower center", ncols=2)
    return figure


def _position(data: xr.Dataset, over: str | Sequence[str] = ALL) -> xr.DataArray:
    return variance_ratio(data, "position", over)


def _displacement(data: xr.Dataset, over: str | Sequence[str] = ALL) -> xr.DataArray:
    return data["squared_displacement"].mean(over)


def _ratios(axes: Axes, data: xr.Dataset, read: Callable, dim: str) -> None:
    """Curve of one system and sampling over all runs, bars to the smallest and largest run."""
    ratio = read(data).dropna(dim, how="all")
    if not ratio.size:
        return
    system, sampling = str(data["system"].item()), str(data["sampling"].item())
    # The variance of one run misses the spread of run means, so that all may lie on one side.
    seeds = read(data, "block").sel({dim: ratio[dim]})
    ends = np.stack([ratio - seeds.min("seed"), seeds.max("seed") - ratio])
    look = {"marker": MARKERS[system], "markersize": 3, "linewidth": 0.9, "elinewidth": 0.6}
    if system == "network":
        look["markerfacecolor"] = "white"
    axes.errorbar(
        ratio[dim],
        ratio,
        yerr=np.maximum(ends, 0),
        color=COLOURS[sampling],
        label=f"{SYSTEMS[system]}, {NAMES[sampling]}",
        **look,
    )
