"""Closed forms of single modes against exact recursions and independent numerics (2.2-2.5).

Nothing is averaged or fitted to data: each number compares a formula with another computation,
matrix exponentials, powers of the discrete map or the exact recursion of moments.
"""

from __future__ import annotations

import numpy as np
import xarray as xr
from scipy import linalg

from regimes.fit.grids import by_setting
from regimes.studies.limiting_dynamics import theory, theory_checks
from regimes.studies.limiting_dynamics.exponents import displacement_exponent
from regimes.studies.limiting_dynamics.long_names import described

RELAXATIONS = 20  # overdamped relaxation times after which a mode has saturated
RISE_STEPS = 1000  # steps over which the rise from rest is compared
FIRST_STEPS = (1, 5)  # window of the initial slope
DRIFT_STEPS = (100, 1000)  # window of the slope of the drift
DOUBLE_SUM = (10, 10)  # window of the double sum: first step, last in relaxation times
PER_DECADE = 20  # steps per decade of the curves computed here

TEXTS = {
    "identity_residual": "largest relative residual of an exact identity over random settings",
    "propagator_error": "largest entry of E - expm(-A t) where omega = 1",
    "stability_ratio": "edge of stability found numerically over 2(1+beta)/(rho+lambda), "
    "farthest from 1 over random settings",
    "flat_displacement": "squared displacement of a flat mode from rest, exact",
    "flat_law": "eta^2 q k/(1-beta)^2",
    "rise": "variance of the velocity of a flat mode over its stationary value, exact",
    "rise_law": "1 - beta^(2k)",
    "rise_error": "largest relative difference of the rise and 1 - beta^(2k)",
    "initial_slope": "slope of ln squared displacement on ln k, flat mode, first five steps",
    "saturating_displacement": "squared displacement from a stationary start over twice the "
    "stationary variance, exact",
    "saturating_law": "1 - E11",
    "saturating_relaxation": "overdamped relaxation time in steps",
    "saturation": "squared displacement after 20 overdamped relaxation times over twice the "
    "stationary variance",
    "drift_displacement": "squared mean displacement of a mode that starts off its minimum, exact",
    "drift_law": "o^2 (1-E11)^2",
    "drift_slope": "slope of ln squared mean displacement on ln k from 100 to 1000",
    "oscillation": "mean position over its start, exact",
    "half_step_error": "rms difference of mean position and closed form over rms of the position",
    "half_step_gap": "mean position of the closed form minus the exact one, over the start",
    "double_sum_error": "largest relative difference of double sum and exact OU displacement",
    "double_sum_gap": "double sum over exact OU displacement, minus 1",
    "double_sum_relaxation": "overdamped relaxation time in steps",
    "discrete_gap": "displacement of the discrete process over exact OU displacement, minus 1",
    "identity": "identity of the theory",
    "regime": "regime of damping",
    "momentum": "momentum beta",
    "oscillating_momentum": "momentum beta of the oscillating mode",
    "curvature": "eigenvalue rho of the Hessian",
    "route": "how the number was computed",
    "drift_route": "how the number was computed",
    "form": "closed form: as it is, or shifted by half a step",
    "flat_step": "number of updates",
    "saturating_step": "number of updates",
    "drift_step": "number of updates",
    "oscillating_step": "number of updates",
    "double_sum_step": "number of updates",
}


def analyse(experiments: dict[str, xr.Dataset]) -> xr.Dataset:
    """All comparisons, with the curves behind them.

    Parameters
    ----------
    experiments
        ``toy_mode_recursions``.

    Returns
    -------
    xr.Dataset
        ``identity_residual`` (identity), ``propagator_error`` (regime), ``stability_ratio``; over
        ``momentum`` the curves and numbers of flat, saturating and drifting modes;
        ``half_step_error`` (form, oscillating_momentum); ``double_sum_error`` (curvature).
    """
    runs = experiments["toy_mode_recursions"]
    ratios = theory_checks.stability_ratios()
    identities, errors = theory_checks.identity_residuals(), theory_checks.propagator_errors()
    parts = [
        xr.Dataset(
            {
                "identity_residual": ("identity", list(identities.values())),
                "propagator_error": ("regime", list(errors.values())),
                "stability_ratio": ((), float(ratios[np.argmax(np.abs(ratios - 1))])),
            },
            coords={"identity": list(identities), "regime": list(errors)},
        ),
        _flat(_case(runs, "flat", "momentum")),
        _saturating(_case(runs, "saturating", "momentum")),
        _drift(_case(runs, "drift", "momentum")),
        _oscillating(_case(runs, "oscillating", "momentum")),
        _double_sum(_case(runs, "double_sum", "curvature")),
    ]
    result = xr.merge(parts, join="outer", compat="equals")
    return described(result, TEXTS).assign_attrs({})


def _case(runs: xr.Dataset, case: str, axis: str) -> xr.Dataset:
    """Runs of one case over momentum or curvature, recorded steps only; settings as variables."""
    chosen = runs.isel(run=np.flatnonzero(runs["case"].values == case))
    settings = [name for name in ("eta", "momentum", "rho", "noise", "offset") if name != axis]
    grid = by_setting(chosen.reset_coords(settings), [axis])
    return grid.dropna("step", how="all", subset=["var_position"])


def _flat(runs: xr.Dataset) -> xr.Dataset:
    """Diffusion of a flat mode from rest, and the rise of its velocity."""
    later = runs.sel(step=slice(1, None))
    k, beta = later["step"], runs["momentum"]
    displacement = later["var_position"] + later["mean_position"] ** 2
    rise = later["var_velocity"] * (1 - beta**2) / runs["noise"]
    # 1 - beta^(2k) = -expm1(2k ln beta) keeps its digits at small k and beta close to 1.
    law = -np.expm1(2 * k * np.log(beta))
    error = abs(rise / law - 1).where(k <= RISE_STEPS).max("step")
    slope = displacement_exponent(k, displacement, *FIRST_STEPS)
    return xr.Dataset(
        {
            "flat_displacement": displacement,
            "flat_law": runs["eta"] ** 2 * runs["noise"] * k / (1 - beta) ** 2,
            "rise": rise,
            "rise_law": law,
            "rise_error": error,
            "initial_slope": slope,
        }
    ).rename(step="flat_step")


def _steps(last: float) -> np.ndarray:
    count = max(2, int(PER_DECADE * np.log10(last)) + 1)
    return np.unique(np.round(np.geomspace(1, last, count)).astype(int))


def _saturating(runs: xr.Dataset) -> xr.Dataset:
    """Approach to twice the stationary variance, by three routes."""
    beta = runs["momentum"].values
    rho, noise, eta = (runs[name].values for name in ("rho", "noise", "eta"))
    relaxation = (1 - beta) / (eta * rho)
    steps = _steps(RELAXATIONS * relaxation.max())
    constants = theory.mode_constants(rho, eta, beta)
    twice = 2 * theory.stationary_variances(rho, noise, eta, beta, 1)[0]
    law = theory.displacement_stationary(
        steps, rho[:, None, None], noise[:, None, None], eta[:, None, None], beta[:, None, None], 1
    )
    modes = list(zip(rho, noise, eta, beta, strict=True))
    exact = [theory_checks.stationary_displacement(steps, *mode) for mode in modes]
    end = np.round(RELAXATIONS * relaxation)
    drift = np.zeros((beta.size, 2, 2))
    drift[:, 0, 1], drift[:, 1, 0] = -1, constants.frequency**2
    drift[:, 1, 1] = 2 * constants.damping
    exponential = linalg.expm(-drift * (eta * end)[:, None, None])[:, 0, 0]
    closed = theory.propagator(eta * end, constants.damping, constants.frequency)[:, 0, 0]
    discrete = [
        theory_checks.stationary_displacement([k], *mode)[0]
        for k, mode in zip(end, modes, strict=True)
    ]
    both = ("momentum", "saturating_step")
    return xr.Dataset(
        {
            "saturating_displacement": (both, np.array(exact) / twice[:, None]),
            "saturating_law": (both, law / twice[:, None]),
            "saturating_relaxation": ("momentum", relaxation),
            "saturation": (
                ("route", "momentum"),
                np.stack([1 - closed, 1 - exponential, np.array(discrete) / twice]),
            ),
        },
        coords={
            "momentum": beta,
            "saturating_step": steps,
            "route": ["closed form", "matrix exponential", "exact recursion"],
        },
    )


def _drift(runs: xr.Dataset) -> xr.Dataset:
    """Deterministic drift towards the minimum; exact mean and o^2 (1-E11)^2."""
    later = runs.sel(step=slice(1, None))
    exact = later["mean_position"] ** 2
    one = {name: runs[name].values[:, None, None] for name in ("rho", "eta", "offset")}
    beta = runs["momentum"].values[:, None, None]
    # Without noise the displacement from rest is the drift alone.
    law = theory.displacement_from_rest(
        later["step"].values, one["rho"], 0.0, one["eta"], beta, 1, offset=one["offset"]
    )
    law = exact.copy(data=xr.DataArray(law, dims=("momentum", "step")).transpose(*exact.dims))
    slopes = {
        "closed form": displacement_exponent(later["step"], law, *DRIFT_STEPS),
        "exact recursion": displacement_exponent(later["step"], exact, *DRIFT_STEPS),
    }
    slope = xr.concat(list(slopes.values()), dim="drift_route", coords="minimal", compat="override")
    return xr.Dataset(
        {
            "drift_displacement": exact,
            "drift_law": law,
            "drift_slope": slope.assign_coords(drift_route=list(slopes)),
        }
    ).rename(step="drift_step")


def _oscillating(runs: xr.Dataset) -> xr.Dataset:
    """Mean position of an oscillating mode: closed form with and without the half-step shift."""
    step, beta = runs["step"].values, runs["momentum"].values[:, None]
    eta, rho = runs["eta"].values[:, None], runs["rho"].values[:, None]
    exact = 1 + (runs["mean_position"] / runs["offset"]).transpose("momentum", "step")
    constants = theory.mode_constants(rho, eta, beta)
    shape = (constants.damping, constants.frequency)
    at = {shift: theory.mean_path(eta * (step + shift), *shape, 1.0)[0] for shift in (0, 0.5)}
    begin = theory.mean_path(eta * 0.5, *shape, 1.0)[0]
    gap = np.stack([at[0] - exact.values, at[0.5] / begin - exact.values])
    error = np.sqrt(np.mean(gap**2, axis=-1) / np.mean(exact.values**2, axis=-1))
    both = ("oscillating_momentum", "oscillating_step")
    return xr.Dataset(
        {
            "oscillation": (both, exact.values),
            "half_step_gap": (("form", *both), gap),
            "half_step_error": (("form", "oscillating_momentum"), error),
        },
        coords={
            "form": ["plain", "half a step later"],
            "oscillating_momentum": beta[:, 0],
            "oscillating_step": step,
        },
    )


def _double_sum(runs: xr.Dataset) -> xr.Dataset:
    """Equation 11 against the exact OU displacement from a stationary start."""
    first, times = DOUBLE_SUM
    names = ("curvature", "noise", "eta", "momentum")
    modes = np.stack([np.broadcast_to(runs[n], runs.sizes["curvature"]) for n in names], axis=-1)
    rho, _, eta, beta = modes.T
    relaxation = (1 - beta) / (eta * rho)
    steps = _steps(10 * times * relaxation.max())
    errors, gaps = [], []
    for mode, last in zip(modes, times * relaxation, strict=True):
        every = np.arange(first, max(first, int(last)) + 1)
        summed, exact = (
            [f(k, *mode, 1) for k in (every, steps)]
            for f in (theory.displacement_double_sum, theory.displacement_stationary)
        )
        errors.append(float(np.max(np.abs(summed[0] / exact[0] - 1))))
        discrete = theory_checks.stationary_displacement(steps, *mode)
        gaps.append([summed[1] / exact[1] - 1, discrete / exact[1] - 1])
    both = ("curvature", "double_sum_step")
    gaps = np.array(gaps)
    return xr.Dataset(
        {
            "double_sum_error": ("curvature", errors),
            "double_sum_relaxation": ("curvature", relaxation),
            "double_sum_gap": (both, gaps[:, 0]),
            "discrete_gap": (both, gaps[:, 1]),
        },
        coords={"curvature": rho, "double_sum_step": steps},
    )
