"""Fig. 4: catapults at small, silent alignment at large feature strength."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from regimes.plot import style
from regimes.studies.feature_strength.dynamics_panels import (
    LOSS_NAMES,
    SHARPNESS,
    alignment_handles,
    alignment_panel,
    catapult_handles,
    catapult_panel,
    layer_looks,
    mark_divergent,
    multiple_colours,
    nearest_gamma,
    over_seeds,
)
from regimes.studies.feature_strength.panels import gamma_label

LAZY, RICH = -2.0, 3.0  # log10 gamma of the panels


def draw(analyses: dict[str, xr.Dataset]) -> Figure:
    """Draw catapults (a: MSE, cross-entropy, CNN) and silent alignment (b, c).

    Parameters
    ----------
    analyses
        ``catapults``, ``catapult_cnn`` and ``alignment``.
    """
    figure = plt.figure(figsize=(style.PAGE, 5.2))
    top, bottom = figure.subfigures(2, 1, height_ratios=[1.05, 1.1])
    _catapults(top, analyses)
    left, right = bottom.subplots(1, 2, width_ratios=[1.9, 1])
    data = nearest_gamma(analyses["alignment"], RICH)
    twin = alignment_panel(left, data, log=False, sharpness=True)
    left.set_xlim(0, _shown(data))
    left.set_ylabel("loss / initial loss")
    twin.set_ylabel(r"CKA with labels, $\lambda_1 N\eta/2$")
    left.set_title(f"MLP, {gamma_label(float(data['log10_gamma']))}")
    _summary(right, analyses["alignment"])
    style.panel_label(left, "b")
    style.panel_label(right, "c")
    handles = alignment_handles(data, sharpness=True)
    bottom.legend(handles=handles, loc="outside lower center", ncols=4)
    return figure


def _catapults(figure: mpl.figure.SubFigure, analyses: dict[str, xr.Dataset]) -> None:
    panels = []
    for name, network in (("catapults", "MLP"), ("catapult_cnn", "CNN")):
        data = analyses[name]
        for loss in data["loss"].values:
            runs = data.sel(loss=loss)
            known = runs["peak"].notnull().any(["multiple", "seed"]).values
            part = nearest_gamma(runs.isel(log10_gamma=np.flatnonzero(known)), LAZY)
            panels.append((f"{network}, {LOSS_NAMES[str(loss)]}", part))
    panels = panels[:3]
    multiples = np.unique(np.concatenate([part["multiple"].values for _, part in panels]))
    colours = multiple_colours(multiples)
    row = figure.subplots(1, len(panels), squeeze=False, sharey=True)[0]
    for axes, (title, part) in zip(row, panels, strict=True):
        catapult_panel(axes, part, colours)
        axes.set_title(f"{title}, {gamma_label(float(part['log10_gamma']))}")
    mark_divergent(row, [part for _, part in panels], colours)
    row[0].set_ylabel("online loss / initial loss")
    style.panel_label(row[0], "a")
    figure.legend(
        handles=catapult_handles(colours),
        loc="outside lower center",
        ncols=len(colours) + 1,
        title=r"multiple of the critical learning rate, $m=\eta N\lambda_0/2$",
        title_fontsize=7,
        columnspacing=1.2,
        handlelength=1.4,
    )


def _shown(data: xr.Dataset) -> float:
    """Largest step drawn: a few times the plateau, at most the length of the run."""
    last = float(data["step"].max())
    end = float(data["plateau_end"].max())
    return min(last, 4 * end) if np.isfinite(end) else last


def _summary(axes: Axes, data: xr.Dataset) -> None:
    """Begin of alignment and of instability relative to the plateau, per feature strength."""
    dark = list(layer_looks(data["layer"].values).values())[-1]["color"]
    order = data["order"].where(np.isfinite(data["order"]))
    gammas = 10.0 ** data["log10_gamma"].values
    for values, colour, marker, label in (
        (order, dark, "o", "alignment begins /\nplateau ends"),
        (data["edge_after_drop"], SHARPNESS, "s", "largest $\\lambda_1 N\\eta/2$\nduring the drop"),
    ):
        mean, low, high = over_seeds(values)
        bars = np.stack([(mean - low).values, (high - mean).values])
        axes.errorbar(gammas, mean, bars, color=colour, marker=marker, capsize=2, label=label)
    axes.axhline(1, **style.THEORY)
    axes.set(xscale="log", xlabel=r"feature strength $\gamma$", ylabel="ratio")
    # Limits are given, since nothing is known where no plateau has ended.
    axes.set(xlim=(gammas.min() / 2, 2 * gammas.max()), ylim=(0, max(2.0, axes.get_ylim()[1])))
    axes.legend(loc="upper left", fontsize=6.5)
