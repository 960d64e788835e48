"""Accuracy and test loss against gamma at equal numbers of steps (figure 2b)."""

from __future__ import annotations

import numpy as np
import xarray as xr

from regimes.studies.feature_strength.analyses.loss_curves import best_candidate, candidates
from regimes.studies.feature_strength.trajectories import described

# Shortest, middle and longest budget as shares of the run: T = 100, 1000, 8000 of 8000 steps.
SHARES = (1 / 80, 1 / 8, 1)


def analyse(experiments: dict[str, xr.Dataset]) -> xr.Dataset:
    """Test accuracy and loss per budget, gamma and seed, each at the best of the rates tried.

    Parameters
    ----------
    experiments
        ``accuracy_equal_time``. The best learning rate is chosen anew for every gamma and budget,
        by the test loss at that budget averaged over seeds (the same rate for all seeds).
    """
    return at_equal_time(experiments["accuracy_equal_time"])


def at_equal_time(runs: xr.Dataset) -> xr.Dataset:
    """Accuracy and test loss of runs at the budgets of `budgets`; see `analyse`."""
    data = candidates(runs)
    steps = budgets(data["test_step"].values)
    data = data.sel(test_step=steps).rename({"test_step": "budget"})
    best = best_candidate(data["test_loss"])
    chosen = data.isel(candidate=best).drop_vars("candidate")
    result = described(
        {
            "accuracy": (chosen["test_accuracy"], "test accuracy"),
            "test_loss": (chosen["test_loss"], "test loss"),
            "eta": (chosen["eta"], "learning rate eta with the smallest test loss"),
            "choice": (best.where(chosen["test_loss"].notnull().any("seed")), "its candidate"),
        }
    )
    result["budget"].attrs["long_name"] = "number of steps T"
    return result


def budgets(steps: np.ndarray) -> np.ndarray:
    """Recorded steps nearest, in ratio, to the shares of the run in `SHARES`; each once."""
    known = np.sort(steps[steps > 0])
    wanted = np.log(known[-1] * np.asarray(SHARES))
    nearest = np.abs(np.log(known)[:, None] - wanted).argmin(axis=0)
    return known[np.unique(nearest)]
