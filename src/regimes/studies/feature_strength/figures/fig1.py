"""Figure 1: schematics of the portrait for both losses and measured portraits."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from regimes.plot import style
from regimes.studies.feature_strength import theory
from regimes.studies.feature_strength.boundaries import (
    ENOUGH_DECADES,
    cross_entropy_panel,
    decades,
    only,
    pick,
)
from regimes.studies.feature_strength.portrait_panels import (
    X_LABEL,
    Y_LABEL,
    accuracy_bar,
    common_legend,
    portrait_panel,
    power_text,
)
from regimes.studies.feature_strength.toys import LOSSES

# The schematics: one weight, depth 3, so few steps that the triangle closes inside the panel.
DEPTH, STEPS = 3, 30
LARGEST = 5.0  # |log10 gamma|
UNSTABLE, SLOW = "0.72", "0.90"
LAZY, RICH, ULTRA_RICH, CATAPULT = "#cfe3f3", "#d3ecdf", "#fbe6c4", "#f3d3e2"


def slowest_rate(gamma: np.ndarray, loss: str, steps: int) -> np.ndarray:
    """Learning rate whose gradient flow halves the excess loss in so many steps (section 2.2).

    Integrates df/dt = -(eta L^2/gamma^2) (1 + gamma f)^(2 - 2/L) l'(f) from f = 0; its limits are
    those of `theory.eta_min`.
    """
    f = np.linspace(0, 1, 4001)[:-1]
    excess, slope = LOSSES[loss](f)
    end = f[np.argmax(excess < excess[0] / 2)]
    # f = (e^s - 1)/gamma spaces the points evenly where the speed changes, at f ~ 1/gamma.
    s = np.linspace(0, 1, 800)[:, None] * np.log1p(gamma * end)
    f_path = np.expm1(s) / gamma
    speed = (1 + gamma * f_path) ** (2 - 2 / DEPTH) * -np.interp(f_path, f, slope)
    time = np.trapezoid(np.exp(s) / gamma / speed, s, axis=0)
    return gamma**2 / DEPTH**2 * time / steps


def largest_rate(gamma: np.ndarray, loss: str) -> np.ndarray:
    """Schematic eta_max: 2 eta_crit, for cross-entropy continued as gamma in the lazy regime."""
    factor = 2.0 if loss == "mse" else 2 * (1 + 1 / gamma)
    return factor * theory.eta_crit(gamma, DEPTH, loss)


def _schematic(axes: Axes, loss: str) -> None:
    x = np.linspace(-LARGEST, LARGEST, 401)
    gamma = 10.0**x
    low, crit, high = (
        np.log10(values)
        for values in (
            slowest_rate(gamma, loss, STEPS),
            theory.eta_crit(gamma, DEPTH, loss),
            largest_rate(gamma, loss),
        )
    )
    bottom, top = -12.5, 6.0
    low = np.minimum(low, high)
    axes.fill_between(x, high, top, color=UNSTABLE, linewidth=0)
    axes.fill_between(x, bottom, low, color=SLOW, linewidth=0)
    for start, end, colour in ((-5, -0.5, LAZY), (-0.5, 1, RICH), (1, 5, ULTRA_RICH)):
        part = (x >= start - 1e-9) & (x <= end + 1e-9)
        axes.fill_between(x[part], low[part], high[part], color=colour, linewidth=0)
    axes.text(-2.6, 3.6, "diverges", ha="center", va="center")
    axes.text(1.8, -6.5, "too slow for $T$ steps", ha="center", va="center")
    axes.set(xlim=(-LARGEST, LARGEST), ylim=(bottom, top), xlabel=X_LABEL, ylabel=Y_LABEL)
    inner = crit if loss == "cross_entropy" else high
    if loss == "cross_entropy":
        part = x <= 0.3
        axes.fill_between(x[part], crit[part], high[part], color=CATAPULT, linewidth=0)
        _name_region(axes, "catapults", -3.9, x, crit, high)
        # In the band above its line: below it would read as the name of the lower edge.
        _name_region(axes, r"$\eta_{\mathrm{crit}}\sim\gamma^2$", -2.0, x, crit, crit + 1.7)
    _name_region(axes, "lazy", -2.2, x, low, inner)
    _name_region(axes, "rich", 0.25, x, low, high)
    _name_region(axes, "ultra-rich", 2.0, x, low, high)
    axes.plot(x, high, **style.THEORY)
    axes.plot(x, low, **style.THEORY)
    lazy = x < 0
    axes.plot(x[lazy], crit[lazy], **style.THEORY | {"linewidth": 0.8, "linestyle": ":"})
    _name_lines(axes, loss, x, low, high)
    axes.set(xticks=range(-4, 5, 2), yticks=range(-12, 7, 3))
    axes.set_title("schematic, " + ("MSE" if loss == "mse" else "cross-entropy"))


def _name_region(axes: Axes, text: str, at: float, x, lower, upper) -> None:
    """Write a name into a band, along its middle line."""
    middle = (lower + upper) / 2
    here, ahead = (np.interp(at + step, x, middle) for step in (0, 0.1))
    angle = np.degrees(np.arctan2(ahead - here, 0.1))
    options = {"ha": "center", "va": "center", "rotation_mode": "anchor", "fontsize": 7}
    axes.text(at, here, text, rotation=angle, transform_rotates_text=True, **options)


def _name_lines(axes: Axes, loss: str, x, low, high) -> None:
    """Names and powers of eta_max and eta_min."""
    upper = theory.exponent("eta_max", loss, "lazy", DEPTH)
    labels = [
        (rf"$\eta_{{\max}}\sim\,${power_text(upper)}", -2.4, high, (-3, 5), "right"),
        (rf"$\eta_{{\max}}\sim\,${power_text(2 / DEPTH)}", 2.6, high, (0, 7), "center"),
        (r"$\eta_{\min}\sim\gamma^2/T$", -3.4, low, (8, -4), "left"),
        (r"$\eta_{\min}\sim\gamma/T$", 2.0, low, (4, -8), "left"),
    ]
    for text, at, line, offset, side in labels:
        place = (at, np.interp(at, x, line))
        vertical = "bottom" if offset[1] > 0 else "top"
        axes.annotate(
            text, place, offset, textcoords="offset points", ha=side, va=vertical, fontsize=7
        )


def draw(analyses: dict[str, xr.Dataset]) -> Figure:
    """Schematics from the one-weight model above, test accuracy of networks below."""
    figure, panels = plt.subplots(2, 2, figsize=(style.PAGE, 6.5))
    _schematic(panels[0, 0], "mse")
    _schematic(panels[0, 1], "cross_entropy")
    squared = pick(analyses["portrait_mlp"], loss="mse", depth=3)
    mesh = portrait_panel(panels[1, 0], squared, "mse", 3, "MLP")
    name, data = cross_entropy_panel(analyses)
    portrait_panel(panels[1, 1], data, "cross_entropy", int(data["depth"]), name)
    if name == "MLP" and decades(only(analyses["portrait_cnn"], "cross_entropy")) < ENOUGH_DECADES:
        title = panels[1, 1].get_title()
        panels[1, 1].set_title(f"{title}\n(in place of the CNN: too few $\\gamma$ at this scale)")
    for letter, axes in zip("abcd", panels.flat, strict=True):
        style.panel_label(axes, letter)
    accuracy_bar(figure, mesh, list(panels[1]))
    common_legend(figure)
    return figure
