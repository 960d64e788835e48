"""Linear regression over learning rate, batch size, momentum and weight decay."""

from __future__ import annotations

import numpy as np
import xarray as xr

from regimes.fit.grids import by_setting
from regimes.studies.limiting_dynamics.linear_paths import (
    SETTINGS,
    TEXTS,
    about_minimum,
    mean_paths,
    relative_rms,
)
from regimes.studies.limiting_dynamics.long_names import described

KEPT = (
    "position",
    "velocity",
    "start",
    "damping",
    "frequency",
    "period",
    "continuous_error",
    "recursion_error",
    "diverges",
)


def analyse(experiments: dict[str, xr.Dataset]) -> xr.Dataset:
    """Path of the first mode, the oscillator's constants and the distance from theory.

    Parameters
    ----------
    experiments
        ``linreg_grid``.

    Returns
    -------
    xr.Dataset
        Over (eta, batch_size, momentum, weight_decay, seed) and ``step``; NaN once a run has
        diverged. Theory curves are drawn from ``start``, ``damping``, ``frequency``.
    """
    data = experiments["linreg_grid"]
    path = about_minimum(data)
    merged = xr.merge([path, mean_paths(path)])
    for kind in ("continuous", "recursion"):
        merged[f"{kind}_error"] = relative_rms(merged["position"], merged[f"{kind}_position"])
    lost = ~np.isfinite(merged["position"]).all("step")
    merged["diverges"] = (lost | (data["diverged_at"] >= 0)).astype(float)
    for name in ("position", "velocity"):
        merged[name] = merged[name].astype("float32")
    texts = TEXTS | {
        "continuous_error": "rms of position minus continuous mean over rms of the mean",
        "recursion_error": "rms of position minus mean of the exact recursion over its rms",
        "diverges": "1 if the run diverged, 0 if not",
    }
    return described(by_setting(merged[list(KEPT)], [*SETTINGS, "seed"]), texts)
