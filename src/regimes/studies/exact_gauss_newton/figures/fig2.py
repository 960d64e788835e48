"""Fig. 2: mini-batch training."""

from __future__ import annotations

import xarray as xr
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from regimes.plot import style
from regimes.studies.exact_gauss_newton.panels import (
    COLOURS,
    data_name,
    three_panels,
    with_optimizers,
)
from regimes.studies.exact_gauss_newton.reading import matching, pick

EXPERIMENTS = ("mini_batch_easy", "mini_batch_hard")


def draw(analyses: dict[str, xr.Dataset]) -> Figure:
    """Draw train loss, test loss and test accuracy against epoch, one row per data set.

    Parameters
    ----------
    analyses
        ``mini_batch``.
    """
    data = analyses["mini_batch"]
    figure, grid = plt.subplots(2, 3, figsize=(style.PAGE, 4.0))
    for row, experiment, letter in zip(grid, EXPERIMENTS, "ab", strict=True):
        three_panels(
            row,
            with_optimizers(
                {name: pick(data, experiment=experiment, optimizer=name) for name in COLOURS}
            ),
        )
        found = matching(data, experiment=experiment)
        if found.size:
            row[1].set_title(data_name(str(data["data"].values[found[0]])))
            row[0].legend()
        style.panel_label(row[0], letter)
    return figure
