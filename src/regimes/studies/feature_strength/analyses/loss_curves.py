"""Online losses from lazy to ultra-rich: plateaus, their growth with gamma, tails (section 4)."""

from __future__ import annotations

import numpy as np
import xarray as xr

from regimes.fit.grids import by_setting
from regimes.fit.power_laws import fit_power_law
from regimes.studies.feature_strength import plateaus, theory
from regimes.studies.feature_strength.trajectories import described, smoothing, with_losses

RICH_WINDOW = (1.0, 4.0)  # log10 gamma, where the plateau is long enough to follow its power law
RATE_SETTINGS = ("eta_factor", "log10_eta")  # the settings in which candidate rates can differ


def analyse(experiments: dict[str, xr.Dataset]) -> xr.Dataset:
    """Losses, plateaus and tail exponents per feature strength and seed.

    Parameters
    ----------
    experiments
        ``loss_curves``. Where it holds several learning rates per gamma, the one with the smallest
        final loss (mean over seeds) is used.

    Returns
    -------
    xr.Dataset
        As `describe`, and the fit of the plateau length against gamma (``growth_*``).
    """
    data = tuned(candidates(with_losses(experiments["loss_curves"])))
    result = describe(data)
    length = np.log10(result["plateau_end"]).mean("seed")
    growth = fit_power_law(length, "log10_gamma", *RICH_WINDOW)
    growth = growth.rename({name: f"growth_{name}" for name in growth.data_vars})
    growth["growth_theory"] = theory.plateau_exponent(result["depth"])
    growth["growth_theory"].attrs = {"long_name": "exponent 1 - 2/L", "units": "1"}
    return xr.merge([result, growth], combine_attrs="drop_conflicts")


def candidates(data: xr.Dataset) -> xr.Dataset:
    """Runs over (log10_gamma, seed, candidate): candidates are the learning rates tried.

    Depth and number of steps become variables; the number of a candidate counts the distinct
    combinations of `RATE_SETTINGS`.
    """
    rates = [data[name].values for name in RATE_SETTINGS if name in data.coords]
    if rates:
        _, number = np.unique(np.stack(rates), axis=1, return_inverse=True)
    else:
        number = np.zeros(data.sizes["run"], dtype=int)
    data = data.assign_coords(candidate=("run", number.ravel()))
    data = data.reset_coords(["depth", "steps"])
    return by_setting(data, ["log10_gamma", "seed", "candidate"])


def tuned(data: xr.Dataset, by: str = "final_train_loss") -> xr.Dataset:
    """Keep per gamma the candidate with the smallest seed mean of ``by``.

    A rate at which any seed diverged is not chosen, unless there is no other.
    """
    return data.isel(candidate=best_candidate(data[by]))


def best_candidate(loss: xr.DataArray) -> xr.DataArray:
    """Position of the candidate with the smallest mean loss over seeds, all of which are finite.

    Seeds that were not run with any candidate at a gamma do not count against one.
    """
    ran = loss.notnull().any("candidate")
    mean = loss.where(ran).where(loss.notnull() | ~ran, np.inf).mean("seed")
    return mean.fillna(np.inf).argmin("candidate")


def describe(data: xr.Dataset) -> xr.Dataset:
    """Curves for drawing, plateaus and tails of losses (log10_gamma, seed, step).

    Parameters
    ----------
    data
        With ``loss``, ``initial_loss``, ``eta``, ``depth`` over log10_gamma and seed.
    """
    loss, initial, half = data["loss"], data["initial_loss"], smoothing(data["loss"])
    end = plateaus.plateau_end(loss, initial, half=half)
    excursion = plateaus.largest_excursion(loss, initial, end / 2, half=half)
    average = f"centred mean over {2 * half + 1} steps" if half else "mean over bins of steps"
    result = described(
        {
            "loss": (plateaus.log_binned(loss), "online loss, mean over bins of log(step)"),
            "initial_loss": (initial, "online loss at step 0"),
            "plateau_end": (
                end,
                f"first step with loss ({average}) below {plateaus.FRACTION:g} of the initial loss",
            ),
            "excursion": (
                excursion,
                "largest |smoothed loss / initial loss - 1| up to half the plateau's end",
            ),
            "tail_exponent": (
                plateaus.tail_exponent(loss),
                "exponent -d log loss / d log step over the last decade of steps",
            ),
            "eta": (data["eta"], "learning rate eta"),
            "depth": (data["depth"].max(), "depth L"),
        }
    )
    return result.drop_vars("candidate", errors="ignore")
