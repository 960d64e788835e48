"""First-step gradients in the teacher plane, with and without a linear part (Fig. 1)."""

from __future__ import annotations

import numpy as np
import xarray as xr

from regimes.fit.grids import by_setting
from regimes.store import join_runs
from regimes.studies.giant_step import theory
from regimes.studies.giant_step.plane import (
    collected,
    concentration,
    first_of_pairs,
    gradient_cosine,
    in_plane_angle,
    plane_cosine_squared,
    runs_of_seed,
)

GRID = ["target", "dimension", "batch"]


def batch_label(factor: float, exponent: float) -> str:
    """Batch size as a power law of the dimension: '4d', 'd^2', '4d^2'."""
    power = "d" if exponent == 1 else f"d^{exponent:g}"
    return power if factor == 1 else f"{factor:g}{power}"


def analyse(experiments: dict[str, xr.Dataset]) -> xr.Dataset:
    """Squared cosine with the plane, concentration R, their theory, and one seed's scatter.

    Parameters
    ----------
    experiments
        ``one_step_plane_plus`` and ``one_step_plane_he2``.
    """
    data = join_runs([experiments[n] for n in sorted(experiments, reverse=True)])
    factor, exponent = data["batch_factor"].values, data["batch_exponent"].values
    order = np.lexsort((factor, exponent))
    data = data.isel(run=order)
    labels = [batch_label(f, e) for f, e in zip(factor[order], exponent[order], strict=True)]
    data = data.assign_coords(batch=("run", labels))

    cosine = gradient_cosine(first_of_pairs(data)).sel(step=1, drop=True)
    statistics = xr.Dataset(
        {
            "plane_cos2": plane_cosine_squared(cosine).mean("neuron"),
            "concentration": concentration(in_plane_angle(cosine)),
        }
    )
    statistics = by_setting(statistics, [*GRID, "seed"])
    expected = xr.Dataset({"theory": ("run", _theory(data))}, coords=data.coords)
    shown = runs_of_seed(expected.assign(cosine=cosine))
    scatter = by_setting(shown, GRID)
    scatter = scatter.assign_coords(neuron=np.arange(scatter.sizes["neuron"]))
    return collected(
        {
            "plane_cos2": (
                statistics["plane_cos2"],
                "squared cosine of first gradients with the teacher plane, mean over neurons",
            ),
            "concentration": (
                statistics["concentration"],
                "concentration R = |mean exp(2 i theta)| of in-plane angles",
            ),
            "plane_cos2_theory": (
                scatter["theory"],
                "squared cosine by theory (2.1), (2.5c) with in-plane noise",
            ),
            "gradient_cosine": (
                scatter["cosine"],
                "cosines of first gradients with the teachers, seed 0, independent neurons",
            ),
        }
    )


def _theory(data: xr.Dataset) -> list[float]:
    """Mean squared cosine of each run: (2.1) with a linear part, else refined (2.5c)."""
    values = []
    for target, d, n in zip(
        data["target"].values, data["dimension"].values, data["batch_size"].values, strict=True
    ):
        if theory.leap_index(str(target)) == 1:
            values.append(float(theory.alignment_leap1(str(target), n / d)))
        else:
            values.append(float(theory.alignment_leap2(d, n, 2, in_plane_noise=True)))
    return values
