"""Silent alignment of the MLP at large feature strength (Figs. 4b, A2)."""

from __future__ import annotations

import xarray as xr

from regimes.studies.feature_strength.silent_alignment import alignment_variables


def analyse(experiments: dict[str, xr.Dataset]) -> xr.Dataset:
    """Loss, alignment and sharpness over steps, and their order, per gamma and seed.

    Parameters
    ----------
    experiments
        ``alignment_mlp``.
    """
    return alignment_variables(experiments["alignment_mlp"])
