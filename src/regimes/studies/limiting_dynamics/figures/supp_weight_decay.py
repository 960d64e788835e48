"""Accuracy and squared local displacement after resuming with large weight decay."""

from __future__ import annotations

import xarray as xr
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from regimes.plot import style
from regimes.studies.limiting_dynamics.displacement_panels import (
    LOCAL,
    plain_thousands,
    seed_mean,
)
from regimes.studies.limiting_dynamics.panels import power_text, value_colours


def draw(analyses: dict[str, xr.Dataset]) -> Figure:
    """Draw accuracy and squared local displacement against step, one colour per weight decay.

    Parameters
    ----------
    analyses
        ``weight_decay``.
    """
    data = analyses["weight_decay"]
    figure, (left, right) = plt.subplots(1, 2, figsize=(style.PAGE, 2.9))
    colours = value_colours(data["weight_decay"].values)
    _accuracy(left, data, colours)
    for decay, colour in colours.items():
        part = data.sel(weight_decay=decay)
        step = part["sample_step"]
        look = {"color": colour, "alpha": 0.35, "linewidth": 0.6}
        right.plot(step, part["local_samples"].isel(seed=0), **look)
        right.plot(step, part["local_average"].isel(seed=0), color=colour)
    right.set(yscale="log", xlabel="step $k$", ylabel=f"local displacement {LOCAL}")
    for axes, letter in ((left, "a"), (right, "b")):
        plain_thousands(axes)
        style.panel_label(axes, letter)
    handles = [
        Line2D([], [], color=c, label=rf"$\lambda={power_text(d)}$") for d, c in colours.items()
    ]
    handles += [
        Line2D([], [], color="0.3", label="train"),
        Line2D([], [], color="0.3", linestyle=":", label="test"),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
    return figure


def _accuracy(axes: Axes, data: xr.Dataset, colours: dict[float, tuple]) -> None:
    """Train (solid) and test (dotted) accuracy, or loss where there is none, seed means."""
    measure = "accuracy" if "train_accuracy" in data else "loss"
    for name, linestyle in ((f"train_{measure}", "-"), (f"test_{measure}", ":")):
        if name not in data:
            continue
        mean = seed_mean(data[name])
        for decay, colour in colours.items():
            line = mean.sel(weight_decay=decay).dropna("evaluation_step")
            axes.plot(line["evaluation_step"], line, color=colour, linestyle=linestyle)
    axes.set(xlabel="step $k$", ylabel=measure)
