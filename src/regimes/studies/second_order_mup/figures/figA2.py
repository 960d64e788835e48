"""Fig. A2: coordinate check for other activation functions."""

from __future__ import annotations

import xarray as xr
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from regimes.plot import style
from regimes.studies.second_order_mup.coordinate_panels import (
    CHANGES,
    SCHEMES,
    finish,
    only_last_row,
    panel,
    shown,
)
from regimes.studies.second_order_mup.width_cases import choose

OWN = {"experiment": "coord_check_activations", "model": "mlp", "steps": 1}
OPTIMIZERS = {
    "Shampoo": {"optimizer": "shampoo", "damping_rule": "largest", "damping": 1e-4},
    "K-FAC, rescaled": {"optimizer": "kfac", "damping_rule": "rescaled", "damping": 0.1},
}
ACTIVATIONS = ("tanh", "relu", "gelu", "identity")


def draw(analyses: dict[str, xr.Dataset]) -> Figure:
    """Draw ``coordinate_check``; columns activations, rows optimizers and parameterizations."""
    data = analyses["coordinate_check"]
    rows = [(name, scheme) for name in OPTIMIZERS for scheme in ("sp", "mup")]
    figure, grid = plt.subplots(len(rows), len(ACTIVATIONS), figsize=(style.PAGE, 7.4))
    for row, (name, scheme) in zip(grid, rows, strict=True):
        for axes, activation in zip(row, ACTIVATIONS, strict=True):
            own = {**OWN, **OPTIMIZERS[name], "activation": activation}
            case = shown(data, **own, parameterization=scheme)
            ylabel = f"{name}, {SCHEMES[scheme]}\n{CHANGES['dWh']}" if axes is row[0] else ""
            panel(axes, [case], activation if axes in grid[0] else "", ylabel)
    only_last_row(grid)
    finish(figure, grid[:, 0], choose(data, **OWN), "sp", "mup")
    return figure
