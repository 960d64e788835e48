"""Supplement: spike and bulk in the singular values of the first gradient."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from regimes.plot import style
from regimes.studies.giant_step.panels import centre, describe, deviation


def _histogram(axes: Axes, data: xr.Dataset) -> None:
    values = data["singular_values"].dropna("singular_value").values
    edge = 1.08 * values.max()
    axes.hist(values, bins=np.linspace(0, edge, 81), color=style.BLUE, label="one seed")
    predicted = float(data["first_value_theory"])
    axes.axvline(predicted, **style.THEORY, label="predicted spike")
    # The histogram holds one seed; the marker says how far its spike may lie from the others'.
    axes.errorbar(
        float(centre(data["first_value"])),
        2.2,
        xerr=float(deviation(data["first_value"])),
        fmt="D",
        markersize=3.5,
        capsize=2,
        color=style.GREEN,
        label="spike, mean and\ndeviation over seeds",
    )
    d, n, p = (int(data[name]) for name in ("dimension", "batch_size", "width"))
    axes.set(
        yscale="log",
        ylim=(0.7, None),
        xlim=(0, None),
        xlabel=r"singular value $p\,s_k/\sqrt{p/2}$",
        title=f"$d={d}$, $n={n}$, $p={p}$",
    )


def _rows(data: xr.Dataset) -> list[list[str]]:
    rows = []
    for factor in data["batch_factor"].values:
        part = data.sel(batch_factor=factor)

        def measured(name: str, part: xr.Dataset = part) -> str:
            return describe(part[name], 3)

        ratio = part["first_value"] / part["second_value"]
        rows.append(
            [
                f"{int(part['dimension'])}, {int(part['batch_size'])}, {int(part['width'])}",
                measured("first_value"),
                f"{float(part['first_value_theory']):.3f}",
                describe(ratio, 1),
                measured("overlap"),
                f"{float(part['overlap_theory']):.3f}",
                f"{float(centre(part['spike_cosine'])):.4f}",
            ]
        )
    return rows


HEADER = [
    "$d,\\ n,\\ p$",
    r"spike $p\,s_1/\sqrt{p/2}$",
    "theory",
    "$s_1/s_2$",
    r"$|\cos(v_1, v^*)|$",
    "theory",
    r"$|\cos(v_1, \hat{c})|$",
]


def draw(analyses: dict[str, xr.Dataset]) -> Figure:
    """Histograms at three batch sizes, and a table of spike sizes and overlaps."""
    data = analyses["spike_spectrum"].sortby("batch_factor")
    figure = plt.figure(figsize=(style.PAGE, 3.6))
    grid = figure.add_gridspec(2, data.sizes["batch_factor"], height_ratios=[2, 1])
    for index, factor in enumerate(data["batch_factor"].values):
        axes = figure.add_subplot(grid[0, index])
        _histogram(axes, data.sel(batch_factor=factor))
        style.panel_label(axes, "abc"[index % 3])
        if index == 0:
            axes.set_ylabel("count")
    # The largest batch has the widest gap between bulk and spike.
    axes.legend(loc="upper right", bbox_to_anchor=(0.87, 1.0))
    below = figure.add_subplot(grid[1, :])
    below.axis("off")
    drawn = below.table(_rows(data), colLabels=HEADER, loc="center", cellLoc="center", edges="B")
    drawn.auto_set_font_size(False)
    drawn.set_fontsize(7.5)
    drawn.scale(1, 1.35)
    for cell in drawn.get_celld().values():
        cell.set_edgecolor("0.8")
    return figure
