"""Exponents of the MLP's boundaries for Table 1, in all windows of the claims."""

from __future__ import annotations

import numpy as np
import xarray as xr

from regimes.studies.feature_strength.boundaries import (
    GAMMA,
    WINDOWS,
    boundaries,
    cells,
    described,
    fits,
    measured_edges,
)


def analyse(experiments: dict[str, xr.Dataset]) -> xr.Dataset:
    """Power laws through the boundaries, averaged over seeds.

    Parameters
    ----------
    experiments
        ``portrait_mlp_mse`` and ``portrait_mlp_xent``.

    Returns
    -------
    xr.Dataset
        ``slope`` with its 95 % interval, ``intercept``, ``points`` over window of the fit,
        boundary, loss and depth; ``window``; ``mean_edge``, the values fitted; ``time_slope``,
        exponent of T of opt_min from two budgets, T/4 and T, over window, loss and depth.
    """
    found = boundaries(cells(experiments.values(), ["loss", "depth"]))
    result = fits(found)
    result["mean_edge"] = measured_edges(found).mean("seed")
    result["mean_edge"].attrs = {
        "long_name": "log10 learning rate of the boundary, mean over seeds",
        "units": "1",
    }
    result["time_slope"] = time_slope(found)
    return described(result)


def time_slope(found: xr.Dataset) -> xr.DataArray:
    """Exponent of T of the lower edge, mean over feature strengths of each window."""
    change = (found["edge_early"] - measured_edges(found)).sel(boundary="opt_min", drop=True)
    rate = -change.mean("seed") / np.log10(4)
    each = [rate.sel({GAMMA: slice(low - 1e-6, high + 1e-6)}).mean(GAMMA)
            for low, high in WINDOWS.values()]  # fmt: skip
    result = xr.concat(each, dim="fit_window").assign_coords(fit_window=list(WINDOWS))
    result.attrs = {"long_name": "exponent of T of opt_min, from T/4 and T", "units": "1"}
    return result
