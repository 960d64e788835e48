"""Silent alignment: kernels turn towards the labels while the loss is still on its plateau."""

from __future__ import annotations

import numpy as np
import xarray as xr

from regimes.fit.grids import by_setting
from regimes.studies.feature_strength.plateaus import FRACTION, plateau_end
from regimes.studies.feature_strength.trajectories import (
    at_step,
    described,
    first_above,
    largest_between,
    online_loss,
    smoothing,
)

GRID = ["log10_gamma", "seed"]
ALIGNED = 1.25  # alignment has begun above this multiple of the initial CKA
AFTER = 3.0  # the drop is over by this multiple of the end of the plateau


def alignment_variables(data: xr.Dataset) -> xr.Dataset:
    """Loss, alignment and sharpness over time and the order in which they move.

    Alignment and sharpness at steps between those of their schedules are interpolated linearly.

    Parameters
    ----------
    data
        Runs with ``cka_label`` and ``sharpness``; ``tangent_cka_label`` if it was measured.

    Returns
    -------
    xr.Dataset
        Over (log10_gamma, seed): variables as described in their ``long_name``.
    """
    loss = online_loss(data)
    end = plateau_end(loss, data["initial_loss"], half=smoothing(loss))
    cka = data["cka_label"]
    start = at_step(cka, "kernel_step", 0.0)
    last = start["layer"].max()
    begun = first_above(
        cka.sel(layer=last, drop=True),
        ALIGNED * start.sel(layer=last, drop=True),
        "kernel_step",
    )
    edge = data["sharpness"] * data["width"] * data["eta"] / 2
    part = xr.Dataset(
        {
            "relative_loss": (loss / data["initial_loss"]).astype(np.float32),
            "cka": cka,
            "sharpness": edge,
            "plateau_end": end,
            "cka_start": start,
            "cka_plateau_end": at_step(cka, "kernel_step", end),
            "aligned_at": begun,
            "edge_after_drop": largest_between(edge, "sharpness_step", end, AFTER * end),
            "diverges": (data["diverged_at"] >= 0).astype(float),
        }
    )
    if "tangent_cka_label" in data:
        part["tangent_cka"] = data["tangent_cka_label"]
    dense = by_setting(part, GRID)
    dense["order"] = dense["aligned_at"] / dense["plateau_end"]
    texts = {
        "relative_loss": "online loss divided by its initial value",
        "cka": "CKA of the hidden-layer kernels with the label kernel",
        "tangent_cka": "CKA of the tangent kernel with the label kernel",
        "sharpness": "normalised sharpness lambda_1 N eta / 2",
        "plateau_end": f"first step with smoothed online loss below {FRACTION} of the initial one",
        "cka_start": "CKA with the label kernel at step 0",
        "cka_plateau_end": "CKA with the label kernel at the end of the plateau, interpolated",
        "aligned_at": f"step at which the CKA of the last hidden layer exceeds {ALIGNED} times its"
        " initial value, interpolated; infinite if it never does",
        "order": "begin of alignment divided by end of the plateau",
        "edge_after_drop": "largest lambda_1 N eta / 2 from the end of the plateau to "
        f"{AFTER:g} times it",
        "diverges": "1 if the run diverged, 0 if not",
    }
    return described({name: (dense[name], texts[name]) for name in texts if name in dense})
