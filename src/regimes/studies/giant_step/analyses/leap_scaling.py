"""Alignment after one step against batch exponent for leap 1, 2, 3 (section 4.6)."""

from __future__ import annotations

import numpy as np
import xarray as xr

from regimes.fit.grids import by_setting
from regimes.store import join_runs
from regimes.studies.giant_step import theory
from regimes.studies.giant_step.plane import (
    collected,
    common,
    first_of_pairs,
    gradient_cosine,
    plane_cosine_squared,
)

GRID = ["activation", "target", "dimension", "batch_exponent", "seed"]
CURVE = np.round(np.arange(0.5, 3.001, 0.05), 2)


def analyse(experiments: dict[str, xr.Dataset]) -> xr.Dataset:
    """Mean squared cosine of the first gradients with the teacher, and theory.

    Parameters
    ----------
    experiments
        ``leap_scaling_relu``, ``leap_scaling_polynomial`` and ``leap1_unit_check``.
    """
    data = join_runs([experiments["leap_scaling_relu"], experiments["leap_scaling_polynomial"]])
    measured = by_setting(xr.Dataset({"cos2": _alignment(data)}), GRID)["cos2"]
    unit = experiments["leap1_unit_check"]
    ratio = common(unit, "batch_size") / common(unit, "dimension")
    unit_cos2 = by_setting(xr.Dataset({"cos2": _alignment(unit)}), ["seed"])["cos2"]
    run = measured.notnull().any("seed")
    return collected(
        {
            "alignment": (measured, "squared cosine of first gradients with the teacher"),
            "alignment_theory": (
                _theory(measured, "batch_exponent", measured["batch_exponent"].values).where(run),
                "squared cosine by (2.1) for leap 1, (2.1') for leap 2 and 3",
            ),
            "alignment_curve": (
                _theory(measured, "curve_exponent", CURVE).where(run.any("batch_exponent")),
                "squared cosine by (2.1) for leap 1, (2.1') for leap 2 and 3, fine grid",
            ),
            "leap": (
                xr.DataArray(
                    [float(theory.leap_index(str(t))) for t in measured["target"].values],
                    dims="target",
                    coords={"target": measured["target"].values},
                ),
                "leap index of the target",
            ),
            "alignment_unit": (unit_cos2, "squared cosine for a linear target at n = d"),
            "alignment_unit_theory": (
                xr.DataArray(float(theory.alignment_leap1("he1", ratio))),
                "squared cosine for a linear target at n = d by (2.1)",
            ),
        }
    )


def _alignment(data: xr.Dataset) -> xr.DataArray:
    """Squared cosine with the teacher, mean over independent neurons, one value per run."""
    cosine = gradient_cosine(first_of_pairs(data)).sel(step=1, drop=True)
    return plane_cosine_squared(cosine).mean("neuron")


def _theory(measured: xr.DataArray, dim: str, exponents: np.ndarray) -> xr.DataArray:
    """Theory over activation, target, dimension and batch exponent."""
    names = ["activation", "target", "dimension"]
    coords = {name: measured[name].values for name in names} | {dim: exponents}
    values = np.empty([len(v) for v in coords.values()])
    for i, activation in enumerate(coords["activation"]):
        for j, target in enumerate(coords["target"]):
            leap = theory.leap_index(str(target))
            for k, d in enumerate(coords["dimension"]):
                n = d ** np.asarray(exponents, dtype=float)
                if leap == 1:
                    values[i, j, k] = theory.alignment_leap1(str(target), n / d, str(activation))
                else:
                    values[i, j, k] = theory.alignment_refined(leap, d, n, str(activation))
    return xr.DataArray(values, dims=list(coords), coords=coords)
