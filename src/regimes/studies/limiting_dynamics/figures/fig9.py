"""Figure 9: exponent of the global displacement against the length of the trajectory."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from regimes.plot import style
from regimes.studies.limiting_dynamics.displacement_panels import (
    GLOBAL,
    fitted_line,
    geometric_mean,
    seed_deviation,
    seed_mean,
)


def draw(analyses: dict[str, xr.Dataset]) -> Figure:
    """Draw c(K) against K, and the squared global displacement with the fits.

    Parameters
    ----------
    analyses
        ``lengths``.
    """
    data = analyses["lengths"]
    figure, (left, right) = plt.subplots(1, 2, figsize=(style.PAGE, 3.0), width_ratios=[1, 1.15])
    _exponents(left, data)
    _trajectories(right, data)
    for axes, letter in ((left, "a"), (right, "b")):
        style.panel_label(axes, letter)
    return figure


def _colours(data: xr.Dataset) -> np.ndarray:
    return mpl.colormaps["viridis"](np.linspace(0, 0.85, data.sizes["length"]))


def _exponents(axes: Axes, data: xr.Dataset) -> None:
    """Exponent against length: seeds as small dots, mean and standard deviation, log-spaced fit."""
    length = data["length"].values
    exponent = data["exponent"]
    mean, deviation = seed_mean(exponent), seed_deviation(exponent)
    axes.axhline(1, **style.THEORY, zorder=0)
    for seed in exponent["seed"].values:
        axes.plot(length, exponent.sel(seed=seed), ".", color="0.6", markersize=3)
    axes.plot(length, mean, "-", color="0.35", linewidth=0.8)
    for i, colour in enumerate(_colours(data)):
        axes.errorbar(length[i], mean[i], deviation[i], fmt="o", color=colour, capsize=2.5)
    log = seed_mean(data["exponent_log"])
    look = {"markerfacecolor": "none", "markeredgecolor": "0.35", "markersize": 7}
    axes.plot(length, log, "o", label="log-spaced fit", **look)
    axes.set(xscale="log", xlabel="length $K$, steps", ylabel="exponent $c(K)$")
    axes.legend(loc="best")


def _trajectories(axes: Axes, data: xr.Dataset) -> None:
    """Squared distance of each seed and of all, with one fit per length, shifted apart."""
    samples = data["global_samples"]
    for seed in samples["seed"].values:
        line = samples.sel(seed=seed).dropna("log_step")
        axes.plot(line["log_step"], line, color="0.8", linewidth=0.7)
    mean = geometric_mean(samples).dropna("log_step")
    axes.plot(mean["log_step"], mean, color="black", linewidth=1.2)
    for i, colour in enumerate(_colours(data)):
        fit = fitted_line(data.isel(length=i))
        if fit is None:
            continue
        steps, values, exponent = fit
        # Factors of 1.6 apart above the curve, or the fits would cover each other.
        lifted = 1.6 * values
        axes.plot(steps, lifted, color=colour, linewidth=1.8)
        axes.plot(steps, lifted, **(style.THEORY | {"linewidth": 0.8}))
        axes.annotate(
            f"{exponent:.2f}",
            (steps.prod() ** 0.5, lifted.prod() ** 0.5),
            xytext=(-3, 4),
            textcoords="offset points",
            ha="right",
            va="bottom",
            color=colour,
            fontsize=6.5,
        )
    axes.set(xscale="log", xlabel="step $k$", ylabel=f"global displacement {GLOBAL}")
    first = max(float(data["length"][0]) / 30, 1)  # the rise from rest is shown in figure 8
    shown = samples.where(samples["log_step"] >= first)
    if shown.notnull().any():
        axes.set_yscale("log")  # impossible for empty axes
        axes.set_xlim(first, 1.3 * float(data["length"][-1]))
        axes.set_ylim(0.7 * float(shown.min()), 3.5 * float(shown.max()))
