"""Displacements over sweeps of learning rate, batch size and momentum, one at a time (figure 7).

The three sweeps share a default setting. Their variables carry the name of the swept setting at
the end, such as ``exponent_eta`` over (eta, seed).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import xarray as xr

from regimes.studies.limiting_dynamics import displacement_curves as curves
from regimes.studies.limiting_dynamics.exponents import fit_window
from regimes.studies.limiting_dynamics.long_names import gathered

SWEPT = ("eta", "batch_size", "momentum")
# Levels are averaged and exponents fitted on the second half, the paper's second epoch (3, 4).
SECOND_EPOCH = 0.5


def sweeps(
    experiments: Mapping[str, xr.Dataset], geometry: xr.Dataset | None, after_transient: bool = True
) -> xr.Dataset:
    """Levels and exponents of three sweeps.

    Parameters
    ----------
    experiments
        Runs of each sweep by the setting that is swept: eta, batch_size, momentum.
    geometry
        Start points with ``noise_trace``, if it was measured.
    after_transient
        Whether the second half of a run is cut where the transient from rest, 5 / (1 - beta)
        steps, reaches into it.

    Returns
    -------
    xr.Dataset
        For each swept setting over (setting, seed): ``local_mean``, ``level_theory``,
        ``level_ratio``, ``test_loss`` (last recorded), ``diverges`` and the exponents of
        `displacement_curves.fits`, names ending in the setting. Over (setting, seed) as well
        ``calibrated``, the level over eta^2 / (S (1 - beta^2)) times the constant of the run at
        the default. Scalars ``default_eta``, ``default_batch_size``, ``default_momentum`` and
        ``model``; ``calibration`` over seed.
    """
    default = default_setting(experiments)
    grids = {
        name: curves.gridded(_read(data, geometry, after_transient), [name, "seed"])
        for name, data in experiments.items()
    }
    constant = _calibration(grids, default)
    result = {
        f"default_{name}": (xr.DataArray(value), f"default {name.replace('_', ' ')}")
        for name, value in default.items()
    }
    result["calibration"] = (
        constant,
        "squared local displacement of the default run over eta^2 / (S (1 - beta^2))",
    )
    models = {str(model) for data in experiments.values() for model in data["model"].values}
    result["model"] = (xr.DataArray(" ".join(sorted(models))), "network")
    for name, grid in grids.items():
        grid["calibrated"] = grid["local_mean"] / (grid["law"] * constant)
        text = "mean squared local displacement over the law calibrated on the default"
        grid["calibrated"].attrs["long_name"] = text
        result |= {
            f"{n}_{name}": (values, f"{values.attrs['long_name']}; sweep of {name}")
            for n, values in grid.data_vars.items()
        }
    return gathered(result)


def _read(
    data: xr.Dataset, geometry: xr.Dataset | None, after_transient: bool
) -> dict[str, tuple[xr.DataArray, str]]:
    """Levels, exponents and test losses of the runs of one sweep."""
    diverges = (data["diverged_at"] >= 0).astype(float)
    data = curves.surviving(data)
    local, globally = data["local_displacement"], data["global_displacement"]
    length = curves.last_step(globally)
    low, high = SECOND_EPOCH * length, length
    if after_transient:
        low, high = fit_window(length, data["momentum"], SECOND_EPOCH)
    mean = curves.mean_between(local, low, high)
    law = curves.level_theory(data, xr.DataArray(np.ones(data.sizes["run"]), dims="run"))
    theory = law * curves.noise_trace(data, geometry)
    return {
        "local_mean": (mean, "mean squared local displacement of the second half of the run"),
        "law": (law, "eta^2 / (S (1 - beta^2))"),
        "level_theory": (theory, "eta^2 tr(Sigma) / (S (1 - beta^2)) with measured tr(Sigma)"),
        "level_ratio": (mean / theory, "mean squared local displacement over theory"),
        "test_loss": (curves.last_value(data, "test_loss"), "test loss at the end"),
        "diverges": (diverges, "1 if the run diverged, 0 if not"),
        **curves.fits(globally, low, high),
    }


def default_setting(experiments: Mapping[str, xr.Dataset]) -> dict[str, float]:
    """Default eta, batch size and momentum: each is constant in the sweeps of the others.

    Raises
    ------
    ValueError
        If it is not.
    """
    default = {}
    for name in SWEPT:
        others = [data[name].values for key, data in experiments.items() if key != name]
        values = np.unique(np.concatenate(others).astype(float))
        if len(values) != 1:
            raise ValueError(f"the sweeps of other settings hold {name} at {values.tolist()}")
        default[name] = float(values[0])
    return default


def _calibration(grids: Mapping[str, xr.Dataset], default: Mapping[str, float]) -> xr.DataArray:
    """Constant of the law per seed, from the run nearest to the default in any sweep.

    The paper's grids do not all contain the default itself; its neighbours follow the same law.
    """
    distances = {
        name: np.abs(np.log(_scale(name, grid[name].values) / _scale(name, default[name])))
        for name, grid in grids.items()
    }
    known = {
        name: np.where(grid["local_mean"].notnull().any("seed").values, distances[name], np.inf)
        for name, grid in grids.items()
    }
    nearest = min(known, key=lambda name: known[name].min())
    cell = grids[nearest].isel({nearest: int(known[nearest].argmin())}, drop=True)
    return cell["local_mean"] / cell["law"]


def _scale(name: str, values):
    """What the law depends on: 1 - beta^2 for momentum, the setting itself otherwise."""
    values = np.asarray(values, dtype=float)
    return 1 - values**2 if name == "momentum" else values
