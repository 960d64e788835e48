"""Phase portrait, boundaries and exponents of the one-weight model under SignSGD (Fig. A7)."""

from __future__ import annotations

import xarray as xr

from regimes.fit.grids import by_setting
from regimes.studies.feature_strength import theory
from regimes.studies.feature_strength.edges import best, lower_edge, upper_edge
from regimes.studies.feature_strength.toy_boundaries import (
    ETA,
    TRAINED_BELOW,
    described,
    exponents,
    stacked,
)

# Boundary to line of Table 1.
LINES = {"opt_max": "eta_max", "opt_min": "eta_min", "eta_star": "eta_star"}

TEXTS = {
    "final_loss": "excess loss, mean over the last tenth of the steps, NaN if diverged",
    "relative_loss": "excess loss, mean over the last tenth of the steps, over that at step 0",
    "edge": "log10 learning rate of the boundary, mean over shifts of the grid",
    "edge_deviation": "standard deviation of the boundary over shifts of the grid",
}


def analyse(experiments: dict[str, xr.Dataset]) -> xr.Dataset:
    """Map of the loss, boundaries averaged over shifts of the grid, fitted exponents.

    Parameters
    ----------
    experiments
        ``toy_sign``.

    Returns
    -------
    xr.Dataset
        ``final_loss`` and ``relative_loss`` (depth, log10_gamma, log10_eta) of the unshifted
        grid; ``edge`` and ``edge_deviation``, mean and standard deviation over shifts (quantity,
        depth, log10_gamma); ``slope`` with its interval and ``slope_theory`` (quantity, depth,
        regime); ``window`` (regime, end).
    """
    grid = by_setting(experiments["toy_sign"], ["depth"])
    each = edges(grid)
    edge = each.mean("shift")
    fitted = exponents(edge)
    # SignSGD lands on a lattice of spacing eta and ends in a cycle of two steps: what counts is
    # the mean over the last tenth of the steps (section 2.5), not the phase of the cycle.
    late = grid["late_loss"].isel(shift=0, drop=True)
    depths = grid["depth"].values
    ideal = [
        [
            [theory.exponent(line, "mse", regime, int(depth), "sign") for regime in theory.REGIMES]
            for depth in depths
        ]
        for line in LINES.values()
    ]
    coords = {"quantity": list(LINES), "depth": depths, "regime": theory.REGIMES}
    result = xr.Dataset(
        {
            "final_loss": late,
            "relative_loss": late / grid["initial_loss"],
            "edge": edge,
            "edge_deviation": each.std("shift"),
            **fitted,
            "slope_theory": xr.DataArray(ideal, coords=coords),
        }
    )
    return described(result, TEXTS)


def edges(grid: xr.Dataset) -> xr.DataArray:
    """Boundaries in log10 eta over quantity, depth, shift and log10 gamma.

    The shift of the grid is part of the learning rate. NaN at the ends of the grid.
    """
    relative = grid["late_loss"] / grid["initial_loss"]
    trained = relative < TRAINED_BELOW
    found = {
        "opt_max": upper_edge(trained),
        "opt_min": lower_edge(trained),
        "eta_star": best(relative.where(trained)),
    }
    return stacked(found, grid[ETA]) + grid["eta_shift"]
