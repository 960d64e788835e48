"""Fig. A3: coordinate check for FOOF, layer-wise Gauss-Newton and cross-entropy."""

from __future__ import annotations

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

COMMON = {"model": "mlp", "activation": "tanh", "steps": 1}
EXPERIMENTS = ("coord_check_foof_gn", "coord_check_cross_entropy")
SQUARED = {**COMMON, "experiment": EXPERIMENTS[0], "loss": "mse", "damping_rule": "rescaled"}
ENTROPY = {**COMMON, "experiment": EXPERIMENTS[1], "loss": "cross_entropy"}
NEWTON = {**SQUARED, "optimizer": "layerwise_gn"}
PANELS = {
    r"FOOF, $\rho' = 0.01$": {**SQUARED, "optimizer": "foof", "damping": 0.01},
    r"Gauss-Newton, $\rho' = 0.01$": {**NEWTON, "damping": 0.01},
    r"Gauss-Newton, $\rho' = 0.1$": {**NEWTON, "damping": 0.1},
    "Shampoo, cross-entropy": {
        **ENTROPY, "optimizer": "shampoo", "damping_rule": "largest", "damping": 1e-4
    },
    "K-FAC, cross-entropy": {
        **ENTROPY, "optimizer": "kfac", "damping_rule": "rescaled", "damping": 0.1
    },
}  # fmt: skip


def draw(analyses: dict[str, xr.Dataset]) -> Figure:
    """Draw ``coordinate_check``: squared loss above, cross-entropy below."""
    data = analyses["coordinate_check"]
    figure = plt.figure(figsize=(style.PAGE, 4.7))
    # Three panels above two of the same width.
    grid = figure.add_gridspec(2, 6)
    places = [grid[0, 0:2], grid[0, 2:4], grid[0, 4:6], grid[1, 1:3], grid[1, 3:5]]
    for place, (name, settings) in zip(places, PANELS.items(), strict=True):
        axes = figure.add_subplot(place)
        schemes = ("mup",) if settings["optimizer"] == "layerwise_gn" else ("sp", "mup")
        cases = [shown(data, **settings, parameterization=p) for p in schemes]
        panel(axes, cases, name, CHANGES["dWh"] if place in (places[0], places[3]) else "")
    trained = xr.concat([choose(data, experiment=name) for name in EXPERIMENTS], "case")
    finish(figure, (figure.axes[0], figure.axes[3]), trained, "sp", "mup")
    return figure
