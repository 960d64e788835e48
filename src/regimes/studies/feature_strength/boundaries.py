"""From the runs of a phase portrait to cells, statuses, boundaries and their exponents.

Section numbers are those of the prototype in docs/studies/feature_strength.md: criteria for the
boundaries 2.5, scan of the official code 3.1, dead networks at the top of a scan 7 (no. 4, 5).
A cell is one learning rate at one feature strength; both are kept as decimal logarithms.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import xarray as xr

from regimes.fit.grids import by_setting
from regimes.fit.power_laws import fit_power_law
from regimes.store import join_runs
from regimes.studies.feature_strength.edges import (
    CATAPULT_ABOVE,
    ETA,
    GAMMA,
    best,
    lower_edge,
    upper_edge,
)
from regimes.studies.feature_strength.settings import STREAMS
from regimes.studies.feature_strength.trajectories import at_last_step

CELL = [GAMMA, ETA, "seed"]

TRAINED_BELOW = 0.7  # final loss over initial loss of a trainable run
ACCURATE_ABOVE = 0.3  # final test accuracy; the criterion is defined for ten classes
ALIVE_ABOVE = 1.5  # final test accuracy over that of guessing; sampling noise of guessing is 10 %
DECADES_BELOW_TOP = 3.0  # the official scan stops here

BOUNDARIES = {
    "opt_max": "largest trainable learning rate: final loss < 0.7 initial",
    "opt_min": "smallest trainable learning rate: final loss < 0.7 initial",
    "nocat_max": "largest trainable learning rate with peak loss < 1.3 initial (eta_crit)",
    "accuracy_max": "largest learning rate with final test accuracy > 0.3 (for ten classes)",
    "eta_star": "learning rate of the smallest final loss",
    "finite_max": "largest learning rate without NaN, below every divergent one",
}
# Windows of log10 gamma in which the claims fit exponents.
WINDOWS = {
    "lazy": (-5.0, -1.5),
    "rich": (0.5, 3.0),
    "rich_long": (0.5, 4.0),
    "ultra_rich": (1.0, 4.0),
    "rich_all": (0.5, 5.0),
}
STATUS = ["not_in_window", "run", "skipped_low", "diverged", "diverged_above"]
NOT_IN_WINDOW, RUN, SKIPPED_LOW, DIVERGED, DIVERGED_ABOVE = range(len(STATUS))
RULES = ["official", "corrected"]
_TINY = 1e-6  # grid values are multiples of 0.25 decades, up to rounding


# --- From runs to cells --------------------------------------------------------------------------


def summary(runs: xr.Dataset) -> xr.Dataset:
    """What the portrait needs of each run, over ``run``.

    Losses are in units of the initial one, which is the same for all runs of one loss because
    networks are centred: 1/C or ln C for C classes, the accuracy of guessing being 1/C. ``early``
    means the first quarter of the steps, as if T were T/4.

    Parameters
    ----------
    runs
        Trained runs of kind ``network`` with their ``stream``, which says the number of classes,
        and with ``train_loss(run, step)`` where the early values are wanted.
    """
    initial, steps = runs["initial_loss"].astype(float), runs["steps"]
    diverged_at = runs["diverged_at"].fillna(-1)
    final = runs["final_train_loss"].astype(float)
    diverged = (diverged_at >= 0) | final.isnull()
    cross_entropy = runs["loss"] == "cross_entropy"
    classes = xr.DataArray([float(STREAMS[str(n)][1]) for n in runs["stream"].values], dims="run")
    accuracy = at_last_step(runs["test_accuracy"].astype(float), steps, "test_step")
    variables = {
        "diverged": diverged,
        "diverged_early": (diverged_at >= 0) & (diverged_at < steps // 4),
        "final_loss": final.where(~diverged),
        "relative_loss": (final / initial).where(~diverged),
        "relative_early": _early_loss(runs) / initial,
        "relative_peak": runs["peak_loss"].astype(float) / initial,
        "accuracy": accuracy.where(~diverged),
        "alive": ~diverged & (accuracy > ALIVE_ABOVE / classes),
        "initial_deviation": abs(
            initial / xr.where(cross_entropy, np.log(classes), 1 / classes) - 1
        ),
        "early_stop": ~(cross_entropy & (runs[GAMMA] < -_TINY)),
        "budget": steps,
    }
    settings = {n: c for n, c in runs.coords.items() if c.dims == ("run",)}
    settings |= {n: ("run", np.round(runs[n].values.astype(float), 6)) for n in (GAMMA, ETA)}
    values = {name: ("run", array.values.astype(float)) for name, array in variables.items()}
    return xr.Dataset(values, coords=settings)


def _early_loss(runs: xr.Dataset) -> xr.DataArray:
    """Mean loss over the last tenth of the first quarter of the steps; NaN where not recorded."""
    if "train_loss" not in runs:
        return xr.full_like(runs["initial_loss"], np.nan, dtype=float)
    end = runs["steps"] // 4
    start = end - np.maximum(end // 10, 1)
    loss = runs["train_loss"].isel(step=slice(0, int(end.max())))
    return loss.where((loss["step"] >= start) & (loss["step"] < end)).mean("step").astype(float)


def cells(experiments: Iterable[xr.Dataset], names: Sequence[str]) -> xr.Dataset:
    """Dense grid over the named settings, feature strength, learning rate and seed.

    Parameters
    ----------
    experiments
        Runs of one or more experiments.
    names
        Settings besides feature strength, learning rate and seed that tell runs apart.

    Returns
    -------
    xr.Dataset
        Variables of `summary`, NaN where no run was planned.
    """
    joined = join_runs([summary(runs) for runs in experiments])
    return by_setting(joined, [*names, *CELL])


# --- Scan rules ----------------------------------------------------------------------------------


def scan(
    trained: xr.DataArray, diverged: xr.DataArray, top: xr.DataArray, early_stop: xr.DataArray
) -> xr.DataArray:
    """Status of each cell had the learning rates been scanned from the largest down.

    The first eta whose run may count as the top starts a window of three decades, after which the
    scan stops; a NaN met later discards every larger eta and starts the search for the top anew
    (section 3.1). The runs exist already, so that both scan rules apply to the same data.

    Parameters
    ----------
    trained, diverged
        Whether a cell was trained, and whether it ended in NaN; over ``log10_eta`` and others.
    top
        Whether a run can be the top: any run without NaN (official), only one that predicts
        better than guessing (corrected).
    early_stop
        Whether the scan stops three decades below the top, no ``log10_eta`` dimension.

    Returns
    -------
    xr.DataArray of int8
        Codes, the index in `STATUS`.
    """
    trained, diverged, top = xr.broadcast(trained, diverged, top)
    others = [dim for dim in trained.dims if dim != ETA]
    order = np.argsort(trained[ETA].values)[::-1]
    eta = trained[ETA].values[order]
    shape = [trained.sizes[dim] for dim in others]
    stops = early_stop.broadcast_like(trained.isel({ETA: 0}, drop=True)).transpose(*others).values
    was_run, nan, may_top = (
        array.transpose(ETA, *others).values.astype(bool)[order]
        for array in (trained, diverged, top)
    )
    status = np.zeros(was_run.shape, dtype=np.int8)
    highest, stopped = np.full(shape, np.nan), np.zeros(shape, dtype=bool)
    for i, value in enumerate(eta):
        # A comparison with the NaN of a scan that has no top yet is false.
        stopped |= stops.astype(bool) & (value < highest - DECADES_BELOW_TOP - _TINY)
        seen = was_run[i] & ~stopped
        lost, kept = seen & nan[i], seen & ~nan[i]
        status[i] = np.select([lost, kept, was_run[i]], [DIVERGED, RUN, SKIPPED_LOW], NOT_IN_WINDOW)
        above = status[:i]
        above[lost & (above == RUN)] = DIVERGED_ABOVE
        highest[lost] = np.nan
        highest = np.where(kept & may_top[i] & np.isnan(highest), value, highest)
    ascending = np.argsort(order)
    coords = {name: trained[name] for name in [ETA, *others] if name in trained.coords}
    result = xr.DataArray(status[ascending], dims=[ETA, *others], coords=coords)
    return result.transpose(*trained.dims)


def scan_status(grid: xr.Dataset) -> xr.DataArray:
    """Status of each cell under both scan rules, over ``rule`` and the dimensions of the grid."""
    trained = grid["diverged"].notnull()
    diverged, alive = grid["diverged"] == 1, grid["alive"] == 1
    stops = (grid["early_stop"].fillna(1) == 1).all([ETA, "seed"])
    both = [scan(trained, diverged, top, stops) for top in (trained & ~diverged, alive)]
    status = xr.concat(both, dim="rule").assign_coords(rule=RULES)
    status.attrs = {
        "long_name": "status of the cell under a scan rule",
        "units": "1",
        "flag_values": np.arange(len(STATUS), dtype=np.int8),
        "flag_meanings": " ".join(STATUS),
    }
    return status


# --- Boundaries ----------------------------------------------------------------------------------


def below_divergence(grid: xr.Dataset, name: str = "diverged") -> xr.DataArray:
    """Cells that were trained and lie below every divergent learning rate of their column.

    Every eta larger than a divergent one counts as divergent too (section 2.5), dead networks
    above it included.
    """
    lowest = lower_edge(grid[name] == 1)
    return grid[name].notnull() & ~(grid[ETA] >= lowest)


def boundaries(grid: xr.Dataset) -> xr.Dataset:
    """Boundaries of section 2.5 per feature strength and seed, full budget and a quarter of it.

    Returns
    -------
    xr.Dataset
        ``edge`` and ``cut`` over ``boundary`` (see `BOUNDARIES`), and ``edge_early`` for opt_max
        and opt_min, in log10 of the learning rate; NaN where there is none. ``cut`` is 1 where
        the boundary lies at the end of the trained window: then it is a bound only, and left out
        of ``edge_early`` and of every fit. ``window_low`` and ``window_high`` are the ends.
    """
    trained = grid["diverged"].notnull()
    ends = {"low": lower_edge(trained), "high": upper_edge(trained)}
    usable = below_divergence(grid)
    trainable = usable & (grid["relative_loss"] < TRAINED_BELOW)
    found = {
        "opt_max": upper_edge(trainable),
        "opt_min": lower_edge(trainable),
        "nocat_max": upper_edge(trainable & (grid["relative_peak"] < CATAPULT_ABOVE)),
        "accuracy_max": upper_edge(usable & (grid["accuracy"] > ACCURATE_ABOVE)),
        "eta_star": best(grid["relative_loss"].where(usable)),
        "finite_max": upper_edge(usable),
    }
    early = below_divergence(grid, "diverged_early") & (grid["relative_early"] < TRAINED_BELOW)
    found_early = {"opt_max": upper_edge(early), "opt_min": lower_edge(early)}
    at_end = {name: _at_window_end(name, edge, ends) for name, edge in found.items()}
    kept_early = {n: e.where(~_at_window_end(n, e, ends)) for n, e in found_early.items()}
    return xr.Dataset(
        {
            "edge": _stacked(found),
            "cut": _stacked(at_end).astype(np.int8),
            "edge_early": _stacked(kept_early).reindex(boundary=list(BOUNDARIES)),
            "window_low": ends["low"],
            "window_high": ends["high"],
        }
    )


def _at_window_end(name: str, edge: xr.DataArray, ends: Mapping[str, xr.DataArray]) -> xr.DataArray:
    low, high = edge <= ends["low"] + _TINY, edge >= ends["high"] - _TINY
    return {"opt_min": low, "eta_star": low | high}.get(name, high)


def _stacked(arrays: Mapping[str, xr.DataArray]) -> xr.DataArray:
    joined = xr.concat(list(arrays.values()), dim="boundary", coords="minimal")
    return joined.assign_coords(boundary=list(arrays))


def measured_edges(found: xr.Dataset) -> xr.DataArray:
    """Boundaries without those that are only bounds, over ``boundary``, ..., and ``seed``."""
    return found["edge"].where(found["cut"] == 0)


def fits(found: xr.Dataset, windows: Mapping[str, tuple[float, float]] = WINDOWS) -> xr.Dataset:
    """Exponents of all boundaries in all windows, from edges averaged over seeds.

    Returns
    -------
    xr.Dataset
        Variables of `fit_power_law` over ``fit_window``, ``boundary`` and other settings.
    """
    mean = measured_edges(found).mean("seed")
    each = [fit_power_law(mean, GAMMA, low, high) for low, high in windows.values()]
    fitted = xr.concat(each, dim="fit_window", coords="minimal")
    return fitted.assign_coords(fit_window=list(windows), end=["low", "high"])


# --- All of a portrait ---------------------------------------------------------------------------


def seed_mean(values: xr.DataArray, trained: xr.DataArray) -> xr.DataArray:
    """Mean over the seeds that did not diverge; NaN where at least half of them did."""
    finite = values.notnull().sum("seed")
    return values.mean("seed").where(2 * finite > trained.sum("seed"))


def portrait(experiments: Iterable[xr.Dataset], names: Sequence[str]) -> xr.Dataset:
    """Maps, statuses, boundaries and exponents of a phase portrait.

    Parameters
    ----------
    experiments
        Runs of one or more experiments.
    names
        Settings that stay dimensions, such as loss and depth.
    """
    grid = cells(experiments, names)
    trained = grid["diverged"].notnull()
    found = boundaries(grid)
    maps = {
        "accuracy": (seed_mean(grid["accuracy"], trained), "final test accuracy, mean over seeds"),
        "final_loss": (
            seed_mean(grid["final_loss"], trained),
            "train loss over the last tenth of the steps, mean over seeds",
        ),
        "initial_deviation": (
            grid["initial_deviation"].max([GAMMA, ETA]),
            "largest relative deviation of the loss at step 0 from 1/C or ln C, C classes",
        ),
        "budget": (grid["budget"].max(CELL), "steps T of a run"),
        "edge": (found["edge"], "log10 learning rate of the boundary"),
        "cut": (found["cut"], "1 where the boundary lies at the end of the trained window"),
        "edge_early": (found["edge_early"], "log10 learning rate of the boundary after T/4 steps"),
        "window_low": (found["window_low"], "log10 of the smallest learning rate trained"),
        "window_high": (found["window_high"], "log10 of the largest learning rate trained"),
    }
    result = xr.Dataset({name: array for name, (array, _) in maps.items()})
    for name, (_, long_name) in maps.items():
        result[name].attrs = {"long_name": long_name, "units": "1"}
    result["status"] = scan_status(grid)
    return described(xr.merge([result, fits(found)], join="exact", compat="equals"))


def described(dataset: xr.Dataset) -> xr.Dataset:
    """Dataset whose coordinates have a long name and units."""
    texts = {
        GAMMA: "log10 of the feature strength gamma",
        ETA: "log10 of the learning rate eta",
        "boundary": "boundary of the portrait",
        "fit_window": "window of log10 gamma of the fit",
        "end": "end of a window",
        "rule": "scan rule",
        "depth": "weight layers L, read-out included",
    }
    for name, coordinate in dataset.coords.items():
        coordinate.attrs.setdefault("long_name", texts.get(name, str(name).replace("_", " ")))
        coordinate.attrs.setdefault("units", "1")
    return dataset


# --- Reading a portrait --------------------------------------------------------------------------

ENOUGH_DECADES = 4.0  # a portrait over fewer decades of gamma shows no lazy and rich asymptotes


def pick(data: xr.Dataset | xr.DataArray, **labels) -> xr.Dataset | xr.DataArray:
    """Select by label; a label that the scale does not have gives NaN instead of an error."""
    for name, label in labels.items():
        wanted = np.atleast_1d(label)
        data = data.reindex({name: wanted}) if name in data.dims else data
        if np.ndim(label) == 0 and name in data.dims:
            data = data.isel({name: 0})
    return data


def decades(data: xr.Dataset) -> float:
    """Decades of gamma that a portrait without further dimensions covers."""
    known = data[GAMMA].values[np.isfinite(data["window_high"]).any("seed").values]
    return float(np.ptp(known)) if known.size else 0.0


def only(data: xr.Dataset, loss: str) -> xr.Dataset:
    """Portrait of one loss at the smallest depth that was trained with it."""
    one = pick(data, loss=loss)
    if "depth" not in one.dims:
        return one
    trained = one["window_high"].notnull().any([GAMMA, "seed"]).values
    return one.isel(depth=int(np.argmax(trained)))


def cross_entropy_panel(analyses: Mapping[str, xr.Dataset]) -> tuple[str, xr.Dataset]:
    """Architecture and portrait of Fig. 1d: the CNN if it covers enough gammas, else the MLP."""
    network = only(analyses["portrait_cnn"], "cross_entropy")
    if decades(network) >= ENOUGH_DECADES:
        return "CNN", network
    return "MLP", pick(analyses["portrait_mlp"], loss="cross_entropy", depth=3)
