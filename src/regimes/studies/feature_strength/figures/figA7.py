"""Figure A.7: phase portraits under SignSGD, one-weight model and MLP."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from regimes.plot import style
from regimes.studies.feature_strength import theory
from regimes.studies.feature_strength.boundaries import GAMMA, only
from regimes.studies.feature_strength.portrait_panels import (
    MARKS,
    accuracy_bar,
    common_legend,
    dashed_line,
    legend_below,
    plane,
    portrait_panel,
    power_text,
)

DEPTH = 3
LOSS = LogNorm(1e-4, 1.0)  # in units of the initial loss


def _toy_panel(axes: Axes, toy: xr.Dataset) -> ScalarMappable:
    """Loss of the one-weight model with its edges, fits and the powers of section 2.4."""
    data = toy.sel(depth=DEPTH)
    mesh = plane(axes, data["relative_loss"], LOSS, "viridis_r")
    left, right = axes.get_xlim()
    for name, quantity, above in (("opt_max", "eta_max", True), ("opt_min", "eta_min", False)):
        marker, colour, text = MARKS[name]
        part = data.sel(quantity=name)
        edge = part["edge"]
        every = max(1, edge.sizes[GAMMA] // 20)
        look = {"marker": marker, "markersize": 3, "linestyle": "", "markeredgewidth": 0.4}
        look |= {"color": colour, "markeredgecolor": "black", "zorder": 5}
        label = f"{text}: {_fitted(part)}"
        axes.plot(edge[GAMMA][::every], edge[::every], label=label, **look)
        for regime, ends in (("lazy", (left, 0.4)), ("rich", (-0.4, right))):
            power = theory.exponent(quantity, "mse", regime, DEPTH, "sign")
            gap = (edge - power * edge[GAMMA]).sel({GAMMA: slice(*theory.TOY_WINDOWS[regime])})
            level = float(gap.mean()) if gap.notnull().any() else np.nan
            dashed_line(axes, ends, level, power, power_text(power), above, 0.45)
    axes.set_title(f"one weight, SignSGD, MSE, $L={DEPTH}$")
    legend_below(axes)
    return mesh


def _fitted(part: xr.Dataset) -> str:
    values = {str(r): float(part["slope"].sel(regime=r)) for r in part["regime"].values}
    known = [f"{regime} {value:.2f}" for regime, value in values.items() if np.isfinite(value)]
    return ", ".join(known) if known else "too few points to fit"


def draw(analyses: dict[str, xr.Dataset]) -> Figure:
    """Toy model with final loss, MLP with test accuracy."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(style.PAGE, 3.6))
    toy = _toy_panel(left, analyses["toy_sign"])
    bar = figure.colorbar(toy, ax=left, pad=0.015, aspect=30, extend="both")
    bar.set_label("final loss / initial loss")
    data = analyses["portrait_sign"]
    loss = str(data["loss"].values[0])
    one = only(data, loss)
    mesh = portrait_panel(right, one, loss, int(one["depth"]), "MLP, SignSGD", "sign")
    accuracy_bar(figure, mesh, right)
    for letter, axes in zip("ab", (left, right), strict=True):
        style.panel_label(axes, letter)
    common_legend(figure)
    return figure
