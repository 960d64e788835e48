"""Final train loss of K-FAC against damping at several widths, and the best damping at each."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import xarray as xr

from regimes.store import described
from regimes.studies.second_order_mup.transfer import (
    optima,
    outcomes,
    rounded_logarithm,
    setup,
    texts,
)

EXPERIMENT = "damping_transfer"
RULES = ("heuristic", "rescaled")
DAMPING = "log10_damping"


def analyse(experiments: Mapping[str, xr.Dataset]) -> xr.Dataset:
    """Outcomes on the grids of dampings and their optima.

    Parameters
    ----------
    experiments
        ``damping_transfer``, if it was run at this scale.

    Returns
    -------
    xr.Dataset
        Over (damping_rule, width, log10_damping, seed) and less, see `transfer.outcomes` and
        `transfer.optima`. Both rules are there, each NaN outside its own grid; their dampings are
        different quantities: rho of the heuristic, rho' relative to the trace of the factor.
        ``setup`` says what was trained, empty if nothing was.
    """
    found = _outcomes(experiments).reindex(damping_rule=list(RULES))
    names = texts(DAMPING, "damping") | {"damping_rule": "rule that sets the damping"}
    return described(found.merge(optima(found, DAMPING, 10)), names)


def _outcomes(experiments: Mapping[str, xr.Dataset]) -> xr.Dataset:
    """Outcomes of the runs, or one unknown cell."""
    dims = ("damping_rule", "width", DAMPING, "seed")
    if EXPERIMENT in experiments:
        runs = experiments[EXPERIMENT]
        chosen = np.isin(runs["damping_rule"].values.astype(str), RULES)
        runs = runs.isel(run=np.flatnonzero(chosen))
        if runs.sizes["run"]:
            runs = runs.assign_coords({DAMPING: rounded_logarithm(runs["damping"], 10)})
            return outcomes(runs, dims).assign_coords(setup=setup(runs))
    coords = {"damping_rule": ["rescaled"], "width": [1.0], DAMPING: [0.0], "seed": [0.0]}
    coords["setup"] = ""
    empty = xr.DataArray(np.full((1,) * len(dims), np.nan), coords, dims)
    return xr.Dataset({n: empty for n in ("train_loss", "test_accuracy", "initial_loss")})
