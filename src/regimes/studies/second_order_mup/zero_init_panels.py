"""What the figures on the size of the output layer share: one colour per exponent b_L."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from regimes.plot import style
from regimes.studies.second_order_mup.transfer_panels import name_setup, nothing_figure

COLOURS = {0.5: style.VERMILLION, 1.0: style.BLUE, 64.0: style.GREEN}
MARKERS = {0.5: "s", 1.0: "o", 64.0: "^"}
LABELS = {
    0.5: r"$b_L=1/2$ (standard)",
    1.0: r"$b_L=1$ (as muP)",
    64.0: r"$b_L=64$ (zero)",
}
KERNEL_NAMES = {"nngp": "NNGP", "kernel": "initial-kernel"}
SHADE = 0.15


def started(data: xr.Dataset, case: int) -> xr.Dataset:
    """A case at the batch sizes and with the seeds that it was run with."""
    ran = data["ran"].isel(case=case) > 0
    batches = ran.any(("output_exponent", "seed")).values
    seeds = ran.any(("output_exponent", "batch_size")).values
    chosen = {"batch_size": np.flatnonzero(batches), "seed": np.flatnonzero(seeds)}
    return data.isel(case=case, **chosen)


def any_run(data: xr.Dataset) -> bool:
    """Whether any run exists."""
    return bool((data["ran"] > 0).any())


def of_zero_init(draw: Callable[[xr.Dataset], Figure]) -> Callable[[dict], Figure]:
    """Make a figure of the analyses of one that is drawn from ``zero_init``.

    Parameters
    ----------
    draw
        From the dataset to the figure.

    Returns
    -------
    Callable
        From the analyses to the figure with its setup above, or to one that says that there is no
        run.
    """

    @functools.wraps(draw)
    def figure_of(analyses: dict[str, xr.Dataset]) -> Figure:
        data = analyses["zero_init"]
        if not any_run(data):
            return nothing_figure("no runs on the size of the output layer at this scale")
        figure = draw(data)
        name_setup(figure, data["setup"].values)
        return figure

    return figure_of


def batch_name(batch: float, full: bool) -> str:
    """Batch size in words."""
    return f"full batch ({batch:g})" if full else f"batch {batch:g}"


def band(axes: Axes, values: xr.DataArray, colour: str, shade: bool = True, **look) -> None:
    """Mean over seeds against ``step``, with a band of one standard deviation.

    Parameters
    ----------
    values
        (seed, step); the line ends where a seed has failed.
    """
    values = values.transpose("seed", "step")
    known = np.isfinite(values.values).all(axis=0)
    if not values.sizes["seed"] or not known.any():
        return
    x, y = values["step"].values[known], values.values[:, known]
    axes.plot(x, y.mean(axis=0), color=colour, **look)
    if shade and y.shape[0] > 1:
        mean, spread = y.mean(axis=0), y.std(axis=0, ddof=1)
        axes.fill_between(x, mean - spread, mean + spread, color=colour, alpha=SHADE, linewidth=0)


def exponent_handles(markers: bool = False) -> list[Line2D]:
    """Legend entries of the exponents."""
    return [
        Line2D([], [], color=COLOURS[b], label=LABELS[b], marker=MARKERS[b] if markers else "")
        for b in COLOURS
    ]
