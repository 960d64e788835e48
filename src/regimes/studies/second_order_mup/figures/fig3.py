"""Fig. 3: training curves from output layers of three sizes."""

from __future__ import annotations

import math

import numpy as np
import xarray as xr
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from regimes.plot import style
from regimes.studies.second_order_mup.transfer_panels import letter, nothing_figure
from regimes.studies.second_order_mup.zero_init import best_reference, case_name, reference_of
from regimes.studies.second_order_mup.zero_init_panels import (
    COLOURS,
    KERNEL_NAMES,
    any_run,
    band,
    batch_name,
    exponent_handles,
    started,
)

BELOW = 5.0  # points below the lowest final accuracy of a row
TRAIN = {"linestyle": (0, (1, 1)), "linewidth": 0.9}


def draw(analyses: dict[str, xr.Dataset]) -> Figure:
    """Draw train and test accuracy against the update: rows optimizers, columns batch sizes.

    Parameters
    ----------
    analyses
        ``zero_init``.
    """
    data = analyses["zero_init"]
    if not any_run(data):
        return nothing_figure("no runs on the size of the output layer at this scale")
    batches = data["batch_size"].values
    rows, columns = data.sizes["case"], len(batches)
    size = (style.PAGE, 1.45 * rows + 0.6)
    figure, axes = plt.subplots(
        rows, columns, figsize=size, sharex="col", sharey="row", squeeze=False
    )
    reference = 100 * best_reference(data)
    for case, row in enumerate(axes):
        run = set(started(data, case)["batch_size"].values.tolist())
        for panel, batch in zip(row, batches, strict=True):
            if batch not in run:
                panel.set_axis_off()
                continue
            own = data.isel(case=case).sel(batch_size=batch)
            _panel(panel, own, reference.isel(case=case).sel(batch_size=batch))
            if case == 0:
                panel.set_title(batch_name(batch, bool(own["full"] > 0)))
        _limits(row[0], data.isel(case=case), reference.isel(case=case))
        row[0].set_ylabel(case_name(data, case).replace(", ", "\n"), fontsize=7)
    for panel in axes[-1]:
        panel.set_xlabel("updates")
    figure.supylabel("accuracy (%)", fontsize=8)
    _legend(figure, data)
    letter([panel for panel in axes.ravel() if panel.axison])
    return figure


def _panel(axes: Axes, data: xr.Dataset, reference: xr.DataArray) -> None:
    """Curves of one case and batch size."""
    for exponent, colour in COLOURS.items():
        own = data.sel(output_exponent=exponent)
        own = own.isel(seed=np.flatnonzero(own["ran"].values > 0))
        band(axes, 100 * own["train_accuracy"], colour, shade=False, **TRAIN)
        band(axes, 100 * own["test_accuracy"], colour)
    level = float(reference.mean())
    if math.isfinite(level):
        axes.axhline(level, **style.THEORY)


def _limits(axes: Axes, data: xr.Dataset, reference: xr.DataArray) -> None:
    """Accuracies from somewhat below the lowest end of training; early values leave the panels."""
    ends = 100 * data["final_test_accuracy"].values
    found = np.concatenate([ends.ravel(), reference.values.ravel()])
    found = found[np.isfinite(found)]
    lowest = float(found.min()) if found.size else 0.0
    room = BELOW + 0.3 * (100 - lowest)
    axes.set_ylim(max(0.0, math.floor(lowest - room)), 100 + room / 20)


def _legend(figure: Figure, data: xr.Dataset) -> None:
    """Exponents, kinds of lines and the reference below all panels."""
    look = {"color": "0.3"}
    handles = [
        *exponent_handles(),
        Line2D([], [], label="test", **look),
        Line2D([], [], label="train", **look, **TRAIN),
        Line2D([], [], label=f"{KERNEL_NAMES[reference_of(data)]} ridge, test", **style.THEORY),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=6, columnspacing=1.0)
