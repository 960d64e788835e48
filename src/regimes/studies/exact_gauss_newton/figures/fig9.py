"""Figure 9: weights before and after training."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from regimes.plot import style
from regimes.studies.exact_gauss_newton.lazy_panels import optimizer_handles
from regimes.studies.exact_gauss_newton.panels import COLOURS, band, log_loss
from regimes.studies.exact_gauss_newton.probes import EARLY, OPTIMIZERS
from regimes.studies.exact_gauss_newton.reading import at_epoch


def _half_layers(axes: Axes, values: xr.DataArray) -> None:
    """Band of each optimizer against the half-layer; values (optimizer, seed, half)."""
    count = values.sizes["half"]
    numbers = np.arange(1, count + 1)
    values = values.assign_coords(half=numbers)
    for name in OPTIMIZERS:
        band(axes, values.sel(optimizer=name), None, COLOURS[name], dim="half", marker="o")
    names = [f"{'FG'[i % 2]}{i // 2 + 1}" for i in range(count)]
    axes.set_xticks(numbers, names)
    axes.set(xlabel="half-layer", xlim=(0.6, count + 0.4))


def draw(analyses: dict[str, xr.Dataset]) -> Figure:
    """Draw cosines at epoch 10 and at the end, and the relative distance at the end.

    Parameters
    ----------
    analyses
        ``weights``.
    """
    data = analyses["weights"]
    last = int(data["epoch"].values[-1])
    early = at_epoch(data["weight_cosine"], EARLY)
    late = data["weight_cosine"].isel(epoch=-1, drop=True)
    start = data["weight_norm"].isel(epoch=0, drop=True)
    distance = data["weight_change"].isel(epoch=-1, drop=True) / start
    figure, (first, second, third) = plt.subplots(1, 3, figsize=(style.PAGE, 2.7))
    for axes, values, epoch in ((first, early, EARLY), (second, late, last)):
        _half_layers(axes, values)
        axes.axhline(0, color="0.7", linewidth=0.7, zorder=0)
        axes.set(ylabel=r"cosine between $W_0$ and $W_T$", title=f"after epoch {epoch}")
    _half_layers(third, distance)
    third.set(ylabel=r"$|W_T-W_0|\,/\,|W_0|$", title=f"after epoch {last}")
    if (distance > 0).any():
        log_loss(third)
    for letter, axes in zip("abc", (first, second, third), strict=True):
        style.panel_label(axes, letter)
    handles = optimizer_handles(data["lr_code"])
    figure.legend(handles=handles, loc="outside lower center", ncols=3)
    return figure
