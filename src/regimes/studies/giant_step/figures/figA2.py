"""Figure A.2: one giant step with and without the linear part of the labels."""

from __future__ import annotations

from string import ascii_lowercase

import xarray as xr
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from regimes.plot import style
from regimes.studies.giant_step.panels import centre, deviation

CURVES = {  # colour, marker, legend text
    "raw": (style.BLUE, "o", "raw labels"),
    "removed": (style.GREEN, "s", "linear part removed"),
}


def _curve(axes: Axes, values: xr.DataArray, colour: str, marker: str, label: str, **extra) -> None:
    """Mean and standard deviation over draws against the batch exponent."""
    mean = centre(values)
    axes.errorbar(
        values["batch_exponent"],
        mean,
        deviation(values),
        color=colour,
        marker=marker,
        capsize=2,
        elinewidth=0.9,
        label=label,
        **extra,
    )


def _errors(axes: Axes, data: xr.Dataset) -> None:
    for labels, (colour, marker, text) in CURVES.items():
        _curve(axes, data["error"].sel(labels=labels), colour, marker, text)
    _curve(
        axes, data["error_leak"], style.GREEN, "s", "linear part removed, leaky test set",
        linestyle=":", markerfacecolor="white",
    )  # fmt: skip
    # Removing the linear part helps frozen features too: only the gap below them is the step's.
    frozen = data["error_frozen"]
    _curve(axes, frozen.sel(labels="raw"), style.BASELINE, "^", "frozen features, raw labels")
    _curve(
        axes, frozen.sel(labels="removed"), style.BASELINE, "^",
        "frozen features, linear part removed", linestyle=":", markerfacecolor="white",
    )  # fmt: skip
    axes.axhline(
        float(data["linear_floor"]), color=style.FLOOR, linestyle="--", label="linear floor"
    )
    axes.set(ylabel="test error")
    axes.set_ylim(bottom=0)


def _spread(axes: Axes, data: xr.Dataset) -> None:
    """Concentration of the in-plane angles: 1 where all gradients lie on one line."""
    for labels, (colour, marker, _) in CURVES.items():
        _curve(axes, data["concentration"].sel(labels=labels), colour, marker, "", markersize=3)
    axes.set(ylim=(-0.05, 1.1), yticks=[0, 0.5, 1], xlabel=r"batch exponent $\log n/\log d$")
    axes.set_xticks(data["batch_exponent"].values)


def draw(analyses: dict[str, xr.Dataset]) -> Figure:
    """Error curves, one panel per dimension, and the concentration of in-plane angles below."""
    data = analyses["preprocessing"]
    dimensions = data["dimension"].values
    figure, grid = plt.subplots(
        2,
        len(dimensions),
        figsize=(style.PAGE, 4.1),
        squeeze=False,
        sharey="row",
        sharex="col",
        height_ratios=[2.4, 1],
    )
    for column, d in enumerate(dimensions):
        part = data.sel(dimension=d).dropna("batch_exponent", how="all")
        _errors(grid[0, column], part)
        grid[0, column].set_title(f"$d={int(d)}$, $p=2d$")
        _spread(grid[1, column], part)
        if column:
            grid[0, column].set_ylabel("")
    for axes, letter in zip(grid.flat, ascii_lowercase, strict=False):
        style.panel_label(axes, letter)
    grid[1, 0].set_ylabel(r"$R=|\langle e^{2i\theta}\rangle|$")
    figure.align_ylabels(grid[:, 0])
    handles, labels = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2)
    return figure
