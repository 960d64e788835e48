"""Dampings against the largest eigenvalues of their factors."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from regimes.plot import style
from regimes.studies.second_order_mup.coordinate_panels import (
    Shown,
    finish,
    only_last_row,
    panel,
)
from regimes.studies.second_order_mup.width_cases import choose, known_widths
from regimes.studies.second_order_mup.width_fits import FIRST_WIDTH

OWN = {"model": "mlp", "activation": "tanh", "loss": "mse", "parameterization": "mup", "steps": 1}
MAIN = {**OWN, "experiment": "coord_check_main"}
KFAC = {**MAIN, "optimizer": "kfac", "fisher": "ggn"}
HEURISTIC = {**KFAC, "damping_rule": "heuristic", "damping": 1.0}
RESCALED = {**KFAC, "damping_rule": "rescaled", "damping": 0.1}
SHAMPOO = {**MAIN, "optimizer": "shampoo", "damping_rule": "largest", "damping": 1e-4}
NEWTON = {
    **OWN, "experiment": "coord_check_foof_gn", "optimizer": "layerwise_gn",
    "damping_rule": "rescaled", "damping": 0.01,
}  # fmt: skip
COLUMNS = {
    "heuristic, $A$": (HEURISTIC, "A"),
    "heuristic, $B$": (HEURISTIC, "B"),
    "rescaled, $A$": (RESCALED, "A"),
    "rescaled, $B$": (RESCALED, "B"),
    "Shampoo, $L$": (SHAMPOO, "B"),
    r"GN, $JJ^\top$": (NEWTON, "A"),
}
ROWS = {"ratio": r"damping / $\lambda_{\max}$", "lambda_max": r"$\lambda_{\max}$"}


def draw(analyses: dict[str, xr.Dataset]) -> Figure:
    """Draw damping over largest eigenvalue, and the latter, against width at the first step.

    Parameters
    ----------
    analyses
        ``damping_order``.
    """
    data = analyses["damping_order"]
    figure, grid = plt.subplots(2, len(COLUMNS), figsize=(style.PAGE, 4.35))
    for i, (name, (settings, factor)) in enumerate(COLUMNS.items()):
        for axes, (quantity, ylabel) in zip(grid[:, i], ROWS.items(), strict=True):
            case = of_factor(data, quantity, factor, settings)
            title = name if quantity == "ratio" else ""
            panel(axes, [case], title, ylabel if i == 0 else "")
    only_last_row(grid)
    finish(figure, grid[:, 0], choose(data, **OWN))
    return figure


def of_factor(data: xr.Dataset, quantity: str, factor: str, settings: dict) -> Shown | None:
    """Quantity of one factor of the first case with given settings; None without values."""
    cases = choose(data, **settings)
    if not cases.sizes["case"]:
        return None
    case = cases.isel(case=0).sel(quantity=quantity, factor=factor)
    values = known_widths(case[quantity])
    if not values.size or not bool(np.isfinite(values).any()):
        return None
    low, high = case["slope_low"].values, case["slope_high"].values
    return Shown(
        values, case["slope"].values, low, high, case["predicted"].values, FIRST_WIDTH, "mup"
    )
