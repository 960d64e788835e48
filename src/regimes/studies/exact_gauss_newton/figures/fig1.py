"""Fig. 1: full-batch training."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from regimes.plot import style
from regimes.studies.exact_gauss_newton.panels import (
    COLOURS,
    NAMES,
    Curve,
    cap,
    curves,
    data_name,
    log_loss,
    shades,
)
from regimes.studies.exact_gauss_newton.reading import matching, pick

EXPERIMENTS = ("full_batch_easy", "full_batch_hard")


def draw(analyses: dict[str, xr.Dataset]) -> Figure:
    """Draw train loss and train accuracy against step for both data sets.

    Parameters
    ----------
    analyses
        ``full_batch``.
    """
    data = analyses["full_batch"]
    figure, grid = plt.subplots(2, 2, figsize=(style.PAGE, 4.6), sharex="col", sharey="row")
    shown = []
    for column, (experiment, letter) in enumerate(zip(EXPERIMENTS, "ab", strict=True)):
        top, bottom = grid[:, column]
        cases = _cases(data, experiment)
        curves(top, "train_loss", cases)
        curves(bottom, "train_accuracy", cases, factor=100)
        _recursions(top, [case.data["recursion"] for case in cases])
        if cases:
            top.set_title(data_name(str(cases[0].data["data"].item())))
            # Two columns of entries: many learning rates.
            bottom.legend(loc="lower right", ncols=2 if len(cases) > 4 else 1)
        bottom.set(xlabel="step")
        style.panel_label(top, letter)
        shown += [case.data["train_loss"] for case in cases]
    log_loss(grid[0, 0])
    cap(grid[0, 0], shown)
    grid[0, 0].set_ylabel("train loss (cross-entropy)")
    grid[1, 0].set_ylabel("train accuracy (%)")
    return figure


def _cases(data: xr.Dataset, experiment: str) -> list[Curve]:
    """All learning rates of each optimizer, larger ones darker."""
    found = []
    for name, colour in COLOURS.items():
        rates = np.unique(
            data["lr_code"].values[matching(data, experiment=experiment, optimizer=name)]
        )
        for rate, shade in zip(rates, shades(colour, len(rates)), strict=True):
            case = pick(data, experiment=experiment, optimizer=name, lr_code=rate)
            found.append(Curve(case, f"{NAMES[name]} {rate:.3g}", shade))
    return found


def _recursions(axes: Axes, recursions: list[xr.DataArray]) -> None:
    """Seed means of the recursion, dashed; the first one carries the entry of the legend."""
    label: str | None = "recursion"
    for recursion in recursions:
        mean = recursion.mean("seed").dropna("epoch")
        if mean.sizes["epoch"]:
            axes.plot(mean["epoch"], mean, label=label, zorder=3, **style.THEORY)
            label = None
    if label is None:
        line = [h for h in axes.get_lines() if h.get_label() == "recursion"]
        axes.legend(line, ["function-space recursion"], loc="upper right")
