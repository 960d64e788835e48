"""Figure 8: squared global displacement for all settings of the grid."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from regimes.plot import style
from regimes.studies.limiting_dynamics.displacement_panels import (
    GLOBAL,
    fitted_line,
    geometric_mean,
)
from regimes.studies.limiting_dynamics.grid_panels import curve_label, curves


def draw(analyses: dict[str, xr.Dataset]) -> Figure:
    """Draw ln of the squared global displacement against ln step with fits on the last half.

    Parameters
    ----------
    analyses
        ``grid``.
    """
    data = analyses["grid"]
    figure, axes = plt.subplots(figsize=(style.PAGE, 4.4))
    handles = []
    for colour, part in curves(data):
        line = geometric_mean(part["global_samples"]).dropna("log_step")
        label = curve_label(part)
        axes.plot(np.log(line["log_step"]), np.log(line), color=colour, linewidth=1.5)
        fit = fitted_line(part)
        if fit is not None:
            steps, values, exponent = fit
            axes.plot(np.log(steps), np.log(values), **style.THEORY)
            label = f"{label}, $c={exponent:.2f}$"
        handles.append(Line2D([], [], color=colour, linewidth=2, label=label))
    handles.append(Line2D([], [], label="fit on the last half", **style.THEORY))
    axes.set(xlabel=r"$\ln k$", ylabel=rf"$\ln$ {GLOBAL}")
    figure.legend(
        handles=handles, loc="outside right upper", fontsize=6.5, title=r"$\eta,\;S,\;\beta$"
    )
    return figure
