"""Reading displacements off runs: what survives, levels, halves, thinned curves for drawing.

Everything works on all runs at once. Steps k = 1..K are recorded at each step or at a cadence;
runs that end earlier, and runs that diverge, carry NaN.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
import xarray as xr

from regimes.fit.grids import by_setting
from regimes.studies.limiting_dynamics import theory
from regimes.studies.limiting_dynamics.exponents import fit_line

SAMPLES = 200  # samples of a curve drawn on a linear axis of steps, as in the paper's figure 1
AVERAGE = 15  # of these samples are averaged for the smooth line
PER_DECADE = 40  # samples per decade of a curve drawn on a logarithmic axis of steps
INCREMENT = 50  # steps between values whose growth is counted
NET = ("model", "hidden", "activation", "data", "width")  # coordinates that tell networks apart


def described(variables: dict[str, tuple[xr.DataArray, str]]) -> xr.Dataset:
    """Dataset of (values, long name) pairs; everything here is without dimension."""
    data = xr.Dataset({name: values for name, (values, _) in variables.items()})
    for name, (_, long_name) in variables.items():
        data[name].attrs = {"long_name": long_name, "units": "1"}
    for name in data.coords:
        data[name].attrs.setdefault("long_name", str(name).replace("_", " "))
        data[name].attrs.setdefault("units", "1")
    return data


def gridded(variables: dict[str, tuple[xr.DataArray, str]], names: Sequence[str]) -> xr.Dataset:
    """Described variables with one dimension per named setting in place of ``run``.

    Other settings are dropped first: they may bear the name of a variable.
    """
    others = {
        name: [c for c in values.coords if values[c].dims == ("run",) and c not in names]
        for name, (values, _) in variables.items()
    }
    kept = {
        name: (values.drop_vars(others[name]), text) for name, (values, text) in variables.items()
    }
    texts = {name: text for name, (_, text) in variables.items()}
    dense = by_setting(described(kept), names)
    return described({name: (dense[name], text) for name, text in texts.items()})


def surviving(data: xr.Dataset) -> xr.Dataset:
    """Replace trajectories of runs that diverged by NaN: part of a run has no exponent."""
    alive = data["diverged_at"] < 0
    names = [n for n, v in data.data_vars.items() if "run" in v.dims and v.dtype.kind == "f"]
    return data.assign({name: data[name].where(alive) for name in names})


def net_names(data: xr.Dataset, names: Sequence[str] = NET) -> np.ndarray:
    """Text per run that tells networks apart: the model and its width, as far as recorded."""
    parts = [_texts(data[name].values) for name in names if name in data.coords]
    return np.array([" ".join(texts) for texts in zip(*parts, strict=True)])


def _texts(values: np.ndarray) -> list[str]:
    numeric = values.dtype.kind in "biuf"
    return [f"{float(value):g}" if numeric else str(value) for value in np.atleast_1d(values)]


def noise_trace(data: xr.Dataset, geometry: xr.Dataset | None) -> xr.DataArray:
    """tr(Sigma) at the start point of each run: mean over geometries of the same network.

    Parameters
    ----------
    data
        Runs, of whose network the geometry is looked up.
    geometry
        With ``noise_trace`` (run,); None where it was not measured.

    Returns
    -------
    xr.DataArray
        (run,), NaN where the trace of a network is not known.
    """
    trace = np.full(data.sizes["run"], np.nan)
    if geometry is not None:
        common = [name for name in NET if name in data.coords and name in geometry.coords]
        names, known = net_names(data, common), net_names(geometry, common)
        values = geometry["noise_trace"].values.astype(float)
        for net in np.unique(known[np.isfinite(values)]):
            trace[names == net] = np.nanmean(values[known == net])
    return xr.DataArray(trace, dims="run")


def level_theory(data: xr.Dataset, trace: xr.DataArray) -> xr.DataArray:
    """Stationary squared local displacement eta^2 tr(Sigma) / (S (1 - beta^2)) of each run."""
    settings = (data[name].astype(float) for name in ("eta", "momentum", "batch_size"))
    return xr.apply_ufunc(theory.local_displacement, trace, *settings)


def last_value(data: xr.Dataset, name: str) -> xr.DataArray:
    """Last recorded value (run,) of a performance measure; NaN where it was not recorded."""
    if name not in data:
        return xr.DataArray(np.full(data.sizes["run"], np.nan), dims="run")
    values = data[name]
    step = values["evaluation_step"].where(values.notnull())
    return values.where(step == step.max("evaluation_step")).max("evaluation_step")


def last_step(values: xr.DataArray) -> xr.DataArray:
    """Last recorded step of each run; NaN where nothing was recorded."""
    return values["step"].where(values.notnull()).max("step").astype(float)


def mean_between(
    values: xr.DataArray, low: xr.DataArray | float, high: xr.DataArray | float
) -> xr.DataArray:
    """Mean over recorded steps in (low, high]; NaN where there are none."""
    step = values["step"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return values.where((step > low) & (step <= high)).mean("step")


def half_ratio(values: xr.DataArray, low: xr.DataArray, high: xr.DataArray) -> xr.DataArray:
    """Mean over the first half of the steps from low to high over that of the second half."""
    middle = (low + high) / 2
    return mean_between(values, low, middle) / mean_between(values, middle, high)


def rising_share(displacement: xr.DataArray, every: int = INCREMENT) -> xr.DataArray:
    """Share of consecutive increments over ``every`` steps that are positive.

    Counted between recorded multiples of ``every``, so that a coarser cadence has longer
    increments; NaN where there are none.
    """
    chosen = displacement.isel(step=np.flatnonzero(displacement["step"].values % every == 0))
    change = chosen.diff("step")
    known = change.notnull()
    counted = known.sum("step")
    return (change > 0).sum("step") / counted.where(counted > 0)


def sampled(values: xr.DataArray, count: int = SAMPLES) -> xr.DataArray:
    """At most ``count`` evenly spaced recorded steps, the last one included, on ``sample_step``."""
    last = float(values["step"][-1])
    wanted = np.linspace(last / count, last, count)
    return values.isel(step=_nearest(values["step"].values, wanted)).rename(step="sample_step")


def moving_average(values: xr.DataArray, dim: str, window: int = AVERAGE) -> xr.DataArray:
    """Centred mean over ``window`` samples; NaN where the window is not full."""
    return values.rolling({dim: window}, center=True).mean()


def log_sampled(values: xr.DataArray, per_decade: int = PER_DECADE) -> xr.DataArray:
    """Recorded steps nearest to log-spaced ones, first and last included, on ``log_step``.

    All of the first steps are kept, since they lie further apart than the spacing.
    """
    step = values["step"].values.astype(float)
    first, last = max(step[0], 1.0), step[-1]
    count = int(np.ceil(per_decade * np.log10(last / first))) + 1 if last > first else 1
    wanted = np.geomspace(first, last, count)
    return values.isel(step=_nearest(step, wanted)).rename(step="log_step")


def _nearest(step: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Positions of the recorded steps nearest to wanted ones, each once and increasing."""
    right = np.searchsorted(step, wanted).clip(0, len(step) - 1)
    left = (right - 1).clip(min=0)
    return np.unique(np.where(wanted - step[left] < step[right] - wanted, left, right))


def fits(
    displacement: xr.DataArray, low: xr.DataArray, high: xr.DataArray
) -> dict[str, tuple[xr.DataArray, str]]:
    """Exponents of global displacements with the window, for `described`.

    Returns
    -------
    dict
        ``exponent``, ``intercept`` and ``points`` from all recorded steps, ``exponent_log`` from
        log-spaced ones, ``window_low``, ``window_high``.
    """
    line = fit_line(displacement["step"], displacement, low, high)
    log = fit_line(displacement["step"], displacement, low, high, spacing="log")
    known = displacement.notnull().any("step")
    text = "exponent c of the squared global displacement, "
    return {
        "exponent": (line["slope"], text + "least squares over all recorded steps of the window"),
        "exponent_log": (log["slope"], text + "least squares over log-spaced steps of the window"),
        "intercept": (line["intercept"], "ln of the fitted squared displacement at k = 1"),
        "points": (line["points"].where(known), "recorded steps in the fit, evenly spaced in k"),
        "window_low": (low.where(known), "first step of the fit"),
        "window_high": (high.where(known), "last step of the fit"),
    }
