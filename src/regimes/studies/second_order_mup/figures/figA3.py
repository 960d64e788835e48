"""Fig. A3: coordinate check for FOOF, layer-wise Gauss-Newton and cross-entropy."""

from __future__ import annotations

import xarray as xr
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from regimes.plot import style
from regimes.studies.second_order_mup.coordinate_panels import (
    CHANGES,
    layer_handles,
    legend,
    panel,
    scheme_handles,
    shown,
)

COMMON = {"model": "mlp", "activation": "tanh", "steps": 1}
SQUARED = {**COMMON, "experiment": "coord_check_foof_gn", "loss": "mse", "damping_rule": "rescaled"}
ENTROPY = {**COMMON, "experiment": "coord_check_cross_entropy", "loss": "cross_entropy"}
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
    """Draw |dW h| against width: squared loss above, cross-entropy below.

    Parameters
    ----------
    analyses
        ``coordinate_check``.
    """
    data = analyses["coordinate_check"]
    figure = plt.figure(figsize=(style.PAGE, 4.7))
    # Three panels above two of the same width.
    grid = figure.add_gridspec(2, 6)
    places = [grid[0, 0:2], grid[0, 2:4], grid[0, 4:6], grid[1, 1:3], grid[1, 3:5]]
    for place, (name, settings) in zip(places, PANELS.items(), strict=True):
        axes = figure.add_subplot(place)
        schemes = ("mup",) if settings["optimizer"] == "layerwise_gn" else ("sp", "mup")
        cases = [shown(data, **settings, parameterization=p) for p in schemes]
        first = place in (places[0], places[3])
        panel(axes, cases, name, CHANGES["dWh"] if first else "")
        if first:
            style.panel_label(axes, "a" if place is places[0] else "b")
    legend(figure, [*layer_handles(), *scheme_handles("sp", "mup")])
    return figure
