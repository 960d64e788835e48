"""All exponents: weights, learning rates and dampings, by optimizer and parameterization."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from regimes.nn.abc_parameterization import ROLES
from regimes.plot import style
from regimes.studies.second_order_mup.exponent_tables import (
    OPTIMIZER_NAMES,
    PARAMETERIZATION_NAMES,
    entry,
    long_form,
    table,
)

GROUPS = {
    "initial": ("published_initial", "$b$: weights $\\propto M^{-b}$"),
    "rates": ("published_rates", "$c$: rate $\\propto M^{-c}$"),
}
DAMPED = {
    ("kfac", "A"): "K-FAC, $d_A$",
    ("kfac", "B"): "K-FAC, $d_B$",
    ("shampoo", "A"): "Shampoo, $d_R$",
    ("shampoo", "B"): "Shampoo, $d_L$",
    ("layerwise_gn", "A"): "layer-wise GN, $d$",
}
SHOWN_DAMPING = ("sp", "mup")


def _texts(entries: list[tuple[str, bool]], *before: str) -> tuple[list[str], list[bool]]:
    """Row of a table and its marks, after columns that bear names."""
    texts, flags = zip(*entries, strict=True)
    return [*before, *texts], [*(False for _ in before), *flags]


def _exponents(axes: Axes, data: xr.Dataset) -> None:
    """A row per parameterization and optimizer that the code has."""
    rows, rules = [], []
    for parameterization, name in PARAMETERIZATION_NAMES.items():
        if rows:
            rules.append(len(rows))
        for optimizer, shown in OPTIMIZER_NAMES.items():
            one = data.sel(parameterization=parameterization, optimizer=optimizer)
            if bool(one["rates"].isnull().all()):
                continue
            entries = [
                entry(float(one[coded].sel(role=role)), float(one[published].sel(role=role)))
                for coded, (published, _) in GROUPS.items()
                for role in ROLES
            ]
            rows.append(_texts(entries, name, shown))
    texts, flags = zip(*rows, strict=True)
    groups = [("", 2), *((title, len(ROLES)) for _, title in GROUPS.values())]
    head = ["", "optimizer", *ROLES, *ROLES]
    widths = [1.1, 1.5, 1, 1, 1, 1, 1, 1]
    table(axes, head, groups, texts, np.array(flags), widths, rules)


def _damping(axes: Axes, data: xr.Dataset) -> None:
    """A row per factor, standard parameterization and muP side by side."""
    rows = []
    for (optimizer, factor), name in DAMPED.items():
        one = data.sel(optimizer=optimizer, factor=factor)
        cells = (
            one.sel(parameterization=parameterization, role=role)
            for parameterization in SHOWN_DAMPING
            for role in ROLES
        )
        entries = [
            entry(float(at["damping_exponents"]), float(at["published_damping"])) for at in cells
        ]
        rows.append(_texts(entries, name))
    texts, flags = zip(*rows, strict=True)
    shown = [f"damping $\\propto M^{{-d}}$, {PARAMETERIZATION_NAMES[p]}" for p in SHOWN_DAMPING]
    groups = [("", 1), *((title, len(ROLES)) for title in shown)]
    table(axes, ["factor", *ROLES, *ROLES], groups, texts, np.array(flags), [2.6, *[1] * 6])


def draw(analyses: dict[str, xr.Dataset]) -> Figure:
    """Draw ``exponents``: those of weights and learning rates above those of the dampings."""
    data = analyses["exponents"]
    figure, (above, below) = plt.subplots(2, 1, figsize=(style.PAGE, 5.6), height_ratios=[2.6, 1])
    _exponents(above, data)
    _damping(below, data)
    above.set_title(
        f"{int(data['differing'])} of {int(data['entries'])} published entries differ from the "
        "code; in brackets: not in the published table"
    )
    for letter, axes in zip("ab", (above, below), strict=True):
        style.panel_label(axes, letter)
    return figure


rows = long_form
