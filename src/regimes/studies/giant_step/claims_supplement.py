"""How the claims of the supplement are read off the analyses; see `claims`."""

from __future__ import annotations

from math import pi, sqrt

import xarray as xr

from regimes.claims import Measure
from regimes.fit.estimators import largest_deviation, largest_relative_deviation
from regimes.studies.giant_step.reading import (
    POSITIVE,
    SHARE,
    closed_form,
    largest_size,
    of_mean,
    own_seeds,
    quotient,
    seed_mean,
    table,
)

# --- Reference numbers --------------------------------------------------------------------------

# [4.7] s1/s2 at n/d = 1, 4, 16.
GAPS = table(("batch_factor",), {"batch_factor": [1, 4, 16]}, [3.5, 9, 12])
# [2.8] test error after one step over second-stage batch sizes, d = 400, p = 300, ridge 1.
_SIZES = [100, 200, 400, 800, 1600, 3200]
SURROGATE_REFERENCE = table(
    ("target", "ridge_batch_size"),
    {"target": ["A", "B"], "ridge_batch_size": _SIZES},
    [[1.326, 1.208, 1.149, 1.062, 1.001, 0.937], [1.436, 1.407, 1.406, 1.360, 1.346, 1.303]],
)

# --- Selections ---------------------------------------------------------------------------------


def _alignment(variable: str, activation: str, target: str, dimension: int, exponents):
    return lambda d: d[variable].sel(
        activation=activation, target=target, dimension=dimension, batch_exponent=exponents
    )


def _against_theory(target: str, exponents: list[float], ratio: bool):
    measured = _alignment("alignment", "relu", target, 128, exponents)
    theory = _alignment("alignment_theory", "relu", target, 128, exponents)
    return lambda d: measured(d) / theory(d) if ratio else measured(d) - theory(d)


def _surrogate_pair(ridge: float):
    return lambda d: d[["error", "error_surrogate"]].sel(step=1, ridge=ridge)


def _surrogate_gap(pair: xr.Dataset) -> float:
    mean = pair.mean("seed")
    return largest_relative_deviation(mean["error_surrogate"], mean["error"])


# --- Measures -----------------------------------------------------------------------------------

LEAP_SCALING = {
    "gs_supp_leap_scaling_l1_formula": of_mean(
        "leap_scaling", _against_theory("he1", [0.5, 1, 1.5, 2], ratio=False), largest_size
    ),
    "gs_supp_leap_scaling_l2_formula": of_mean(
        "leap_scaling",
        _against_theory("he2", [1, 1.5, 2, 2.5], ratio=True),
        lambda ratio: largest_deviation(ratio, 1.0),
    ),
    "gs_supp_leap_scaling_l3_relu_flat": seed_mean(
        "leap_scaling", _alignment("alignment", "relu", "he3", 128, slice(1, 2.5)), SHARE
    ),
    "gs_supp_leap_scaling_l3_poly_x30": seed_mean(
        "leap_scaling", _alignment("alignment", "cubic", "he3", 64, 3), SHARE
    ),
    "gs_supp_leap_scaling_l3_poly_growth": of_mean(
        "leap_scaling",
        _alignment("alignment", "cubic", "he3", 64, [2, 3]),
        quotient({"batch_exponent": 3}, {"batch_exponent": 2}),
    ),
    "gs_supp_leap_scaling_l1_unit": seed_mean("leap_scaling", lambda d: d["alignment_unit"], SHARE),
    "gs_supp_leap_scaling_l2_theory_mean": closed_form(
        lambda d: d["quadratic_alignment"], lambda mean: mean
    ),
    "gs_supp_leap_scaling_relu_c3": closed_form(
        lambda d: d["hermite_coefficient"].sel(activation="relu", order=[3, 4, 5]),
        lambda c: largest_deviation(c, [0.0, -1 / sqrt(2 * pi), 0.0]),
    ),
}

SPIKE_SPECTRUM = {
    "gs_supp_spike_spectrum_gap": of_mean(
        "spike_spectrum",
        lambda d: d["first_value"] / d["second_value"] / GAPS,
        lambda ratio: ratio.min(),
    ),
    "gs_supp_spike_spectrum_s1_formula": of_mean(
        "spike_spectrum",
        lambda d: d["first_value"] / d["first_value_theory"],
        lambda ratio: largest_deviation(ratio, 1.0),
    ),
    "gs_supp_spike_spectrum_overlap_formula": of_mean(
        "spike_spectrum", lambda d: d["overlap"] - d["overlap_theory"], largest_size
    ),
    "gs_supp_spike_spectrum_right_is_chat": of_mean(
        "spike_spectrum", lambda d: d["spike_cosine"], lambda cosine: cosine.min(), SHARE
    ),
}

SURROGATE = {
    "gs_supp_cgep_agree_ridge1": Measure(
        "surrogate", own_seeds(_surrogate_pair(1.0)), _surrogate_gap, POSITIVE
    ),
    "gs_supp_cgep_agree_ridge001": Measure(
        "surrogate", own_seeds(_surrogate_pair(0.01)), _surrogate_gap, POSITIVE
    ),
    "gs_supp_cgep_real_curve": of_mean(
        "surrogate",
        lambda d: d["error"].sel(step=1, ridge=1.0),
        lambda e: largest_relative_deviation(e, SURROGATE_REFERENCE),
    ),
    "gs_supp_cgep_rf_end": seed_mean(
        "surrogate", lambda d: d["error"].sel(target="A", step=0, ridge=1.0, ridge_batch_size=3200)
    ),
}

SUPPLEMENT: dict[str, Measure] = LEAP_SCALING | SPIKE_SPECTRUM | SURROGATE
