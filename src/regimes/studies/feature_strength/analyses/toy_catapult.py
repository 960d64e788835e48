"""Thresholds, trajectories and durations of catapults of the two-weight model (Fig. A6)."""

from __future__ import annotations

import numpy as np
import xarray as xr

from regimes.fit.grids import by_setting
from regimes.fit.power_laws import fit_power_law
from regimes.studies.feature_strength import theory
from regimes.studies.feature_strength.edges import upper_edge
from regimes.studies.feature_strength.toy_boundaries import (
    ETA,
    GAMMA,
    TRAINED_BELOW,
    described,
    stacked,
)

ROUNDING = 1e-12  # a peak above the start by this share is no overshoot
LAZY_UP_TO = -2.0  # log10 gamma up to which levels are those of gamma -> 0

QUANTITIES = {
    "eta_crit": "largest trained learning rate whose loss never exceeds its start",
    "eta_max": "largest trained learning rate: final excess loss < half the initial",
}

TEXTS = {
    "tail_deviation": "largest relative deviation from the one-step law of u^2 - v^2",
    "edge": "log10 learning rate of the threshold",
    "edge_theory": "log10 learning rate of the threshold by theory",
    "level": "mean of log10 of the threshold over gamma^slope_theory, gamma <= 0.01",
    "shown_loss": "excess loss, NaN once diverged",
    "shown_square": "u^2 + v^2, NaN once diverged",
    "shown_log10_gamma": "log10 gamma of the trajectories",
    "duration": "first step at which eta times the sharpness is below 2, NaN if never",
    "duration_slope": "fitted exponent of eta/gamma of the duration",
    "duration_slope_low": "lower end of the 95% interval of the exponent",
    "duration_slope_high": "upper end of the 95% interval of the exponent",
    "duration_log10_gamma": "log10 gamma of the durations",
    "quantity": "threshold",
    "multiple": "learning rate in units of the catapult threshold",
    "shown_step": "number of updates",
    "log10_ratio": "log10 of eta/gamma",
}


def analyse(experiments: dict[str, xr.Dataset]) -> xr.Dataset:
    """Portrait, thresholds against theory, trajectories, tail identity, durations.

    Parameters
    ----------
    experiments
        ``toy_catapult``.

    Returns
    -------
    xr.Dataset
        Over ``loss``: ``relative_loss`` and ``tail_deviation`` (log10_gamma, log10_eta),
        ``edge``, ``edge_theory`` (quantity, log10_gamma), ``slope`` with its interval,
        ``slope_theory`` and ``level`` (quantity), the mean of log10(eta/gamma^slope_theory) over
        gamma <= 0.01; ``shown_loss``, ``shown_square`` (multiple, shown_step); ``duration``
        (log10_ratio) and ``duration_slope``.
    """
    runs = experiments["toy_catapult"]
    grid = by_setting(runs, ["loss"])
    edge = edges(grid)
    log10_gamma = edge[GAMMA].values
    ideal = per_threshold(grid["loss"].values, lambda q, loss: threshold(q, loss, log10_gamma))
    slope = per_threshold(grid["loss"].values, lambda q, loss: theory_slope(q, loss))
    edge_theory = xr.DataArray(ideal, coords={**_labels(grid), GAMMA: log10_gamma})
    slope_theory = xr.DataArray(slope, coords=_labels(grid))
    ends = float(log10_gamma.min()), float(log10_gamma.max())
    fit = fit_power_law(edge, GAMMA, *ends)
    lazy = edge.where(edge[GAMMA] <= LAZY_UP_TO + 1e-9)
    duration = np.log10(grid["duration"].where(grid["duration"] > 0))
    ratio = duration["log10_ratio"]
    fitted = fit_power_law(duration, "log10_ratio", float(ratio.min()), float(ratio.max()))
    result = xr.Dataset(
        {
            "relative_loss": grid["final_loss"] / grid["initial_loss"],
            "tail_deviation": grid["tail_deviation"],
            "edge": edge,
            "edge_theory": edge_theory,
            **{name: fit[name] for name in ("slope", "slope_low", "slope_high", "window")},
            "slope_theory": slope_theory,
            "level": (lazy - slope_theory * lazy[GAMMA]).mean(GAMMA),
            "shown_loss": grid["shown_loss"],
            "shown_square": grid["shown_square"],
            "steps": _common(runs, "steps"),
            "shown_log10_gamma": _common(runs, "shown_log10_gamma"),
            "duration": grid["duration"],
            "duration_slope": fitted["slope"],
            "duration_slope_low": fitted["slope_low"],
            "duration_slope_high": fitted["slope_high"],
            "duration_log10_gamma": _common(runs, "duration_log10_gamma"),
        }
    )
    return described(result.assign_coords(end=["low", "high"]), TEXTS)


def edges(grid: xr.Dataset) -> xr.DataArray:
    """Thresholds in log10 eta over quantity, loss and log10 gamma; NaN at the end of the grid."""
    initial = grid["initial_loss"]
    trained = grid["final_loss"] / initial < TRAINED_BELOW
    gentle = trained & (grid["peak_loss"] <= initial * (1 + ROUNDING))
    return stacked({"eta_crit": upper_edge(gentle), "eta_max": upper_edge(trained)}, grid[ETA])


def threshold(quantity: str, loss: str, log10_gamma: np.ndarray) -> np.ndarray:
    """Threshold by theory in log10 eta (section 2.3)."""
    gamma = 10.0**log10_gamma
    law = {"eta_crit": theory.pair_threshold, "eta_max": theory.pair_divergence}[quantity]
    return np.log10(law(gamma, loss))


def theory_slope(quantity: str, loss: str) -> float:
    """Exponent of gamma of a threshold; the model has L = 2 and is lazy at small gamma."""
    return theory.exponent(quantity, loss, "lazy", 2)


def per_threshold(losses: np.ndarray, value) -> np.ndarray:
    """Values of a function of (quantity, loss), shape (quantity, loss, ...)."""
    return np.array([[value(q, str(loss)) for loss in losses] for q in QUANTITIES])


def _labels(grid: xr.Dataset) -> dict:
    return {"quantity": list(QUANTITIES), "loss": grid["loss"].values}


def _common(runs: xr.Dataset, name: str) -> xr.DataArray:
    """Setting that all runs share."""
    values = np.unique(runs[name].values)
    if values.size != 1:
        raise ValueError(f"runs differ in {name}")
    return xr.DataArray(float(values[0]))
