"""How the claims on the theory are read off: identities, flows in function space, ranks."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import xarray as xr

from regimes.claims import Measure
from regimes.fit.grids import same
from regimes.studies.exact_gauss_newton.comparisons import POSITIVE, Select, median, seed_mean
from regimes.studies.exact_gauss_newton.reading import drop_unknown_seeds, together

MNIST, CIFAR10 = 784, 3072  # input dimensions
COARSE, FINE = 0.2, 0.02  # largest and smallest step of the squared-loss runs
LARGE, SMALL = 0.3, 1e-3  # standard deviations of the initial weights
LIMIT = math.exp(-2)  # squared loss at t = 1 over its start


def at(values: xr.DataArray, **settings: float | str) -> xr.DataArray:
    """Values at given settings, numbers up to rounding; NaN throughout where they were not run."""
    for name, wanted in settings.items():
        found = np.flatnonzero(same(values[name], wanted))
        one = values.isel({name: int(found[0]) if found.size else 0}, drop=True)
        values = one if found.size else xr.full_like(one, np.nan, dtype=float)
    return values


def _exact(analysis: str, select: Select, statistic: Callable = float) -> Measure:
    return Measure(analysis, select, statistic, exact=True)


def _median(analysis: str, select: Select) -> Measure:
    return Measure(analysis, select, median, POSITIVE, interval="bootstrap")


# --- Identities -----------------------------------------------------------------------------------


def _toy(name: str, activation: str) -> Select:
    return lambda data: drop_unknown_seeds(at(data[name], activation=activation))


def _largest(values: xr.DataArray) -> float:
    return float(np.max(values.values))


IDENTITIES = {
    "gn_supp_right_inverse_tanh": _exact("identities", _toy("residual", "tanh"), _largest),
    "gn_supp_right_inverse_relu": _median("identities", _toy("residual", "relu")),
    "gn_supp_block_moore_penrose": _exact("identities", _toy("block_error", "tanh"), _largest),
    "gn_supp_not_minimum_norm": _median("identities", _toy("norm_ratio", "tanh")),
    "gn_supp_uncorrected_fails": _median("identities", _toy("residual_uncorrected", "tanh")),
    "gn_supp_same_first_order": _median("identities", _toy("output_slope", "tanh")),
    "gn_supp_inverse_round_trip": seed_mean(
        "identities", lambda data: data["inversion_error"].rename(trained_seed="seed")
    ),
    "gn_supp_parameters_mnist": _exact("identities", lambda d: at(d["counted"], inputs=MNIST)),
    "gn_supp_parameters_cifar": _exact("identities", lambda d: at(d["counted"], inputs=CIFAR10)),
}


# --- Function space -------------------------------------------------------------------------------


def _end(weight_std: float, alpha: float) -> Select:
    return lambda data: drop_unknown_seeds(
        at(data["end_ratio"], weight_std=weight_std, alpha=alpha)
    )


def _errors(data: xr.Dataset) -> xr.Dataset:
    """Distance from exp(-2) of the draws with the largest and the smallest step."""
    ends = {"coarse": _end(LARGE, COARSE)(data), "fine": _end(LARGE, FINE)(data)}
    return abs(together(**ends) - LIMIT)


def _deviation(alpha: float) -> Select:
    """Largest deviation over times; unknown if a time was not reached."""

    def select(data: xr.Dataset) -> xr.DataArray:
        values = at(data["deviation"], alpha_eff=alpha).max("alpha_time", skipna=False)
        return drop_unknown_seeds(values.rename(trained_seed="seed", trained_ran="ran"))

    return select


FLOW = {
    "gn_supp_flow_final": _median("flow", _end(LARGE, FINE)),
    "gn_supp_flow_convergence": Measure(
        "flow",
        _errors,
        lambda data: median(data["fine"]) / median(data["coarse"]),
        POSITIVE,
        interval="bootstrap",
    ),
    "gn_supp_flow_small_weights": _median(
        "flow", lambda data: abs(_end(SMALL, FINE)(data) / LIMIT - 1)
    ),
    "gn_supp_recursion_small_step": seed_mean("flow", _deviation(0.25)),
    "gn_supp_recursion_unit_step": seed_mean("flow", _deviation(1.0)),
    "gn_fig3_start_recursion": _exact("flow", lambda data: data["start_change"]),
}


# --- Ranks ----------------------------------------------------------------------------------------


def _features(name: str, data: str, activation: str) -> Select:
    return lambda found: drop_unknown_seeds(at(found[name], data=data, activation=activation))


RANKS = {
    "gn_supp_linear_block_rank": _exact(
        "ranks", _features("excess_rank", "gaussian", "linear"), _largest
    ),
    "gn_supp_rank_relu_digits": seed_mean("ranks", _features("rank", "digits", "relu")),
}

THEORY: dict[str, Measure] = IDENTITIES | FLOW | RANKS
