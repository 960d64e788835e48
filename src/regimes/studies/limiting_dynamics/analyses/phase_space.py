"""Linear regression in phase space: paths of the first mode and their theory (figure 2)."""

from __future__ import annotations

import xarray as xr

from regimes.fit.grids import by_setting
from regimes.studies.limiting_dynamics.linear_paths import (
    TEXTS,
    about_minimum,
    bands,
    mean_paths,
    relative_rms,
)
from regimes.studies.limiting_dynamics.long_names import described

REGIMES = {"linreg_phase_space": "low_noise", "linreg_phase_space_additive": "additive"}


def analyse(experiments: dict[str, xr.Dataset]) -> xr.Dataset:
    """Paths of the mode of largest eigenvalue, their continuous and exact means, and 95 % bands.

    Parameters
    ----------
    experiments
        ``linreg_phase_space`` and, where it is run, ``linreg_phase_space_additive``.

    Returns
    -------
    xr.Dataset
        Over (regime, momentum, seed) and ``step``; regimes are ``low_noise`` and ``additive``
        (a residual so large that the noise hardly depends on the position). Every run has its own
        theory, with its eigenvalue, start point and residual variance.
    """
    found = {
        name: regime_paths(experiments[key]) for key, name in REGIMES.items() if key in experiments
    }
    joined = xr.concat(list(found.values()), dim="regime", join="outer", coords="minimal")
    joined = joined.assign_coords(regime=list(found))
    texts = TEXTS | {"regime": "low noise or additive noise"}
    return described(joined, texts)


def regime_paths(data: xr.Dataset) -> xr.Dataset:
    """Paths and theory of one experiment over (momentum, seed, step); variables as in `TEXTS`."""
    path = about_minimum(data)
    means = mean_paths(path)
    merged = xr.merge([path, means, bands(path, means, data["residual_variance"])])
    distance = abs(merged["position"] - merged["continuous_position"])
    inside = (distance <= merged["band_position"]).astype(float)
    # Both are exact at step 0, which says nothing about the band; a lost run has no coverage.
    after = (inside.where(merged["position"].notnull())).sel(step=merged["step"] >= 1)
    merged["covered"] = after.mean("step", skipna=False)
    merged["single_error"] = relative_rms(merged["position"], merged["continuous_position"])
    along = [name for name in merged.data_vars if "step" in merged[name].dims]
    # Single precision shows no difference and halves the file.
    merged = merged.assign({name: merged[name].astype("float32") for name in along})
    return by_setting(merged.reset_coords("eta"), ["momentum", "seed"])
