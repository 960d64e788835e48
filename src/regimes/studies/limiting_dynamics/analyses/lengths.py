"""Exponent of the global displacement against the length of the trajectory (figure 9)."""

from __future__ import annotations

import numpy as np
import xarray as xr

from regimes.studies.limiting_dynamics import displacement_curves as curves
from regimes.studies.limiting_dynamics.exponents import evenly_spaced, fit_line, fit_window

FIT_FROM = 1 / 3  # each fit covers the last two thirds of [0, K]
LADDER = [1000, 2000, 4000, 8000, 16_000, 40_000, 80_000, 160_000, 320_000]
FEWEST = 5  # lengths that are always reported
SHARES = (0.2, 0.4, 0.6, 0.8, 1.0)  # 20, 40, ..., 100 epochs of the paper's 100


def analyse(experiments: dict[str, xr.Dataset]) -> xr.Dataset:
    """Exponents c(K) over growing lengths K, and the trajectories they are fitted to.

    Parameters
    ----------
    experiments
        ``very_long_resume``.

    Returns
    -------
    xr.Dataset
        ``exponent``, ``exponent_log``, ``intercept`` and ``points`` over (length, seed), with the
        window (``window_low``, ``window_high``); ``share_exponent`` over (share, seed) for lengths
        that are shares of the longest run; ``global_samples`` over (seed, log_step);
        ``final_step`` (seed).
    """
    # The runs' own coordinate of this name, their number of updates, makes room for K.
    data = curves.surviving(experiments["very_long_resume"]).drop_vars("length", errors="ignore")
    globally = data["global_displacement"]
    momentum = data["momentum"].astype(float)
    final = curves.last_step(globally)
    longest = float(globally["step"].max())
    length = _axis("length", lengths(longest))
    share = _axis("share", SHARES)
    found = _fits(globally, momentum, length, final)
    shares = _fits(globally, momentum, share * longest, final)
    named = {
        **found,
        "share_exponent": (shares["exponent"][0], "exponent c up to a share of the longest run"),
        "final_step": (final, "last recorded step"),
        "global_samples": (curves.log_sampled(globally), "squared global displacement"),
    }
    result = curves.gridded(named, ["seed"])
    result["length"].attrs["long_name"] = "length K of the trajectory, steps"
    result["share"].attrs["long_name"] = "length as a share of the longest run"
    return result


def lengths(longest: float) -> list[float]:
    """Lengths K up to the longest run: a ladder, or halvings where that leaves too few."""
    ladder = [float(length) for length in LADDER if length < 0.9 * longest]
    if len(ladder) + 1 < FEWEST:
        return [float(np.ceil(longest / 2**i)) for i in range(FEWEST - 1, -1, -1)]
    return [*ladder, longest]


def _axis(name: str, values) -> xr.DataArray:
    return xr.DataArray(np.array(values, dtype=float), dims=name, coords={name: list(values)})


def _fits(
    globally: xr.DataArray, momentum: xr.DataArray, length: xr.DataArray, final: xr.DataArray
) -> dict[str, tuple[xr.DataArray, str]]:
    """Fits up to each length, one at a time since trajectories are long; NaN for shorter runs.

    Records are dense at first: each fit takes the steps on the coarsest cadence of its window.
    """
    (dim,) = length.dims
    each = []
    for one in length:
        low, high = fit_window(one, momentum, FIT_FROM)
        line = fit_line(globally["step"], evenly_spaced(globally, low, high), low, high)
        log = fit_line(globally["step"], globally, low, high, spacing="log")
        part = line.rename(slope="exponent").assign(
            exponent_log=log["slope"], window_low=low, window_high=high
        )
        # Runs may end a cadence short of the length.
        each.append(part.where(final >= 0.98 * one))
    joined = xr.concat(each, dim=length[dim])
    texts = {
        "exponent": "exponent c up to length K, evenly spaced steps of the last two thirds",
        "exponent_log": "exponent c up to length K, log-spaced steps of the last two thirds",
        "intercept": "ln of the fitted squared displacement at k = 1",
        "points": "steps in the fit, on the coarsest cadence of its window",
        "window_low": "first step of the fit",
        "window_high": "last step of the fit",
    }
    return {name: (joined[name], text) for name, text in texts.items()}
