"""Figure 6: phase portraits of the one-weight model, both losses, with the lines of Table 1."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from regimes.plot import style
from regimes.studies.feature_strength import theory

GAMMA, ETA = "log10_gamma", "log10_eta"
DEPTH = 3
LOWEST = -6.0  # log10 of final over initial loss from which a cell counts as converged
TITLES = {"mse": "squared error", "cross_entropy": "cross-entropy"}
DIVERGED = "0.82"
HIGHER = "#F3C9DA"  # finite, but above the loss at the start

# Boundary: dashes of its theory line, marker of the measured values, name.
LINES = {
    "bounded_max": ((0, (1, 1.3)), "^", r"$\eta_{\max}$"),
    "eta_crit": ((0, (5, 2)), "s", r"$\eta_{\mathrm{crit}}$"),
    "eta_star": ((0, (3, 1.5, 1, 1.5)), "*", r"$\eta^*$"),
    "opt_min": ((0, (2.5, 1.5)), "o", r"$\eta_{\min}$"),
}


def loss_colours() -> Colormap:
    """Light where the loss is low, mid blue at its start, so that black lines stay legible."""
    blues = mpl.colormaps["Blues"](np.linspace(0.0, 0.62, 256))
    colours = LinearSegmentedColormap.from_list("loss", blues)
    return colours.with_extremes(bad=DIVERGED, over=HIGHER)


def nearest_depth(data: xr.Dataset, depth: int = DEPTH) -> xr.Dataset:
    """Portraits of the depth nearest to a wanted one, and that depth."""
    return data.sel(depth=depth, method="nearest")


def loss_map(axes: Axes, relative: xr.DataArray):
    """Colour map of log10 of a final over initial loss; grey where the run diverged."""
    values = np.log10(np.maximum(relative.transpose(ETA, GAMMA), 1e-30))
    # Only losses clearly above the start are marked: near it rounding decides.
    values = values.where(~((values > 0) & (values < 1e-3)), 0)
    return axes.pcolormesh(
        relative[GAMMA],
        relative[ETA],
        np.ma.masked_invalid(values),
        cmap=loss_colours(),
        vmin=LOWEST,
        vmax=0,
        shading="nearest",
        rasterized=True,
    )


def theory_lines(data: xr.Dataset, loss: str) -> dict[str, list[tuple[np.ndarray, np.ndarray]]]:
    """Lines of Table 1 in log10, per boundary: pieces (log10 gamma, log10 eta).

    eta_crit = 2/H and eta* = 1/H at all gamma; eta_min from the lazy and the rich limit of the
    flow; for eta_max only the exponents are predicted: lines through the measured values.
    """
    x = np.linspace(float(data[GAMMA].min()), float(data[GAMMA].max()), 201)
    depth, steps = int(data["depth"]), int(data["steps"])
    threshold = np.log10(theory.eta_crit(10**x, depth, loss))
    sides = {"lazy": x[x <= 0.25], "rich": x[x >= 0.25]}
    lowest = [
        (part, np.log10(theory.eta_min(10**part, depth, loss, steps, regime)))
        for regime, part in sides.items()
    ]
    highest = []
    edge = data["edge"].sel(quantity="bounded_max", loss=loss)
    for regime, (low, high) in theory.TOY_WINDOWS.items():
        fitted = edge.where((edge[GAMMA] >= low) & (edge[GAMMA] <= high)).dropna(GAMMA)
        if fitted.size:
            anchor = float(fitted[GAMMA].mean()), float(fitted.mean())
            slope = theory.exponent("eta_max", loss, regime, depth)
            highest.append(theory.guide(sides[regime], slope, anchor))
    return {
        "bounded_max": highest,
        "eta_crit": [(x, threshold)],
        "eta_star": [(x, threshold - np.log10(2))],
        "opt_min": lowest,
    }


def _panel(axes: Axes, data: xr.Dataset, loss: str):
    image = loss_map(axes, data["relative_loss"].sel(loss=loss))
    for name, pieces in theory_lines(data, loss).items():
        dashes, marker, _ = LINES[name]
        for x, y in pieces:
            axes.plot(x, y, **{**style.THEORY, "linestyle": dashes})
        # Every second measured value: they follow the lines closely.
        edge = data["edge"].sel(quantity=name, loss=loss)[::2]
        axes.plot(
            edge[GAMMA],
            edge,
            marker,
            markersize=4.6 if marker == "*" else 2.8,
            markerfacecolor=style.ORANGE,
            markeredgecolor="black",
            markeredgewidth=0.4,
            linestyle="none",
        )
    axes.set(
        xlabel=r"$\log_{10}\gamma$",
        title=f"{TITLES[loss]}, $L={int(data['depth'])}$, $T={int(data['steps'])}$",
        xlim=(float(data[GAMMA].min()), float(data[GAMMA].max())),
        ylim=(float(data[ETA].min()), float(data[ETA].max())),
    )
    return image


def _legend(figure: Figure) -> None:
    entries = {}
    for dashes, marker, name in LINES.values():
        text = "slope by theory" if name == LINES["bounded_max"][2] else "theory"
        entries[f"{name}, {text}"] = Line2D([], [], **{**style.THEORY, "linestyle": dashes})
        entries[f"{name}, measured"] = Line2D(
            [],
            [],
            marker=marker,
            markersize=6 if marker == "*" else 4,
            markerfacecolor=style.ORANGE,
            markeredgecolor="black",
            markeredgewidth=0.4,
            linestyle="none",
        )
    entries["diverged"] = Patch(color=DIVERGED)
    entries["above the initial loss"] = Patch(color=HIGHER)
    figure.legend(entries.values(), entries, loc="outside lower center", ncols=5, columnspacing=1.2)


def draw(analyses: dict[str, xr.Dataset]) -> Figure:
    """Final loss over feature strength and learning rate, one panel per loss."""
    data = nearest_depth(analyses["toy_portrait"])
    figure, panels = plt.subplots(1, 2, figsize=(style.PAGE, 3.7), sharey=True)
    for axes, loss, letter in zip(panels, TITLES, "ab", strict=True):
        image = _panel(axes, data, loss)
        style.panel_label(axes, letter)
    panels[0].set_ylabel(r"$\log_{10}\eta$")
    bar = figure.colorbar(image, ax=panels, pad=0.02, aspect=30, extend="min")
    bar.set_label(r"$\log_{10}$(final / initial excess loss)")
    _legend(figure)
    return figure
