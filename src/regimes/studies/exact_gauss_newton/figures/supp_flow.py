"""Full-batch losses against exact dynamics in function space: squared loss, cross-entropy."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr
from matplotlib import colormaps
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from regimes.plot import style
from regimes.studies.exact_gauss_newton import theory
from regimes.studies.exact_gauss_newton.panels import band, log_loss

ASYMPTOTE_FROM = 2.0  # alpha t from which the late law is drawn
LATE = {"color": "black", "linestyle": ":", "linewidth": 1.1}


def step_colours(alphas: Sequence[float]) -> list[tuple[float, ...]]:
    """Colours of step sizes, dark for small ones."""
    return [colormaps["viridis"](place) for place in np.linspace(0.05, 0.8, len(alphas))]


def _squared(axes: Axes, data: xr.Dataset, weight_std: float) -> None:
    """Median over draws with the quartiles, one curve per step size."""
    ratio = data["loss_ratio"].sel(weight_std=weight_std)
    alphas = ratio["alpha"].values
    for alpha, colour in zip(alphas, step_colours(alphas), strict=True):
        one = ratio.sel(alpha=alpha).dropna("step", how="all").dropna("seed", how="all")
        low, middle, high = np.quantile(one.transpose("seed", "step").values, (0.25, 0.5, 0.75), 0)
        time = alpha * one["step"].values
        axes.plot(time, middle, color=colour, label=rf"$\alpha={alpha:g}$")
        axes.fill_between(time, low, high, color=colour, alpha=0.15, linewidth=0)
    t = np.linspace(0, 1, 50)
    axes.plot(t, theory.squared_loss_flow(t), label=r"$e^{-2t}$", **style.THEORY)
    axes.set(
        yscale="log", xlabel=r"$t=\alpha k$", ylabel="squared loss over its start",
        title=rf"squared loss, $\sigma={weight_std:g}$",
    )  # fmt: skip
    axes.set_yticks([0.1, 0.2, 0.5, 1], ["0.1", "0.2", "0.5", "1"])
    axes.minorticks_off()
    axes.legend(loc="lower left")


def _cross_entropy(axes: Axes, data: xr.Dataset) -> None:
    alphas = data["alpha_eff"].values
    longest = 0.0
    losses = data[["train_loss", "recursion"]].rename(trained_seed="seed")
    losses = losses.isel(epoch=slice(1, None))  # alpha k = 0 has no place on the axis
    for alpha, colour in zip(alphas, (style.BLUE, style.SKY, style.PURPLE), strict=False):
        one = losses.sel(alpha_eff=alpha)
        one = one.assign_coords(epoch=alpha * one["epoch"])
        band(axes, one["train_loss"], rf"GN, $\alpha={alpha:g}$", colour)
        mean = one["recursion"].mean("seed").dropna("epoch")
        label = "recursion" if alpha == alphas[-1] else None
        axes.plot(mean["epoch"], mean, label=label, **style.THEORY)
        longest = max(longest, float(mean["epoch"].max()) if mean.size else 0.0)
    if longest > ASYMPTOTE_FROM:
        classes = int(data["classes"])
        t = np.geomspace(ASYMPTOTE_FROM, longest, 20)
        name = rf"${(classes - 1) / classes:g}\,/\,\alpha k$"
        axes.plot(t, theory.symmetric_asymptote(t, classes), label=name, **LATE)
    axes.set(
        xscale="log", xlabel=r"$\alpha k$", ylabel="train cross-entropy",
        title="cross-entropy, full batch",
    )  # fmt: skip
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())
    log_loss(axes)
    axes.legend(loc="lower left")


def draw(analyses: dict[str, xr.Dataset]) -> Figure:
    """One panel per size of initial weights for the squared loss, one for the cross-entropy.

    Parameters
    ----------
    analyses
        ``flow``.
    """
    data = analyses["flow"]
    sizes = sorted(data["weight_std"].values, reverse=True)
    figure, panels = plt.subplots(1, len(sizes) + 1, figsize=(style.PAGE, 2.7), squeeze=False)
    *squared, cross_entropy = panels[0]
    for axes, weight_std in zip(squared, sizes, strict=True):
        _squared(axes, data, weight_std)
    for axes in squared[1:]:
        axes.sharey(squared[0])
        axes.set_ylabel("")
    _cross_entropy(cross_entropy, data)
    for letter, axes in zip("abcdefgh", panels[0], strict=False):
        style.panel_label(axes, letter)
    return figure
