"""Test loss against squared local displacement over the settings of the sweeps."""

from __future__ import annotations

import xarray as xr
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from regimes.plot import style
from regimes.studies.limiting_dynamics.displacement_panels import LOCAL, seed_mean
from regimes.studies.limiting_dynamics.panels import SWEEP_COLOURS, SWEEP_LABELS


def draw(analyses: dict[str, xr.Dataset]) -> Figure:
    """Draw the test loss at the end of each run against its mean squared local displacement.

    Parameters
    ----------
    analyses
        ``sweeps``.
    """
    data = analyses["sweeps"]
    figure, axes = plt.subplots(figsize=(style.COLUMN * 1.3, 3.1))
    known = False
    for name, colour in SWEEP_COLOURS.items():
        level, loss = data[f"local_mean_{name}"], data[f"test_loss_{name}"]
        known |= bool((level.notnull() & loss.notnull()).any())
        axes.plot(level.values.ravel(), loss.values.ravel(), ".", color=colour, alpha=0.35)
        label = SWEEP_LABELS[name]
        axes.plot(seed_mean(level), seed_mean(loss), "o", color=colour, label=label)
    if known:
        axes.set(xscale="log")
    else:
        text = "test loss or level not recorded"
        axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", color="0.4")
    axes.set(xlabel=f"mean local displacement {LOCAL}", ylabel="test loss at the end")
    axes.legend(loc="best", title="swept")
    return figure
