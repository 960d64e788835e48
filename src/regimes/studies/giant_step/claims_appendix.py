"""How the claims of the appendix (Figs. A.1-A.4) are read off the analyses; see `claims`."""

from __future__ import annotations

from math import log

import numpy as np
import xarray as xr

from regimes.claims import Measure
from regimes.fit.estimators import (
    crossing,
    distance_from_line,
    largest_deviation,
    largest_relative_deviation,
    slope_through_origin,
)
from regimes.studies.giant_step.plane import cluster_mean, cluster_spread, teacher_axes
from regimes.studies.giant_step.reading import (
    COSINE,
    POSITIVE,
    SHARE,
    between,
    closed_form,
    largest_dimension,
    largest_size,
    nearest,
    of_mean,
    own_seeds,
    quotient,
    seed_mean,
    table,
)

# --- Reference numbers --------------------------------------------------------------------------

STEPS = (1, 6)
# [4 A.1] test errors of steps 1..6 at d = 128, p = 64.
HE124_X2 = (0.245, 0.207, 0.201, 0.176, 0.170, 0.146)
MINUS_X15 = (0.884, 0.573, 0.462, 0.402, 0.361, 0.340)
MINUS_X2 = (0.740, 0.426, 0.371, 0.322, 0.301, 0.288)
# [3, S4] he124 at d = 512, p = 256, n = 65536, steps 1..6.
HE124_FULL = (0.240, 0.202, 0.191, 0.179, 0.168, 0.150)
X_OF_65536 = log(65536) / log(512)
# [4 A.1] read off the published plot: he124 at one and at six steps, minus at x = 1.5.
_ONE, _SIX = [1, 1.25, 1.5, 1.75, 2.25], [1, 1.25, 1.5, 1.78, 2.25]
HE124_PUBLISHED_1 = table(
    ("batch_exponent",), {"batch_exponent": _ONE}, [0.67, 0.44, 0.29, 0.22, 0.22]
)
HE124_PUBLISHED_6 = table(
    ("batch_exponent",), {"batch_exponent": _SIX}, [0.63, 0.40, 0.265, 0.16, 0.13]
)
MINUS_PUBLISHED_12, MINUS_PUBLISHED_6 = (0.78, 0.57), 0.24
HE124_FLOOR = 13 / 48
# --- Selections ---------------------------------------------------------------------------------


def _he124(x: float, steps: int | tuple[int, int] = STEPS):
    """Errors of he124 at the exponent nearest to x, over ([step,] seed)."""
    step = steps if isinstance(steps, int) else slice(*steps)
    return lambda d: nearest(d["error"].sel(target="he124", step=step), batch_exponent=x)


def _minus(factor: float, x: float, steps: int | tuple[int, int] = STEPS):
    """Errors of minus at a learning-rate factor and the exponent nearest to x."""
    step = steps if isinstance(steps, int) else slice(*steps)
    return lambda d: nearest(
        d["error_minus"].sel(learning_rate_factor=factor, step=step), batch_exponent=x
    )


def _published(reference: xr.DataArray, step: int) -> Measure:
    """Largest difference of he124 from values read off the published plot."""

    def select(data: xr.Dataset) -> xr.DataArray:
        errors = data["error"].sel(target="he124", step=step)
        at = nearest(errors, batch_exponent=reference["batch_exponent"].values)
        return at.assign_coords(batch_exponent=reference["batch_exponent"])

    return of_mean("batch_exponent", select, lambda e: largest_deviation(e, reference))


def _over_floor(low: float, high: float, full: bool):
    """Errors over the linear floor; minus at eta = p sqrt(n/d) (full) or as drawn."""

    def select(data: xr.Dataset) -> xr.DataArray:
        errors = data["error"]
        if full:
            minus = data["error_minus"].sel(learning_rate_factor=1, drop=True)
            errors = xr.concat(
                [errors.sel(target="he124", drop=True), minus], dim="target", join="outer"
            ).assign_coords(target=["he124", "minus"])
        errors = between(errors, batch_exponent=(low, high), step=STEPS)
        return errors / data["linear_floor"]

    return select


def _plateau_gap(data: xr.Dataset) -> xr.DataArray:
    """Frozen-feature error at the largest batch less its plateau, over (target, seed)."""
    return nearest(data["error"].sel(step=0), batch_exponent=np.inf) - data["frozen_plateau"]


def _mean_crossing(errors: xr.DataArray) -> float:
    """Exponent at which the error crosses the linear floor, mean over steps 1..6."""
    curves = (errors.sel(step=t) for t in errors["step"].values)
    return float(np.mean([crossing(c, HE124_FLOOR, "batch_exponent") for c in curves]))


def _angle_from_diagonal(mean: xr.DataArray) -> xr.DataArray:
    """Angle between gradients given by (u, s) and the 45-degree direction, in degrees."""
    return abs(np.degrees(np.arctan2(mean.sel(axis="s"), mean.sel(axis="u"))))


def _step_2_slope(data: xr.Dataset) -> xr.DataArray:
    """(|u| - s)/(|u| + s) of the step-2 cluster means of minus, over (cluster, seed)."""
    clusters = data["cluster_cosine"].sel(target="minus", step=2)
    u, s = abs(clusters.sel(axis="u", drop=True)), clusters.sel(axis="s", drop=True)
    return (u - s) / (u + s)


def _removed(x: float | list[float]):
    """Error at the largest dimension, linear part removed, official leak on."""
    return lambda d: nearest(largest_dimension(d["error_leak"]), batch_exponent=x)


def _raw(x: float | list[float]):
    """Error at the largest dimension on raw labels."""
    return lambda d: nearest(largest_dimension(d["error"]).sel(labels="raw"), batch_exponent=x)


def _concentration(labels: str):
    return lambda d: nearest(
        largest_dimension(d["concentration"]).sel(labels=labels), batch_exponent=2
    )


def _cosines(data: xr.Dataset, target: str, steps) -> xr.DataArray:
    return data["gradient_cosine"].sel(target=target, step=steps)


def _distance(data: xr.Dataset) -> xr.DataArray:
    """Largest distance of each seed's neurons from the line of slope 0.25, steps 2..6."""
    points = _cosines(data, "example1", slice(2, 6))
    return distance_from_line(points, 0.25, "direction").max(["step", "neuron"])


def _positive_cos1(data: xr.Dataset) -> xr.DataArray:
    cos1 = _cosines(data, "example1", [5, 6]).sel(direction=1)
    return cos1.where(data["readout_sign"].sel(target="example1") > 0).mean(["step", "neuron"])


def _example2(axis: str, step: int):
    """Cluster means on v* or v_perp of example 2, over (cluster, seed)."""

    def select(data: xr.Dataset) -> xr.DataArray:
        signs = data["readout_sign"].sel(target="minus")
        return cluster_mean(teacher_axes(_cosines(data, "minus", step)).sel(axis=axis), signs)

    return select


def _largest(values: xr.DataArray) -> xr.DataArray:
    return values.max()


# --- Measures -----------------------------------------------------------------------------------

FIG_A1 = {
    "gs_figA1_he124_small_n": of_mean(
        "batch_exponent",
        lambda d: _he124(0.7)(d) / d["variance"].sel(target="he124"),
        lambda ratio: largest_deviation(ratio, 1.0),
    ),
    "gs_figA1_below_floor_laptop": of_mean(
        "batch_exponent", _over_floor(2.0, np.inf, full=False), _largest
    ),
    "gs_figA1_below_floor_full": of_mean(
        "batch_exponent", _over_floor(1.6, 2.3, full=True), _largest
    ),
    "gs_figA1_rf_above_floor": of_mean(
        "batch_exponent",
        lambda d: d["error"].sel(step=0) / d["linear_floor"],
        lambda ratio: ratio.min(),
    ),
    "gs_figA1_rf_plateau": of_mean("batch_exponent", _plateau_gap, largest_size),
    "gs_figA1_minus_t1_over_t2": of_mean(
        "batch_exponent", _minus(1, 1.5), quotient({"step": 1}, {"step": 2})
    ),
    "gs_figA1_he124_t1_over_t2": of_mean(
        "batch_exponent", _he124(1.5), quotient({"step": 1}, {"step": 2})
    ),
    "gs_figA1_he124_scaled_x2": of_mean(
        "batch_exponent", _he124(2), lambda e: largest_deviation(e, HE124_X2)
    ),
    "gs_figA1_minus_scaled_x15": of_mean(
        "batch_exponent", _minus(1, 1.5), lambda e: largest_relative_deviation(e, MINUS_X15)
    ),
    "gs_figA1_minus_scaled_x2": of_mean(
        "batch_exponent", _minus(0.3, 2), lambda e: largest_relative_deviation(e, MINUS_X2)
    ),
    "gs_figA1_minus_t1_over_t6_x1": of_mean(
        "batch_exponent", _minus(1, 1), quotient({"step": 1}, {"step": 6})
    ),
    "gs_figA1_he124_proto_full": of_mean(
        "batch_exponent", _he124(X_OF_65536), lambda e: largest_deviation(e, HE124_FULL)
    ),
    "gs_figA1_he124_published_t1": _published(HE124_PUBLISHED_1, 1),
    "gs_figA1_he124_published_t6": _published(HE124_PUBLISHED_6, 6),
    "gs_figA1_he124_crossing": of_mean(
        "batch_exponent",
        lambda d: between(d["error"].sel(target="he124"), step=STEPS),
        _mean_crossing,
    ),
    "gs_figA1_minus_published_t12": of_mean(
        "batch_exponent",
        _minus(1, 1.5, (1, 2)),
        lambda e: largest_deviation(e, MINUS_PUBLISHED_12),
    ),
    "gs_figA1_minus_published_t6": of_mean(
        "batch_exponent", _minus(1, 1.5, 6), lambda e: largest_deviation(e, MINUS_PUBLISHED_6)
    ),
    "gs_figA1_minus_nonmonotone": of_mean(
        "batch_exponent",
        lambda d: _minus(1, [1.75, 2.25], 6)(d),
        lambda e: e.isel(batch_exponent=1) / e.isel(batch_exponent=0),
    ),
    "gs_figA1_constant_lr": Measure(
        "batch_exponent",
        own_seeds(lambda d: between(d["error_constant"], step=STEPS, constant_exponent=(0, 0.75))),
        lambda e: float(e.max("step").median("seed").min()),
        POSITIVE,
    ),
    "gs_figA1_bottom_he124_line": of_mean(
        "two_steps",
        lambda d: d["cluster_cosine"].sel(target="he124", cluster=1, step=[1, 2]),
        lambda mean: _angle_from_diagonal(mean).max(),
    ),
    "gs_figA1_bottom_minus_theory": seed_mean(
        "two_steps",
        lambda d: _step_2_slope(d) - d["second_step_slope"].sel(model="output"),
        (-np.inf, np.inf),
    ),
    "gs_figA1_bottom_minus_published": seed_mean("two_steps", _step_2_slope, (-np.inf, np.inf)),
    "gs_figA1_published_slope_theory": closed_form(
        lambda d: d["second_step_slope"], lambda slope: slope.sel(network_output=0)
    ),
}

FIG_A2 = {
    "gs_figA2_drop_laptop": of_mean(
        "preprocessing",
        _removed([1.3, 2]),
        lambda e: e.isel(batch_exponent=0) / e.isel(batch_exponent=1),
    ),
    "gs_figA2_end_laptop": seed_mean("preprocessing", _removed(2)),
    "gs_figA2_plain_plateau": seed_mean("preprocessing", _raw(2)),
    "gs_figA2_crossing": of_mean(
        "preprocessing",
        lambda d: _removed([1.65, 2])(d) - _raw([1.65, 2])(d),
        lambda gap: crossing(gap, 0.0, "batch_exponent", extrapolate=True),
        (-np.inf, np.inf),
    ),
    "gs_figA2_conc_with": seed_mean("preprocessing", _concentration("removed"), SHARE),
    "gs_figA2_conc_without": seed_mean("preprocessing", _concentration("raw"), SHARE),
}
# The same quantities at d = 512, with other bounds.
FIG_A2["gs_figA2_drop_full"] = FIG_A2["gs_figA2_drop_laptop"]
FIG_A2["gs_figA2_end_full"] = FIG_A2["gs_figA2_end_laptop"]

FIG_A3 = {
    "gs_figA3_t1_cos": seed_mean(
        "six_steps",
        lambda d: np.sqrt((_cosines(d, "example1", 1) ** 2).sum("direction", min_count=1)).mean(
            "neuron"
        ),
        SHARE,
    ),
    "gs_figA3_t1_slope": seed_mean(
        "six_steps",
        lambda d: slope_through_origin(_cosines(d, "example1", 1), "direction", "neuron"),
        (-np.inf, np.inf),
    ),
    "gs_figA3_t1_tight": seed_mean(
        "six_steps",
        lambda d: cluster_spread(
            _cosines(d, "example1", 1).sel(direction=1), d["readout_sign"].sel(target="example1")
        ),
    ),
    "gs_figA3_stays_on_line": seed_mean("six_steps", _distance),
    "gs_figA3_shrinks": seed_mean("six_steps", _positive_cos1, COSINE),
    "gs_figA3_norm_growth": seed_mean(
        "six_steps", lambda d: d["row_norm"].sel(target="example1", step=6)
    ),
}

FIG_A4 = {
    "gs_figA4_t1_cos": seed_mean(
        "six_steps",
        lambda d: abs(_cosines(d, "minus", 1).sum("direction", min_count=2) / 2).mean("neuron"),
        SHARE,
    ),
    "gs_figA4_t2_offline": of_mean("six_steps", _example2("s", 2), lambda s: s.min(), COSINE),
    "gs_figA4_t2_opposite_u": of_mean(
        "six_steps",
        _example2("u", 2),
        lambda u: (u.sel(cluster=1) - u.sel(cluster=-1)) / 2,
        COSINE,
    ),
    "gs_figA4_t6_offline": of_mean("six_steps", _example2("s", 6), lambda s: s.min(), COSINE),
}

APPENDIX: dict[str, Measure] = FIG_A1 | FIG_A2 | FIG_A3 | FIG_A4
