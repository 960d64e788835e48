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
from regimes.studies.limiting_dynamics.long_names import gathered
from regimes.studies.limiting_dynamics.start_points import of_same_network

SAMPLES = 200  # samples of a curve drawn on a linear axis of steps, as in the paper's figure 1
AVERAGE = 15  # of these samples are averaged for the smooth line
PER_DECADE = 40  # samples per decade of a curve drawn on a logarithmic axis of steps
INCREMENT = 50  # steps between values whose growth is counted


def gridded(variables: dict[str, tuple[xr.DataArray, str]], names: Sequence[str]) -> xr.Dataset:
    """Variables with their long names and one dimension per named setting in place of ``run``.

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
    dense = by_setting(gathered(kept), names)
    return gathered({name: (dense[name], text) for name, text in texts.items()})


def surviving(data: xr.Dataset) -> xr.Dataset:
    """Replace trajectories of runs that diverged by NaN: part of a run has no exponent."""
    alive = data["diverged_at"] < 0
    names = [n for n, v in data.data_vars.items() if "run" in v.dims and v.dtype.kind == "f"]
    return data.assign({name: data[name].where(alive) for name in names})


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
        values = geometry["noise_trace"].values.astype(float)
        used = of_same_network(data, geometry) & np.isfinite(values)
        known = used.any(axis=1)
        total = np.where(used, values, 0).sum(axis=1)
        trace[known] = total[known] / used.sum(axis=1)[known]
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

    Between successive multiples of ``every`` from the first one to the last of the run. NaN
    unless all of them were recorded: the share depends on the length of the increments, and a
    cadence that coarsens would leave the early ones alone.
    """
    chosen = displacement.isel(step=np.flatnonzero(displacement["step"].values % every == 0))
    gap = xr.DataArray(np.diff(chosen["step"].values), dims="step")
    change = chosen.diff("step")
    counted = (change.notnull() & (gap == every)).sum("step")
    wanted = last_step(displacement) // every - 1
    return ((change > 0).sum("step") / counted).where((counted > 0) & (counted == wanted))


def sampled(values: xr.DataArray, count: int = SAMPLES) -> xr.DataArray:
    """At most ``count`` evenly spaced recorded steps, the last one included, on ``sample_step``."""
    last = float(values["step"][-1])
    wanted = np.linspace(last / count, last, count)
    return values.isel(step=_nearest(values["step"].values, wanted)).rename(step="sample_step")


def local_curves(local: xr.DataArray) -> dict[str, tuple[xr.DataArray, str]]:
    """Samples of squared local displacements and their centred mean over `AVERAGE` samples.

    The mean is NaN where its window is not full.
    """
    samples = sampled(local)
    return {
        "local_samples": (samples, "squared local displacement, evenly spaced samples"),
        "local_average": (
            samples.rolling(sample_step=AVERAGE, center=True).mean(),
            f"squared local displacement, centred mean over {AVERAGE} samples",
        ),
    }


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
    """Exponents of global displacements with the window, for `gridded`.

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
