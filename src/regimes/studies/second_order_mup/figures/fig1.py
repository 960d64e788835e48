"""Fig. 1: coordinate check, change of the features in one and in five steps against width."""

from __future__ import annotations

import xarray as xr
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from regimes.plot import style
from regimes.studies.second_order_mup.coordinate_panels import (
    CHANGES,
    layer_handles,
    legend,
    only_last_row,
    panel,
    scheme_handles,
    shown,
)
from regimes.studies.second_order_mup.width_cases import choose

EXPERIMENT = "coord_check_main"
RESCALED = {"optimizer": "kfac", "damping_rule": "rescaled", "damping": 0.1, "fisher": "ggn"}
HEURISTIC = {"optimizer": "kfac", "damping_rule": "heuristic", "damping": 1.0, "fisher": "ggn"}
COLUMNS = {
    "SGD": {"optimizer": "sgd"},
    "Shampoo": {"optimizer": "shampoo", "damping_rule": "largest", "damping": 1e-4},
    "K-FAC, rescaled": RESCALED,
    "rescaled, sampled": {**RESCALED, "damping": 0.01, "fisher": "mc"},
    r"heuristic, $\rho = 1$": HEURISTIC,
}
# Bottom row: five steps, then other dampings by the heuristic rule.
FIVE = ("SGD", "Shampoo", "K-FAC, rescaled")
OTHER_DAMPINGS = {r"$\rho = 10^{-3}$, 1 step": 1e-3, r"$\rho = 10^4$, 1 step": 1e4}


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
    figure, grid = plt.subplots(rows, len(COLUMNS), figsize=(style.PAGE, 2.0 * rows + 0.3))
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
            ylabel = f"convolutional\n{own}" if first else ""
            panel(grid[4, column], [sp, mup], "", ylabel, [mup])
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
    for axes, (title, rho) in zip(grid[3, len(FIVE) :], OTHER_DAMPINGS.items(), strict=True):
        large = "overdamped" if rho > 1 else "predicted"
        chosen = {**HEURISTIC, "damping": rho, "activation": "tanh", "steps": 1}
        case = shown(networks, prediction=large, **chosen, parameterization="mup")
        panel(axes, [case], title)
    only_last_row(grid)
    for axes, letter in zip(grid[:, 0], "abcde", strict=False):
        style.panel_label(axes, letter)
    legend(figure, [*layer_handles(), *scheme_handles("sp", "mup")])
    return figure
