"""What the figures on variants of GN share: one colour per variant, rows of panels, marks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import xarray as xr
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from regimes.plot import style
from regimes.studies.exact_gauss_newton.panels import (
    COLOURS,
    NAMES,
    PANELS,
    Curve,
    cap,
    legend_below,
    three_panels,
)

# GN as in the other figures and Adam keep their colours; variants of GN take these in order.
GN, ADAM = COLOURS["gn"], COLOURS["adam"]
OTHERS = (style.ORANGE, style.PURPLE, style.SKY, style.GREY, style.YELLOW)
ADAM_LABEL = NAMES["adam"]

Shown = Mapping[str, tuple[str, str]]
"""Variant to label and colour, in the order of the legend."""


def curves_of(data: xr.Dataset, shown: Shown) -> list[Curve]:
    """Curves of the variants that were run.

    Parameters
    ----------
    data
        An analysis with curves as from `variants.gather`.
    shown
        Which variants and how.
    """
    found = []
    for name, (label, colour) in shown.items():
        part = data.sel(variant=name, drop=True)
        if not bool((part["ran"] > 0).any()):
            continue
        # The planned length tells a diverged run from one that ended.
        part = part.isel(seed=part["ran"].values > 0)
        part = part.assign_coords(epochs=part["last_epoch"])
        # Variants often lie on top of GN: dashes let it show.
        look = {} if colour in COLOURS.values() else {"linestyle": (0, (4, 1))}
        found.append(Curve(part, label, colour, look))
    return found


def row(
    data: xr.Dataset, shown: Shown, variables: Sequence[str] = tuple(PANELS), columns: int = 4
) -> Figure:
    """One row of panels against epoch, losses logarithmic, with a legend below.

    Loss axes end where runs that diverge would flatten the others (`panels.cap`).

    Parameters
    ----------
    data
        An analysis with curves as from `variants.gather`.
    shown
        Which variants and how.
    variables
        One panel each, of `panels.PANELS`.
    columns
        Of the legend.
    """
    width = style.PAGE if len(variables) > 2 else 5.2
    figure, axes = plt.subplots(1, len(variables), figsize=(width, 2.5))
    cases = curves_of(data, shown)
    three_panels(axes, cases, variables)
    for each, name in zip(axes, variables, strict=True):
        if not name.endswith("accuracy"):
            cap(each, [case.data[name] for case in cases])
    for each, letter in zip(axes, "abc", strict=False):
        style.panel_label(each, letter)
    legend_below(figure, axes[0], columns)
    return figure
