"""How claims on dynamics are read off: catapults, silent alignment, collapse, staircases.

Seeds are averaged cell by cell first, then the extreme over cells (multiples, feature strengths,
widths) is taken; NaN if a cell is missing (see `reading`). An analysis that misses a setting which
a claim names raises ``KeyError``.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import xarray as xr

from regimes.claims import Measure
from regimes.studies.feature_strength.reading import (
    POSITIVE,
    SHARE,
    largest_cell,
    mean_of_cells,
    range_of_cells,
)

CATAPULTED = [1.5, 2.0, 4.0]  # multiples of the critical rate at which catapults are claimed
NEAR = 1e-6  # settings are compared up to rounding


def _own_seeds(values: xr.DataArray) -> xr.DataArray:
    """Drop seeds without any value: the jackknife would count them."""
    return values.dropna("seed", how="all")


def _window(values: xr.DataArray, low: float = -np.inf, high: float = np.inf) -> xr.DataArray:
    """Feature strengths in a closed window of log10 gamma."""
    return values.sel(log10_gamma=slice(low - NEAR, high + NEAR))


def _one(values: xr.DataArray, **settings: float | list[float]) -> xr.DataArray:
    """Values at given settings, which must have been run."""
    return values.sel(settings, method="nearest", tolerance=NEAR)


# --- Catapults -----------------------------------------------------------------------------------

BOTH = ("catapults", "catapult_cnn")


def _network(analyses: dict[str, xr.Dataset]) -> xr.Dataset:
    """Catapults of the network the claims are about: laptop MLP, gpu and paper CNN.

    The laptop's small CNN is a surrogate with one seed, which no interval can be drawn from.
    """
    cnn = analyses["catapult_cnn"]
    seeds = _own_seeds(cnn["peak"]).sizes["seed"]
    return (cnn if seeds > 1 else analyses["catapults"]).sel(loss="mse")


def _catapult(name: str, multiples: float | list[float], low: float, high: float) -> Callable:
    """Select a variable at multiples m and a window of log10 gamma."""

    def select(analyses: dict[str, xr.Dataset]) -> xr.DataArray:
        return _own_seeds(_window(_one(_network(analyses)[name], multiple=multiples), low, high))

    return select


def _mlp(name: str, log10_gamma: float, **settings: float) -> Callable:
    """Select a variable of the MLP's catapults with MSE at one feature strength."""

    def select(data: xr.Dataset) -> xr.DataArray:
        return _own_seeds(_one(data[name].sel(loss="mse"), log10_gamma=log10_gamma, **settings))

    return select


# A catapult counts only where all seeds of a cell are known: a divergent run is no seed that
# happens to be missing, its cell is not one of catapults.


def _largest_of_complete(values: xr.DataArray) -> float:
    """Largest cell, all seeds of all cells known."""
    return float(values.mean("seed", skipna=False).max(skipna=False))


def _smallest_peak(peak: xr.DataArray) -> float:
    """Smallest cell; the mean over seeds is geometric, as peaks range over decades."""
    return float(np.exp(np.log(peak).mean("seed", skipna=False).min(skipna=False)))


def _typical_overshoot(first: xr.DataArray) -> float:
    """Median over cells of the mean step over seeds; a run without overshoot counts as infinite."""
    return float(first.mean("seed", skipna=False).median(skipna=False))


def _largest_multiple(data: xr.Dataset) -> xr.DataArray:
    """Largest multiple per seed that does not diverge at gamma = 0.01, 0 where every one does."""
    run = data["diverges"].notnull().any("multiple")
    largest = data["largest_multiple"]
    largest = largest.where(largest.notnull() | ~run, 0.0).sel(loss="mse")
    return _own_seeds(_one(largest, log10_gamma=-2))


CATAPULTS = {
    "fs_fig4_catapult_below": Measure(
        BOTH,
        _catapult("peak", 0.8, -2, -2),
        _largest_of_complete,
        POSITIVE,
    ),
    "fs_fig4_catapult_above": Measure(
        BOTH, _catapult("peak", CATAPULTED, -np.inf, -2), _smallest_peak, POSITIVE
    ),
    "fs_fig4_catapult_fast": Measure(
        BOTH, _catapult("first_overshoot", CATAPULTED, -np.inf, -2), _typical_overshoot, POSITIVE
    ),
    "fs_fig4_catapult_lands_flat": Measure(
        BOTH,
        _catapult("sharpness_end", CATAPULTED, -2, -2),
        _largest_of_complete,
        POSITIVE,
    ),
    "fs_fig4_catapult_divergence": Measure(
        "catapults",
        _largest_multiple,
        lambda multiple: float(multiple.median("seed")),
        POSITIVE,
        interval="bootstrap",
    ),
    "fs_fig4_catapult_gamma01": Measure(
        "catapults",
        _mlp("diverges", -1, multiple=8),
        lambda diverges: float(diverges.mean("seed")),
        SHARE,
        interval="binomial",
    ),
}

# --- Silent alignment ----------------------------------------------------------------------------


def _rich(name: str) -> Callable:
    """Select a variable at gamma >= 10."""
    return lambda data: _own_seeds(_window(data[name], 1))


def _last_layer_at_plateau_end(data: xr.Dataset) -> xr.DataArray:
    return _own_seeds(_window(data["cka_plateau_end"].isel(layer=-1, drop=True), 1, 4))


def _gain_over_plateau(data: xr.Dataset) -> xr.DataArray:
    gain = (data["cka_plateau_end"] / data["cka_start"]).isel(layer=-1, drop=True)
    return _own_seeds(_window(gain, 1, 4))


ALIGNMENT = {
    "fs_fig4_align_during_plateau": Measure(
        "alignment", _gain_over_plateau, mean_of_cells, POSITIVE
    ),
    "fs_fig4_align_before_drop": Measure("alignment", _rich("order"), largest_cell, POSITIVE),
    "fs_fig4_edge_at_drop": Measure("alignment", _rich("edge_after_drop"), mean_of_cells, POSITIVE),
    "fs_figA2_same_alignment": Measure(
        "alignment", _last_layer_at_plateau_end, range_of_cells, SHARE
    ),
    "fs_figA3_align_before_drop": Measure("alignment_cnn", _rich("order"), mean_of_cells, POSITIVE),
}

# --- Collapse ------------------------------------------------------------------------------------


def _ends(name: str, rule: str) -> Callable:
    """Select ends of plateaus for gamma 10 to 1e4 under one rule, all widths."""
    return lambda data: _own_seeds(_window(data[name].sel(rule=rule), 1, 4))


def _largest_ratio(ends: xr.DataArray) -> float:
    """Largest over smallest mean over seeds among feature strengths, at the worst width."""
    mean = ends.mean("seed")
    largest, smallest = (end("log10_gamma", skipna=False) for end in (mean.max, mean.min))
    return float((largest / smallest).max(skipna=False))


def _output_mismatch(data: xr.Dataset) -> xr.DataArray:
    """|ratio of early scaled outputs at gamma = 1e3 and 1e4, minus 1|, of equal seed and width."""
    early = data["early_output"].sel(rule="gamma")
    return _own_seeds(abs(_one(early, log10_gamma=3) / _one(early, log10_gamma=4) - 1))


COLLAPSE = {
    "fs_figA5_tau_collapse": Measure(
        "collapse", _ends("plateau_end_rescaled", "power"), _largest_ratio, (1.0, float("inf"))
    ),
    "fs_figA5_common_time": Measure(
        "collapse", _ends("plateau_end", "gamma"), _largest_ratio, (1.0, float("inf"))
    ),
    "fs_figA5_output_collapse": Measure(
        "collapse",
        _output_mismatch,
        largest_cell,
        POSITIVE,
    ),
}

# --- Staircase -----------------------------------------------------------------------------------


def _ratio_of_lengths(steps: xr.DataArray) -> float:
    """Steps on the second plateau at gamma = 1, as a share of those at gamma = 1e3."""
    mean = steps.mean("seed")
    rich = float(_one(mean, log10_gamma=3))
    return float(_one(mean, log10_gamma=0)) / rich if rich else float("nan")


STAIRCASE = {
    "fs_figA9_second_plateau": Measure(
        "staircase",
        lambda data: _own_seeds(_one(data["plateau_level"], log10_gamma=3)),
        lambda level: float(level.mean("seed")),
        POSITIVE,
    ),
    "fs_figA9_no_staircase_gamma1": Measure(
        "staircase", lambda data: _own_seeds(data["plateau_steps"]), _ratio_of_lengths, POSITIVE
    ),
}

DYNAMICS: dict[str, Measure] = CATAPULTS | ALIGNMENT | COLLAPSE | STAIRCASE
