"""Fig. 1: coordinate check, change of the features in one and in five steps against width."""

from __future__ import annotations

import xarray as xr
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from regimes.plot import style
from regimes.studies.second_order_mup.coordinate_panels import (
    CHANGES,
    finish,
    only_last_row,
    panel,
    shown,
)
from regimes.studies.second_order_mup.width_cases import choose

EXPERIMENT = "coord_check_main"
RESCALED = {"optimizer": "kfac", "damping_rule": "rescaled", "damping": 0.1, "fisher": "ggn"}
HEURISTIC = {"optimizer": "kfac", "damping_rule": "heuristic", "damping": 1.0, "fisher": "ggn"}
COLUMNS = {
    "SGD": {"optimizer": "sgd"},
    "Shampoo": {"optimizer": "shampoo", "damping_rule": "largest", "damping": 1e-4},
    "K-FAC, rescaled\n$\\rho' = 0.1$": RESCALED,
    "K-FAC, sampled\n$\\rho' = 0.01$": {**RESCALED, "damping": 0.01, "fisher": "mc"},
    "K-FAC, heuristic\n$\\rho = 1$": HEURISTIC,
}
# Bottom row: five steps, then other dampings by the heuristic rule.
FIVE = tuple(COLUMNS)[:3]
OTHER_DAMPINGS = {
    "muP, heuristic\n$\\rho = 10^{-3}$": 1e-3,
    "muP, heuristic\n$\\rho = 10^4$": 1e4,
}


def draw(analyses: dict[str, xr.Dataset]) -> Figure:
    """Draw changes against width; rows SP, muP, pre-activations, more steps and dampings.

    Parameters
    ----------
    analyses
        ``coordinate_check``.
    """
    data = choose(analyses["coordinate_check"], experiment=EXPERIMENT)
    networks = choose(data, model="mlp")
    convolutional = choose(data, model="cnn")
    rows = 5 if convolutional.sizes["case"] else 4
    figure, grid = plt.subplots(rows, len(COLUMNS), figsize=(style.PAGE, 2.0 * rows + 0.5))
    own, pre = CHANGES["dWh"], CHANGES["dh"]
    for column, (name, settings) in enumerate(COLUMNS.items()):
        tanh = {**settings, "activation": "tanh"}
        first = column == 0
        sp, mup = (shown(networks, **tanh, steps=1, parameterization=p) for p in ("sp", "mup"))
        panel(grid[0, column], [sp], name, f"SP\n{own}" if first else "")
        panel(grid[1, column], [mup], "", f"muP\n{own}" if first else "")
        sp, mup = (
            shown(networks, "dh", **tanh, steps=1, parameterization=p) for p in ("sp", "mup")
        )
        panel(grid[2, column], [sp, mup], "", f"pre-activations\n{pre}" if first else "", [mup])
        if rows > 4:
            sp, mup = (
                shown(convolutional, **settings, steps=1, parameterization=p) for p in ("sp", "mup")
            )
            ylabel = f"CNN, relu, 1 step\n{own}" if first else ""
            panel(grid[4, column], [sp, mup], name, ylabel, [mup])
    for column, name in enumerate(FIVE):
        both = [
            shown(networks, step=5, **COLUMNS[name], activation="relu", steps=5, parameterization=p)
            for p in ("sp", "mup")
        ]
        panel(
            grid[3, column],
            both,
            name,
            f"relu, 5 steps\n{own}" if column == 0 else "",
            both[1:],
        )
    last = grid[3, len(FIVE) :]
    for axes, (title, rho) in zip(last, OTHER_DAMPINGS.items(), strict=True):
        large = "overdamped" if rho > 1 else "predicted"
        chosen = {**HEURISTIC, "damping": rho, "activation": "tanh", "steps": 1}
        case = shown(networks, prediction=large, **chosen, parameterization="mup")
        panel(axes, [case], title, f"tanh, 1 step\n{own}" if axes is last[0] else "")
    only_last_row(grid)
    finish(figure, grid[:, 0], data, "sp", "mup")
    return figure
