"""How the claims on the theory are read off: the OU process, spectra and single modes."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import xarray as xr

from regimes.claims import Measure
from regimes.fit.estimators import largest_deviation
from regimes.studies.limiting_dynamics.analyses.spectrum import sweep
from regimes.studies.limiting_dynamics.claim_reading import POSITIVE, furthest_value, one

# Exponents of the surrogate spectrum, values of the claim (specification, section 6).
SPECTRUM = {
    "eta": {1e-5: 1.284, 6.2e-5: 1.062, 1e-4: 0.968, 1e-3: 0.196},
    "batch_size": {32: 0.783, 136: 0.883, 256: 0.968, 1024: 1.217},
    "momentum": {0.8: 1.096, 0.9: 0.968, 0.99: 0.198},
}
SIGNS = {"eta": -1, "batch_size": 1, "momentum": -1}
# Exponents of power-law spectra j^-a by a (specification, section 2.5).
POWER_LAW = {0.5: 0.70, 1.0: 0.87, 1.5: 0.67, 2.0: 0.52, 3.0: 0.36}
BETA = 0.9  # momentum of the claims on one mode

Read = Callable[[xr.Dataset], xr.DataArray]


# --- Statistics and selections --------------------------------------------------------------------


def listed_exponents(data: xr.Dataset, name: str) -> xr.DataArray:
    """Exponents of the surrogate at the values of the claim along one sweep."""
    line = sweep(data, name)
    found = [float(one(line, **{name: value})) for value in SPECTRUM[name]]
    return xr.DataArray(found, dims=name, coords={name: list(SPECTRUM[name])})


def spectrum_deviation(data: xr.Dataset) -> xr.DataArray:
    """Exponents minus those of the claim over ``entry``."""
    gaps = [
        listed_exponents(data, name).values - np.array(list(expected.values()))
        for name, expected in SPECTRUM.items()
    ]
    return xr.DataArray(np.concatenate(gaps), dims="entry")


def right_signs(data: xr.Dataset) -> xr.DataArray:
    """Whether each adjacent step along the sweeps has the stated sign, NaN if unknown."""
    steps = np.concatenate(
        [SIGNS[name] * np.diff(listed_exponents(data, name).values) for name in SPECTRUM]
    )
    return xr.DataArray(np.where(np.isnan(steps), math.nan, steps > 0), dims="step")


def _power_law(data: xr.Dataset) -> xr.DataArray:
    a = list(POWER_LAW)
    found = [float(one(data["diffusion_exponent"], spectral_exponent=value)) for value in a]
    return xr.DataArray(found, dims="spectral_exponent", coords={"spectral_exponent": a})


def _mode(name: str, momentum: float = BETA) -> Read:
    return lambda data: one(data[name], momentum=momentum)


def _flat_ratio(data: xr.Dataset) -> xr.DataArray:
    """Exact displacement of a flat mode over its law at the last step, 1e5."""
    ratio = _mode("flat_displacement")(data) / _mode("flat_law")(data)
    return ratio.isel(flat_step=-1)


# --- Measures -------------------------------------------------------------------------------------


def _exact(analysis: str, select: Read, statistic: Callable[[xr.DataArray], float]) -> Measure:
    return Measure(analysis, select, lambda values: float(statistic(values)), exact=True)


def _largest(analysis: str, select: Read) -> Measure:
    return _exact(analysis, select, lambda values: furthest_value(abs(values), 0.0))


def _mean_over_seeds(name: str, bounds: tuple[float, float] = (-math.inf, math.inf)) -> Measure:
    return Measure("ou", lambda data: data[name], lambda v: float(v.mean("seed")), bounds)


FIG3 = {
    "ld_fig3_identities": _largest("ou", lambda data: data["identity_residual"]),
    "ld_fig3_current_tangent": _largest("ou", lambda data: data["tangency"]),
    "ld_fig3_covariance": _mean_over_seeds("covariance_error", POSITIVE),
    "ld_fig3_circulation": _mean_over_seeds("circulation"),
    "ld_fig3_cloud_axis": _mean_over_seeds("cloud_angle", (-90.0, 90.0)),
    "ld_fig3_decay_to_minimum": _mean_over_seeds("remaining_distance", POSITIVE),
}

SPECTRA = {
    "ld_fig7_spectrum_values": _largest("spectrum", spectrum_deviation),
    "ld_fig7_spectrum_trends": _exact("spectrum", right_signs, lambda v: v.sum(skipna=False)),
    "ld_powerlaw_exponents": _exact(
        "power_law",
        _power_law,
        lambda c: largest_deviation(c, list(POWER_LAW.values())) if c.notnull().all() else math.nan,
    ),
    "ld_powerlaw_inverse_law": _exact(
        "power_law", lambda data: _power_law(data).sel(spectral_exponent=2.0), lambda c: 2 * c
    ),
}

MODES = {
    "ld_theory_identities": _largest("single_modes", lambda d: d["identity_residual"]),
    "ld_theory_propagator": _largest("single_modes", lambda d: d["propagator_error"]),
    "ld_theory_stability": _exact("single_modes", lambda d: d["stability_ratio"], lambda v: v),
    "ld_theory_unshifted_error": _exact(
        "single_modes", lambda d: d["half_step_error"].sel(form="plain"), lambda v: v.max()
    ),
    "ld_theory_half_step": _exact(
        "single_modes",
        lambda d: d["half_step_error"].sel(form="half a step later"),
        lambda v: v.max(),
    ),
    "ld_theory_flat_mode": _exact("single_modes", _flat_ratio, lambda v: v),
    "ld_theory_saturation": _exact(
        "single_modes", lambda d: d["saturation"], lambda v: furthest_value(v, 1.0)
    ),
    "ld_theory_drift": _exact(
        "single_modes", _mode("drift_slope"), lambda slope: furthest_value(slope, 2.0)
    ),
    "ld_theory_rise": _largest("single_modes", lambda d: d["rise_error"]),
    "ld_theory_initial_slope": _exact("single_modes", _mode("initial_slope"), lambda v: v),
    "ld_theory_double_sum": _largest("single_modes", lambda d: d["double_sum_error"]),
}

THEORY: dict[str, Measure] = FIG3 | SPECTRA | MODES
