"""How the claims on linear regression and on sampling are read off the analyses.

Runs of linear regression in phase space are many, and intervals leave out one of them at a time;
where a claim is about the mean of 40 runs, one group of 40 runs at a time (see `run_means`).
Stationary runs are few and long: there blocks of the runs take the place of seeds, and the column
of seeds in the table of claims counts blocks.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import xarray as xr
from scipy import stats

from regimes.claims import Measure
from regimes.studies.limiting_dynamics import turns
from regimes.studies.limiting_dynamics.claim_reading import (
    CORRELATION,
    POSITIVE,
    SHARE,
    furthest_value,
    mean_of_cells,
)
from regimes.studies.limiting_dynamics.linear_paths import relative_rms
from regimes.studies.limiting_dynamics.sampling_ratios import (
    equipartition,
    spread_ratio,
    variance_ratio,
)

RUNS = 40  # behind a run mean of the claims
HIGH_MOMENTA = [0.99, 0.999]
VARIANCE_MODES = [1, 2, 4, 8, 16]
LAGS = [1, 10, 100, 1000, 5000]
IID, EPOCHS = "with_replacement", "epochs"
Read = Callable[[xr.Dataset], xr.Dataset | xr.DataArray]


# --- Statistics ----------------------------------------------------------------------------------


def without_lost(data: xr.Dataset) -> xr.Dataset:
    """Seeds whose runs ended at all momenta; a run that is lost grows without bound before."""
    return data.dropna("seed", how="any", subset=["position"])


def _of_run_mean(curve: Callable[[xr.Dataset], float]) -> Callable[[xr.Dataset], list[float]]:
    """Apply a function of one path to the mean over seeds at each momentum."""

    def values(data: xr.Dataset) -> list[float]:
        kept = without_lost(data)
        mean = (kept if kept.sizes["seed"] else data).mean("seed")
        return [curve(mean.sel(momentum=momentum)) for momentum in mean["momentum"].values]

    return values


def _period_error(path: xr.Dataset) -> float:
    return abs(turns.period(path["position"].values) / float(path["period"]) - 1)


def _decay_over_theory(path: xr.Dataset) -> float:
    ratios = turns.decay_ratios(path["position"].values)
    predicted = math.exp(-float(path["damping"] * path["eta"] * path["period"]))
    return furthest_value(ratios / predicted)


def _turns(path: xr.Dataset) -> float:
    return turns.turns(path["velocity"].values, float(path["period"]))


def run_means(data: xr.Dataset, runs: int = RUNS) -> xr.Dataset:
    """Means over disjoint groups of ``runs`` seeds, the groups in the place of ``seed``.

    Seeds that fill no group are not used; where there are fewer than ``runs`` of them, all make one
    group. Nor are seeds with lost runs, see `without_lost`.
    """
    known = without_lost(data)
    size = max(1, min(runs, known.sizes["seed"]))
    whole = known.isel(seed=slice(known.sizes["seed"] // size * size))
    return whole.coarsen(seed=size).mean()


def _distance(name: str, mean: str) -> Read:
    """Relative rms distance of run means from a mean path, over (momentum, seed).

    One entry of ``seed`` is a group of 40 runs, see `run_means`: the jackknife leaves out groups,
    and the column of seeds in the table of claims counts them.
    """

    def selected(data: xr.Dataset) -> xr.DataArray:
        means = run_means(paths()(data)[[name, mean, "position"]])
        return relative_rms(means[name], means[mean])

    return selected


def _largest_per_group(distance: xr.DataArray) -> float:
    """Largest over momenta in each group of runs, mean over groups; NaN if one is unknown."""
    if not distance.size:
        return math.nan
    return float(distance.max("momentum", skipna=False).mean("seed", skipna=False))


def _largest(values: list[float]) -> float:
    """Largest value; NaN if one is unknown, which `max` might pass over."""
    return float(np.max(values))


def rank_correlation(data: xr.Dataset) -> float:
    """Spearman correlation of frequency and eigenvalue over modes, both averaged over seeds."""
    mean = data.mean("seed").dropna("mode", how="any")
    if mean.sizes["mode"] < 3:
        return math.nan
    return float(stats.spearmanr(mean["frequency"], mean["eigenvalue"]).statistic)


def _mean_ratio(kind: str) -> Callable[[xr.Dataset], float]:
    """Mean over modes of a variance over theory; NaN if a mode is missing."""
    return lambda data: float(variance_ratio(data, kind, "seed").mean(skipna=False))


def _spread_ratio(first: int, later: int) -> Callable[[xr.Dataset], float]:
    return lambda data: float(spread_ratio(data, first, later, "seed"))


# --- Selections ----------------------------------------------------------------------------------


def _momenta(data: xr.Dataset, momenta: list[float] | None, regime: str) -> xr.Dataset:
    chosen = data.sel(regime=regime)
    if momenta is None:
        return chosen
    return chosen.reindex(momentum=momenta, method="nearest", tolerance=1e-6)


def paths(momenta: list[float] | None = None, regime: str = "low_noise") -> Read:
    """Paths and theory over (momentum, seed, step)."""
    return lambda data: _momenta(data, momenta, regime)


def stationary(names: list[str], system: str, sampling: str, **cells: list[int]) -> Read:
    """Blocks of all runs of a system and sampling over ``seed``, at the modes or lags named.

    The jackknife leaves out one entry of ``seed`` at a time. Padding, of seeds or blocks that
    other systems have, is left out; theory that does not vary from block to block stays as it is.
    Modes and lags that were not recorded are NaN.
    """

    def selected(data: xr.Dataset) -> xr.Dataset:
        chosen = data[names].sel(system=system, sampling=sampling).reset_coords(drop=True)
        chosen = chosen.reindex(cells)
        fixed = [name for name in names if "block" not in chosen[name].dims]
        varying = chosen.drop_vars(fixed).rename(seed="run").stack(seed=("run", "block"))
        varying = varying.reset_index("seed").reset_coords(drop=True).dropna("seed", how="all")
        return varying.assign({n: _of_any_seed(chosen[n]) for n in fixed})

    return selected


def _of_any_seed(values: xr.DataArray) -> xr.DataArray:
    """Theory that all runs share; its mean where runs differ in it."""
    return values.mean("seed") if "seed" in values.dims else values


MOMENTS = {kind: [f"{kind}_mean", f"{kind}_square"] for kind in ("position", "velocity")}


# --- Measures ------------------------------------------------------------------------------------


def _path(select: Read, values: Callable[[xr.Dataset], list[float]], statistic=_largest) -> Measure:
    return Measure("phase_space", select, lambda d: float(statistic(values(d))), range=POSITIVE)


def _sampled(select: Read, statistic: Callable[[xr.Dataset], float]) -> Measure:
    return Measure("sampling", select, statistic, range=POSITIVE)


def _variances(kind: str, sampling: str, modes: list[int]) -> Measure:
    return _sampled(
        stationary(MOMENTS[kind], "regression", sampling, mode=modes), _mean_ratio(kind)
    )


def _isotropy(system: str, first: int, later: int) -> Measure:
    names = [*MOMENTS["position"], "position_theory"]
    return _sampled(
        stationary(names, system, EPOCHS, mode=[first, later]), _spread_ratio(first, later)
    )


def _displacements(sampling: str, lags: list[int]) -> Measure:
    return _sampled(
        stationary(["squared_displacement"], "regression", sampling, lag=lags),
        lambda data: furthest_value(data["squared_displacement"].mean("seed")),
    )


FIG2 = {
    "ld_fig2_period": _path(paths(HIGH_MOMENTA), _of_run_mean(_period_error)),
    "ld_fig2_amplitude_decay": _path(
        paths(HIGH_MOMENTA),
        _of_run_mean(_decay_over_theory),
        furthest_value,
    ),
    "ld_fig2_nrmse_single": Measure(
        "phase_space",
        lambda data: data["single_error"].sel(regime="low_noise"),
        lambda error: float(error.mean("seed").max(skipna=False)),
        range=POSITIVE,
    ),
    "ld_fig2_nrmse_recursion": Measure(
        "phase_space",
        _distance("position", "recursion_position"),
        _largest_per_group,
        range=POSITIVE,
    ),
    "ld_fig2_nrmse_velocity": Measure(
        "phase_space",
        _distance("velocity", "continuous_velocity"),
        _largest_per_group,
        range=POSITIVE,
    ),
    "ld_fig2_turns_low_momentum": _path(paths([0.9]), _of_run_mean(_turns)),
    "ld_fig2_turns_high_momentum": _path(paths(HIGH_MOMENTA), _of_run_mean(_turns), np.min),
    "ld_fig2_top_eigenvalue": Measure(
        "phase_space",
        lambda data: data["eigenvalue"].sel(regime="low_noise"),
        lambda eigenvalue: float(eigenvalue.mean()),
        range=POSITIVE,
    ),
    "ld_figA_fig2_band_additive": Measure(
        "phase_space",
        lambda data: data["covered"].sel(regime="additive"),
        lambda covered: float(covered.mean("seed").min(skipna=False)),
        range=SHARE,
    ),
    "ld_figA_fig2_band_multiplicative": Measure(
        "phase_space",
        lambda data: _momenta(data[["covered"]], [0.999], "low_noise")["covered"],
        mean_of_cells,
        range=SHARE,
    ),
}

FREQUENCY = {
    "ld_linreg_fft_increasing": Measure(
        "regression_frequency",
        lambda data: data[["frequency", "eigenvalue"]],
        rank_correlation,
        range=CORRELATION,
    ),
}

SAMPLING = {
    "ld_sampling_position_iid": _variances("position", IID, VARIANCE_MODES),
    "ld_sampling_velocity_iid": _variances("velocity", IID, VARIANCE_MODES),
    "ld_sampling_delta_iid": _sampled(
        stationary(["local_displacement"], "regression", IID),
        lambda data: mean_of_cells(data["local_displacement"]),
    ),
    "ld_sampling_msd_iid": _displacements(IID, LAGS),
    "ld_sampling_position_epochs": _variances("position", EPOCHS, [16]),
    "ld_sampling_msd_epochs": _displacements(EPOCHS, [5000]),
    "ld_sampling_isotropy_epochs": _isotropy("regression", 1, 16),
    "ld_sampling_mlp_isotropy_epochs": _isotropy("network", 1, 30),
    "ld_sampling_mlp_equipartition_q60": _sampled(
        stationary([*MOMENTS["position"], *MOMENTS["velocity"]], "network", EPOCHS, mode=[60]),
        lambda data: float(equipartition(data, "seed").mean(skipna=False)),
    ),
}

REGRESSION: dict[str, Measure] = FIG2 | FREQUENCY | SAMPLING
