"""Plateaus of the vision transformer, and its frozen representation when lazy (appendix A4)."""

from __future__ import annotations

import xarray as xr

from regimes.studies.feature_strength.analyses.loss_curves import candidates, describe, tuned
from regimes.studies.feature_strength.trajectories import (
    at_last_step,
    described,
    last_layer,
    with_losses,
)


def analyse(experiments: dict[str, xr.Dataset]) -> xr.Dataset:
    """Loss curves at the tuned learning rate, and how far the last kernel moves at every rate.

    Parameters
    ----------
    experiments
        ``plateau_vit``; per gamma the rate with the smallest final loss (mean over seeds) is
        drawn and timed.

    Returns
    -------
    xr.Dataset
        As `regimes.studies.feature_strength.analyses.loss_curves.describe`; over all rates tried
        (dimension ``candidate``) ``kernel_change`` and ``peak_ratio``. A rate counts as
        below eta_crit where ``peak_ratio`` is below 1.3 (specification, section 2.5).
    """
    data = candidates(with_losses(experiments["plateau_vit"]))
    result = describe(tuned(data))
    similarity = last_layer(data["cka_initial"])
    end = at_last_step(similarity, data["steps"], "kernel_step")
    every_rate = described(
        {
            "kernel_change": (
                1 - end,
                "1 - CKA between initial and final kernel of the last hidden layer",
            ),
            "peak_ratio": (
                data["peak_loss"] / data["initial_loss"],
                "largest / initial online loss",
            ),
            "eta_tried": (data["eta"], "learning rate eta of each candidate"),
        }
    )
    return result.merge(every_rate)
