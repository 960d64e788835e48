"""Exponent c of modes with eigenvalues j^-a from a stationary start (section 2.5)."""

from __future__ import annotations

import xarray as xr

from regimes.fit.grids import by_setting
from regimes.studies.limiting_dynamics.exponents import fit_line
from regimes.studies.limiting_dynamics.long_names import described

TEXTS = {
    "global_displacement": "expected squared global displacement from a stationary start",
    "diffusion_exponent": "exponent c of the squared global displacement",
    "intercept": "ln of the fitted squared displacement at k = 1",
    "points": "steps in the fit",
    "window": "first and last step of the fit",
    "modes": "number of modes",
    "step": "number of updates",
    "spectral_exponent": "exponent a of the spectrum",
    "end": "end of a window",
}


def analyse(experiments: dict[str, xr.Dataset]) -> xr.Dataset:
    """Displacement and its exponent for each spectrum.

    Parameters
    ----------
    experiments
        ``powerlaw_modes``.

    Returns
    -------
    xr.Dataset
        Over ``spectral_exponent``: ``global_displacement`` (step), ``diffusion_exponent``,
        ``intercept``, ``points``; ``window`` (end), ``modes``.
    """
    runs = experiments["powerlaw_modes"]
    low, high = int(runs["fit_from"][0]), int(runs["fit_to"][0])
    grid = by_setting(runs, ["exponent"]).rename(exponent="spectral_exponent")
    # Steps are log-spaced already, so every one counts alike.
    fit = fit_line(grid["step"], grid["global_displacement"], low, high)
    result = grid[["global_displacement"]].assign(
        diffusion_exponent=fit["slope"],
        intercept=fit["intercept"],
        points=fit["points"],
        window=("end", [low, high]),
        modes=int(runs["modes"][0]),
    )
    result = result.assign_coords(end=["low", "high"])
    return described(result, TEXTS)
