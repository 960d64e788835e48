"""Singular values of the first gradient: one spike and a bulk (section 2.5e)."""

from __future__ import annotations

import numpy as np
import xarray as xr

from regimes.fit.grids import by_setting
from regimes.studies.giant_step import theory
from regimes.studies.giant_step.plane import collected, common, runs_of_seed

SETTINGS = ["dimension", "width", "batch_size"]


def analyse(experiments: dict[str, xr.Dataset]) -> xr.Dataset:
    """Rescaled singular values p s / sqrt(p/2), overlaps of the spike, and theory.

    Parameters
    ----------
    experiments
        ``spike_spectrum``; each batch factor n/d stands for one setting (d, n, p).
    """
    data = experiments["spike_spectrum"]
    target = str(common(data, "target"))
    linear = theory.hermite_tensor(target, 1)
    axis = xr.DataArray(linear / np.linalg.norm(linear), dims="direction")
    rescaled = data["g_singular_values"] * data["width"] / np.sqrt(data["width"] // 2)
    statistics = xr.Dataset(
        {
            "first": rescaled.isel(singular_value=0, drop=True),
            "second": rescaled.isel(singular_value=1, drop=True),
            "overlap": abs((data["right_dot_teacher"] * axis).sum("direction")),
            "spike_cosine": data["spike_right_cosine"],
        }
    )
    dense = by_setting(statistics, ["batch_factor", "seed"])
    shown = runs_of_seed(xr.Dataset({"values": rescaled}).reset_coords(SETTINGS))
    shown = by_setting(shown, ["batch_factor"])
    shown = shown.assign_coords(singular_value=np.arange(1, shown.sizes["singular_value"] + 1))
    factors = dense["batch_factor"]

    def each(values) -> xr.DataArray:
        return xr.DataArray(values, dims="batch_factor", coords={"batch_factor": factors})

    return collected(
        {
            "first_value": (dense["first"], "largest singular value p s1 / sqrt(p/2)"),
            "second_value": (dense["second"], "second singular value p s2 / sqrt(p/2)"),
            "overlap": (dense["overlap"], "|cosine| of the top right singular vector with v*"),
            "spike_cosine": (
                dense["spike_cosine"],
                "|cosine| of the top right singular vector with the label-weighted mean input",
            ),
            "singular_values": (shown["values"], "singular values p s / sqrt(p/2), seed 0"),
            "first_value_theory": (
                each(theory.spike_singular_value(target, factors.values)),
                "largest singular value by (2.5e)",
            ),
            "overlap_theory": (
                each(theory.spike_overlap(target, factors.values)),
                "|cosine| of the spike direction with v* by (2.5e)",
            ),
            "dimension": (shown["dimension"], "input dimension d"),
            "width": (shown["width"], "number of neurons p"),
            "batch_size": (shown["batch_size"], "samples n"),
        }
    )
