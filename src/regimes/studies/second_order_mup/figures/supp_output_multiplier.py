"""How the initial output contaminates the coordinate check."""

from __future__ import annotations

import math

import xarray as xr
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from regimes.plot import style
from regimes.studies.second_order_mup.coordinate_panels import (
    CHANGES,
    finish,
    panel,
    shown,
)
from regimes.studies.second_order_mup.width_cases import choose

OWN = {
    "experiment": "coord_check_output_multiplier",
    "model": "mlp",
    "activation": "tanh",
    "parameterization": "mup",
    "steps": 1,
}
OPTIMIZERS = {
    "SGD": {"optimizer": "sgd"},
    "K-FAC": {"optimizer": "kfac", "damping_rule": "rescaled", "damping": 0.1, "fisher": "ggn"},
}
# Standard deviation of the output weights M0^1/2 / M, and 1 / M at M0 = 64.
MULTIPLIERS = {"multiplier 1": 1.0, r"multiplier $1/\sqrt{M_0}$": 1 / math.sqrt(64)}


def draw(analyses: dict[str, xr.Dataset]) -> Figure:
    """Draw ``coordinate_check`` for both output multipliers, fitted to all widths."""
    data = analyses["coordinate_check"]
    figure, row = plt.subplots(1, 4, figsize=(style.PAGE, 2.85))
    places = iter(row)
    for name, settings in OPTIMIZERS.items():
        for text, multiplier in MULTIPLIERS.items():
            axes = next(places)
            own = {**OWN, **settings, "output_multiplier": multiplier}
            ylabel = CHANGES["dWh"] if axes is row[0] else ""
            panel(axes, [shown(data, window="all", **own)], f"{name}\n{text}", ylabel)
    finish(figure, row, choose(data, **OWN), "mup")
    return figure
