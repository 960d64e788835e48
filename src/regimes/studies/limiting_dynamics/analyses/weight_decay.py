"""Resuming with large weight decay: what it does to accuracy and step length (not in the paper)."""

from __future__ import annotations

import xarray as xr

from regimes.studies.limiting_dynamics import displacement_curves as curves
from regimes.studies.limiting_dynamics.displacement_cases import PERFORMANCE
from regimes.studies.limiting_dynamics.exponents import fit_window, transient_end

FIT_FROM = 0.5


def analyse(experiments: dict[str, xr.Dataset]) -> xr.Dataset:
    """Performance and displacements after resuming, per weight decay and seed.

    Parameters
    ----------
    experiments
        ``weight_decay_resume``.

    Returns
    -------
    xr.Dataset
        Over (weight_decay, seed): ``half_ratio`` of the squared local displacement, the exponents
        of `displacement_curves.fits`; ``local_samples`` and ``local_average`` over
        ``sample_step``, accuracies and losses over ``evaluation_step``, and ``weight_norm2``
        over ``norm_step`` where it was recorded.
    """
    data = curves.surviving(experiments["weight_decay_resume"])
    local, globally = data["local_displacement"], data["global_displacement"]
    length = curves.last_step(globally)
    low, high = fit_window(length, data["momentum"], FIT_FROM)
    variables = {
        "half_ratio": (
            curves.half_ratio(local, transient_end(data["momentum"]), length),
            "mean squared local displacement, first over second half, without the transient",
        ),
        **curves.local_curves(local),
        **curves.fits(globally, low, high),
        **{name: (data[name], text) for name, text in PERFORMANCE.items() if name in data},
    }
    if "weight_norm2" in data:
        norm = curves.sampled(data["weight_norm2"]).rename(sample_step="norm_step")
        variables["weight_norm2"] = (norm, "squared norm of the weights")
    return curves.gridded(variables, ["weight_decay", "seed"])
