"""One step from zero output weights against kernel ridge regression."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib import colormaps
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from regimes.plot import style

LOOKS = {
    "kfac": (style.BLUE, "o", "K-FAC"),
    "sgd": (style.ORANGE, "s", "SGD"),
    "shampoo": (style.GREEN, "^", "Shampoo"),
}
LEGEND = {"fontsize": 6.2, "handlelength": 1.5, "columnspacing": 1.0, "title_fontsize": 6.2}
LOWEST = 1e-17  # a distance of zero is drawn here


def _points(
    axes: Axes, values: xr.DataArray, colour, marker: str, label: str, **looks
) -> np.ndarray:
    """Mean over seeds against the width as a line, all seeds as pale points; returns the mean."""
    values = values.transpose("width", "seed")
    width = values["width"].values
    mean = values.mean("seed").values
    axes.plot(width, mean, marker=marker, color=colour, label=label, **looks)
    every = np.maximum(values.values, LOWEST)
    axes.plot(width, every, marker, color=colour, markersize=2, alpha=0.45)
    return mean


def _ridge_colours(count: int) -> list[tuple[float, ...]]:
    """Blues, dark for small ridges."""
    return [colormaps["Blues_r"](place) for place in np.linspace(0.05, 0.6, count)]


def _power(value: float) -> str:
    return f"10^{{{np.log10(value):.3g}}}"


def _gaps(axes: Axes, data: xr.Dataset) -> None:
    """Distance to the kernel solution at infinite width."""
    width = data["width"].values
    for number, (ridge, colour) in enumerate(
        zip(data["ridge"].values, _ridge_colours(data.sizes["ridge"]), strict=True)
    ):
        one = data.sel(ridge=ridge)
        slope, low, high = (float(one[f"gap_slope{end}"]) for end in ("", "_low", "_high"))
        interval = f"\\ [{low:.2f}, {high:.2f}]" if np.isfinite(high - low) else ""
        label = rf"$\rho={_power(ridge)}$: slope ${slope:.2f}{interval}$"
        mean = _points(axes, one["nngp_gap"], colour, "o", label)
        if number == 0:
            guide = 1.5 * mean[0] * np.sqrt(width[0] / width)
            axes.plot(width, guide, label=r"$\propto M^{-1/2}$", **style.THEORY)
    values = data["nngp_gap"].values
    axes.set(
        yscale="log", ylim=(np.nanmin(values) / 1.6, 25 * np.nanmax(values)),
        ylabel="distance to NNGP", title="K-FAC against kernel regression",
    )  # fmt: skip
    axes.legend(loc="upper right", **LEGEND)


def _own_gaps(axes: Axes, data: xr.Dataset) -> None:
    """Distance to the kernel solution with the network's own last hidden layer."""
    for ridge, colour in zip(
        data["ridge"].values, _ridge_colours(data.sizes["ridge"]), strict=True
    ):
        _points(axes, data["kernel_gap"].sel(ridge=ridge).clip(min=LOWEST), colour, "o", None)
    axes.axhline(1e-7, label="allowed", **style.THEORY)
    axes.set(yscale="log", ylim=(LOWEST, 1e-2), yticks=[1e-16, 1e-11, 1e-6], ylabel="to own kernel")
    axes.legend(loc="upper right", **LEGEND)


def _residuals(axes: Axes, data: xr.Dataset) -> None:
    """Train residual after the step, K-FAC's at every ridge."""
    colours = _ridge_colours(data.sizes["ridge"])
    for optimizer, (colour, marker, name) in LOOKS.items():
        one = data["train_residual"].sel(optimizer=optimizer)
        if optimizer != "kfac":
            looks = {"linestyle": "--", "markerfacecolor": "none"} if optimizer == "sgd" else {}
            size = {"markersize": 6.5 if optimizer == "sgd" else 3.5}
            _points(axes, one.isel(ridge=0), colour, marker, name, **looks, **size)
            continue
        for ridge, shade in zip(data["ridge"].values, colours, strict=True):
            label = rf"$\rho={_power(ridge)}$"
            _points(axes, one.sel(ridge=ridge), shade, marker, label)
    axes.set(ylim=(0, 1.55), yticks=np.linspace(0, 1, 6), title="training set")
    axes.set_ylabel(r"train residual $|f-y|\,/\,|y|$")
    title = "K-FAC with $\\rho$, others\nat their best step"
    axes.legend(loc="upper center", ncols=2, title=title, **LEGEND)


def _accuracies(axes: Axes, data: xr.Dataset) -> None:
    """Test accuracy of the step of each optimizer, and of kernel regression at infinite width."""
    one = data.isel(ridge=0)
    for optimizer, (colour, marker, name) in LOOKS.items():
        looks = {"linestyle": "--", "markersize": 6.5, "markerfacecolor": "none"}
        looks = looks if optimizer == "sgd" else {}
        accuracy = 100 * one["test_accuracy"].sel(optimizer=optimizer)
        _points(axes, accuracy, colour, marker, name, **looks)
    level = 100 * float(one["nngp_accuracy"].mean())
    lowest = min(40, 10 * int(10 * float(one["test_accuracy"].min())))
    axes.axhline(level, label="NNGP", **style.THEORY)
    axes.set(
        ylim=(lowest, 119), yticks=np.arange(lowest, 101, 10), ylabel="test accuracy (%)",
        title=rf"test set, $\rho={_power(float(one['ridge']))}$",
    )  # fmt: skip
    axes.legend(loc="upper center", ncols=2, **LEGEND)


def draw(analyses: dict[str, xr.Dataset]) -> Figure:
    """Draw distances to the kernel solutions, train residuals and test accuracies by width.

    Parameters
    ----------
    analyses
        ``nngp_one_step``.
    """
    data = analyses["nngp_one_step"]
    figure = plt.figure(figsize=(style.PAGE, 3.2))
    grid = figure.add_gridspec(2, 3, width_ratios=[1.25, 1, 1], height_ratios=[2, 1])
    places = (grid[0, 0], grid[1, 0], grid[:, 1], grid[:, 2])
    panels = [figure.add_subplot(place) for place in places]
    for axes, panel in zip(panels, (_gaps, _own_gaps, _residuals, _accuracies), strict=True):
        panel(axes, data)
        axes.set_xscale("log", base=2)
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xlabel("width $M$")
    panels[0].set_xlabel("")
    panels[0].tick_params(labelbottom=False)
    text = f"MLP without biases, parity of 8×8 digits, {int(data['samples'].max())} samples"
    figure.suptitle(text, fontsize=7.5, color="0.3")
    for letter, axes in zip("abcd", panels, strict=True):
        style.panel_label(axes, letter)
    return figure
