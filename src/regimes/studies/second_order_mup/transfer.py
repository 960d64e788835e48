"""Trained runs on grids of one hyperparameter, and where the best value lies at each width.

The best value is the grid point with the smallest seed mean of the final train loss. A run that
failed (`failed`) has an infinite loss, so that a grid point counts only where all of its seeds
survive; a run that does not exist is NaN. A best value at an end of its grid bounds the true one
from one side only and is marked as such (`at_end`).

The best value jumps from grid point to grid point as seeds change, and the jackknife fails for
such a number: its interval comes from drawing seeds with replacement (`resampled`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr

from regimes.fit.grids import by_setting
from regimes.studies.second_order_mup.network_names import trained_on

PARAMETERIZATIONS = ("sp", "mup")  # that are compared
DIGITS = 6  # logarithms of settings are rounded to so many digits, so that grids align
NEAR = 1e-6  # settings are compared up to rounding
DRAWS = 2000  # of seeds with replacement
FEWEST_SEEDS = 3  # behind an interval
GROWTH = 10.0  # times its initial loss: what a run may end with at most
LOST = 1e250  # stands for an infinite loss in sums with weights that may be zero


# --- Runs ----------------------------------------------------------------------------------------


def by_optimizer(
    experiments: Mapping[str, xr.Dataset], places: Mapping[str, tuple[str, str | None]]
) -> dict[str, xr.Dataset]:
    """Runs of every panel or row of a figure that has any.

    Parameters
    ----------
    experiments
        Runs of each experiment of the scale.
    places
        Panel or row to its experiment and optimizer; None: that of the first run.
    """
    found = {}
    for place, (experiment, optimizer) in places.items():
        if experiment not in experiments:
            continue
        runs = experiments[experiment]
        names = runs["optimizer"].values
        wanted = optimizer or (names[0] if names.size else "")
        runs = runs.isel(run=np.flatnonzero(names == wanted))
        if runs.sizes["run"]:
            found[place] = runs
    return found


def final(values: xr.DataArray, dim: str = "step") -> xr.DataArray:
    """Values of each run at its last step.

    Parameters
    ----------
    values
        (run, dim, ...), with the planned number of updates ``steps`` as coordinate of the runs.
    dim
        ``step``, ``layer_step`` or ``kernel_step``: updates made before the record.

    Returns
    -------
    xr.DataArray
        (run, ...), at the record after ``steps`` updates; where runs of some length have none
        there, at their last one. NaN for a run whose loss stopped being finite before.
    """
    at, planned = values[dim].values, values["steps"].values
    others = [name for name in values.dims if name not in ("run", dim)]
    known = values.notnull().any(others).transpose("run", dim).values
    place = np.zeros(values.sizes["run"], dtype=int)
    for steps in np.unique(planned):
        group = planned == steps
        exact = np.flatnonzero(at == steps)
        recorded = np.flatnonzero(known[group].any(axis=0) & (at <= steps))
        place[group] = exact[0] if exact.size else recorded.max(initial=0)
    return values.isel({dim: xr.DataArray(place, dims="run")}).drop_vars(dim)


def failed(runs: xr.Dataset) -> xr.DataArray:
    """Which runs failed: the one rule behind crosses, tables, means and claims of these figures.

    A run failed if its final train loss is not finite or exceeds `GROWTH` times its initial one,
    or if the loss of a batch was not finite on the way.

    Returns
    -------
    xr.DataArray
        (run), truth values.
    """
    loss = final(runs["train_loss"])
    found = ~(loss <= _ceiling(runs)) | ~np.isfinite(loss)
    return found | (runs["diverged_at"] >= 0) if "diverged_at" in runs else found


def before_failure(values: xr.DataArray, runs: xr.Dataset) -> xr.DataArray:
    """Curves (run, step) of failed runs up to the step at which their loss passes the limit."""
    alive = (runs["train_loss"] <= _ceiling(runs)).transpose("run", "step")
    alive = alive.copy(data=np.logical_and.accumulate(alive.values, axis=1))
    return values.where(alive | ~failed(runs))


def _ceiling(runs: xr.Dataset) -> xr.DataArray:
    """Largest final train loss of a run that did not fail, (run)."""
    return GROWTH * runs["train_loss"].isel(step=0, drop=True)


def setup(runs: xr.Dataset) -> str:
    """Network, data, samples, width, batch and updates in words.

    A width or batch that varies between the runs is left out, of the updates the range is given.
    """
    parts = [trained_on(runs)]
    for name, text in {"width": "width {}", "batch_size": "batch {}"}.items():
        values = np.unique(runs[name].values)
        if values.size == 1 and np.isfinite(values[0]):
            parts.append(text.format(f"{values[0]:g}"))
    steps = runs["steps"].values
    ends = dict.fromkeys(f"{n:.0f}" for n in (steps.min(), steps.max()))
    return ", ".join([*parts, f"{'–'.join(ends)} updates"])


def outcomes(runs: xr.Dataset, names: Sequence[str]) -> xr.Dataset:
    """Loss and accuracy at the end of training on a grid of settings.

    Parameters
    ----------
    runs
        Trained runs with ``train_loss`` and ``test_accuracy`` (run, step).
    names
        Settings that become dimensions, ``seed`` among them; text or numbers.

    Returns
    -------
    xr.Dataset
        Over the settings, NaN where there is no run: ``train_loss`` at the end, infinite where
        the run failed; ``test_accuracy`` at the end, NaN where it failed; ``initial_loss``.
    """
    lost = failed(runs)
    ends = xr.Dataset(
        {
            "train_loss": final(runs["train_loss"]).where(~lost, np.inf),
            "test_accuracy": final(runs["test_accuracy"]).where(~lost),
            "initial_loss": runs["train_loss"].isel(step=0, drop=True),
        }
    )
    return by_setting(ends, names)


def rounded_logarithm(values: xr.DataArray, base: float) -> xr.DataArray:
    """Logarithm of a positive setting, rounded so that equal settings have equal values."""
    # + 0.0 turns -0.0 into 0.0
    return np.round(np.log(values) / np.log(base), DIGITS) + 0.0


def near(values: np.ndarray, wanted: float) -> np.ndarray:
    """Where numbers equal a wanted one up to rounding."""
    return np.isclose(np.asarray(values, dtype=float), wanted, rtol=NEAR, atol=NEAR)


def one(values: xr.DataArray, **settings: float) -> xr.DataArray:
    """Values at given settings up to rounding; NaN throughout where they were not run."""
    for name, wanted in settings.items():
        found = np.flatnonzero(near(values[name].values, wanted))
        if found.size:
            values = values.isel({name: int(found[0])}, drop=True)
        else:
            values = values.astype(float).sum(name) * np.nan
    return values


# --- Best values ---------------------------------------------------------------------------------


def seed_mean(values: xr.DataArray) -> xr.DataArray:
    """Mean over the seeds that were run; infinite if one failed, NaN without any."""
    count = values.notnull().sum("seed")
    return values.sum("seed") / count.where(count > 0)


def best(loss: xr.DataArray, dim: str) -> xr.DataArray:
    """Setting with the smallest seed mean, the first one if there are several.

    Parameters
    ----------
    loss
        Over ``dim``, ``seed`` and others, as in `outcomes`.
    dim
        The setting.

    Returns
    -------
    xr.DataArray
        Coordinate of ``dim`` over the others; NaN where no setting has a finite mean.
    """
    others = [name for name in loss.dims if name not in (dim, "seed")]
    plain = loss.transpose(*others, dim, "seed")
    found = best_point(plain.values, plain[dim].values)
    coords = {name: loss[name] for name in others if name in loss.coords}
    return xr.DataArray(found, coords, others)


def best_point(loss: np.ndarray, grid: np.ndarray) -> np.ndarray:
    """The core of `best`, fast enough for many draws of seeds.

    Parameters
    ----------
    loss
        (..., setting, seed)
    grid
        (setting,)

    Returns
    -------
    np.ndarray
        (...)
    """
    count = np.sum(~np.isnan(loss), axis=-1)
    total = np.where(count > 0, np.nansum(loss, axis=-1), np.inf)
    mean = total / np.maximum(count, 1)
    found = grid.astype(float)[mean.argmin(axis=-1)]
    return np.where(np.isfinite(mean).any(axis=-1), found, np.nan)


def at_end(loss: xr.DataArray, dim: str) -> xr.DataArray:
    """1 where the best setting is the first or last that was run, 0 elsewhere."""
    grid = loss[dim].where(loss.notnull().any("seed"))
    found = best(loss, dim)
    ends = (found == grid.min(dim)) | (found == grid.max(dim))
    return ends.astype(float).where(found.notnull())


def value_at(values: xr.DataArray, where: xr.DataArray, dim: str) -> xr.DataArray:
    """Values at one setting for each cell, for instance at the best; NaN where it is unknown."""
    # At most one entry of a cell is left, so that the largest is that one.
    return values.where(values[dim] == where).max(dim)


def resampled(loss: xr.DataArray, dim: str) -> xr.DataArray:
    """Best setting for seeds drawn with replacement.

    Returns
    -------
    xr.DataArray
        As `best`, with a further dimension ``draw``; the draws are the same in every call. NaN
        throughout with fewer than `FEWEST_SEEDS` seeds.

    References
    ----------
    Efron, Bootstrap methods: another look at the jackknife (1979).
    """
    others = [name for name in loss.dims if name not in (dim, "seed")]
    ordered = loss.transpose(*others, dim, "seed")
    seeds = loss.sizes["seed"]
    drawn = np.random.default_rng(0).integers(0, seeds, (DRAWS, seeds))
    weight = (drawn[:, :, None] == np.arange(seeds)).sum(axis=1).T.astype(float)
    known = ordered.notnull().values
    total = np.where(known, np.minimum(ordered.fillna(0).values, LOST), 0.0) @ weight
    count = known.astype(float) @ weight
    mean = np.divide(total, count, out=np.full_like(total, np.inf), where=count > 0)
    mean[mean > LOST / (10 * seeds)] = np.inf
    found = ordered[dim].values.astype(float)[mean.argmin(axis=-2)]
    enough = seeds >= FEWEST_SEEDS
    found = np.where(np.isfinite(mean).any(axis=-2) & enough, found, np.nan)
    coords = {name: loss[name] for name in others if name in loss.coords}
    return xr.DataArray(found, coords, (*others, "draw"))


def interval(values: xr.DataArray) -> tuple[xr.DataArray, xr.DataArray]:
    """Ends of the central 95 % of the draws that are known; NaN where none is.

    Both ends are drawn values: nothing is interpolated between grid points.
    """
    ordered = np.sort(values.transpose(..., "draw").values, axis=-1)  # NaN last
    known = np.isfinite(ordered).sum(axis=-1)
    ends = []
    for share in (0.025, 0.975):
        place = np.clip(np.ceil(share * known).astype(int) - 1, 0, None)
        end = np.take_along_axis(ordered, place[..., None], axis=-1)[..., 0]
        ends.append(values.isel(draw=0, drop=True).copy(data=end))
    return ends[0], ends[1]


def slope_over_width(log_best: xr.DataArray, base: float) -> xr.DataArray:
    """Exponent of the best setting as a power of the width.

    Parameters
    ----------
    log_best
        Logarithm of the best setting over ``width`` and others; widths with NaN are left out.
    base
        Of the logarithm.

    Returns
    -------
    xr.DataArray
        Least-squares slope over the others; NaN with fewer than two widths.
    """
    known = log_best.notnull()
    x = (np.log(log_best["width"].astype(float)) / np.log(base)).where(known)
    x = x - x.mean("width")
    spread = (x**2).sum("width")
    return (x * log_best).sum("width") / spread.where(spread > 0)


def optima(data: xr.Dataset, dim: str, base: float) -> xr.Dataset:
    """Best settings with intervals, what is reached there, and how they move with width.

    Parameters
    ----------
    data
        As from `outcomes`, over ``width``, ``dim``, ``seed`` and others.
    dim
        Logarithm of the setting.
    base
        Of the logarithm.

    Returns
    -------
    xr.Dataset
        Over the dimensions but ``dim`` and ``seed``: ``best``, ``best_low``, ``best_high`` (95 %
        of draws of seeds) and ``at_end``; with ``seed``: ``loss_at_best``, ``accuracy_at_best``.
        Over the dimensions but ``width`` as well: ``exponent``, the exponent of the best setting as
        a power of the width, with ``exponent_low`` and ``exponent_high``.
    """
    loss = data["train_loss"]
    found, draws = best(loss, dim), resampled(loss, dim)
    low, high = interval(draws)
    exponent_low, exponent_high = interval(slope_over_width(draws, base))
    return xr.Dataset(
        {
            "best": found,
            "best_low": low,
            "best_high": high,
            "at_end": at_end(loss, dim),
            "loss_at_best": value_at(loss, found, dim),
            "accuracy_at_best": value_at(data["test_accuracy"], found, dim),
            "exponent": slope_over_width(found, base),
            "exponent_low": exponent_low,
            "exponent_high": exponent_high,
        }
    )


def texts(dim: str, setting: str) -> dict[str, str]:
    """Long names of the variables of `outcomes` and `optima`."""
    return {
        "train_loss": "final loss on the training set, infinite where the run failed",
        "test_accuracy": "final accuracy on the test set, a fraction, unknown where it failed",
        "initial_loss": "loss on the training set before training",
        "best": f"{dim} with the smallest seed mean of the final train loss",
        "best_low": f"lower end of the 95 % interval of the best {dim}, seeds resampled",
        "best_high": f"upper end of the 95 % interval of the best {dim}, seeds resampled",
        "at_end": f"1 where the best {dim} is an end of its grid",
        "loss_at_best": f"final train loss at the best {setting}",
        "accuracy_at_best": f"final test accuracy at the best {setting}",
        "exponent": f"exponent of the best {setting} as a power of the width",
        "exponent_low": "lower end of the 95 % interval of the exponent, seeds resampled",
        "exponent_high": "upper end of the 95 % interval of the exponent, seeds resampled",
        "width": "width (multiplier of the channels for residual networks)",
        "seed": "seed",
        "setup": "network, data and length of training",
        dim: f"{dim.split('_')[0]} of the {setting}",
    }


# --- Numbers over seeds --------------------------------------------------------------------------


def mean_or_unknown(values: xr.DataArray) -> float:
    """Mean over seeds and all else; NaN if an entry is unknown or there is none."""
    entries = np.ravel(values.values.astype(float))
    return float(entries.mean()) if entries.size else float("nan")


def ratio_of_means(data: xr.Dataset) -> float:
    """Mean of ``above`` over that of ``below``; NaN if one is unknown or the latter zero."""
    below = mean_or_unknown(data["below"])
    return mean_or_unknown(data["above"]) / below if below > 0 else float("nan")
