"""Fig. 6: single modes rotate in phase space, as damped oscillators driven by noise."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from regimes.plot import style
from regimes.studies.limiting_dynamics.cloud_panels import mode_portrait
from regimes.studies.limiting_dynamics.oscillator_fit import amplitude
from regimes.studies.limiting_dynamics.theory import velocity_spectrum

COLOURS = (style.BLUE, style.VERMILLION)  # first and later mode
LAGS = 100
BINS = 60  # logarithmic bins of frequencies


def draw(analyses: dict[str, xr.Dataset]) -> Figure:
    """Draw phase portraits of two modes, their velocity autocorrelation and their spectrum.

    Parameters
    ----------
    analyses
        ``oscillations``.
    """
    data = analyses["oscillations"]
    figure = plt.figure(figsize=(style.PAGE, 5.6))
    left, right = figure.subfigures(1, 2, width_ratios=[1.5, 1])
    for pair in (0, 1):
        mode_portrait(left, (2, 1, pair + 1), data, pair, zoom=1.02)
    top, bottom = right.subplots(2, 1)
    _autocorrelation(top, data)
    _spectrum(bottom, data)
    for letter, place in (("a", (0.03, 0.97)), ("b", (0.03, 0.49))):
        left.text(*place, letter, fontweight="bold", fontsize=9)
    style.panel_label(top, "c")
    style.panel_label(bottom, "d")
    return figure


def _label(data: xr.Dataset, pair: int) -> str:
    return f"$q_{{{int(data['pair_mode'].sel(pair=pair))}}}$"


def _autocorrelation(axes: Axes, data: xr.Dataset) -> None:
    shown = data.sel(lag=slice(0, LAGS))
    for pair, colour in enumerate(COLOURS):
        part = shown.sel(pair=pair)
        axes.plot(part["lag"], part["autocorrelation"], color=colour, label=_label(data, pair))
        axes.plot(part["lag"], part["autocorrelation_theory"], **style.THEORY)
    axes.plot([], [], label=r"theory $E_{22}$", **style.THEORY)
    axes.axhline(0, color="0.6", linewidth=0.6, zorder=0)
    axes.set(xlabel="lag (steps)", ylabel="velocity autocorrelation", xlim=(0, None))
    axes.legend()


def _spectrum(axes: Axes, data: xr.Dataset) -> None:
    power = data["power"].mean(["seed", "block"])
    frequency = power["frequency"].values
    for pair, colour in enumerate(COLOURS):
        values = power.sel(pair=pair).values
        axes.plot(*_binned(frequency, values), ".", color=colour, markersize=3)
        gamma, omega, fitted = (
            float(data[name].sel(pair=pair))
            for name in ("damping", "natural_frequency", "fitted_frequency")
        )
        if np.isfinite(fitted):
            level = amplitude(frequency, values, fitted, gamma)
            fit = level * velocity_spectrum(frequency, gamma, fitted)
            label = rf"{_label(data, pair)}: $\omega/\omega_\mathrm{{theory}}={fitted / omega:.2f}$"
            axes.plot(frequency, fit, color=colour, linewidth=0.9, label=label)
        # 4 q/(S eta^2 (1 + beta)^2), noise q: the level of the continuous model, whose spectrum
        # integrates to its variance, and exactly that of the discrete process.
        level = float(data["velocity_theory"].sel(pair=pair)) * 4 * gamma / float(data["eta"])
        axes.plot(frequency, level * velocity_spectrum(frequency, gamma, omega), **style.THEORY)
    axes.set(xscale="log", yscale="log", ylabel="velocity periodogram")
    axes.set_xlabel(r"frequency $w$ per unit of $t=\eta k$")
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="lower center")


def _binned(frequency: np.ndarray, power: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Means of frequency and power over logarithmic bins that hold any."""
    edges = np.geomspace(frequency[0], frequency[-1] * (1 + 1e-9), BINS + 1)
    number = np.digitize(frequency, edges) - 1
    count = np.bincount(number, minlength=BINS)
    kept = count > 0
    means = [np.bincount(number, v, minlength=BINS)[kept] / count[kept] for v in (frequency, power)]
    return means[0], means[1]
