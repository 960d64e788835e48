"""Constants of targets and activations by quadrature; no training (sections 2.5-2.7)."""

from __future__ import annotations

import numpy as np
import xarray as xr

from regimes.studies.giant_step import theory
from regimes.studies.giant_step.functions import ACTIVATIONS, TARGETS
from regimes.studies.giant_step.plane import collected, per_target

# The published step-2 lines: eta = 2p, n/d to infinity.
PUBLISHED_SCALE = 2.0
STEPS, ORDER = 5, 6


def _leap_floor(target: str) -> float:
    span = theory.tensor_span(target, theory.leap_index(target))
    return theory.subspace_floor(target, span)


def analyse(experiments: dict[str, xr.Dataset]) -> xr.Dataset:
    """Variances, floors, leap indices, staircase dimensions, Hermite coefficients, step-2 slopes.

    Parameters
    ----------
    experiments
        Empty: everything follows from the table of targets and activations.
    """
    names = list(TARGETS)

    def each(function) -> xr.DataArray:
        return per_target(names, function)

    dimensions = [[theory.staircase(n, t).shape[1] for t in range(STEPS + 1)] for n in names]
    coefficients = [theory.hermite_coefficients(name, ORDER) for name in ACTIVATIONS]
    pairs = [
        [float(v) for v in theory.second_step("minus", np.inf, PUBLISHED_SCALE, output)]
        for output in (True, False)
    ]
    second = xr.DataArray(
        pairs,
        dims=("network_output", "axis"),
        coords={"network_output": [1, 0], "axis": ["u", "s"]},
    )
    u, s = (second.sel(axis=axis, drop=True) for axis in ("u", "s"))
    return collected(
        {
            "variance": (each(theory.variance), "variance of the target"),
            "linear_part": (each(theory.linear_part), "squared norm of the linear part"),
            "linear_floor": (each(theory.linear_floor), "error floor of linear predictors"),
            "one_step_floor": (
                each(theory.one_step_floor),
                "error floor after one step, width and batch of order d",
            ),
            "leap_index": (each(theory.leap_index), "leap index of the target"),
            "directions": (
                each(lambda name: theory.hermite_tensor(name, 1).size),
                "number of teacher directions",
            ),
            "staircase_dimension": (
                xr.DataArray(
                    np.array(dimensions, dtype=float),
                    dims=("target", "step"),
                    coords={"target": names, "step": np.arange(STEPS + 1)},
                ),
                "dimension of the staircase subspace after so many steps",
            ),
            "staircase_floor": (
                each(lambda name: theory.subspace_floor(name, theory.staircase(name, STEPS))),
                f"error floor given the staircase subspace after {STEPS} steps",
            ),
            "leap_floor": (
                each(_leap_floor),
                "error floor given the span of the first tensor C_l that is not zero",
            ),
            "hermite_coefficient": (
                xr.DataArray(
                    coefficients,
                    dims=("activation", "order"),
                    coords={"activation": list(ACTIVATIONS), "order": np.arange(ORDER + 1)},
                ),
                "unnormalized Hermite coefficient c_k of the activation",
            ),
            "second_step": (second, "step-2 components p <g, v> for eta = 2p and large n/d"),
            "second_step_slope": (
                (u - s) / (u + s),
                "step-2 line cos2/cos1 of the positive cluster for eta = 2p and large n/d",
            ),
            "quadratic_alignment": (
                # (2.5c) depends on n/d^2 only.
                xr.DataArray(float(theory.alignment_leap2(1000, 1000**2, 1))),
                "mean squared cosine at n = d^2 for one quadratic direction, E x/(x + pi/2)",
            ),
        }
    )
