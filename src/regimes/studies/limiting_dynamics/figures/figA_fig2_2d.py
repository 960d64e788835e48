"""Figure 2 in two dimensions, with 95 % bands, for low-noise and for additive-noise data."""

from __future__ import annotations

from string import ascii_lowercase

import numpy as np
import xarray as xr
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure

from regimes.plot import style
from regimes.studies.limiting_dynamics.linear_panels import (
    DATA_LOOK,
    path_curves,
    path_legend,
)
from regimes.studies.limiting_dynamics.panels import (
    CONTINUOUS_THEORY,
    phase_portrait,
    three_d_axes,
)

NAMES = {"low_noise": "small residuals", "additive": "large residuals (additive noise)"}
BAND_LOOK = {"color": "red", "alpha": 0.2, "linewidth": 0}
SHOWN = 3  # runs drawn over the band
# Titles of the flat panels and what they show; where the two differ, the mean is subtracted.
COLUMNS = {"position": "position", "position minus mean": "position", "velocity": "velocity"}


def draw(analyses: dict[str, xr.Dataset]) -> Figure:
    """Phase portrait, position, its distance from the mean, velocity; rows are momenta, by regime.

    Parameters
    ----------
    analyses
        ``phase_space``.
    """
    data = analyses["phase_space"]
    regimes, momenta = data["regime"].values, data["momentum"].values
    rows = regimes.size * momenta.size
    figure = plt.figure(figsize=(style.PAGE, 1.55 * rows + 0.4))
    letters = iter(ascii_lowercase)
    for part, regime in zip(
        np.atleast_1d(figure.subfigures(regimes.size, 1)), regimes, strict=True
    ):
        part.suptitle(NAMES[str(regime)], fontsize=9, fontweight="bold")
        _rows(part, data.sel(regime=regime), letters)
    band = plt.Rectangle((0, 0), 1, 1, label="95 % band", **BAND_LOOK)
    figure.legend(
        handles=[*path_legend("single runs", recursion=False), band],
        loc="outside lower center",
        ncols=3,
    )
    return figure


def _rows(part: SubFigure, data: xr.Dataset, letters) -> None:
    momenta = data["momentum"].values
    grid = part.add_gridspec(momenta.size, 4, width_ratios=(0.85, 1, 1, 1))
    for row, momentum in enumerate(momenta):
        runs = data.sel(momentum=momentum).dropna("seed", how="all")
        if not runs.sizes["seed"]:
            continue
        one = runs.isel(seed=0)
        time = float(one["eta"]) * one["step"].values
        portrait = three_d_axes(part, grid[row, 0], zoom=1.15)
        phase_portrait(portrait, path_curves(one, time, recursion=False), ("", "", ""))
        portrait.set(xticklabels=[], yticklabels=[], zticklabels=[])
        portrait.set_title(rf"$\beta={momentum:g}$", y=0.98)
        for column, (label, name) in enumerate(COLUMNS.items(), start=1):
            axes = part.add_subplot(grid[row, column])
            _band(axes, runs, time, name, deviation=label != name)
            if row == 0:
                axes.set_title(label)
            axes.ticklabel_format(axis="x", scilimits=(0, 0), useMathText=True)
            last = row == momenta.size - 1
            axes.tick_params(labelbottom=last)
            axes.xaxis.get_offset_text().set_visible(last)
            axes.set_xlabel(r"$t=\eta k$" if last else "")
            style.panel_label(axes, next(letters))
            if label != name:
                covered = float(runs["covered"].mean())
                # Above the band, whose runs would cross the text.
                axes.margins(y=0.2)
                place = {"transform": axes.transAxes, "ha": "right", "va": "top", "fontsize": 7}
                axes.text(0.99, 1.0, f"{100 * covered:.0f} % inside", **place)


def _band(axes: Axes, runs: xr.Dataset, time: np.ndarray, name: str, deviation: bool) -> None:
    """Several runs over the mean of theory with the band around it, or all minus the mean."""
    one = runs.isel(seed=0)
    mean, width = one[f"continuous_{name}"].values, one[f"band_{name}"].values
    few = runs[name].isel(seed=slice(SHOWN)).transpose("step", "seed").values
    if deviation:
        few, mean = few - mean[:, None], np.zeros_like(mean)
    axes.fill_between(time, mean - width, mean + width, **BAND_LOOK)
    axes.plot(time, mean, **CONTINUOUS_THEORY)
    axes.plot(time, few, **DATA_LOOK | {"linewidth": 0.5, "alpha": 0.8})
