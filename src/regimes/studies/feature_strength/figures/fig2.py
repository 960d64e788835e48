"""Figure 2: online losses, test accuracy and plateaus across gamma."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import xarray as xr
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from regimes.plot import style
from regimes.studies.feature_strength.panels import gamma_colour, gamma_label

BUDGET_STYLES = (("o", style.SKY), ("s", style.ORANGE), ("D", style.BLUE))
GUIDES = (-2.0, 2.0)  # log10 gamma of the tails that get a power law drawn


def losses(axes: Axes, data: xr.Dataset) -> None:
    """Online loss against steps, one colour per gamma, with the range over seeds.

    Parameters
    ----------
    data
        With ``loss`` (log10_gamma, seed, log_step) and ``initial_loss``.
    """
    axes.axhline(float(data["initial_loss"].mean()), color="0.75", linewidth=0.8, zorder=0)
    for gamma in data["log10_gamma"].values:
        loss = data["loss"].sel(log10_gamma=gamma)
        colour = gamma_colour(gamma)
        axes.plot(loss["log_step"], loss.mean("seed"), color=colour, label=gamma_label(gamma))
        low, high = loss.min("seed"), loss.max("seed")
        axes.fill_between(loss["log_step"], low, high, color=colour, alpha=0.25, linewidth=0)
    axes.set(xscale="log", yscale="log", xlabel="step $t$", ylabel="online loss")
    # Less than two decades: name 1, 2, 5 times powers of ten, as plain numbers.
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())


def _guide(axes: Axes, data: xr.Dataset, wanted: float, above: bool) -> None:
    """Power law through the end of the tail of the gamma nearest to the wanted one."""
    part = data.sel(log10_gamma=wanted, method="nearest").mean("seed")
    exponent = float(part["tail_exponent"])
    tail = part["loss"].dropna("log_step")
    if not np.isfinite(exponent) or not tail.size:
        return
    last = float(tail["log_step"][-1])
    steps = np.array([last / 10, last])
    middle = tail.sel(log_step=last / 10**0.5, method="nearest")
    shift = 1.12 if above else 0.8
    line = shift * float(middle) * (steps / float(middle["log_step"])) ** -exponent
    axes.plot(steps, line, **style.THEORY)
    axes.annotate(
        rf"$t^{{{-exponent:.2f}}}$",
        (steps.prod() ** 0.5, line.prod() ** 0.5),
        xytext=(0, 3 if above else -3),
        textcoords="offset points",
        ha="left" if above else "right",
        va="bottom" if above else "top",
        fontsize=7,
    )


def _accuracy(axes: Axes, data: xr.Dataset) -> None:
    data = data.sortby("budget")
    styles = BUDGET_STYLES[-data.sizes["budget"] :]
    for budget, (marker, colour) in zip(data["budget"].values, styles, strict=True):
        accuracy = data["accuracy"].sel(budget=budget)
        axes.errorbar(
            10.0 ** data["log10_gamma"],
            accuracy.mean("seed"),
            yerr=accuracy.std("seed", ddof=1).fillna(0),
            marker=marker,
            color=colour,
            capsize=2,
            label=f"$T={int(budget)}$",
        )
    axes.set(xscale="log", xlabel=r"feature strength $\gamma$", ylabel="test accuracy")
    axes.legend(loc="best")


def plateau_points(axes: Axes, data: xr.Dataset) -> None:
    """End of the plateau against gamma, one point per seed; ``plateau_end`` of the data."""
    for gamma in data["log10_gamma"].values:
        ends = data["plateau_end"].sel(log10_gamma=gamma).values
        axes.plot(np.full(ends.size, 10.0**gamma), ends, "o", color=gamma_colour(gamma), alpha=0.8)
    gammas = 10.0 ** data["log10_gamma"].values
    if (data["plateau_end"] > 0).any():
        axes.set(yscale="log")
    axes.set(
        xscale="log",
        xlim=(gammas.min() / 2, 2 * gammas.max()),
        xlabel=r"feature strength $\gamma$",
        ylabel="end of plateau (steps)",
    )


def _growth(axes: Axes, data: xr.Dataset) -> None:
    """Power law of theory through the fitted one, in the window of the fit."""
    slope, window = float(data["growth_slope"]), data["growth_window"].values
    if not np.isfinite(slope):
        return
    theory, centre = float(data["growth_theory"]), window.mean()
    level = float(data["growth_intercept"]) + slope * centre
    line = 10 ** (level + theory * (window - centre))
    exponent = Fraction(theory).limit_denominator(99)
    label = rf"$\gamma^{{{exponent}}}$ (fit ${slope:.2f}$)"
    axes.plot(10.0**window, line, **style.THEORY, label=label)
    axes.legend(loc="lower right", handlelength=1.5)


def draw(analyses: dict[str, xr.Dataset]) -> Figure:
    """Losses against steps, accuracy against gamma at equal time on two streams, plateaus."""
    figure = plt.figure(figsize=(style.PAGE, 4.9))
    panels = figure.subplots(2, 2)
    curves = analyses["loss_curves"].sortby("log10_gamma")
    losses(panels[0, 0], curves)
    for wanted, above in zip(GUIDES, (True, False), strict=True):
        _guide(panels[0, 0], curves, wanted, above)
    panels[0, 0].legend(loc="lower left", handlelength=1.2, labelspacing=0.25)
    _accuracy(panels[0, 1], analyses["equal_time"].sortby("log10_gamma"))
    _accuracy(panels[1, 0], analyses["equal_time_mnist1d"].sortby("log10_gamma"))
    panels[1, 0].set_title("MNIST-1D")
    plateau_points(panels[1, 1], curves)
    _growth(panels[1, 1], curves)
    for axes, letter in zip(panels.flat, "abcd", strict=True):
        style.panel_label(axes, letter)
    return figure
