"""Gradients of two steps in the teacher plane, two targets (Fig. A.1, bottom)."""

from __future__ import annotations

import numpy as np
import xarray as xr

from regimes.fit.grids import by_setting
from regimes.studies.giant_step import theory
from regimes.studies.giant_step.plane import (
    cluster_mean,
    collected,
    common,
    first_of_pairs,
    gradient_cosine,
    on_axis,
    runs_of_seed,
    scales,
    teacher_axes,
)


def analyse(experiments: dict[str, xr.Dataset]) -> xr.Dataset:
    """Cluster means of gradients at both steps, one seed's scatter, the lines of (2.3).

    Parameters
    ----------
    experiments
        ``plane_two_steps``.
    """
    data = experiments["plane_two_steps"]
    kept = first_of_pairs(data)
    cosine = gradient_cosine(kept).isel(step=slice(1, None))
    clusters = cluster_mean(teacher_axes(cosine), kept["readout_weight"])
    clusters = by_setting(xr.Dataset({"cosine": clusters}), ["target", "seed"])
    shown = runs_of_seed(xr.Dataset({"cosine": cosine, "weight": kept["readout_weight"]}))
    scatter = by_setting(shown, ["target"])
    scatter = scatter.assign_coords(direction=[1, 2], neuron=np.arange(scatter.sizes["neuron"]))
    ratio, scale = scales(data)
    # The network's own output in the residual; left out; left out at infinite n/d (published).
    models = {
        "output": (ratio, True),
        "labels": (ratio, False),
        "published": (np.inf, False),
    }
    pairs = [
        on_axis(theory.second_step("minus", batch, scale, output))
        for batch, output in models.values()
    ]
    lines = xr.concat(pairs, dim="model").assign_coords(model=list(models))
    u, s = (lines.sel(axis=axis, drop=True) for axis in ("u", "s"))
    return collected(
        {
            "cluster_cosine": (
                clusters["cosine"],
                "cosines of gradients with v* (u), v_perp (s), mean over neurons per read-out sign",
            ),
            "gradient_cosine": (
                scatter["cosine"],
                "cosines of gradients with the teachers, seed 0, first half of the neurons",
            ),
            "readout_sign": (np.sign(scatter["weight"]), "sign of the read-out weight, seed 0"),
            "second_step_theory": (lines, "step-2 components p <g, v> of target minus by (2.3)"),
            "second_step_slope": (
                (u - s) / (u + s),
                "step-2 line cos2/cos1 of the positive cluster of target minus by (2.3)",
            ),
            "dimension": (xr.DataArray(float(common(data, "dimension"))), "input dimension d"),
        }
    )
