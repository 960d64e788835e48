"""How each claim of ``config/studies/giant_step.yaml`` is read off the analyses.

Main text here (Figs. 1-3, table 1); the rest in `claims_appendix` and
`claims_supplement`.
Reference numbers are those of the prototype of docs/studies/giant_step.md; its
section and equation numbers stand in brackets.
"""

from __future__ import annotations

import numpy as np
import xarray as xr

from regimes.claims import Measure
from regimes.fit.estimators import (
    largest_deviation,
    largest_relative_deviation,
    loglog_slope,
)
from regimes.studies.giant_step.claims_appendix import APPENDIX
from regimes.studies.giant_step.claims_supplement import SUPPLEMENT
from regimes.studies.giant_step.reading import (
    COSINE,
    POSITIVE,
    SHARE,
    between,
    closed_form,
    largest_dimension,
    like,
    of_mean,
    own_seeds,
    seed_mean,
    table,
)

# --- Reference numbers --------------------------------------------------------------------------

# [4 fig2] mean squared cosine of rows, target z1 + z1 z2, steps 1..5.
Z1Z2_DIRECTION_1 = (0.175, 0.353, 0.470, 0.536, 0.564)
Z1Z2_DIRECTION_2 = (0.001, 0.012, 0.051, 0.100, 0.148)
# [4 fig3] test error after one step, p = 2d, over (ridge, n/d).
_FIG3 = {"ridge": [1e-6, 1.0], "batch_factor": [4, 8, 16]}
STEP_ON_A = table(("ridge", "batch_factor"), _FIG3, [[1.10, 0.52, 0.34], [0.80, 0.49, 0.35]])
STEP_ON_B = table(("ridge", "batch_factor"), _FIG3, [[1.94, 1.33, 1.02], [1.30, 1.16, 1.00]])
# [4 fig3] test error of frozen features on A, ridge 1e-6.
FROZEN_ON_A = table(("batch_factor",), {"batch_factor": [4, 8, 16]}, [2.34, 1.58, 1.39])
# [2.7] variance, linear part, linear floor.
CONSTANTS = {
    "he124": (37 / 48, 1 / 2, 13 / 48),
    "minus": (3 / 2, 1 / 2, 1),
    "plus": (3 / 2, 1 / 2, 1),
    "A": (2, 1, 1),
    "B": (2, 1, 1),
}
# [2.7] error floor after one step, width and batch of order d.
ONE_STEP_FLOORS = {"minus": 0, "plus": 0.5, "A": 0, "B": 1}
# [2.6, 4 table1] directions learned by five linear batches.
STAIRCASE = {"minus": 2, "plus": 1, "z1_z1z2": 2, "z1_z2z3": 1, "he3": 0}

# --- Selections ---------------------------------------------------------------------------------


def _plane(variable: str, target: str, batch: str | list[str]):
    """First-step statistic at the largest dimension (256 or more)."""
    return lambda one: largest_dimension(one[variable].sel(target=target, batch=batch))


def _cluster(target: str, axis: str, steps: int | tuple[int, int]):
    """Cluster means of gradient cosines on v* (u) or v_perp (s), over (cluster, [step,] seed)."""
    step = steps if isinstance(steps, int) else slice(*steps)
    return lambda several: several["cluster_cosine"].sel(plane_target=target, axis=axis, step=step)


def _rows(target: str, direction: int | list[int], steps: int | tuple[int, int]):
    """Mean squared cosine of rows with a teacher direction, over ([direction, step,] seed)."""
    step = steps if isinstance(steps, int) else slice(*steps)
    return lambda several: several["row_cos2"].sel(target=target, direction=direction, step=step)


def _cluster_ratio(clusters: xr.DataArray) -> xr.DataArray:
    """|s|/|u| of cluster means at step 2, over (cluster, seed)."""
    clusters = abs(clusters.sel(step=2))
    return clusters.sel(axis="s", drop=True) / clusters.sel(axis="u", drop=True)


def _step_2_ratio_over_theory(several: xr.Dataset) -> xr.DataArray:
    predicted = several["second_step_theory"].sel(network_output=1)
    predicted = predicted.sel(axis="s", drop=True) / predicted.sel(axis="u", drop=True)
    return _cluster_ratio(several["cluster_cosine"].sel(plane_target="minus")) / predicted


def _residual_factor(several: xr.Dataset) -> xr.DataArray:
    with_output = _cluster_ratio(several["cluster_cosine"].sel(plane_target="minus"))
    return with_output / _cluster_ratio(several["cluster_cosine_labels"])


def _errors(variable: str, **where):
    """Test errors at p = 2d."""

    def select(data: xr.Dataset) -> xr.DataArray:
        return data[variable].sel(width=2 * int(data["dimension"])).sel(where)

    return select


def _staircase_directions(several: xr.Dataset) -> xr.Dataset:
    """Squared row cosines at T=5 in units of 1/d: in the axes (v*, v_perp) and the teachers."""
    d = several["dimension"]
    return xr.Dataset(
        {
            "axes": d * several["row_cos2_axes"].sel(plane_target=["minus", "plus"], step=5),
            "teachers": d * several["row_cos2"].sel(target=["z1_z1z2", "z1_z2z3", "he3"], step=5),
        }
    )


def _staircase_count(cosines: xr.Dataset) -> float:
    """Count targets that learned as many directions as the staircase has."""
    mean = cosines.mean("seed")
    axes = (mean["axes"] > 10).sum("axis").to_series()
    teachers = (mean["teachers"] > 10).sum("direction").to_series()
    learned = axes.to_dict() | teachers.to_dict()
    return sum(learned[target] == number for target, number in STAIRCASE.items())


def _alignment(target: str, exponent: float):
    """Mean squared gradient cosine with ReLU, over (dimension, seed)."""

    def select(leap: xr.Dataset) -> xr.DataArray:
        values = leap["alignment"].sel(activation="relu", target=target, batch_exponent=exponent)
        return values.dropna("dimension", how="all")

    return select


def _constants(data: xr.Dataset) -> xr.DataArray:
    names = ["variance", "linear_part", "linear_floor"]
    return data[names].sel(target=list(CONSTANTS)).to_dataarray("constant").transpose("target", ...)


def _dimension_slope(values: xr.DataArray) -> float:
    return loglog_slope(values, "dimension")


# --- Measures -----------------------------------------------------------------------------------

FIG1 = {
    "gs_fig1_plus_linear_cos2": seed_mean("one_step", _plane("plane_cos2", "plus", "4d"), SHARE),
    "gs_fig1_plus_linear_conc": seed_mean("one_step", _plane("concentration", "plus", "4d"), SHARE),
    "gs_fig1_plus_quad_cos2": seed_mean("one_step", _plane("plane_cos2", "plus", "4d^2"), SHARE),
    "gs_fig1_plus_quad_conc": seed_mean("one_step", _plane("concentration", "plus", "4d^2"), SHARE),
    "gs_fig1_he2_linear_cos2": seed_mean("one_step", _plane("plane_cos2", "he2_pair", "4d"), SHARE),
    "gs_fig1_he2_quad_cos2": seed_mean("one_step", _plane("plane_cos2", "he2_pair", "d^2"), SHARE),
    "gs_fig1_he2_4quad_cos2": seed_mean(
        "one_step", _plane("plane_cos2", "he2_pair", "4d^2"), SHARE
    ),
    "gs_fig1_he2_quad_conc": of_mean(
        "one_step",
        _plane("concentration", "he2_pair", ["d^2", "4d^2"]),
        lambda r: r.max(),
        SHARE,
    ),
    "gs_fig1_he2_linear_conc": seed_mean(
        "one_step", _plane("concentration", "he2_pair", "4d"), SHARE
    ),
}

FIG2 = {
    "gs_fig2_minus_t1_u": seed_mean(
        "several_steps", lambda d: abs(_cluster("minus", "u", 1)(d)), SHARE
    ),
    "gs_fig2_minus_t1_s": of_mean(
        "several_steps", _cluster("minus", "s", 1), lambda s: abs(s).max(), SHARE
    ),
    "gs_fig2_minus_t2_u": of_mean(
        "several_steps",
        _cluster("minus", "u", 2),
        lambda u: (u.sel(cluster=1) - u.sel(cluster=-1)) / 2,
        COSINE,
    ),
    "gs_fig2_minus_t2_s": of_mean(
        "several_steps", _cluster("minus", "s", 2), lambda s: s.min(), COSINE
    ),
    "gs_fig2_minus_t2_ratio_theory": seed_mean("several_steps", _step_2_ratio_over_theory),
    "gs_fig2_step2_projection_theory": of_mean(
        "several_steps",
        lambda d: d["projection"] - d["projection_theory"],
        lambda gap: abs(gap).max(),
    ),
    "gs_fig2_residual_factor": seed_mean("several_steps", _residual_factor),
    "gs_fig2_plus_stuck_s": of_mean(
        "several_steps", _cluster("plus", "s", (1, 5)), lambda s: abs(s).max(), SHARE
    ),
    "gs_fig2_plus_keeps_u": of_mean(
        "several_steps",
        _cluster("plus", "u", (1, 5)),
        lambda u: u.sel(cluster=1).min(),
        COSINE,
    ),
    "gs_fig2_z1z2_dir1": of_mean(
        "several_steps",
        _rows("z1_z1z2", 1, (1, 5)),
        lambda c: largest_deviation(c, Z1Z2_DIRECTION_1),
        SHARE,
    ),
    "gs_fig2_z1z2_dir2": of_mean(
        "several_steps",
        _rows("z1_z1z2", 2, (1, 5)),
        lambda c: largest_deviation(c, Z1Z2_DIRECTION_2),
        SHARE,
    ),
    "gs_fig2_z1z2_dir2_t1": seed_mean(
        "several_steps", lambda d: d["dimension"] * _rows("z1_z1z2", 2, 1)(d)
    ),
    "gs_fig2_z2z3_stuck": of_mean(
        "several_steps", _rows("z1_z2z3", [2, 3], (1, 5)), lambda c: c.max(), SHARE
    ),
    "gs_fig2_he3_stuck": of_mean(
        "several_steps", _rows("he3", 1, (1, 5)), lambda c: c.max(), SHARE
    ),
    "gs_fig2_chain_dir3_t6": seed_mean("several_steps", _rows("chain", 3, 6), SHARE),
    "gs_fig2_product_dir3_relu": seed_mean("several_steps", _rows("product", 3, 5), SHARE),
}

FIG3 = {
    "gs_fig3_a_curve": of_mean(
        "generalization",
        lambda d: like(_errors("error_step", target="A")(d), STEP_ON_A),
        lambda e: largest_relative_deviation(e, STEP_ON_A),
    ),
    "gs_fig3_b_curve": of_mean(
        "generalization",
        lambda d: like(_errors("error_step", target="B")(d), STEP_ON_B),
        lambda e: largest_relative_deviation(e, STEP_ON_B),
    ),
    "gs_fig3_rf_curve": of_mean(
        "generalization",
        lambda d: like(_errors("error_frozen", target="A", ridge=1e-6)(d), FROZEN_ON_A),
        lambda e: largest_relative_deviation(e, FROZEN_ON_A),
    ),
    "gs_fig3_a_below_floor": of_mean(
        "generalization",
        lambda d: (
            _errors("error_step", target="A", batch_factor=8)(d) / d["linear_floor"].sel(target="A")
        ),
        lambda e: (1 / e).min(),
    ),
    "gs_fig3_b_at_floor": of_mean(
        "generalization",
        _errors("error_step", target="B", batch_factor=[4, 8, 16]),
        lambda e: e.min(),
    ),
    "gs_fig3_b_over_a": of_mean(
        "generalization",
        _errors("error_step", batch_factor=16, ridge=1e-6),
        lambda e: e.sel(target="B") / e.sel(target="A"),
    ),
    # At p = 2d samples equal neurons at n = 2d.
    "gs_fig3_peak": Measure(
        "generalization",
        own_seeds(_errors("error_step", batch_factor=2, ridge=1e-6)),
        lambda e: float(e.median("seed").min()),
        POSITIVE,
    ),
    "gs_fig3_rf_above": of_mean(
        "generalization",
        lambda d: between(_errors("error_frozen")(d), batch_factor=(0, 16)),
        lambda e: e.min(),
    ),
    "gs_fig3_report_frozen": seed_mean("generalization", lambda d: d["error_report"].sel(step=0)),
    "gs_fig3_report_step": seed_mean("generalization", lambda d: d["error_report"].sel(step=1)),
}

TABLE1 = {
    "gs_table1_floors_linear": closed_form(
        _constants, lambda found: largest_deviation(found, list(CONSTANTS.values()))
    ),
    "gs_table1_floors_onestep": closed_form(
        lambda d: d["one_step_floor"].sel(target=list(ONE_STEP_FLOORS)),
        lambda found: largest_deviation(found, list(ONE_STEP_FLOORS.values())),
    ),
    "gs_table1_initial_overlap": of_mean(
        "initial_overlap",
        lambda d: d["overlap"] / d["overlap_theory"],
        lambda ratio: largest_deviation(ratio, 1.0),
    ),
    "gs_table1_staircase_dims": Measure(
        "several_steps",
        own_seeds(_staircase_directions),
        _staircase_count,
        (0.0, float(len(STAIRCASE))),
    ),
    "gs_table1_below_leap_exponent": of_mean(
        "leap_scaling", _alignment("he2", 1), _dimension_slope, (-np.inf, np.inf)
    ),
    "gs_table1_at_leap_exponent_l1": of_mean(
        "leap_scaling", _alignment("he1", 1), _dimension_slope, (-np.inf, np.inf)
    ),
    "gs_table1_at_leap_exponent_l2": of_mean(
        "leap_scaling", _alignment("he2", 2), _dimension_slope, (-np.inf, np.inf)
    ),
}

MEASURES: dict[str, Measure] = FIG1 | FIG2 | FIG3 | TABLE1 | APPENDIX | SUPPLEMENT
