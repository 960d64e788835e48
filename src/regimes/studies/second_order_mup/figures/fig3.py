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
from regimes.studies.second_order_mup.transfer_panels import letter
from regimes.studies.second_order_mup.zero_init import best_reference, case_name, reference_of
from regimes.studies.second_order_mup.zero_init_panels import (
    COLOURS,
    KERNEL_NAMES,
    band,
    batch_name,
    exponent_handles,
    of_zero_init,
    started,
)

MARGIN = 0.06  # of the range of test accuracies
STRIP, PANEL = 0.5, 1.0  # inches, heights of train and test panels
TRAIN = {"linestyle": (0, (2, 1)), "linewidth": 0.9}


@of_zero_init
def draw(data: xr.Dataset) -> Figure:
    """Draw train and test accuracy against the update: rows optimizers, columns batch sizes.

    Each optimizer has a strip with train accuracies above its panels with test accuracies.
    """
    batches = data["batch_size"].values
    cases, columns = data.sizes["case"], len(batches)
    figure, axes = plt.subplots(
        2 * cases,
        columns,
        figsize=(style.PAGE, (STRIP + PANEL) * cases + 0.8),
        sharex="col",
        sharey="row",
        squeeze=False,
        gridspec_kw={"height_ratios": [STRIP, PANEL] * cases},
    )
    reference = 100 * best_reference(data)
    for case in range(cases):
        strips, row = axes[2 * case], axes[2 * case + 1]
        run = set(started(data, case)["batch_size"].values.tolist())
        for strip, panel, batch in zip(strips, row, batches, strict=True):
            if batch not in run:
                strip.set_axis_off()
                panel.set_axis_off()
                continue
            own = data.isel(case=case).sel(batch_size=batch)
            _panels(strip, panel, own, reference.isel(case=case).sel(batch_size=batch))
            if case == 0:
                strip.set_title(batch_name(batch, bool(own["full"] > 0)))
        strips[0].set(ylim=(0, 104), yticks=[0, 50, 100])
        _limits(row[0], data.isel(case=case), reference.isel(case=case))
        row[0].set_ylabel(case_name(data, case).replace(", ", "\n"), fontsize=7)
    for panel in axes[-1]:
        panel.set_xlabel("updates")
    figure.supylabel("accuracy (%)", fontsize=8)
    _legend(figure, data)
    letter([panel for panel in axes[::2].ravel() if panel.axison])
    return figure


def _panels(strip: Axes, panel: Axes, data: xr.Dataset, reference: xr.DataArray) -> None:
    """Train and test accuracies of one case and batch size."""
    for exponent, colour in COLOURS.items():
        own = _after_the_start(data.sel(output_exponent=exponent))
        own = own.isel(seed=np.flatnonzero(own["ran"].values > 0))
        band(strip, 100 * own["train_accuracy"], colour, shade=False, **TRAIN)
        band(panel, 100 * own["test_accuracy"], colour)
    level = float(reference.mean())
    if math.isfinite(level):
        panel.axhline(level, **style.THEORY)


def _after_the_start(data: xr.Dataset) -> xr.Dataset:
    """Records after updates: equal outputs of all classes, as of a zero layer, have no accuracy."""
    return data.isel(step=np.flatnonzero(data["step"].values > 0))


def _limits(axes: Axes, data: xr.Dataset, reference: xr.DataArray) -> None:
    """Range of the test accuracies of a row."""
    values = 100 * _after_the_start(data)["test_accuracy"].values
    found = np.concatenate([values.ravel(), reference.values.ravel()])
    found = found[np.isfinite(found)]
    if found.size:
        room = MARGIN * max(float(np.ptp(found)), 1.0)
        axes.set_ylim(float(found.min()) - room, float(found.max()) + room)


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
