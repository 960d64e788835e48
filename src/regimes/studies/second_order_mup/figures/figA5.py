"""Fig. A5: coordinate check under the lazy (uniform, neural tangent) parameterization."""

from __future__ import annotations

import xarray as xr
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from regimes.plot import style
from regimes.studies.second_order_mup.coordinate_panels import (
    CHANGES,
    Shown,
    finish,
    panel,
    shown,
)
from regimes.studies.second_order_mup.width_cases import choose

OWN = {"model": "mlp", "activation": "tanh", "loss": "mse", "steps": 1}
COLUMNS = {
    "SGD": {"optimizer": "sgd"},
    "Shampoo": {"optimizer": "shampoo", "damping_rule": "largest", "damping": 1e-4},
    "K-FAC, rescaled": {
        "optimizer": "kfac", "damping_rule": "rescaled", "damping": 0.1, "fisher": "ggn"
    },
}  # fmt: skip


def draw(analyses: dict[str, xr.Dataset]) -> Figure:
    """Draw ``coordinate_check`` under UP, with SP beside it."""
    data = analyses["coordinate_check"]
    figure, row = plt.subplots(1, len(COLUMNS), figsize=(style.PAGE, 2.75))
    for axes, (name, settings) in zip(row, COLUMNS.items(), strict=True):
        up, sp = (
            shown(data, **OWN, **settings, experiment=experiment, parameterization=scheme)
            for experiment, scheme in (("coord_check_up", "up"), ("coord_check_main", "sp"))
        )
        panel(axes, [up, sp], name, CHANGES["dWh"] if axes is row[0] else "", [up])
        if settings["optimizer"] == "kfac":
            print_difference(axes, up, sp)
    finish(figure, row, choose(data, experiment="coord_check_up"), "up", "sp")
    return figure


def print_difference(axes: Axes, up: Shown | None, sp: Shown | None) -> None:
    """Largest relative difference between two parameterizations, of equal seeds and widths."""
    if up is None or sp is None:
        return
    largest = float(abs(up.values / sp.values - 1).max())
    text = f"UP = SP up to {largest:.0e}" if largest else "UP = SP exactly"
    axes.text(0.03, 0.03, text, transform=axes.transAxes, va="bottom", fontsize=6)
