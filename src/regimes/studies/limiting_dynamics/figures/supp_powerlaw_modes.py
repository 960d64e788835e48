"""Exponent c for power-law Hessian spectra: displacement against step, c against a."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from regimes.plot import style
from regimes.studies.limiting_dynamics.panels import value_colours


def _displacements(axes: Axes, data: xr.Dataset, colours: dict) -> None:
    """Curves with their fits in the window, each in units of its value at the window's end."""
    low, high = (float(v) for v in data["window"])
    axes.axvspan(low, high, color="0.93", zorder=0)
    ends = np.array([low, high])
    for a in data["spectral_exponent"].values:
        one = data.sel(spectral_exponent=a)
        axes.plot(one["step"], one["global_displacement"], color=colours[a], label=f"$a={a:g}$")
        fit = np.exp(float(one["intercept"])) * ends ** float(one["diffusion_exponent"])
        axes.plot(ends, fit, **style.THEORY)
    axes.set(
        xscale="log", yscale="log", xlabel="step $k$",
        ylabel=r"$\mathbb{E}\|\Delta_k\|^2$ (unit noise)",
    )  # fmt: skip
    axes.legend(title="spectrum $j^{-a}$")


def _exponents(axes: Axes, data: xr.Dataset, colours: dict) -> None:
    a, c = data["spectral_exponent"].values, data["diffusion_exponent"].values
    steep = np.linspace(1, a.max() * 1.05, 100)
    axes.plot(steep, 1 / steep, label="$1/a$", **style.THEORY)
    axes.plot([0, 1], [1, 1], color="0.6", linestyle=":", label="1 (asymptotic, $a<1$)")
    axes.plot(a, c, color="0.7", linewidth=0.8, zorder=1)
    for x, y in zip(a, c, strict=True):
        axes.plot(x, y, "o", color=colours[x], markersize=5)
    axes.set(
        xlabel="spectral exponent $a$", ylabel="exponent $c$", xlim=(0, a.max() * 1.05),
        ylim=(0, 1.08),
    )  # fmt: skip
    axes.legend()


def draw(analyses: dict[str, xr.Dataset]) -> Figure:
    """Left: displacements; right: exponents.

    Parameters
    ----------
    analyses
        ``power_law``.
    """
    data = analyses["power_law"]
    colours = value_colours(data["spectral_exponent"].values)
    figure, (left, right) = plt.subplots(1, 2, figsize=(style.PAGE, 2.8))
    _displacements(left, data, colours)
    _exponents(right, data, colours)
    for letter, axes in zip("ab", (left, right), strict=True):
        style.panel_label(axes, letter)
    return figure
