"""Limits of the single-mode theory: exact recursion against closed forms."""

from __future__ import annotations

import xarray as xr
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from regimes.plot import style
from regimes.studies.limiting_dynamics.panels import value_colours

EXACT = {"linewidth": 2.2, "alpha": 0.55}
SMALLEST_GAP = 1e-5  # smaller differences are not drawn, the legend lies there


def _pair(axes: Axes, exact: xr.DataArray, law: xr.DataArray, dim: str, colours: dict) -> None:
    """Exact curves in colour, closed forms dashed above them, one per momentum."""
    for beta in exact["momentum"].values:
        one, form = exact.sel(momentum=beta).dropna(dim), law.sel(momentum=beta).dropna(dim)
        axes.plot(one[dim], one, color=colours[beta], **EXACT)
        axes.plot(form[dim], form, **style.THEORY)
    axes.set(xscale="log", yscale="log", xlabel="step $k$")


def _flat(axes: Axes, data: xr.Dataset, colours: dict) -> None:
    _pair(axes, data["flat_displacement"], data["flat_law"], "flat_step", colours)
    axes.set(
        title=r"flat mode: $\eta^2qk/(1-\beta)^2$", ylabel=r"$\mathbb{E}\,\Delta_k^2$",
    )  # fmt: skip


def _rise(axes: Axes, data: xr.Dataset, colours: dict) -> None:
    shown = data[["rise", "rise_law"]].sel(flat_step=slice(1, 1000))
    _pair(axes, shown["rise"], shown["rise_law"], "flat_step", colours)
    axes.set(
        title=r"rise from rest: $1-\beta^{2k}$",
        ylabel=r"$\mathbb{E}\,\delta_k^2$ / stationary value",
    )


def _saturating(axes: Axes, data: xr.Dataset, colours: dict) -> None:
    _pair(axes, data["saturating_displacement"], data["saturating_law"], "saturating_step", colours)
    axes.axvline(float(data["saturating_relaxation"].mean()), color="0.6", linestyle=":")
    axes.set(
        title=r"saturating mode: $1-E_{11}$",
        ylabel=r"$\mathbb{E}\,\Delta_k^2\,/\,2\mathrm{Var}_\theta$",
    )


def _drift(axes: Axes, data: xr.Dataset, colours: dict) -> None:
    _pair(axes, data["drift_displacement"], data["drift_law"], "drift_step", colours)
    axes.set(title=r"drift only: $o^2(1-E_{11})^2$", ylabel=r"$\Delta_k^2\,/\,o^2$")


def _half_step(axes: Axes, data: xr.Dataset) -> list[Line2D]:
    """Size of the error of the mean position, with and without the shift."""
    momenta = data["oscillating_momentum"].values
    colours = value_colours(momenta)
    looks = {"plain": {"linewidth": 0.8}, "half a step later": {"linewidth": 1.1, "alpha": 0.6}}
    dashes = {"plain": "-", "half a step later": (0, (1, 1))}
    for form, look in looks.items():
        for beta in momenta:
            gap = abs(data["half_step_gap"].sel(form=form, oscillating_momentum=beta))
            gap = gap.dropna("oscillating_step").where(gap > SMALLEST_GAP)
            step = gap["oscillating_step"]
            axes.plot(step, gap, color=colours[beta], linestyle=dashes[form], **look)
    axes.set(
        xscale="log", yscale="log", xlim=(1, None), ylim=(2e-7, None), xlabel="step $k$",
        title="half-step shift of the mean", ylabel="|difference| / start",
    )  # fmt: skip
    handles = [Line2D([], [], color=c, label=rf"$\beta={b:g}$") for b, c in colours.items()]
    handles += [
        Line2D([], [], color="0.4", linestyle=dashes[form], label=text)
        for form, text in (("plain", "plain"), ("half a step later", "shifted"))
    ]
    return handles


def _double_sum(axes: Axes, data: xr.Dataset) -> None:
    """Relative differences from the exact OU displacement, against relaxation times."""
    colours = value_colours(data["curvature"].values)
    for rho in data["curvature"].values:
        one = data.sel(curvature=rho)
        time = one["double_sum_step"] / float(one["double_sum_relaxation"])
        for name, dashes in (("double_sum_gap", "-"), ("discrete_gap", (0, (1, 1)))):
            gap = abs(one[name]).where(abs(one[name]) > SMALLEST_GAP)
            label = rf"$\rho={rho:g}$" if name == "double_sum_gap" else None
            axes.plot(time, gap, color=colours[rho], linestyle=dashes, label=label)
    # The claim: within 2 % from 10 steps up to 10 relaxation times.
    first = 10 / float(data["double_sum_relaxation"].max())
    axes.plot([first, 10], [0.02, 0.02], color="0.6", linewidth=2.5)
    axes.plot([], [], color="0.4", linestyle=(0, (1, 1)), label="recursion")
    axes.set(
        xscale="log", yscale="log", xlabel=r"$k\eta\rho/(1-\beta)$",
        title="double sum (eq. 11)", ylabel="|relative difference|",
    )  # fmt: skip
    axes.legend(loc="best")


def draw(analyses: dict[str, xr.Dataset]) -> Figure:
    """Six panels; exact computation in colour, closed forms dashed.

    Parameters
    ----------
    analyses
        ``single_modes``.
    """
    data = analyses["single_modes"]
    colours = value_colours(data["momentum"].values)
    figure, panels = plt.subplots(2, 3, figsize=(style.PAGE, 4.6))
    (flat, saturating, drift), (rise, half, double) = panels
    _flat(flat, data, colours)
    _saturating(saturating, data, colours)
    _drift(drift, data, colours)
    _rise(rise, data, colours)
    handles = _half_step(half, data)
    half.legend(handles=handles, ncols=2, loc="lower center", fontsize=6, columnspacing=0.8)
    _double_sum(double, data)
    for letter, axes in zip("abcdef", panels.ravel(), strict=True):
        style.panel_label(axes, letter)
    entries = [Line2D([], [], color=c, label=rf"exact, $\beta={b:g}$") for b, c in colours.items()]
    entries.append(Line2D([], [], label="closed form", **style.THEORY))
    figure.legend(
        handles=entries, loc="outside lower center", ncols=5, title="panels a-d",
        title_fontsize=7,
    )  # fmt: skip
    return figure
