"""How claims on sweeps of learning rate, batch size and momentum are read off (figure 7)."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import xarray as xr

from regimes.claims import Measure
from regimes.fit.estimators import crossing
from regimes.studies.limiting_dynamics.analyses.spectrum import NOTEBOOK
from regimes.studies.limiting_dynamics.claim_reading import (
    CORRELATION,
    POSITIVE,
    at_log,
    cells,
    furthest_cell,
    log_slope,
    mean_of_cells,
    one,
    range_of_cells,
    reference_errors,
    seed_means,
    spearman,
    stacked,
)


def _own_seeds(values: xr.DataArray) -> xr.DataArray:
    """Drop seeds without any value: the jackknife would count them."""
    return values.dropna("seed", how="all")


def _over(name: str, setting: str) -> Callable[[xr.Dataset], xr.DataArray]:
    """Select a variable of the sweep of one setting."""
    return lambda data: _own_seeds(data[f"{name}_{setting}"].transpose(setting, "seed"))


def _law_variable(values: xr.DataArray, setting: str) -> np.ndarray:
    """What the law names: eta, S, or 1/(1 - beta^2)."""
    axis = values[setting].values.astype(float)
    return 1 / (1 - axis**2) if setting == "momentum" else axis


def _slope(analysis: str, setting: str) -> Measure:
    """Slope of ln mean squared local displacement on ln of what the law names."""
    return Measure(
        analysis,
        _over("local_mean", setting),
        lambda values: log_slope(values, _law_variable(values, setting)),
    )


def _level(setting: str) -> Measure:
    """Level over theory at the value of a setting that is furthest from 1."""
    return Measure(
        "sweeps",
        lambda data: furthest_cell(data[f"level_ratio_{setting}"]),
        mean_of_cells,
        POSITIVE,
    )


def _rank(setting: str) -> Measure:
    """Spearman correlation of seed-mean c with a setting."""
    return Measure(
        "sweeps",
        _over("exponent", setting),
        lambda values: spearman(values, setting),
        CORRELATION,
    )


def _level_at_default(data: xr.Dataset) -> xr.DataArray:
    """Level over theory at the default, from the first sweep that contains it; NaN without.

    With batch normalization tr(Sigma) is S times that of the covariance of minibatch gradients, at
    the default S alone: the statistics are the minibatch's, and its gradient is no mean of
    independent samples.
    """
    found = [
        one(data[f"level_ratio_{setting}"], **{setting: float(data[f"default_{setting}"])})
        for setting in ("eta", "batch_size", "momentum")
    ]
    chosen = next((level for level in found if level.notnull().any()), found[0])
    return cells(chosen)


def _last_minus_first(values: xr.DataArray) -> float:
    """Seed mean of the last cell minus that of the first."""
    means = seed_means(values)
    return float(means[-1] - means[0])


def _middle_and_largest(data: xr.Dataset) -> xr.DataArray:
    """Exponents at the default batch size, interpolated if need be, and at the largest."""
    exponent = data["exponent_batch_size"]
    middle = at_log(exponent, "batch_size", float(data["default_batch_size"]))
    return stacked([middle, exponent.isel(batch_size=-1, drop=True)])


def _crossing_rate(data: xr.Dataset) -> xr.DataArray:
    """Exponents against eta in units of the default eta."""
    exponent = _over("exponent", "eta")(data)
    return exponent.assign_coords(eta=exponent["eta"] / float(data["default_eta"]))


def _crosses_one(exponent: xr.DataArray) -> float:
    """Relative eta at which the seed mean of c, interpolated in ln eta, is 1; NaN if nowhere."""
    means = seed_means(exponent)
    if np.isnan(means).any():
        return math.nan
    curve = xr.DataArray(means, dims="x", coords={"x": np.log(exponent["eta"].values)})
    return float(np.exp(crossing(curve, 1.0, "x")))


def _notebook_errors(data: xr.Dataset) -> xr.DataArray:
    """Differences to all listed exponents, over (cell, seed)."""
    parts = [
        error
        for setting, listed in NOTEBOOK.items()
        for error in reference_errors(data[f"exponent_{setting}"], setting, listed)
    ]
    return stacked(parts)


def mean_absolute_error(errors: xr.DataArray) -> float:
    """Mean over cells of |mean over seeds|; NaN if a cell is missing."""
    return float(np.mean(np.abs(seed_means(errors)))) if errors.size else math.nan


SLOPES = {
    "ld_fig7_slope_eta": _slope("sweeps", "eta"),
    "ld_fig7_slope_batch": _slope("sweeps", "batch_size"),
    "ld_fig7_slope_beta": _slope("sweeps", "momentum"),
    "ld_fig7_slope_eta_images": _slope("sweeps", "eta"),
    "ld_fig7_slope_batch_images": _slope("sweeps", "batch_size"),
    "ld_fig7_slope_beta_images": _slope("sweeps", "momentum"),
}

LEVELS = {
    "ld_fig7_level_eta": _level("eta"),
    "ld_fig7_level_batch": _level("batch_size"),
    "ld_fig7_level_beta": _level("momentum"),
    "ld_fig7_level_gpu": Measure("sweeps", _level_at_default, mean_of_cells, POSITIVE),
}

EXPONENTS = {
    "ld_fig7_c_falls_eta": _rank("eta"),
    "ld_fig7_c_falls_eta_paper": _rank("eta"),
    "ld_fig7_c_falls_eta_gpu": _rank("eta"),
    "ld_fig7_c_falls_beta": _rank("momentum"),
    "ld_fig7_c_falls_beta_paper": _rank("momentum"),
    "ld_fig7_c_falls_beta_gpu": _rank("momentum"),
    "ld_fig7_c_rises_batch": _rank("batch_size"),
    **{
        f"ld_fig7_c_batch_ends{scale}": Measure(
            "sweeps", _over("exponent", "batch_size"), _last_minus_first
        )
        for scale in ("", "_laptop")
    },
    **{
        f"ld_fig7_c_mid_to_large_batch{scale}": Measure(
            "sweeps", _middle_and_largest, _last_minus_first
        )
        for scale in ("", "_images")
    },
    **{
        f"ld_fig7_c_crosses_one{scale}": Measure("sweeps", _crossing_rate, _crosses_one, POSITIVE)
        for scale in ("", "_paper")
    },
    "ld_fig7_c_values_paper": Measure("sweeps", _notebook_errors, mean_absolute_error, POSITIVE),
}


def _calibrated(setting: str, value: float) -> Measure:
    """Level at one value of a setting over the law calibrated on the default, CIFAR-10."""
    return Measure(
        "cifar_sweeps",
        lambda data: cells(at_log(data[f"calibrated_{setting}"], setting, value, 1e-3)),
        mean_of_cells,
        POSITIVE,
    )


def _momentum_ends(data: xr.Dataset) -> xr.DataArray:
    """Exponents at beta = .8 and .99."""
    return stacked([one(data["exponent_momentum"], momentum=beta) for beta in (0.8, 0.99)])


CIFAR = {
    "ld_cifar_fig7_slope_eta": _slope("cifar_sweeps", "eta"),
    "ld_cifar_fig7_beta_level": _calibrated("momentum", 0.99),
    "ld_cifar_fig7_small_batch_excess": _calibrated("batch_size", 32),
    "ld_cifar_fig7_c_eta_flat": Measure(
        "cifar_sweeps", _over("exponent", "eta"), range_of_cells, POSITIVE
    ),
    "ld_cifar_fig7_c_beta_rises": Measure("cifar_sweeps", _momentum_ends, _last_minus_first),
}

SWEEPS: dict[str, Measure] = SLOPES | LEVELS | EXPONENTS | CIFAR
