"""Overlap of untrained rows with a teacher direction (table 1, section 2.9)."""

from __future__ import annotations

import xarray as xr

from regimes.fit.grids import by_setting
from regimes.studies.giant_step import theory
from regimes.studies.giant_step.plane import collected


def analyse(experiments: dict[str, xr.Dataset]) -> xr.Dataset:
    """Mean |<w, w*>| over rows, and sqrt(2/(pi d)).

    Parameters
    ----------
    experiments
        ``initial_overlap``.
    """
    data = experiments["initial_overlap"]
    dot = data["w_dot_teacher"].isel(step=0, direction=0, drop=True).astype(float)
    measured = by_setting(
        xr.Dataset({"overlap": abs(dot).mean("neuron")}), ["rows", "dimension", "seed"]
    )
    dimension = measured["dimension"]
    return collected(
        {
            "overlap": (measured["overlap"], "mean |<w, w*>| over untrained rows"),
            "overlap_theory": (
                xr.DataArray(
                    theory.random_overlap(dimension.values),
                    dims="dimension",
                    coords={"dimension": dimension},
                ),
                "sqrt(2/(pi d))",
            ),
        }
    )
