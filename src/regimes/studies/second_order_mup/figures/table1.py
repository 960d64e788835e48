"""Exponents of muP for SGD, Shampoo and K-FAC, with what they rest on."""

from __future__ import annotations

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from regimes.nn.abc_parameterization import ROLES
from regimes.plot import style
from regimes.studies.second_order_mup.exponent_tables import (
    OPTIMIZER_NAMES,
    ROLE_COLOURS,
    entry,
    long_form,
    table,
)

SHOWN = ("sgd", "shampoo", "kfac")
POWERS = {"sgd": "0, 0", "shampoo": "1/2, 1/2", "kfac": "1, 1"}
GENERAL = [
    "any", "$e_A,\\ e_B$", "0", "1/2", "1", "$e_B-1$", "$e_B-e_A$", "$1-e_A$"
]  # fmt: skip
MARKERS = {"input": "o", "hidden": "s", "output": "^"}
REWRITINGS = {
    "push_through": ("K-FAC, push-through", "o"),
    "woodbury": ("K-FAC, Woodbury", "D"),
    "thin_svd": ("Shampoo, thin SVD", "s"),
    "sample_space": ("layer-wise GN, samples", "^"),
    "tangent_kernel": ("$JJ^T$ as a product", "v"),
}
COLOURS = (style.BLUE, style.SKY, style.ORANGE, style.GREEN, style.GREY)
LOWEST = 1e-17  # an error of zero is drawn here


def _exponents(axes: Axes, data: xr.Dataset) -> None:
    """Table of b and c; deviations from the published table on red ground."""
    one = data.sel(parameterization="mup")
    rows, wrong = [GENERAL], [[False] * len(GENERAL)]
    for optimizer in SHOWN:
        entries = [
            entry(float(at[coded]), float(at[published]))
            for coded, published in (("initial", "published_initial"), ("rates", "published_rates"))
            for at in (one.sel(optimizer=optimizer, role=role) for role in ROLES)
        ]
        rows.append([OPTIMIZER_NAMES[optimizer], POWERS[optimizer], *(text for text, _ in entries)])
        wrong.append([False, False, *(flag for _, flag in entries)])
    table(
        axes,
        ["optimizer", "$e_A,\\ e_B$", *ROLES, *ROLES],
        [("", 2), ("$b$: weights $\\propto M^{-b}$", 3), ("$c$: rate $\\propto M^{-c}$", 3)],
        rows,
        np.array(wrong),
        [1.3, 1.3, 1, 1, 1, 1, 1, 1],
        rules=[1],
    )


def _orders(axes: Axes, data: xr.Dataset) -> None:
    """Order of one step against the formula, a point per pair of powers."""
    for role in ROLES:
        one = data.sel(role=role)
        axes.plot(
            one["formula"].values.ravel(), one["order"].values.ravel(), MARKERS[role],
            color=ROLE_COLOURS[role], markersize=2.8, alpha=0.7, label=role,
        )  # fmt: skip
    axes.axline((0, 0), slope=1, **style.THEORY)
    largest = max(float(abs(data[name]).max()) for name in ("leftover", "coded_difference"))
    found = f"differences ≤ {largest:.0e}" if largest else "no difference"
    axes.set(
        xlabel="$c$ by the formula", ylabel=r"order of $|\Delta W h|$ at $c=0$",
        title=f"random $e_A$, $e_B$: {found}",
    )  # fmt: skip
    axes.legend(loc="upper left")


def _errors(axes: Axes, data: xr.Dataset) -> None:
    """Errors against the damping, a line per width; all other differences as points."""
    widths = data["width"].values
    for number, (name, colour) in enumerate(zip(REWRITINGS, COLOURS, strict=True)):
        label, marker = REWRITINGS[name]
        errors = data["rewriting_error"].sel(rewriting=name).max("seed")
        for width in widths:
            line = np.maximum(errors.sel(width=width).values, LOWEST)
            shade = 0.35 + 0.65 * (np.flatnonzero(widths == width)[0] + 1) / len(widths)
            name = label if width == widths[-1] else None
            axes.plot(
                data["damping"].values * 1.1 ** (number - 2), line, marker=marker, markersize=3,
                color=colour, alpha=shade, linewidth=0.9, label=name,
            )  # fmt: skip
    axes.axhline(1e-8, label="allowed", **style.THEORY)
    sizes = f"{widths[0]:.0f}" if len(widths) == 1 else f"{widths[0]:.0f} to {widths[-1]:.0f}"
    axes.set(
        xscale="log", yscale="log", xlabel="damping over largest eigenvalue",
        ylabel="relative error", ylim=(LOWEST, 1e-2), title=f"rewritings, $M$ = {sizes} (dark)",
    )  # fmt: skip
    axes.legend(loc="upper right", ncols=2, fontsize=6, columnspacing=0.8, handlelength=1.4)


def draw(analyses: dict[str, xr.Dataset]) -> Figure:
    """Draw ``exponents``: the table, orders against the formula, errors of the rewritings."""
    data = analyses["exponents"]
    figure = plt.figure(figsize=(style.PAGE, 4.3))
    grid = figure.add_gridspec(2, 2, height_ratios=[1, 1.45], width_ratios=[1, 1.25])
    above = figure.add_subplot(grid[0, :])
    left, right = (figure.add_subplot(grid[1, column]) for column in (0, 1))
    _exponents(above, data)
    _orders(left, data)
    _errors(right, data)
    for letter, axes in zip("abc", (above, left, right), strict=True):
        style.panel_label(axes, letter)
    return figure


def rows(analyses: dict[str, xr.Dataset]) -> pd.DataFrame:
    """Rows of `exponent_tables.long_form` that the table shows: muP, optimizers `SHOWN`."""
    table = long_form(analyses)
    return table[(table["parameterization"] == "mup") & table["optimizer"].isin(SHOWN)]
