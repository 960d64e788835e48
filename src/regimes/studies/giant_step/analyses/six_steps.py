"""Six giant steps in the teacher plane, two targets (Figs. A.3 and A.4)."""

from __future__ import annotations

import numpy as np
import xarray as xr

from regimes.fit.grids import by_setting
from regimes.store import join_runs
from regimes.studies.giant_step import theory
from regimes.studies.giant_step.plane import collected, common, gradient_cosine

# Neurons that the published panels show: the first 20 have positive, the next 20 negative
# read-out weights.
SHOWN = 40


def analyse(experiments: dict[str, xr.Dataset]) -> xr.Dataset:
    """Gradient cosines of the shown neurons for every seed, row norms, theory line.

    Parameters
    ----------
    experiments
        ``plane_six_steps_example1`` and ``plane_six_steps_example2``.
    """
    data = join_runs([experiments[name] for name in sorted(experiments)])
    statistics = xr.Dataset(
        {
            "cosine": gradient_cosine(data.isel(neuron=slice(0, SHOWN))),
            "weight": data["readout_weight"].isel(neuron=slice(0, SHOWN)),
            "norm": data["w_norm"].astype(float).mean("neuron"),
        }
    )
    dense = by_setting(statistics, ["target", "seed"])
    dense = dense.assign_coords(direction=[1, 2], neuron=np.arange(dense.sizes["neuron"]))
    ratio = common(data, "batch_size") / common(data, "dimension")
    linear = {str(t): theory.hermite_tensor(str(t), 1) for t in dense["target"].values}

    def each(values) -> xr.DataArray:
        return xr.DataArray(values, dims="target", coords={"target": list(linear)})

    return collected(
        {
            "gradient_cosine": (
                dense["cosine"].isel(step=slice(1, None)),
                "cosines of gradients with the teachers, first forty neurons",
            ),
            "readout_sign": (np.sign(dense["weight"]), "sign of the read-out weight"),
            "row_norm": (dense["norm"], "norm of the rows of W, mean over all neurons"),
            "linear_slope": (
                each([c[1] / c[0] for c in linear.values()]),
                "slope of the linear part of the target in the teacher plane",
            ),
            "plane_cosine_theory": (
                each([np.sqrt(theory.alignment_leap1(t, ratio)) for t in linear]),
                "length of the first gradient in the teacher plane by (2.1)",
            ),
            "dimension": (xr.DataArray(float(common(data, "dimension"))), "input dimension d"),
        }
    )
