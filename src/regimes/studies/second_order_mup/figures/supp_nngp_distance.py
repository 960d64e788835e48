"""Distance to the kernel solution and change of the hidden features against batch size."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from regimes.plot import style
from regimes.studies.second_order_mup.transfer_panels import letter, nothing_figure, plain_labels
from regimes.studies.second_order_mup.zero_init import (
    case_name,
    matching,
    nearest_distance,
    reference_of,
)
from regimes.studies.second_order_mup.zero_init_panels import (
    COLOURS,
    KERNEL_NAMES,
    MARKERS,
    exponent_handles,
    of_zero_init,
    started,
)

NUDGE = {0.5: 0.94, 1.0: 1.0, 64.0: 1.06}  # so that error bars do not hide each other


@of_zero_init
def draw(data: xr.Dataset) -> Figure:
    """Draw both numbers at the end of training, a column per setting of K-FAC."""
    cases = matching(data, "kfac")
    if not cases:
        return nothing_figure("no K-FAC runs on the size of the output layer at this scale")
    name = KERNEL_NAMES[reference_of(data)]
    numbers = {
        f"distance to {name} ridge": nearest_distance(data),
        "feature change": data["feature_change"],
    }
    width = style.PAGE if len(cases) > 1 else 4.5
    figure, axes = plt.subplots(
        2, len(cases), figsize=(width, 4.2), sharex="col", sharey="row", squeeze=False
    )
    for row, (label, values) in zip(axes, numbers.items(), strict=True):
        row[0].set_ylabel(label)
        known = bool((values.isel(case=cases) > 0).any())
        for panel, case in zip(row, cases, strict=True):
            if known:
                _panel(panel, started(data.assign(number=values), case))
            else:
                panel.text(0.5, 0.5, "not recorded", ha="center", transform=panel.transAxes)
        if known:
            for panel in row:
                plain_labels(panel)
    for panel, case in zip(axes[0], cases, strict=True):
        optimizer, _, rest = case_name(data, case).partition(", ")
        panel.set_title(f"{optimizer}, {rest}" if len(cases) < 3 else f"{optimizer}\n{rest}")
    for panel in axes[1]:
        panel.set_xlabel("batch size")
    figure.legend(handles=exponent_handles(markers=True), loc="outside lower center", ncols=3)
    letter(axes.ravel())
    return figure


def _panel(axes: Axes, data: xr.Dataset) -> None:
    """Mean and standard deviation over seeds against batch size, logarithmic.

    A mean is drawn where no run has failed.
    """
    batch = data["batch_size"].values.astype(float)
    for exponent, colour in COLOURS.items():
        values = data["number"].sel(output_exponent=exponent).transpose("batch_size", "seed")
        mean = values.mean("seed", skipna=False).values
        spread = values.std("seed", ddof=1).values if values.sizes["seed"] > 1 else 0 * mean
        low = np.minimum(spread, 0.8 * mean)  # on a logarithmic axis
        x = batch * NUDGE[exponent]
        look = {"color": colour, "marker": MARKERS[exponent], "capsize": 1.5, "elinewidth": 0.8}
        axes.errorbar(x, mean, yerr=np.stack([low, spread]), **look)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xticks(batch, [f"{b:g}" for b in batch])
    axes.xaxis.set_minor_formatter(NullFormatter())
