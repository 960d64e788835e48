"""Fig. 5: networks without inverted bottleneck."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from regimes.plot import style
from regimes.studies.exact_gauss_newton.panels import COLOURS, NAMES, Curve, curves, log_loss
from regimes.studies.exact_gauss_newton.reading import matching, pick

PANELS = (
    ("no_bottleneck_full", "train_loss", "train loss", "step", "full batch"),
    ("no_bottleneck_mini", "running_loss", "train loss", "epoch", "mini-batch"),
    ("no_bottleneck_mini", "test_loss", "test loss", "epoch", "mini-batch"),
)


def draw(analyses: dict[str, xr.Dataset]) -> Figure:
    """Draw full-batch train loss, mini-batch train loss and test loss at the best learning rates.

    Parameters
    ----------
    analyses
        ``no_bottleneck``.
    """
    data = analyses["no_bottleneck"]
    best = data.isel(case=np.flatnonzero(data["best"].values == 1))
    figure, grid = plt.subplots(1, 3, figsize=(style.PAGE, 2.3))
    for axes, (experiment, variable, label, x, title), letter in zip(
        grid, PANELS, "abc", strict=True
    ):
        cases = [
            _curve(pick(best, experiment=experiment, optimizer=name), name)
            for name in COLOURS
            if matching(best, experiment=experiment, optimizer=name).size
        ]
        curves(axes, variable, cases)
        axes.set(xlabel=x, ylabel=label, title=title)
        log_loss(axes)
        if cases and letter != "c":  # the third panel shows the runs of the second
            axes.legend()
        style.panel_label(axes, letter)
    return figure


def _curve(case: xr.Dataset, optimizer: str) -> Curve:
    """One optimizer with its learning rate."""
    return Curve(case, f"{NAMES[optimizer]} {float(case['lr_code']):.3g}", COLOURS[optimizer])
