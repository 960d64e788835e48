"""Local displacement from rest for all settings (figure 7 of the first version)."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from regimes.plot import style
from regimes.studies.limiting_dynamics.displacement_panels import LOCAL, seed_mean
from regimes.studies.limiting_dynamics.grid_panels import curve_label, curves


def draw(analyses: dict[str, xr.Dataset]) -> Figure:
    """Draw squared local displacements over the default plateau, with their theory levels.

    Parameters
    ----------
    analyses
        ``grid``.
    """
    data = analyses["grid"]
    default = data.sel({n: float(data[f"default_{n}"]) for n in ("eta", "batch_size", "momentum")})
    unit = float(default["plateau"].mean()) if default["plateau"].notnull().any() else np.nan
    figure, axes = plt.subplots(figsize=(style.PAGE, 4.4))
    handles = []
    for colour, part in curves(data):
        mean = (seed_mean(part["local_early"]) / unit).dropna("early_step")
        axes.plot(mean["early_step"], mean, color=colour, linewidth=0.8, alpha=0.9)
        # Both normalised by the default, so that the noise trace drops out.
        level = float(part["law"].mean() / default["law"].mean())
        if mean.size:
            axes.axhline(level, **(style.THEORY | {"linewidth": 0.7}), zorder=3)
            axes.plot(
                1,
                level,
                marker="<",
                color=colour,
                markeredgecolor="black",
                markeredgewidth=0.4,
                markersize=5,
                transform=axes.get_yaxis_transform(),
                clip_on=False,
                zorder=4,
            )
        handles.append(Line2D([], [], color=colour, linewidth=2, label=curve_label(part)))
    handles.append(Line2D([], [], label="theory level", **style.THEORY))
    axes.set(yscale="log", xlabel="step $k$", ylabel=f"{LOCAL} / plateau of the default")
    axes.set_xlim(0, float(data["early_step"].max()))
    figure.legend(
        handles=handles, loc="outside right upper", fontsize=6.5, title=r"$\eta,\;S,\;\beta$"
    )
    return figure
