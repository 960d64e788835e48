"""Phase portraits, boundaries and exponents of the one-weight model (Fig. 6, Table 1)."""

from __future__ import annotations

import numpy as np
import xarray as xr

from regimes.fit.grids import by_setting
from regimes.fit.power_laws import fit_power_law
from regimes.studies.feature_strength import theory
from regimes.studies.feature_strength.edges import CATAPULT_ABOVE, best, lower_edge, upper_edge
from regimes.studies.feature_strength.toy_boundaries import (
    ETA,
    GAMMA,
    TRAINED_BELOW,
    described,
    exponents,
    stacked,
)

BOUNDED_BELOW = 1e3  # size of the weight after the last step
# Final losses below this share of the initial one are zero up to rounding: they tie.
ZERO_BELOW = 1e-12

QUANTITIES = {
    "opt_max": "largest learning rate with final excess loss < half the initial",
    "eta_crit": "largest such learning rate with peak excess loss < 1.3 initial",
    "opt_min": "smallest learning rate with final excess loss < half the initial",
    "bounded_max": "largest learning rate with |w| < 1000 after the last step",
    "eta_star": "learning rate of the smallest final loss; the fastest among those with none left",
}
# Line of Table 1 that each measured boundary stands for.
LINES = {
    "opt_max": "eta_max",
    "eta_crit": "eta_crit",
    "opt_min": "eta_min",
    "bounded_max": "eta_max",
    "eta_star": "eta_star",
}

TEXTS = {
    "curvature_deviation": "relative deviation of the curvature at the minimiser from theory",
    "edge_time": "log10 of the smallest trainable learning rate after T steps",
    "time_slope": "fitted exponent of T of the smallest trainable learning rate",
    "time_slope_low": "lower end of the 95% interval of the exponent of T",
    "time_slope_high": "upper end of the 95% interval of the exponent of T",
    "time_log10_gamma": "log10 of the feature strength gamma, portraits over time",
    "budget": "steps T",
}


def analyse(experiments: dict[str, xr.Dataset]) -> xr.Dataset:
    """Maps, boundaries, fitted exponents, the 1/T law and the curvature identity.

    Parameters
    ----------
    experiments
        ``toy_portrait`` and ``toy_portrait_time``.

    Returns
    -------
    xr.Dataset
        ``final_loss`` and ``relative_loss`` over loss, depth, log10_gamma, log10_eta; ``edge``
        over quantity (see `QUANTITIES`), loss, depth, log10_gamma; ``slope`` with its 95 %
        interval ``slope_low``, ``slope_high``, and ``slope_theory`` over quantity, loss, depth,
        regime; ``window`` over regime, end; ``edge_time`` and ``time_slope`` of opt_min against
        T; ``curvature_deviation`` over loss, depth, log10_gamma.
    """
    portraits = experiments["toy_portrait"].isel(shift=0, drop=True)
    grid = by_setting(portraits, ["loss", "depth"])
    edge = edges(grid)
    result = xr.merge(
        [
            {
                "final_loss": grid["final_loss"],
                "relative_loss": grid["final_loss"] / grid["initial_loss"],
                "edge": edge,
                "curvature_deviation": curvature_deviation(grid),
                "slope_theory": slope_theory(grid),
                "steps": xr.DataArray(float(portraits["steps"].max())),
            },
            exponents(edge),
            time_scaling(experiments["toy_portrait_time"].isel(shift=0, drop=True)),
        ],
        join="outer",
        compat="no_conflicts",
    )
    return described(result, TEXTS)


# --- Boundaries ----------------------------------------------------------------------------------


def edges(grid: xr.Dataset) -> xr.DataArray:
    """Boundaries over ``quantity`` and the dimensions of the grid but the learning rate.

    In log10 of the learning rate; NaN where there is none, or where it is the first or last
    learning rate of the grid and so only a bound.
    """
    relative = grid["final_loss"] / grid["initial_loss"]
    trained = relative < TRAINED_BELOW
    gentle = trained & (grid["peak_loss"] / grid["initial_loss"] < CATAPULT_ABOVE)
    left = relative.where(relative >= ZERO_BELOW, 0).where(relative.notnull())
    ties = left == left.min(ETA)
    found = {
        "opt_max": upper_edge(trained),
        "eta_crit": upper_edge(gentle),
        "opt_min": lower_edge(trained),
        "bounded_max": upper_edge(abs(grid["final_weight"]) < BOUNDED_BELOW),
        "eta_star": best(grid["mean_loss"].where(ties)).where(trained.any(ETA)),
    }
    return stacked(found, grid[ETA])


def slope_theory(grid: xr.Dataset) -> xr.DataArray:
    """Exponents of Table 1 for the boundaries.

    NaN for the lazy ``opt_max`` of cross-entropy: above eta_crit a single weight oscillates and
    never finds a flatter minimiser, only boundedness reaches up to eta_max (section 6.2).
    """
    losses, depths = grid["loss"].values, grid["depth"].values.astype(int)
    values = [
        [
            [[_theory(name, loss, regime, depth) for regime in theory.REGIMES] for depth in depths]
            for loss in losses
        ]
        for name in QUANTITIES
    ]
    coords = {
        "quantity": list(QUANTITIES),
        "loss": losses,
        "depth": grid["depth"].values,
        "regime": theory.REGIMES,
    }
    return xr.DataArray(values, dims=list(coords), coords=coords)


def _theory(quantity: str, loss: str, regime: str, depth: int) -> float:
    if (quantity, loss, regime) == ("opt_max", "cross_entropy", "lazy"):
        return float("nan")
    return theory.exponent(LINES[quantity], loss, regime, depth)


def time_scaling(runs: xr.Dataset) -> xr.Dataset:
    """Lower boundary at several budgets and its exponent of T."""
    grid = by_setting(runs, ["loss", "steps"])
    lowest = edges(grid).sel(quantity="opt_min", drop=True)
    lowest = lowest.rename({GAMMA: "time_log10_gamma"})
    log10_steps = np.log10(lowest["steps"].astype(float))
    against = lowest.assign_coords(steps=log10_steps.values).rename(steps="log10_steps")
    ends = float(log10_steps.min()), float(log10_steps.max())
    fit = fit_power_law(against, "log10_steps", *ends)
    named = {"slope": "time_slope", "slope_low": "time_slope_low", "slope_high": "time_slope_high"}
    return xr.merge([{"edge_time": lowest.rename(steps="budget")}, fit[list(named)].rename(named)])


# --- Curvature at the minimiser ------------------------------------------------------------------

Jet = tuple[np.ndarray, np.ndarray, np.ndarray]  # value, first and second derivative


def curvature_deviation(grid: xr.Dataset) -> xr.DataArray:
    """Relative deviation of d2l/dw2 at w*, by automatic differentiation, from its closed form."""
    gamma = 10.0 ** grid[GAMMA].values
    coords = {"loss": grid["loss"].values, "depth": grid["depth"].values, GAMMA: grid[GAMMA].values}
    values = [
        [
            curvature_by_jets(gamma, int(depth), str(loss))
            / theory.one_weight_curvature(gamma, int(depth), str(loss))
            - 1
            for depth in coords["depth"]
        ]
        for loss in coords["loss"]
    ]
    return abs(xr.DataArray(values, dims=list(coords), coords=coords))


def curvature_by_jets(gamma: np.ndarray, depth: int, loss: str) -> np.ndarray:
    """Second derivative of the loss at w* = (1 + gamma)^(1/L), differentiated automatically.

    Values travel with their first two derivatives (forward mode), so that the closed form under
    test, in which the term with l' has been dropped, plays no part.

    Parameters
    ----------
    gamma
        Feature strengths, any shape.
    """
    w = theory.minimiser(gamma, depth)
    weight = (w, np.ones_like(w), np.zeros_like(w))
    power = weight
    for _ in range(depth - 1):
        power = _product(power, weight)
    output = ((power[0] - 1) / gamma, power[1] / gamma, power[2] / gamma)
    if loss == "mse":
        error = (output[0] - 1, *output[1:])
        return _product(error, error)[2] / 2
    # p1 log(1 + e^-f) + p0 log(1 + e^f) = log(1 + e^-f) + p0 f
    small = _exp((-output[0], -output[1], -output[2]))
    return _log((1 + small[0], *small[1:]))[2] + theory.P0 * output[2]


def _product(a: Jet, b: Jet) -> Jet:
    return a[0] * b[0], a[1] * b[0] + a[0] * b[1], a[2] * b[0] + 2 * a[1] * b[1] + a[0] * b[2]


def _exp(a: Jet) -> Jet:
    value = np.exp(a[0])
    return value, value * a[1], value * (a[2] + a[1] ** 2)


def _log(a: Jet) -> Jet:
    first = a[1] / a[0]
    return np.log(a[0]), first, a[2] / a[0] - first**2
