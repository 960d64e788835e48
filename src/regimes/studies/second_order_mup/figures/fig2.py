"""Fig. 2: order of the K-FAC factors during training."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from regimes.plot import style
from regimes.studies.second_order_mup.coordinate_panels import (
    LAYERS,
    THEORY,
    exponent_text,
    layer_handles,
    legend,
    log_values,
    missing,
    scheme_handles,
    width_colours,
    width_handles,
)
from regimes.studies.second_order_mup.network_names import trained_on
from regimes.studies.second_order_mup.width_cases import choose, known_widths
from regimes.studies.second_order_mup.width_fits import geometric_mean


def draw(analyses: dict[str, xr.Dataset]) -> Figure:
    """Draw traces against iteration for each layer, and their exponents of the width.

    Parameters
    ----------
    analyses
        ``factor_order``.
    """
    data = choose(analyses["factor_order"], optimizer="kfac", parameterization="mup")
    figure, grid = plt.subplots(2, 4, figsize=(style.PAGE, 4.45), sharex=True)
    if not data.sizes["case"]:
        for axes in grid.flat:
            missing(axes)
        return figure
    case = data.isel(case=0)
    case = case.isel(layer_step=np.flatnonzero(case["trace"].notnull().any(
        ["factor", "layer", "width", "seed"]
    ).values))  # fmt: skip
    trace = known_widths(case["trace"])
    colours = width_colours(trace["width"].values)
    for row, factor, letter in zip(grid, "AB", "ab", strict=True):
        for layer, (name, _, _) in enumerate(LAYERS):
            traces(row[layer], trace.sel(factor=factor).isel(layer=layer, drop=True), colours)
            if factor == "A":
                row[layer].set_title(f"{name} layer")
        row[0].set_ylabel(f"tr ${factor}_l$")
        exponents(row[3], case.sel(factor=factor))
        row[3].set_ylabel(f"exponent of tr ${factor}_l$")
        style.panel_label(row[0], letter)
    grid[0, 3].set_title("power of the width")
    for axes in grid[1]:
        axes.set_xlabel("iteration")
    updates, batch = int(trace["layer_step"].max()), float(case["batch_size"])
    batches = f" in batches of {batch:.0f}" if np.isfinite(batch) else ""
    text = f"{trained_on(data.isel(case=[0]))}, {updates} updates{batches}"
    figure.suptitle(text, fontsize=7.5, color="0.3")
    legend(figure, [*width_handles(colours), *layer_handles(), *scheme_handles()], 4)
    return figure


def traces(axes: Axes, values: xr.DataArray, colours: dict[float, tuple]) -> None:
    """Geometric mean over seeds of each width against iteration, range over seeds as a band."""
    usable = values.where(np.isfinite(values) & (values > 0))
    mean, low, high = geometric_mean(values), usable.min("seed"), usable.max("seed")
    step = values["layer_step"].values
    for width, colour in colours.items():
        axes.plot(step, mean.sel(width=width), color=colour, marker=".")
        axes.fill_between(
            step, low.sel(width=width), high.sel(width=width), color=colour, alpha=0.2, linewidth=0
        )
    log_values(axes)


def exponents(axes: Axes, case: xr.Dataset) -> None:
    """Fitted exponents with intervals against iteration, the predicted ones as lines."""
    step = case["layer_step"].values
    for layer, (_, colour, marker) in enumerate(LAYERS):
        own = case.isel(layer=layer)
        predicted = float(own["predicted"])
        axes.axhline(predicted, **THEORY)
        # Infinite where there are only two networks.
        finite = np.isfinite(own["slope_low"].values) & np.isfinite(own["slope_high"].values)
        low, high = (own[name].where(finite) for name in ("slope_low", "slope_high"))
        axes.fill_between(step, low, high, color=colour, alpha=0.2, linewidth=0)
        axes.plot(step, own["slope"], color=colour, marker=marker, markersize=3)
    levels = sorted(set(case["predicted"].values[np.isfinite(case["predicted"].values)].tolist()))
    axes.set_yticks(levels, [exponent_text(level) for level in levels])
    low, high = axes.get_ylim()
    axes.set_ylim(min(low, levels[0] - 0.3), max(high, levels[-1] + 0.3))
