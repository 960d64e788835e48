"""How the claims on the toy models are read off the analyses; all of them are deterministic."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import xarray as xr

from regimes.claims import Measure
from regimes.studies.feature_strength import theory

MSE, XENT = "mse", "cross_entropy"
# [6.2] first steps at which the squared error of each mode has halved, targets 1, 0.3, 0.1.
HALF_STEPS = [658, 2026, 5426]
Read = Callable[[xr.Dataset], xr.DataArray]


# --- Statistics ----------------------------------------------------------------------------------


def farthest(values: xr.DataArray, goal: float) -> float:
    """Entry farthest from a goal; NaN if one is unknown."""
    found = np.ravel(values.values)
    known = found.size and np.isfinite(found).all()
    return float(found[np.argmax(abs(found - goal))]) if known else float("nan")


# --- Selections ----------------------------------------------------------------------------------


def slopes(quantity: str | list[str], loss: str, depth: int | list[int], regime: str) -> Read:
    """Fitted exponents of the one-weight model."""
    labels = {"quantity": quantity, "loss": loss, "depth": depth, "regime": regime}
    return lambda d: d["slope"].sel(labels)


def _listed(parts: Sequence[xr.DataArray]) -> xr.DataArray:
    """Entries of arrays of different shapes in a row, which needs no padding by NaN."""
    return xr.DataArray(np.concatenate([np.ravel(part.values) for part in parts]), dims="entry")


def slope_errors(entries: Mapping[str, list[str]], depths: list[int], regime: str) -> Read:
    """Fitted minus theoretical exponents of several boundaries, given per loss, over ``entry``."""

    def selected(data: xr.Dataset) -> xr.DataArray:
        error = data["slope"] - data["slope_theory"]
        parts = [
            error.sel(quantity=names, loss=loss, depth=depths, regime=regime)
            for loss, names in entries.items()
        ]
        return _listed(parts)

    return selected


def _xent_rich_lower(data: xr.Dataset) -> xr.DataArray:
    deeper = {MSE: [3, 4, 5], XENT: [3, 4]}
    parts = [slopes("opt_min", loss, depths, "rich")(data) for loss, depths in deeper.items()]
    return _listed(parts)


def _lazy_threshold_level(data: xr.Dataset) -> xr.DataArray:
    """log10 of eta_crit over its closed form, MSE, L = 3, gamma <= 0.01."""
    edge = data["edge"].sel(quantity="eta_crit", loss=MSE, depth=3)
    edge = edge.where(edge["log10_gamma"] <= -2 + 1e-9, drop=True)
    ideal = theory.eta_crit_asymptote(10.0 ** edge["log10_gamma"], 3, MSE, "lazy")
    return edge - np.log10(ideal)


def _between(values: xr.DataArray, low: float, high: float) -> xr.DataArray:
    gamma = values["log10_gamma"]
    return values.where((gamma >= low - 1e-9) & (gamma <= high + 1e-9), drop=True)


def _level(quantity: str, loss: str) -> Measure:
    return _exact(
        "toy_catapult", lambda d: d["level"].sel(quantity=quantity, loss=loss), lambda v: v
    )


def _sign_errors(regime: str) -> Read:
    return lambda d: (d["slope"] - d["slope_theory"]).sel(
        quantity=["opt_max", "opt_min"], depth=[2, 3, 4], regime=regime
    )


def _ultra_rich_half_steps(data: xr.Dataset) -> xr.DataArray:
    return data["half_step"].sel(log10_gamma=3).transpose("mode")


# --- Measures ------------------------------------------------------------------------------------


def _exact(analysis: str, select: Read, statistic: Callable[[xr.DataArray], float]) -> Measure:
    return Measure(analysis, select, lambda v: float(statistic(v)), exact=True)


def _slope(quantity: str, loss: str, depth: int, regime: str) -> Measure:
    return _exact("toy_portrait", slopes(quantity, loss, depth, regime), lambda v: v)


def _largest_error(analysis: str, select: Read) -> Measure:
    return _exact(analysis, select, lambda error: farthest(abs(error), 0.0))


FIG6 = {
    "fs_fig6_mse_optmax_rich": _slope("opt_max", MSE, 3, "rich"),
    "fs_fig6_mse_optmin_rich": _slope("opt_min", MSE, 3, "rich"),
    "fs_fig6_xent_bounded": _exact(
        "toy_portrait",
        slopes("bounded_max", XENT, [2, 3], "lazy"),
        lambda slope: farthest(slope, 1.0),
    ),
    "fs_fig6_mse_bounded": _slope("bounded_max", MSE, 3, "lazy"),
    "fs_fig6_xent_upper_rich": _slope("opt_max", XENT, 3, "rich"),
    "fs_fig6_xent_optmin_rich": _slope("opt_min", XENT, 3, "rich"),
    "fs_fig6_eta_crit_level": _exact(
        "toy_portrait", _lazy_threshold_level, lambda level: level.mean(skipna=False)
    ),
    "fs_fig6_curvature_identity": _exact(
        "toy_portrait",
        lambda d: _between(d["curvature_deviation"].sel(depth=[2, 3, 4, 5]), -3, 5),
        lambda deviation: deviation.max(skipna=False),
    ),
}

TABLE1 = {
    "fs_table1_lazy_all_depths": _largest_error(
        "toy_portrait",
        slope_errors(
            {MSE: ["opt_max", "eta_crit", "opt_min"], XENT: ["eta_crit", "opt_min"]},
            [2, 3, 4, 5],
            "lazy",
        ),
    ),
    "fs_table1_rich_upper_mse": _largest_error(
        "toy_portrait", slope_errors({MSE: ["opt_max", "eta_crit"]}, [2, 3, 4, 5], "rich")
    ),
    "fs_table1_rich_upper_xent": _largest_error(
        "toy_portrait", slope_errors({XENT: ["opt_max", "eta_crit"]}, [2, 3, 4], "rich")
    ),
    "fs_table1_rich_lower": _exact(
        "toy_portrait", _xent_rich_lower, lambda slope: farthest(abs(slope - 1), 0.0)
    ),
    "fs_table1_rich_lower_l2": _exact(
        "toy_portrait",
        lambda d: d["slope"].sel(quantity="opt_min", loss=[MSE, XENT], depth=2, regime="rich"),
        lambda slope: slope.mean(skipna=False),
    ),
    "fs_table1_time_scaling": _exact(
        "toy_portrait", lambda d: d["time_slope"], lambda slope: farthest(slope, -1.0)
    ),
}

FIGA6 = {
    "fs_figA6_slopes": _largest_error("toy_catapult", lambda d: d["slope"] - d["slope_theory"]),
    "fs_figA6_mse_crit_level": _level("eta_crit", MSE),
    "fs_figA6_mse_max_level": _level("eta_max", MSE),
    "fs_figA6_xent_crit_level": _level("eta_crit", XENT),
    "fs_figA6_xent_max_level": _level("eta_max", XENT),
    "fs_figA6_tail_identity": _exact(
        "toy_catapult", lambda d: d["tail_deviation"], lambda deviation: deviation.max()
    ),
    "fs_figA6_xent_duration": _exact(
        "toy_catapult", lambda d: d["duration_slope"].sel(loss=XENT), lambda slope: slope
    ),
}

FIGA7 = {
    "fs_figA7_toy_lazy": _largest_error("toy_sign", _sign_errors("lazy")),
    "fs_figA7_toy_rich": _largest_error("toy_sign", _sign_errors("rich")),
}

FIGA9 = {
    "fs_figA9_toy_half_times": _exact(
        "toy_staircase",
        _ultra_rich_half_steps,
        lambda steps: farthest(abs(steps / HALF_STEPS - 1), 0.0),
    ),
}

TOYS: dict[str, Measure] = FIG6 | TABLE1 | FIGA6 | FIGA7 | FIGA9
