"""Singular values of the first features at initialization, and how many of them are kept."""

from __future__ import annotations

import xarray as xr
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from regimes.plot import style
from regimes.studies.exact_gauss_newton.panels import data_name

LOOKS = {"relu": (style.ORANGE, "ReLU"), "linear": (style.SKY, "linear")}
LOWEST = 1e-3  # of the vertical axis, in units of the cut-off


def _panel(axes: Axes, data: xr.Dataset) -> None:
    """One line per draw; dots where the cut-off ends the kept ones."""
    place = data["index"].values
    for activation, (colour, name) in LOOKS.items():
        if activation not in data["activation"].values:
            continue
        one = data.sel(activation=activation).dropna("seed", how="all", subset=["rank"])
        if not one.sizes["seed"]:
            continue
        values = one["relative_value"].transpose("index", "seed").values
        ranks = one["rank"].values
        kept = f"{ranks.min():.0f}" if ranks.min() == ranks.max() else (
            f"{ranks.min():.0f}–{ranks.max():.0f}"
        )  # fmt: skip
        for number, line in enumerate(values.T):
            label = f"{name}: {kept} kept" if number == 0 else None
            axes.plot(place, line, color=colour, linewidth=0.9, label=label)
            last = int(ranks[number]) - 1
            axes.plot(place[last], line[last], "o", color=colour, markersize=4.5, zorder=3)
    rtol, half, samples = (
        float(data[name].max()) for name in ("rtol", "half_inputs", "samples")
    )  # fmt: skip
    axes.axhline(rtol, label=f"cut-off {rtol:g}", **style.THEORY)
    title = "normal inputs" if str(data["data"].values) == "gaussian" else None
    title = title or data_name(str(data["data"].values))
    axes.axvline(half + 1, color="0.6", linestyle=":", linewidth=1, label=f"$h+1={half + 1:.0f}$")
    axes.set(
        xscale="log", yscale="log", xlabel="index", ylim=(LOWEST * rtol, 2), xlim=(1, samples),
        title=f"{title}, $n={samples:.0f}$", ylabel="singular value over largest",
    )  # fmt: skip
    axes.legend(loc="best")


def draw(analyses: dict[str, xr.Dataset]) -> Figure:
    """One panel per data set.

    Parameters
    ----------
    analyses
        ``ranks``.
    """
    data = analyses["ranks"]
    count = data.sizes["data"]
    figure, panels = plt.subplots(1, count, figsize=(style.PAGE, 2.8), squeeze=False)
    for number, axes in enumerate(panels[0]):
        _panel(axes, data.isel(data=number))
    for letter, axes in zip("abcdefgh", panels[0], strict=False):
        style.panel_label(axes, letter)
    return figure
