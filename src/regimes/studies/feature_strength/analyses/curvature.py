"""Hessian of the MLP across gamma, depth and training time (figures 3 and A10).

Eigenvalues are those of the loss on fixed points with respect to the raw parameters; the learning
rate of each parameter is N eta, so gradient descent is at the edge of stability where the largest
eigenvalue reaches 2/(N eta) (specification, section 2.5).
"""

from __future__ import annotations

import numpy as np
import xarray as xr

from regimes.fit.grids import by_setting
from regimes.fit.power_laws import fit_power_law
from regimes.studies.feature_strength import plateaus
from regimes.studies.feature_strength.trajectories import (
    at_last_step,
    described,
    smoothing,
    with_losses,
)

LAZY, RICH = (-np.inf, -2.0), (1.0, np.inf)  # windows of log10 gamma for the fits
LEADING = 10  # eigenvalues followed in time: one per class
LARGE = 0.1  # share of the first eigenvalue above which another counts as large


def analyse(experiments: dict[str, xr.Dataset]) -> xr.Dataset:
    """Sharpness, leading spectra and their power laws per depth; from ``hessian_mlp``."""
    return describe(experiments["hessian_mlp"])


def describe(data: xr.Dataset) -> xr.Dataset:
    """Curvature of the runs of one architecture over (depth, log10_gamma, seed).

    Returns
    -------
    xr.Dataset
        ``sharpness_start``, ``sharpness_end`` (largest eigenvalue at step 0 and after the last
        update), ``extreme_start`` (the eigenvalue of largest magnitude at step 0, with its sign),
        ``edge_ratio_end`` (sharpness_end N eta / 2), trajectories ``sharpness``, ``edge_ratio``
        over ``sharpness_step``, ``plateau_end``, ``early_sharpness`` (largest sharpness up to
        half of it), ``peak_ratio`` (largest over initial loss), the fits (``fit_*`` over ``fit``
        and depth); where a spectrum was recorded ``spectrum``, ``spectrum_end`` and what follows
        from these, see `spectral`.
    """
    dense = arranged(data)
    sharpness, scale = dense["sharpness"], dense["width"] * dense["eta"] / 2
    start = sharpness.sel(sharpness_step=0, drop=True)
    lowest = dense["lowest_eigenvalue"].sel(sharpness_step=0, drop=True)
    end = at_last_step(sharpness, dense["steps"], "sharpness_step")
    extreme = start.where(abs(start) >= abs(lowest), lowest)
    half = smoothing(dense["loss"])
    plateau = plateaus.plateau_end(dense["loss"], dense["initial_loss"], half=half)
    early = sharpness.where(sharpness["sharpness_step"] <= plateau / 2).max("sharpness_step")
    variables = {
        "sharpness_start": (start, "largest Hessian eigenvalue at step 0"),
        "sharpness_end": (end, "largest Hessian eigenvalue after the last step"),
        "extreme_start": (extreme, "Hessian eigenvalue of largest magnitude at step 0"),
        "edge_ratio_end": (end * scale, "lambda_1 N eta / 2 after the last step"),
        "sharpness": (sharpness, "largest Hessian eigenvalue"),
        "edge_ratio": (sharpness * scale, "lambda_1 N eta / 2"),
        "plateau_end": (plateau, "first step with smoothed loss below 0.85 of the initial loss"),
        "early_sharpness": (early, "largest lambda_1 up to half the plateau's end"),
        "peak_ratio": (dense["peak_loss"] / dense["initial_loss"], "largest / initial loss"),
        "eta": (dense["eta"], "learning rate eta"),
        "width": (dense["width"], "width N"),
        "steps": (dense["steps"], "number of steps T"),
    }
    if "sharpness_residual" in dense:
        worst = dense["sharpness_residual"].max("sharpness_step")
        variables["residual"] = (worst, "largest relative residual of the Lanczos estimates")
    result = described(variables)
    result = result.merge(fits(start, extreme, end))
    return result.merge(spectral(dense)) if "spectrum" in dense else result


def arranged(data: xr.Dataset) -> xr.Dataset:
    """Runs over (depth, log10_gamma, seed); width and number of steps become variables."""
    data = with_losses(data).reset_coords(["width", "steps"])
    return by_setting(data, ["depth", "log10_gamma", "seed"])


def fits(start: xr.DataArray, extreme: xr.DataArray, end: xr.DataArray) -> xr.Dataset:
    """Power laws in gamma of the seed mean of log10 eigenvalues, per depth.

    Of the top eigenvalue at step 0 when lazy and after the last step when lazy and when rich,
    and of the magnitude of the extreme eigenvalue at step 0 when rich. A window ends at the
    outermost gamma of the data.
    """
    gammas = start["log10_gamma"]
    low, high = float(gammas.min()), float(gammas.max())
    rows = {
        "start_lazy": (start, (low, LAZY[1])),
        "start_rich": (abs(extreme), (RICH[0], high)),
        "end_lazy": (end, (low, LAZY[1])),
        "end_rich": (end, (RICH[0], high)),
    }
    fitted = [
        fit_power_law(log10_mean(values), "log10_gamma", *window)
        for values, window in rows.values()
    ]
    joined = xr.concat(fitted, xr.DataArray(list(rows), dims="fit", name="fit"))
    joined["fit"].attrs = {"long_name": "quantity and window of the fit", "units": "1"}
    return joined.rename({name: f"fit_{name}" for name in joined.data_vars})


def log10_mean(values: xr.DataArray) -> xr.DataArray:
    """Mean over seeds of log10; values that are not positive are left out."""
    return np.log10(values.where(values > 0)).mean("seed")


def spectral(dense: xr.Dataset) -> xr.Dataset:
    """Leading eigenvalues in time and what claims read off them.

    ``spectrum`` over (spectrum_step, rank) for one seed, ``spectrum_end`` for all, largest
    relative change in time of the first `LEADING` eigenvalues, the rank k in 2..40 with the
    largest ratio lambda_k / lambda_(k+1) at the end, and the number of eigenvalues above
    `LARGE` times the first.
    """
    spectrum = dense["spectrum"].sortby("rank")
    end = at_last_step(spectrum, dense["steps"], "spectrum_step")
    begin = spectrum.sel(spectrum_step=0, drop=True)
    leading = slice(1, LEADING)
    change = abs(spectrum.sel(rank=leading) / begin.sel(rank=leading) - 1)
    finite = end.notnull()
    variables = {
        "spectrum": (spectrum.isel(seed=0, drop=True), "leading eigenvalues, first seed"),
        "spectrum_end": (end, "leading eigenvalues after the last step"),
        "spectrum_change": (
            # A run that diverged has no change over time.
            change.max(["spectrum_step", "rank"]).where(finite.sel(rank=leading).all("rank")),
            f"largest relative change over time of the first {LEADING} eigenvalues",
        ),
        "outliers": (gap_rank(end), "rank k of the largest ratio lambda_k / lambda_(k+1)"),
        "large_count": (
            large_count(end),
            f"recorded eigenvalues above {LARGE:g} of the first",
        ),
    }
    result = described(variables)
    # Depths without a recorded spectrum would be all NaN.
    return result.dropna("depth", how="all").rename(depth="spectrum_depth")


def large_count(spectrum: xr.DataArray) -> xr.DataArray:
    """Number of eigenvalues above `LARGE` times the first.

    Eigenvalues fall with rank: those after a known small one are small too. NaN where one before
    that is unknown.
    """
    level = LARGE * spectrum.sel(rank=1, drop=True)
    small = (spectrum <= level).cumsum("rank") > 0
    return (spectrum > level).sum("rank").where((spectrum.notnull() | small).all("rank"))


def gap_rank(spectrum: xr.DataArray, low: int = 2, high: int = 40) -> xr.DataArray:
    """Rank k in [low, high] with the largest ratio lambda_k / lambda_(k+1); NaN without any.

    Ratios count only where both eigenvalues are positive; NaN too where one of the recorded
    eigenvalues low to high + 1 is unknown.
    """
    needed = spectrum["rank"].where((spectrum["rank"] >= low) & (spectrum["rank"] <= high + 1))
    complete = (spectrum.notnull() | needed.isnull()).all("rank")
    positive = spectrum.where(spectrum > 0)
    ratio = positive / positive.shift(rank=-1)
    ratio = ratio.where((spectrum["rank"] >= low) & (spectrum["rank"] <= high))
    known = ratio.notnull().any("rank") & complete
    best = ratio.fillna(-np.inf).argmax("rank")
    return spectrum["rank"].isel(rank=best).drop_vars("rank").where(known)
