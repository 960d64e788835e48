"""One step from zero output weights against kernel ridge regression, by width."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import xarray as xr

from regimes.fit.grids import by_setting
from regimes.fit.power_laws import fit_power_law
from regimes.store import described

TEXTS = {
    "width": "width M of the hidden layers",
    "seed": "seed of weights and samples",
    "residual_ratio": "smaller train residual of SGD and Shampoo over that of K-FAC",
    "gap_slope": "slope of log nngp_gap, mean over seeds, on log width",
    "gap_slope_low": "lower end of the 95 % interval of gap_slope",
    "gap_slope_high": "upper end of the 95 % interval of gap_slope",
    "samples": "training samples N",
}


def analyse(experiments: Mapping[str, xr.Dataset]) -> xr.Dataset:
    """Distances to the kernel solutions, train residuals, and their dependence on the width.

    Parameters
    ----------
    experiments
        ``nngp_one_step``.

    Returns
    -------
    xr.Dataset
        Over (width, seed): all variables of the runs, over ``ridge``, ``optimizer`` or ``layer``
        as there, ``samples`` and ``residual_ratio`` (also over ridge). Over ridge: ``gap_slope``
        with its interval, NaN below two widths.
    """
    runs = experiments["nngp_one_step"].reset_coords("samples")
    found = by_setting(runs, ["width", "seed"])
    residual = found["train_residual"]
    others = residual.sel(optimizer=["sgd", "shampoo"]).min("optimizer", skipna=False)
    found["residual_ratio"] = others / residual.sel(optimizer="kfac", drop=True)
    fitted = _slope(found["nngp_gap"].mean("seed"))
    for name, part in (("gap_slope", "slope"), ("gap_slope_low", "slope_low"),
                       ("gap_slope_high", "slope_high")):  # fmt: skip
        found[name] = fitted[part]
    names = {name: found[name].attrs.get("long_name") for name in found.variables}
    return described(found, {name: TEXTS.get(name, text) for name, text in names.items()})


def _slope(gap: xr.DataArray) -> xr.Dataset:
    """Power law of positive values over ``width``."""
    log_width = np.log10(gap["width"].values)
    values = np.log10(gap).assign_coords(width=log_width).rename(width="log10_width")
    return fit_power_law(values, "log10_width", log_width.min(), log_width.max())
