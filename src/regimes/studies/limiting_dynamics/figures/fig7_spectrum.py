"""Figure 7, theory: exponents of a surrogate power-law spectrum against eta, S and beta."""

from __future__ import annotations

import xarray as xr
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from regimes.plot import style
from regimes.studies.limiting_dynamics.analyses.spectrum import DEFAULT, sweep
from regimes.studies.limiting_dynamics.panels import SWEEP_COLOURS, SWEEP_LABELS

NOTEBOOK = {"color": "0.35", "marker": "s", "markersize": 4, "markerfacecolor": "none"}


def draw(analyses: dict[str, xr.Dataset]) -> Figure:
    """One panel per swept setting, linear axes, a common axis of exponents.

    Parameters
    ----------
    analyses
        ``spectrum``.
    """
    data = analyses["spectrum"]
    figure, panels = plt.subplots(1, 3, figsize=(style.PAGE, 2.5), sharey=True)
    for letter, axes, name in zip("abc", panels, SWEEP_COLOURS, strict=True):
        line = sweep(data, name)
        axes.axhline(1, **style.THEORY)
        axes.plot(line[name], line, "o-", color=SWEEP_COLOURS[name], markersize=3)
        chosen = data["notebook_exponent"].isel(notebook=data["notebook_sweep"].values == name)
        axes.plot(chosen["notebook_value"], chosen, linestyle="", **NOTEBOOK)
        default = line.sel({name: DEFAULT[name]}, method="nearest")
        axes.plot(default[name], default, "o", color="black", markersize=5, zorder=4)
        axes.set_xlabel(SWEEP_LABELS[name])
        style.panel_label(axes, letter)
    panels[0].ticklabel_format(axis="x", style="sci", scilimits=(-3, -3), useMathText=True)
    panels[0].set_ylabel("exponent $c$")
    entries = {
        "surrogate spectrum (colour of the panel)": plt.Line2D(
            [], [], marker="o", markersize=3, color=style.GREY
        ),
        "its default": plt.Line2D([], [], marker="o", color="black", linestyle=""),
        "ResNet-18, official notebook": plt.Line2D([], [], linestyle="", **NOTEBOOK),
        "$c=1$": plt.Line2D([], [], **style.THEORY),
    }
    figure.legend(entries.values(), entries, loc="outside lower center", ncols=4)
    return figure
