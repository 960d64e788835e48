"""Fig. 15: regression on tables."""

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
    legend_below,
    log_loss,
)
from regimes.studies.exact_gauss_newton.reading import matching, pick

ROWS = (
    ("regression_full", "train_loss", "step", "full batch"),
    ("regression_mini", "running_loss", "epoch", "mini-batch"),
)


def draw(analyses: dict[str, xr.Dataset]) -> Figure:
    """Draw train and test error; two columns per table, full batch above mini-batch.

    A cross ends the line of an optimizer with which a run diverged.

    Parameters
    ----------
    analyses
        ``regression``.
    """
    data = analyses["regression"]
    # Wine first, as in the paper; the second table depends on the scale.
    tables = sorted(np.unique(data["data"].values).tolist(), key=lambda name: name != "wine")
    shown = max(len(tables), 1)
    figure, grid = plt.subplots(2, 2 * shown, figsize=(style.PAGE, 3.9), squeeze=False)
    for row, (experiment, train, x, title) in zip(grid, ROWS, strict=True):
        for number, table in enumerate(tables):
            pair = row[2 * number : 2 * number + 2]
            for axes, variable in zip(pair, (train, "test_loss"), strict=True):
                _panel(axes, data, variable, {"experiment": experiment, "data": table})
                kind = "test" if variable == "test_loss" else "train"
                axes.set(xlabel=x, title=f"{data_name(table)}, {kind}")
        row[0].set_ylabel(f"{title}\nmean squared error")
    for number in range(len(tables)):
        style.panel_label(grid[0, 2 * number], "abcdef"[number])
    legend_below(figure, grid[0, 0], 3)
    return figure


def _panel(axes: Axes, data: xr.Dataset, variable: str, settings: dict[str, str]) -> None:
    """One error of all optimizers."""
    cases = [
        Curve(pick(data, optimizer=name, **settings), NAMES[name], colour)
        for name, colour in COLOURS.items()
        if matching(data, optimizer=name, **settings).size
    ]
    curves(axes, variable, cases)
    log_loss(axes)
    cap(axes, [case.data[variable] for case in cases])
