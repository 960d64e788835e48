"""What the figures share: colours of optimizers, bands over seeds, rows of loss and accuracy."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from regimes.plot import style
from regimes.studies.exact_gauss_newton.reading import last_epoch

COLOURS = {"gn": style.BLUE, "adam": style.VERMILLION, "sgd": style.GREEN}
NAMES = {"gn": "GN", "adam": "Adam", "sgd": "SGD"}
DATA_NAMES = {
    "digits": "8×8 digits",
    "mnist1d": "MNIST-1D",
    "mnist1d_embedded": "MNIST-1D in 512 dimensions",
    "mnist": "MNIST",
    "cifar10": "CIFAR-10",
    "wine": "wine",
    "diabetes": "diabetes",
    "superconductivity": "superconductivity",
}
PANELS = {
    "running_loss": "train loss",
    "test_loss": "test loss",
    "test_accuracy": "test accuracy (%)",
}
"""The three panels of most figures: variable to axis label (losses logarithmic)."""
SHADE = 0.2  # opacity of the bands


@dataclass(frozen=True)
class Curve:
    """One case of a figure: its values and how it is drawn.

    Attributes
    ----------
    data
        Variables over (seed, epoch), for instance from `reading.pick`.
    label
        In the legend; None for none.
    colour
        Of line and band.
    look
        Further properties of the line.
    """

    data: xr.Dataset
    label: str | None
    colour: str
    look: Mapping[str, object] = field(default_factory=dict)


def data_name(data: str) -> str:
    """Name of a data set as written in titles."""
    return DATA_NAMES.get(data, data)


def band(
    axes: Axes,
    values: xr.DataArray,
    label: str | None,
    colour: str,
    dim: str = "epoch",
    limits: tuple[float, float] = (-math.inf, math.inf),
    **look,
) -> None:
    """Mean over seeds against ``dim`` as a line, plus and minus one standard deviation as a band.

    Parameters
    ----------
    values
        Over (seed, dim). Epochs without any value are left out, and so are those that a seed no
        longer has because it diverged: there the line would jump.
    limits
        The band does not pass them. Where all values are positive, it ends at a tenth of the mean
        below, for logarithmic axes.
    look
        Properties of the line.
    """
    values = values.astype(float).dropna("seed", how="all").transpose("seed", dim)
    known = np.isfinite(values.values).all(axis=0) if values.sizes["seed"] else []
    values = values.isel({dim: np.flatnonzero(known)})
    if not values.sizes[dim]:
        return
    x, mean = values[dim].values.astype(float), values.mean("seed").values
    spread = values.std("seed", ddof=1).values if values.sizes["seed"] > 1 else 0 * mean
    low = mean - spread
    if (values.values > 0).all():
        low = np.maximum(low, mean / 10)
    axes.plot(x, mean, color=colour, label=label, **look)
    low, high = np.clip(low, *limits), np.clip(mean + spread, *limits)
    axes.fill_between(x, low, high, color=colour, alpha=SHADE, linewidth=0)


def curves(axes: Axes, variable: str, cases: Sequence[Curve], factor: float = 1.0) -> None:
    """Bands of one variable for several cases; those of accuracies stay between 0 and 1.

    Parameters
    ----------
    factor
        Multiplies the values (100 for percent).
    """
    limits = (0.0, factor) if variable.endswith("accuracy") else (-math.inf, math.inf)
    for case in cases:
        if variable in case.data:
            values = factor * case.data[variable]
            band(axes, values, case.label, case.colour, limits=limits, **case.look)


def three_panels(
    row: Sequence[Axes], cases: Sequence[Curve], variables: Sequence[str] = tuple(PANELS)
) -> None:
    """Train loss, test loss (logarithmic) and test accuracy (percent) against epoch.

    The train loss is the running one: the epoch mean of the batch losses before each update; at
    epoch 0 the loss of the initial network.
    """
    for axes, name in zip(row, variables, strict=True):
        accuracy = name.endswith("accuracy")
        curves(axes, name, cases, 100 if accuracy else 1)
        axes.set(xlabel="epoch", ylabel=PANELS[name])
        if not accuracy:
            log_loss(axes)


def log_loss(axes: Axes) -> None:
    """Logarithmic vertical axis with plain numbers where it spans little."""
    axes.set_yscale("log")
    low, high = axes.get_ylim()
    if 0 < low and high / low < 30:
        # Less than one and a half decades would show a single label.
        subs = (1, 2, 5) if high / low > 6 else (1, 1.5, 2, 3, 5, 7)
        axes.yaxis.set_major_locator(LogLocator(subs=subs))
        axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter(NullFormatter())


def cap(axes: Axes, cases: Sequence[xr.DataArray], headroom: float = 3.0) -> None:
    """End the vertical axis at a multiple of the largest first value, if it reaches further.

    Runs that diverge leave the panel instead of flattening all other curves.
    """
    start = [float(values.isel(epoch=0).max()) for values in cases]
    top = headroom * max([s for s in start if math.isfinite(s)], default=math.inf)
    if axes.get_ylim()[1] > top:
        axes.set_ylim(top=top)


def shades(colour: str, count: int) -> list[tuple[float, float, float]]:
    """Shades of one colour, from pale to full, for instance for rising learning rates."""
    full = np.array(to_rgb(colour))
    pale = np.linspace(0.55, 0.0, count) if count != 1 else np.zeros(1)
    return [tuple(full + share * (1 - full)) for share in pale]


def with_optimizers(colour_of: Mapping[str, xr.Dataset]) -> list[Curve]:
    """One curve per optimizer, named and coloured as everywhere."""
    return [Curve(data, NAMES[name], COLOURS[name]) for name, data in colour_of.items()]


def legend_below(figure: Figure, axes: Axes, columns: int = 4) -> None:
    """One legend under all panels, with the entries of one of them."""
    handles, labels = axes.get_legend_handles_labels()
    if handles:
        figure.legend(handles, labels, loc="outside lower center", ncols=columns)


def mark_end(axes: Axes, values: xr.DataArray, colour: str) -> None:
    """Cross where the line of `band` ends before the case does: a run has diverged."""
    known = values.notnull().all("seed")
    if not bool(known.any()):
        return
    last = float(known["epoch"].values[known.values].max())
    if last < last_epoch(values):
        mean = float(values.sel(epoch=last).mean("seed"))
        axes.plot(last, mean, "x", color=colour, markersize=6, markeredgewidth=1.5)
