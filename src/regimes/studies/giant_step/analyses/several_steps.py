"""Directions learned over several steps on linear batches (Fig. 2, section 2.6)."""

from __future__ import annotations

import numpy as np
import xarray as xr

from regimes.fit.grids import by_setting
from regimes.store import join_runs
from regimes.studies.giant_step import theory
from regimes.studies.giant_step.plane import (
    cluster_mean,
    collected,
    common,
    first_of_pairs,
    gradient_cosine,
    on_axis,
    row_cosine,
    runs_of_seed,
    scales,
    teacher_axes,
)

# Targets with two directions whose axes are v* and v_perp.
PLANE_TARGETS = ["minus", "plus"]


def analyse(experiments: dict[str, xr.Dataset]) -> xr.Dataset:
    """Row alignment against steps, cluster means of gradients, step-2 components and theory.

    Parameters
    ----------
    experiments
        ``multi_step_targets``, ``multi_step_three_directions``, ``step2_projection`` and
        ``step2_correlation_loss``.
    """
    targets = experiments["multi_step_targets"]
    many = join_runs([targets, experiments["multi_step_three_directions"]])
    rows = row_cosine(many)
    alignment = by_setting(
        xr.Dataset({"row_cos2": (rows**2).mean("neuron")}), ["target", "seed"]
    ).assign_coords(direction=np.arange(1, rows.sizes["direction"] + 1))
    plane = targets.isel(run=np.isin(targets["target"].values, PLANE_TARGETS))
    axes = teacher_axes(row_cosine(plane)) ** 2
    axes = by_setting(xr.Dataset({"cos2": axes.mean("neuron")}), ["target", "seed"])
    axes = axes.rename(target="plane_target")

    kept = first_of_pairs(plane)
    cosine = gradient_cosine(kept)
    clusters = cluster_mean(teacher_axes(cosine), kept["readout_weight"])
    clusters = by_setting(xr.Dataset({"cosine": clusters}), ["target", "seed"])
    clusters = clusters.rename(target="plane_target")
    shown = runs_of_seed(
        xr.Dataset({"cosine": cosine.isel(direction=[0, 1]), "weight": kept["readout_weight"]})
    )
    scatter = by_setting(shown, ["target"]).rename(target="plane_target").isel(step=slice(1, 3))
    scatter = scatter.assign_coords(direction=[1, 2], neuron=np.arange(scatter.sizes["neuron"]))
    labels = first_of_pairs(experiments["step2_correlation_loss"])
    labels_clusters = cluster_mean(teacher_axes(gradient_cosine(labels)), labels["readout_weight"])
    labels_clusters = by_setting(xr.Dataset({"cosine": labels_clusters}), ["seed"])
    projection, projection_theory = _projection(experiments["step2_projection"])
    return collected(
        {
            "row_cos2": (
                alignment["row_cos2"],
                "squared cosine of rows with each teacher direction, mean over neurons",
            ),
            "row_cos2_axes": (
                axes["cos2"],
                "squared cosine of rows with v* (u) and v_perp (s), mean over neurons",
            ),
            "cluster_cosine": (
                clusters["cosine"].isel(step=slice(1, None)),
                "cosines of gradients with v* (u), v_perp (s), mean over neurons per read-out sign",
            ),
            "cluster_cosine_labels": (
                labels_clusters["cosine"].isel(step=slice(1, None)),
                "as cluster_cosine, network output left out of the residual",
            ),
            "gradient_cosine": (
                scatter["cosine"],
                "cosines of gradients with the teachers, seed 0, first half of the neurons",
            ),
            "readout_sign": (np.sign(scatter["weight"]), "sign of the read-out weight, seed 0"),
            "second_step_theory": (
                _second_step(targets),
                "step-2 components p <g, v> by (2.3), positive read-out, with or without output",
            ),
            "projection": (projection, "step-2 components p <g, v> at a large batch"),
            "projection_theory": (projection_theory, "step-2 components p <g, v> by (2.3)"),
            "dimension": (xr.DataArray(float(common(targets, "dimension"))), "input dimension d"),
        }
    )


def _second_step(data: xr.Dataset) -> xr.DataArray:
    """(u, s) of (2.3) for `minus` at the data's n/d and eta/p, with and without the output."""
    pairs = [
        on_axis(theory.second_step("minus", *scales(data), output)) for output in (True, False)
    ]
    return xr.concat(pairs, dim="network_output").assign_coords(network_output=[1, 0])


def _projection(data: xr.Dataset) -> tuple[xr.DataArray, xr.DataArray]:
    """Return p <g, v> of the second step, cluster means, and its theory (cluster, axis)."""
    kept = first_of_pairs(data)
    dot = teacher_axes(kept["g_dot_teacher"].sel(step=2, drop=True).astype(float))
    means = cluster_mean(dot * kept["width"], kept["readout_weight"])
    measured = by_setting(xr.Dataset({"projection": means}), ["seed"])["projection"]
    u, s = (float(v) for v in theory.second_step("minus", *scales(data), True))
    clusters = [on_axis((sign * u, s)) for sign in measured["cluster"].values]
    expected = xr.concat(clusters, dim="cluster").assign_coords(cluster=measured["cluster"])
    return measured, expected
