"""Panels that the figures on laziness share: one per block, curves of optimizers or of pairs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from regimes.plot import style
from regimes.studies.exact_gauss_newton.panels import COLOURS, NAMES, band, mark_end
from regimes.studies.exact_gauss_newton.probes import OPTIMIZERS, PAIRS, pair_name

# Blue, vermillion and green mean optimizers; pairs of them get the other colours.
PAIR_COLOURS = dict(
    zip((pair_name(*p) for p in PAIRS), (style.PURPLE, style.SKY, style.ORANGE), strict=True)
)
PAIR_LABELS = {pair_name(*p): f"{NAMES[p[0]]} and {NAMES[p[1]]}" for p in PAIRS}
OTHER = {"linestyle": ":", "linewidth": 1.1}  # of the second estimate in a panel


def by_optimizer(axes: Axes, values: xr.DataArray, **look) -> None:
    """Band of each optimizer, with a cross if it ends early; values (optimizer, seed, epoch)."""
    for name in OPTIMIZERS:
        band(axes, values.sel(optimizer=name), NAMES[name], COLOURS[name], **look)
        mark_end(axes, values.sel(optimizer=name), COLOURS[name])
    _whole_epochs(axes)


def by_pair(axes: Axes, values: xr.DataArray, **look) -> None:
    """Band of each pair, with a cross if it ends early; values (pair, seed, epoch)."""
    for name in values["pair"].values:
        band(axes, values.sel(pair=name), PAIR_LABELS[name], PAIR_COLOURS[name], **look)
        mark_end(axes, values.sel(pair=name), PAIR_COLOURS[name])
    _whole_epochs(axes)


def _whole_epochs(axes: Axes) -> None:
    """No labels between epochs, of which there may be few."""
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))


def handles(colours: Mapping[str, str], labels: Mapping[str, str]) -> list[Line2D]:
    """Legend entries, whether or not there are runs."""
    return [Line2D([], [], color=colours[name], label=labels[name]) for name in colours]


def optimizer_handles(rates: xr.DataArray | None = None) -> list[Line2D]:
    """Legend entries of the optimizers, with their learning rates if given."""
    labels = dict(NAMES)
    if rates is not None:
        for name in OPTIMIZERS:
            rate = float(rates.sel(optimizer=name))
            labels[name] += "" if np.isnan(rate) else f", learning rate {rate:g}"
    return handles(COLOURS, labels)


COLUMNS = 3  # panels in a row


def block_grid(count: int) -> tuple[Figure, Sequence[Axes]]:
    """Figure with one panel per block, at most `COLUMNS` in a row, common axes.

    Returns
    -------
    figure, panels
        The panels in the order of the blocks, titled.
    """
    columns = min(count, COLUMNS)
    rows = -(-count // columns)
    figure, grid = plt.subplots(
        rows,
        columns,
        figsize=(style.PAGE, 0.6 + 2.0 * rows),
        sharex=True,
        sharey=True,
        squeeze=False,
    )
    panels = grid.ravel()
    for axes in panels[count:]:
        axes.set_visible(False)
    for i, axes in enumerate(panels[:count]):
        axes.set_title(f"block {i + 1}")
        # A panel above an empty place shows the label itself.
        if i + columns >= count:
            axes.set_xlabel("epoch")
            axes.tick_params(labelbottom=True)
    return figure, panels[:count]


def label_rows(panels: Sequence[Axes], text: str) -> None:
    """Label the vertical axis of the first panel of each row of `block_grid`."""
    for axes in panels[::COLUMNS]:
        axes.set_ylabel(text)
