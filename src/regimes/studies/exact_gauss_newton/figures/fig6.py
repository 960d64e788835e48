"""Fig. 6: long mini-batch training."""

from __future__ import annotations

import xarray as xr
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from regimes.plot import style
from regimes.studies.exact_gauss_newton.panels import COLOURS, three_panels, with_optimizers
from regimes.studies.exact_gauss_newton.reading import pick


def draw(analyses: dict[str, xr.Dataset]) -> Figure:
    """Draw train loss, test loss and test accuracy against epoch.

    Parameters
    ----------
    analyses
        ``long_training``.
    """
    data = analyses["long_training"]
    figure, row = plt.subplots(1, 3, figsize=(style.PAGE, 2.2))
    three_panels(row, with_optimizers({name: pick(data, optimizer=name) for name in COLOURS}))
    for axes, letter in zip(row, "abc", strict=True):
        style.panel_label(axes, letter)
    if row[0].get_lines():
        row[0].legend()
    return figure
