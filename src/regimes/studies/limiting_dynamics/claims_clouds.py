"""How claims on clouds, oscillations and their CIFAR-10 repeats are read off (Figs. 4 to 6).

A stationary cloud comes from one or two long runs. Their intervals leave out one contiguous block
of a run at a time: the blocks take the place of seeds (see `of_blocks`), and the column of seeds in
the table of claims counts blocks. Properties of the one start point (eigenvalues, loss rise) are
computed on all data without sampling and so have no interval.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import xarray as xr

from regimes.claims import Measure
from regimes.fit.estimators import crossing, largest_deviation
from regimes.studies.limiting_dynamics.claim_reading import POSITIVE, furthest_value
from regimes.studies.limiting_dynamics.oscillator_fit import fit_frequency
from regimes.studies.limiting_dynamics.stationary import equipartition, variance
from regimes.studies.limiting_dynamics.theory import velocity_autocorrelation

BLOCK = "seed"  # the jackknife leaves out entries of this dimension
PAPER_NOISE = 0.6  # sigma^2 of ResNet-18 that the spread on ImageNet is compared with
MOMENTS = ["position_mean", "position_square", "velocity_mean", "velocity_square"]


def of_blocks(data: xr.Dataset, names: list[str]) -> xr.Dataset:
    """Block statistics of all runs with blocks in the place of seeds.

    The jackknife of `regimes.claims` leaves out one entry of ``seed`` at a time. Runs are few,
    blocks of a run many and long against relaxation times: here one entry is a block.
    """
    stacked = data[names].rename(seed="replica").stack({BLOCK: ("replica", "block")})
    return stacked.reset_index(BLOCK).reset_coords(drop=True)


def _with(data: xr.Dataset, names: list[str], constants: list[str]) -> xr.Dataset:
    """Block statistics together with quantities that do not vary from block to block."""
    return of_blocks(data, names).assign({name: data[name] for name in constants})


def deviations(data: xr.Dataset, kind: str) -> xr.DataArray:
    """Standard deviations over all blocks of ``position`` or ``velocity``, over ``mode``."""
    return np.sqrt(variance(data, kind, BLOCK))


def _pair(data: xr.Dataset, values: xr.DataArray) -> tuple[float, float]:
    """Values of the first and the later plotted mode."""
    first, later = (float(values.sel(mode=m)) for m in data["pair_mode"].values)
    return first, later


# --- Clouds --------------------------------------------------------------------------------------


def _spread_ratio(kind: str) -> Callable[[xr.Dataset], float]:
    """Standard deviation along the first over that along the later plotted mode."""

    def statistic(data: xr.Dataset) -> float:
        first, later = _pair(data, deviations(data, kind))
        return first / later

    return statistic


def _cloud(kind: str) -> Callable[[xr.Dataset], xr.Dataset]:
    """Select the block moments of ``position`` or ``velocity``."""
    return lambda data: _with(data, [f"{kind}_mean", f"{kind}_square"], ["pair_mode"])


def _equipartition(data: xr.Dataset) -> float:
    """Mean over modes of omega^2 Var(position) / Var(velocity); NaN if a mode is unknown."""
    return float(equipartition(data, BLOCK, data["natural_frequency"]).mean(skipna=False))


def _position_over_theory(data: xr.Dataset) -> float:
    """Spread along q1 over sqrt(eta sigma^2 / (2 S (1 - beta))) with the paper's sigma^2."""
    eta, size, beta = (float(data[name]) for name in ("eta", "batch_size", "momentum"))
    first, _ = _pair(data, deviations(data, "position"))
    return first / math.sqrt(eta * PAPER_NOISE / (2 * size * (1 - beta)))


def _velocity_over_curvature(data: xr.Dataset) -> float:
    """Ratio of velocity spreads over the square root of the ratio of curvatures."""
    first, later = data["pair_eigenvalue"].values
    return _spread_ratio("velocity")(data) / math.sqrt(first / later)


def _axis_angle(data: xr.Dataset) -> float:
    """Degrees between the leading axis of the velocity covariance and the axis of q1, 0 to 90."""
    means = [float(data["velocity_mean"].sel(mode=m).mean(BLOCK)) for m in data["pair_mode"].values]
    first, later = (s**2 for s in _pair(data, deviations(data, "velocity")))
    shared = float(data["velocity_product"].mean(BLOCK)) - means[0] * means[1]
    return abs(math.degrees(0.5 * math.atan2(2 * shared, first - later)))


def _constant(
    name: str, read: Callable[[xr.DataArray], float], analysis: str = "clouds"
) -> Measure:
    """Property of the start point: computed on all data, it has no sampling error."""
    return Measure(analysis, lambda data: data[name], read, POSITIVE, exact=True)


def _anisotropy(rho: xr.DataArray) -> float:
    """Square root of the ratio of the plotted curvatures."""
    first, later = (float(rho.sel(pair=i)) for i in (0, 1))
    return math.sqrt(first / later) if later > 0 < first else math.nan


SHAPES = {
    "ld_fig4_position_isotropic": Measure(
        "clouds", _cloud("position"), _spread_ratio("position"), POSITIVE
    ),
    "ld_fig4_loss_anisotropic": _constant("pair_eigenvalue", _anisotropy),
    "ld_fig4_loss_anisotropic_paper": _constant("pair_eigenvalue", _anisotropy),
    "ld_fig4_loss_rise_q1": _constant("loss_rise_ratio", lambda r: float(r.sel(pair=0))),
    "ld_fig4_loss_rise_q30": _constant("loss_rise_ratio", lambda r: float(r.sel(pair=1))),
    "ld_fig4_noise_follows_hessian": _constant("noise_correlation", float),
    "ld_fig4_not_interpolating": _constant("train_accuracy", float),
    "ld_fig4_eigenvector_residual": _constant(
        "pair_residual", lambda r: float(r.max(skipna=False))
    ),
    "ld_fig4_equipartition": Measure(
        "clouds",
        lambda data: _with(data, MOMENTS, ["natural_frequency"]),
        _equipartition,
        POSITIVE,
    ),
    "ld_fig4_position_sd_paper": Measure(
        "clouds",
        lambda data: _with(
            data,
            ["position_mean", "position_square"],
            ["pair_mode", "eta", "batch_size", "momentum"],
        ),
        _position_over_theory,
        POSITIVE,
    ),
    "ld_fig5_velocity_ratio": Measure(
        "clouds",
        lambda data: _cloud("velocity")(data).assign(pair_eigenvalue=data["pair_eigenvalue"]),
        _velocity_over_curvature,
        POSITIVE,
    ),
    "ld_fig5_ellipse_aligned": Measure(
        "clouds",
        lambda data: _with(
            data, ["velocity_mean", "velocity_square", "velocity_product"], ["pair_mode"]
        ),
        _axis_angle,
        (0.0, 90.0),
    ),
}

# --- Oscillations --------------------------------------------------------------------------------


def _autocorrelation(data: xr.Dataset) -> xr.DataArray:
    """Autocorrelation over (pair, lag) from the autocovariances of the blocks."""
    covariance = data["autocovariance"].mean(BLOCK)
    return covariance / covariance.isel(lag=0, drop=True)


def _predicted(data: xr.Dataset) -> xr.DataArray:
    """Autocorrelation E22 over (pair, lag)."""
    rho, lag = data["pair_eigenvalue"], data["lag"]
    settings = {name: float(data[name]) for name in ("eta", "momentum", "weight_decay")}
    values = velocity_autocorrelation(lag.values[None, :], rho.values[:, None], **settings)
    return xr.DataArray(values, {"pair": rho["pair"], "lag": lag}, ("pair", "lag"))


def _correlated(last: int) -> Callable[[xr.Dataset], xr.Dataset]:
    """Select autocovariances up to a lag and what their theory needs."""
    names = ["pair_eigenvalue", "eta", "momentum", "weight_decay"]
    return lambda data: _with(data, ["autocovariance"], names).sel(lag=slice(0, last))


def _autocorrelation_error(data: xr.Dataset) -> float:
    """Largest difference of measured autocorrelation and E22 over modes and lags."""
    return largest_deviation(_autocorrelation(data), _predicted(data))


def first_zero(correlation: xr.DataArray) -> float:
    """First lag at which an autocorrelation over ``lag`` vanishes, between steps linearly."""
    return crossing(correlation, 0.0, "lag")


def _zero_error(data: xr.Dataset) -> float:
    """Largest error of the first zero in units of its tolerance, max(2 steps, 10 %)."""
    measured, theory = _autocorrelation(data), _predicted(data)
    errors = []
    for i in measured["pair"].values:
        found, expected = (first_zero(c.sel(pair=i)) for c in (measured, theory))
        errors.append(abs(found - expected) / max(2.0, 0.1 * expected))
    return float(np.max(errors))  # NaN if a zero is missing


def _powers(data: xr.Dataset) -> xr.Dataset:
    return _with(data, ["power"], ["damping", "natural_frequency"])


def _frequency_ratio(pair: int) -> Callable[[xr.Dataset], float]:
    """Fitted natural frequency of a plotted mode over theory."""

    def statistic(data: xr.Dataset) -> float:
        mode = data.sel(pair=pair)
        power = mode["power"].mean(BLOCK)
        fitted = fit_frequency(power["frequency"].values, power.values, float(mode["damping"]))
        return fitted / float(mode["natural_frequency"])

    return statistic


def _rate_ratio(data: xr.Dataset) -> float:
    """Ratio of the fitted frequencies over that of theory, sqrt of (rho + lambda)."""
    return _frequency_ratio(0)(data) / _frequency_ratio(1)(data)


def _circulation(data: xr.Dataset) -> float:
    """Circulation over 2 Var(velocity) of theory, of the plotted mode furthest from 1."""
    return furthest_value(data["circulation"].mean(BLOCK) / (2 * data["velocity_theory"]))


OSCILLATIONS = {
    "ld_fig6_autocorrelation": Measure(
        "oscillations", _correlated(100), _autocorrelation_error, POSITIVE
    ),
    "ld_fig6_autocorrelation_images": Measure(
        "oscillations", _correlated(200), _autocorrelation_error, POSITIVE
    ),
    "ld_fig6_first_zero": Measure("oscillations", _correlated(200), _zero_error, POSITIVE),
    "ld_fig6_frequency_q1": Measure("oscillations", _powers, _frequency_ratio(0), POSITIVE),
    "ld_fig6_frequency_q30": Measure("oscillations", _powers, _frequency_ratio(1), POSITIVE),
    "ld_fig6_rates_differ": Measure("oscillations", _powers, _rate_ratio, POSITIVE),
    "ld_fig6_circulation": Measure(
        "oscillations",
        lambda data: _with(data, ["circulation"], ["velocity_theory"]),
        _circulation,
    ),
}

# --- CIFAR-10 repeats ----------------------------------------------------------------------------


def _anisotropic(data: xr.Dataset) -> float:
    """|ln| of the ratio of position spreads."""
    return abs(math.log(_spread_ratio("position")(data)))


def _loops(data: xr.Dataset) -> float:
    """Circulation of the first mode over the measured omega^2 Var(position) + Var(velocity)."""
    first = {"mode": data["pair_mode"].values[0]}
    x, u = (float(deviations(data, kind).sel(first)) for kind in ("position", "velocity"))
    omega = float(data["natural_frequency"].sel(first))
    return float(data["circulation"].sel(pair=0).mean(BLOCK)) / ((omega * x) ** 2 + u**2)


REPEATS = {
    "ld_cifar_fig4_not_isotropic": Measure(
        "cifar_clouds", _cloud("position"), _anisotropic, POSITIVE
    ),
    "ld_cifar_fig5_round": Measure(
        "cifar_clouds", _cloud("velocity"), _spread_ratio("velocity"), POSITIVE
    ),
    "ld_cifar_fig6_loops": Measure(
        "cifar_clouds",
        lambda data: _with(data, [*MOMENTS, "circulation"], ["pair_mode", "natural_frequency"]),
        _loops,
    ),
}

CLOUDS: dict[str, Measure] = SHAPES | OSCILLATIONS | REPEATS
