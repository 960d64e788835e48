"""Mean Fourier frequency of the modes of linear regression against their eigenvalues."""

from __future__ import annotations

import xarray as xr
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from regimes.plot import style


def draw(analyses: dict[str, xr.Dataset]) -> Figure:
    """Amplitude-weighted mean frequency, measured and by theory, one point per mode.

    Parameters
    ----------
    analyses
        ``regression_frequency``.
    """
    data = analyses["regression_frequency"]
    figure, panels = plt.subplots(1, 2, figsize=(style.PAGE, 2.8), sharey=True)
    for axes, scale, letter in zip(panels, ("linear", "log"), "ab", strict=True):
        _frequencies(axes, data)
        axes.set(xlabel=r"eigenvalue $\rho$", xscale=scale)
        style.panel_label(axes, letter)
    panels[0].set_ylabel(r"mean frequency, cycles per $t=\eta k$")
    panels[0].set_ylim(0, None)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4)
    return figure


def _frequencies(axes: Axes, data: xr.Dataset) -> None:
    """Measured frequencies of runs and their means, the same of theory, and the oscillator's."""
    axes.plot(
        data["eigenvalue"].values.ravel(), data["frequency"].values.ravel(), "o", markersize=2,
        markeredgewidth=0, color=style.BLUE, alpha=0.4, label="single runs",
    )  # fmt: skip
    mean = data.mean("seed")
    looks = {
        "frequency": ("measured, mean over seeds", {"color": style.BLUE, "marker": "o"}),
        "frequency_theory": ("mean path of theory", {"color": "red", "marker": "x"}),
    }
    for name, (label, look) in looks.items():
        axes.plot(mean["eigenvalue"], mean[name], linestyle="", label=label, markersize=3, **look)
    label = r"$\sqrt{\omega^2-\gamma^2}/2\pi$"
    axes.plot(mean["eigenvalue"], mean["oscillation"], label=label, **style.THEORY)
