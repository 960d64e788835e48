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
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

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
    "cifar10_jpeg": "CIFAR-10 (JPEG copy)",
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
LABELLED = ((1, 3), (1, 2, 5), (1, 1.5, 2, 3, 5, 7), (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 7))
"""Values per decade that a logarithmic axis may label, from few to many."""
FEWEST = 3  # labels of a logarithmic axis


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
    spread: bool = True,
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
    spread
        False for the line alone, for instance of a second estimate of the same quantity.
    look
        Properties of the line.
    """
    values = values.astype(float).dropna("seed", how="all").transpose("seed", dim)
    known = np.isfinite(values.values).all(axis=0) if values.sizes["seed"] else []
    values = values.isel({dim: np.flatnonzero(known)})
    if not values.sizes[dim]:
        return
    x, mean = values[dim].values.astype(float), values.mean("seed").values
    axes.plot(x, mean, color=colour, label=label, **look)
    if not spread:
        return
    deviation = values.std("seed", ddof=1).values if values.sizes["seed"] > 1 else 0 * mean
    low = mean - deviation
    if (values.values > 0).all():
        low = np.maximum(low, mean / 10)
    low, high = np.clip(low, *limits), np.clip(mean + deviation, *limits)
    axes.fill_between(x, low, high, color=colour, alpha=SHADE, linewidth=0)


def curves(axes: Axes, variable: str, cases: Sequence[Curve], factor: float = 1.0) -> None:
    """Bands of one variable for several cases; those of accuracies stay between 0 and 1.

    A cross ends the line of a case with which a run diverged (`mark_end`).

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
            mark_end(axes, values, case.colour)


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
    """Logarithmic vertical axis; plain numbers where it has fewer than three powers of ten."""
    axes.set_yscale("log")
    _label_logarithmic(axes)


def _label_logarithmic(axes: Axes) -> None:
    """Label as few values per decade as give at least `FEWEST` labels within the limits."""
    low, high = axes.get_ylim()
    axes.yaxis.set_minor_formatter(NullFormatter())
    if not 0 < low < high or math.floor(math.log10(high)) - math.ceil(math.log10(low)) >= 2:
        return
    decades = 10.0 ** np.arange(math.floor(math.log10(low)), math.ceil(math.log10(high)))
    for subs in LABELLED:
        places = np.outer(decades, subs)
        if ((places >= low) & (places <= high)).sum() >= FEWEST:
            axes.yaxis.set_major_locator(LogLocator(subs=subs))
            break
    else:  # so narrow that it is almost linear
        axes.yaxis.set_major_locator(MaxNLocator(5, steps=(1, 2, 5, 10)))
    axes.yaxis.set_major_formatter("{x:g}")


def cap(axes: Axes, cases: Sequence[xr.DataArray], headroom: float = 3.0) -> None:
    """End a logarithmic axis at a multiple of the largest first value, if it reaches further.

    Runs that diverge leave the panel instead of flattening all other curves; a triangle at the
    upper edge, also in panels that share the axis, marks where.

    Parameters
    ----------
    axes
        With all curves, after `log_loss`.
    cases
        Values (seed, epoch) of the curves.
    headroom
        The multiple.
    """
    start = [float(values.isel(epoch=0).max()) for values in cases]
    top = headroom * max([s for s in start if math.isfinite(s)], default=math.inf)
    if axes.get_ylim()[1] <= top:
        return
    panels = axes.get_shared_y_axes().get_siblings(axes)
    # The lower margin was a share of the whole range.
    lowest = min(panel.dataLim.minposy for panel in panels)
    axes.set_ylim(lowest * (lowest / top) ** axes.margins()[1], top)
    _label_logarithmic(axes)
    for panel in panels:
        _mark_exits(panel, top)


def _mark_exits(axes: Axes, top: float) -> None:
    """Triangle where a line first passes the upper edge."""
    for line in axes.get_lines():
        x, y = (np.asarray(each, dtype=float) for each in line.get_data())
        passes = np.flatnonzero((y[:-1] <= top) & (y[1:] > top))
        if not passes.size:
            continue
        i = passes[0]
        # Lines are straight on the logarithmic axis.
        share = math.log(top / y[i]) / math.log(y[i + 1] / y[i])
        place = x[i] + share * (x[i + 1] - x[i])
        axes.plot(place, top, "^", color=line.get_color(), markersize=5, clip_on=False, zorder=4)


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
    """Cross where the line of `band` ends before the case does: a run has diverged.

    Parameters
    ----------
    values
        Over (seed, epoch), to the planned end of the case or cut before it.
    """
    values = values.dropna("seed", how="all")
    known = np.isfinite(values).all("seed").values
    if not values.sizes["seed"] or not known.any():
        return
    epoch = values["epoch"].values
    last = float(epoch[known].max())
    if last < min(last_epoch(values), float(epoch.max())):
        mean = float(values.sel(epoch=last).mean("seed"))
        axes.plot(last, mean, "x", color=colour, markersize=6, markeredgewidth=1.5)
