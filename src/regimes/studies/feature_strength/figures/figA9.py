"""Fig. A9: staircase losses at large feature strength."""

from __future__ import annotations

from string import ascii_lowercase

import numpy as np
import xarray as xr
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from regimes.plot import style
from regimes.studies.feature_strength.dynamics_panels import seed_band
from regimes.studies.feature_strength.panels import gamma_colour, gamma_label

MODE_COLOURS = (style.BLUE, style.VERMILLION, style.GREEN)


def draw(analyses: dict[str, xr.Dataset]) -> Figure:
    """Draw the three-mode toy, the MLP on hierarchical labels and, where it is run, the CNN.

    Parameters
    ----------
    analyses
        ``toy_staircase`` and ``staircase``.
    """
    toy, data = analyses["toy_staircase"], analyses["staircase"]
    panels = [(_toy, toy), (_mlp, data)]
    if "test_loss_cnn" in data:
        panels.append((_cnn, data))
    narrow = len(panels) > 2
    height = 3.7 if narrow else 3.1
    figure, grid = plt.subplots(1, len(panels), figsize=(style.PAGE, height), squeeze=False)
    for axes, (panel, values), letter in zip(grid[0], panels, ascii_lowercase, strict=False):
        panel(axes, values)
        style.panel_label(axes, letter)
        # Below the axes: curves and vertical lines fill them.
        axes.legend(
            loc="upper center",
            bbox_to_anchor=(0.5, -0.2),
            ncols=1 if narrow else 2,
            columnspacing=1.2,
        )
    return figure


def _toy(axes: Axes, toy: xr.Dataset) -> None:
    """Total loss and each mode's share of it at the largest gamma, half-times also by theory."""
    toy = toy.isel(log10_gamma=-1)
    step = toy["step"].values
    axes.plot(step, toy["total_loss"], color="black", linewidth=1.6, label="total loss")
    shares = toy["mode_error"] / 2
    for mode, colour in zip(toy["mode"].values, MODE_COLOURS, strict=False):
        part, share = toy.sel(mode=mode), shares.sel(mode=mode)
        label = f"share of target {float(part['target']):g}"
        axes.plot(step, share, color=colour, linewidth=1.0, label=label)
        axes.axvline(float(part["half_step_theory"]), **{**style.THEORY, "linewidth": 0.8})
        if np.isfinite(part["half_step"]):
            level = float(share.isel(step=0)) / 2
            axes.plot(float(part["half_step"]), level, "o", color=colour, markersize=4)
    axes.plot([], [], "o", color="0.4", label="share halved")
    axes.plot([], [], label="halving, theory", **style.THEORY)
    axes.set(xlabel="step", ylabel="loss", yscale="log")
    axes.set_title(f"three-mode toy, {gamma_label(float(toy['log10_gamma']))}")
    start = toy["total_loss"].isel(step=0)
    axes.set(xlim=(0, step[-1]), ylim=(float(shares.isel(step=0).min()) / 20, 2 * float(start)))


def _mlp(axes: Axes, data: xr.Dataset) -> None:
    for gamma in data["log10_gamma"].values:
        loss = data["test_loss"].sel(log10_gamma=gamma)
        colour, label = gamma_colour(gamma), gamma_label(float(gamma))
        seed_band(axes, loss, "test_step", label, color=colour, linewidth=1.2)
    level = float(data["exact_level"])
    axes.axhline(level, label="knows the super-class only", **style.THEORY)
    axes.set(xlabel="step", ylabel="test loss", ylim=(0, None), title="MLP, hierarchy")


def _cnn(axes: Axes, data: xr.Dataset) -> None:
    for gamma in data["log10_gamma_cnn"].values:
        loss = data["test_loss_cnn"].sel(log10_gamma_cnn=gamma)
        loss = loss.where(loss["test_step_cnn"] >= 1, drop=True)
        colour, label = gamma_colour(gamma), gamma_label(float(gamma))
        seed_band(axes, loss, "test_step_cnn", label, color=colour, linewidth=1.2)
    axes.set(xscale="log", xlabel="step", ylabel="test loss", ylim=(0, None), title="CNN")
