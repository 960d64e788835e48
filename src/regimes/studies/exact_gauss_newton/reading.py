"""Reading trajectories of trained runs: cases over seeds, single epochs, minima, crossings.

A case is one combination of settings; its runs differ in nothing but the seed. Analyses gather
the runs of their experiments into cases (`cases`); figures and claims pick one (`pick`) and read
numbers off its curves, seed by seed.

What was not measured is NaN. Seeds that were not run are dropped when a case is picked; a seed
whose run diverged stays, with NaN from then on, so that a mean over seeds is not flattered by
leaving it out (`over_seeds`). Values do not tell the two apart, since a variable may be NaN
throughout a run that failed early: the coordinate ``ran`` does.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr

from regimes.fit.grids import by_setting, same
from regimes.store import described, long_names

CASE = (
    "data",
    "samples",
    "blocks",
    "width",
    "first_block_linear",
    "sigma",
    "optimizer",
    "lr_code",
    "then",
    "then_lr_code",
    "batch_size",
    "weight_decay",
    "cross_term",
    "inverse",
    "rtol",
    "atol",
    "damping",
    "noise",
    "precision",
    "epochs",
    "then_epochs",
)
"""Settings that tell cases apart (all but the seed)."""
FOLLOWS = ("alpha_eff",)  # settings that follow from those of `CASE` and are kept beside them
TEXTS = ("data", "optimizer", "then", "inverse", "precision")
RAN = "1 where a run exists"  # long name of ``ran``

_OF_EPOCH = ("epoch",)
_OF_HALF = ("epoch", "half")
DIMENSIONS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("batch_loss", "batch_loss_after"), ("update",)),
    **dict.fromkeys(("running_loss", "pct_change_mean", "pct_change_std"), _OF_EPOCH),
    **dict.fromkeys(("train_loss", "train_accuracy", "test_loss", "test_accuracy"), _OF_EPOCH),
    **dict.fromkeys(("weight_norm", "weight_cosine", "weight_change"), _OF_HALF),
    **dict.fromkeys(("rank_kept", "s_max", "s_min_kept"), _OF_HALF),
    **dict.fromkeys(("residual_fraction", "update_norm"), _OF_HALF),
    **dict.fromkeys(("inversion_error", "ntk_similarity", "ntk_velocity"), _OF_EPOCH),
    "cka_initial": ("epoch", "block"),
    "probe_gram": ("epoch", "block", "probe", "probe_other"),
    "initial_logits": ("sample", "class"),
    "label": ("sample",),
    "diverged_at": (),
}
"""Dimensions of the variables of trained runs, besides ``run``."""


# --- Cases ---------------------------------------------------------------------------------------


def cases(experiments: Mapping[str, xr.Dataset], names: Sequence[str]) -> xr.Dataset:
    """Runs of some experiments as cases over seeds.

    Parameters
    ----------
    experiments
        Name to trained runs, with ``run`` and the settings of `CASE` as coordinates. May be empty.
    names
        Variables that are wanted, of `DIMENSIONS`.

    Returns
    -------
    xr.Dataset
        The variables over (case, seed, ...), with every setting of `CASE` and ``experiment`` as
        coordinates on ``case``, cases in the order of their runs, and ``ran`` (case, seed), 1 where
        a run exists. NaN where a case lacks a seed, ends earlier than others or has no such
        variable; a variable that no experiment has is NaN throughout. Without any runs there are
        no cases, and one unknown seed and epoch.

    Raises
    ------
    ValueError
        If two runs of an experiment share all settings and the seed.
    """
    parts = [_cases_of(name, data, names) for name, data in experiments.items()]
    parts = [part for part in parts if part.sizes["case"]]
    joined = _joined(parts) if parts else _without_cases()
    for name in names:
        if name not in joined:
            joined[name] = _unknown(joined, name)
    joined = joined.assign_coords(case=np.arange(joined.sizes["case"]))
    return _described(joined[[*names]], experiments)


def _cases_of(experiment: str, data: xr.Dataset, names: Sequence[str]) -> xr.Dataset:
    """Cases of one experiment."""
    codes = np.stack([np.unique(data[n].values, return_inverse=True)[1].ravel() for n in CASE])
    _, first, code = np.unique(codes, axis=1, return_index=True, return_inverse=True)
    # Number the cases by their first run.
    order = np.argsort(first)
    code = np.argsort(order)[code.ravel()]
    kept = [name for name in names if name in data]
    settings = {n: ("run", data[n].values) for n in (*CASE, *FOLLOWS) if n in data.coords}
    of_run = [n for n, c in data.coords.items() if c.dims == ("run",)]
    # An experiment may have none of the variables: the cases exist nevertheless.
    plain = data[kept].drop_vars(of_run, errors="ignore")
    plain = plain.assign_coords(case=("run", code), seed=("run", data["seed"].values))
    found = {n: ("case", values[first[order]]) for n, (_, values) in settings.items()}
    found["experiment"] = ("case", np.full(len(first), experiment))
    return on_grid(plain, ("case", "seed")).assign_coords(found)


def on_grid(data: xr.Dataset, names: Sequence[str], ran: str = "ran") -> xr.Dataset:
    """Runs with one dimension per setting (`by_setting`), and which of them exist.

    Parameters
    ----------
    data
        Variables over ``run``; there may be none.
    names
        Settings that become dimensions.
    ran
        Name of the coordinate over them that is 1 where a run exists and 0 elsewhere.
    """
    grid = by_setting(data.assign({ran: ("run", np.ones(data.sizes["run"]))}), names)
    return _with_ran(grid, ran)


def _with_ran(data: xr.Dataset, name: str = "ran") -> xr.Dataset:
    """Turn the variable that is 1 where a run exists into a coordinate, 0 elsewhere."""
    ran = data[name].fillna(0).assign_attrs(long_name=RAN, units="1")
    return data.assign({name: ran}).set_coords(name)


def _joined(parts: list[xr.Dataset]) -> xr.Dataset:
    """Cases of all experiments, with NaN where their dimensions differ."""
    numbered = [
        part.assign_coords(
            {dim: np.arange(size) for dim, size in part.sizes.items() if dim not in part.coords}
        )
        for part in parts
    ]
    known = {name: part[name] for part in numbered[::-1] for name in part.data_vars}
    filled = []
    for part in numbered:
        lacking = {
            name: ((*array.dims,), np.full([part.sizes.get(d, 1) for d in array.dims], np.nan))
            for name, array in known.items()
            if name not in part
        }
        coords = {
            d: known[name][d].values[:1]
            for name in lacking
            for d in known[name].dims
            if d not in part.dims
        }
        filled.append(part.assign_coords(coords).assign(lacking))
    filled = [part.reset_coords("ran") for part in filled]
    joined = xr.concat(filled, "case", join="outer", combine_attrs="override")
    return _with_ran(joined.sortby("seed"))


def _without_cases() -> xr.Dataset:
    """No case, one seed."""
    texts = {name: ("case", np.array([], dtype=str)) for name in (*TEXTS, "experiment")}
    numbers = {name: ("case", np.array([])) for name in (*CASE, *FOLLOWS) if name not in TEXTS}
    ran = {"ran": (("case", "seed"), np.zeros((0, 1)))}
    return xr.Dataset(coords={**numbers, **texts, **ran, "seed": [0], "epoch": [0]})


def _unknown(data: xr.Dataset, name: str) -> xr.DataArray:
    """NaN in the place of a variable, over dimensions as long as they are or of length one."""
    dims = ("case", "seed", *DIMENSIONS[name])
    sizes = {"case": 0, "seed": 1} | dict(data.sizes)
    coords = {d: data[d] if d in data.coords else np.arange(sizes.get(d, 1)) for d in dims[1:]}
    return xr.DataArray(np.full([sizes.get(d, 1) for d in dims], np.nan), coords, dims)


def _described(data: xr.Dataset, experiments: Mapping[str, xr.Dataset]) -> xr.Dataset:
    """Long names of the runs' variables and settings; others are called by their names."""
    texts = long_names(data)
    for part in reversed(experiments.values()):
        texts |= {name: text for name, text in long_names(part).items() if name in texts}
    texts |= {"case": "case: settings apart from the seed", "seed": "seed", "ran": RAN}
    texts["experiment"] = "experiment the case was trained in"
    return described(data, texts)


def matching(data: xr.Dataset | xr.DataArray, /, **settings) -> np.ndarray:
    """Positions of the cases with given settings, in order; see `pick`."""
    chosen = np.ones(data.sizes["case"], dtype=bool)
    for name, wanted in ({"then": ""} | settings).items():
        chosen &= same(data[name], wanted)
    return np.flatnonzero(chosen)


def pick(data: xr.Dataset | xr.DataArray, /, prefer: str | None = None, **settings):
    """The one case with given settings.

    Parameters
    ----------
    data
        Output of `cases`, or a variable of it.
    prefer
        Experiment whose cases win over those of others.
    settings
        Values of `CASE` or ``experiment``: numbers up to rounding, None for NaN. Cases with a
        second stage are left out unless ``then`` is given.

    Returns
    -------
    xr.Dataset or xr.DataArray
        Over the seeds with which it was run, also those that failed, with the settings as scalar
        coordinates. Among several cases the longest one wins. NaN over all seeds, with ``ran`` 0,
        where there is none: a claim on it is then unknown.

    Raises
    ------
    ValueError
        If several equally long cases are left that differ in a setting.
    """
    found = matching(data, **settings)
    if not found.size:
        return _no_case(data)
    own = found[data["experiment"].values[found] == prefer]
    found = own if own.size else found
    length = (data["epochs"] + data["then_epochs"].fillna(0)).values[found]
    longest = found[length == length.max()]
    differ = [n for n in CASE if not same(data[n][longest], data[n].values[longest[0]]).all()]
    if differ:
        raise ValueError(f"cases of {settings} differ in {', '.join(differ)}; name one")
    return drop_unknown_seeds(data.isel(case=int(longest[0])))


def _no_case(data: xr.Dataset | xr.DataArray):
    """NaN over everything but ``case``; no settings."""
    settings = [n for n, c in data.coords.items() if "case" in c.dims]
    if data.sizes["case"]:
        none = xr.full_like(data.isel(case=0).drop_vars(settings), np.nan)
    else:
        none = data.drop_vars(settings).sum("case", min_count=1)
    return none.assign_coords(ran=("seed", np.zeros(none.sizes["seed"])))


def drop_unknown_seeds(data: xr.Dataset | xr.DataArray):
    """Drop seeds that were not run; all are kept, with their NaN, if none was.

    Parameters
    ----------
    data
        Over ``seed`` and others, with the coordinate ``ran`` (seed). A run that failed counts,
        whether or not it left any value.
    """
    ran = data["ran"].values > 0
    return data.isel(seed=np.flatnonzero(ran)) if ran.any() else data


def side_by_side(found: Mapping[str, xr.Dataset], dim: str) -> xr.Dataset:
    """Picked cases along a new dimension, NaN where one lacks a seed or ends earlier.

    Parameters
    ----------
    found
        Name to output of `pick`.
    dim
        The new dimension; its coordinate are the names.

    Returns
    -------
    xr.Dataset
        Without the settings; ``ran`` (dim, seed) as coordinate.
    """
    plain = [
        case.reset_coords(drop=True).assign(ran=case["ran"].reset_coords(drop=True))
        for case in found.values()
    ]
    axis = xr.Variable(dim, list(found))
    joined = xr.concat(plain, axis, data_vars="all", join="outer", combine_attrs="drop")
    return _with_ran(joined)


def members(data: xr.DataArray, dim: str, names: Sequence[str]) -> xr.DataArray:
    """Some members of a dimension over the seeds with which all of them were run.

    Parameters
    ----------
    data
        (dim, seed, ...), with ``ran`` (dim, seed) as coordinate.
    dim
        Dimension, for instance ``optimizer``.
    names
        Members of it.
    """
    parts = {name: drop_unknown_seeds(data.sel({dim: name})) for name in names}
    return together(**parts).to_dataarray(dim)


def together(**named: xr.DataArray) -> xr.Dataset:
    """Quantities of several cases over the seeds (and epochs) that all of them have.

    Settings, in which the cases differ, are dropped. Used by claims on more than one case: the
    jackknife leaves out a seed of all of them.
    """
    plain = [values.reset_coords(drop=True) for values in named.values()]
    return xr.Dataset(dict(zip(named, xr.align(*plain, join="inner"), strict=True)))


# --- Curves --------------------------------------------------------------------------------------


def at_epoch(values: xr.DataArray, epoch: float) -> xr.DataArray:
    """Values after exactly that many epochs; NaN where it was not recorded."""
    found = np.flatnonzero(values["epoch"].values == epoch)
    if found.size:
        return values.isel(epoch=int(found[0]), drop=True)
    if not values.sizes["epoch"]:
        return values.sum("epoch", min_count=1)
    return xr.full_like(values.isel(epoch=0, drop=True), np.nan, dtype=float)


def last_epoch(values: xr.DataArray | xr.Dataset) -> float:
    """Last epoch of a case: as planned if its settings are known, else the last recorded one.

    A run that diverged ends no earlier than planned. NaN for a case that was not run.
    """
    if "epochs" in values.coords and values["epochs"].ndim == 0:
        second = values.coords.get("then_epochs", xr.DataArray(0.0))
        return float(values["epochs"]) + float(second.fillna(0))
    known = values.notnull().any([dim for dim in values.dims if dim != "epoch"])
    return float(values["epoch"].values[known.values].max()) if bool(known.any()) else math.nan


def common_end(*curves: xr.DataArray) -> float:
    """Last epoch that all of the cases reach; NaN if one of them was not run."""
    ends = [last_epoch(values) for values in curves]
    return math.nan if np.isnan(ends).any() else min(ends)


def final(values: xr.DataArray) -> xr.DataArray:
    """Values after the last epoch of a case, seed by seed; NaN for a run that diverged before."""
    return at_epoch(values, last_epoch(values))


def window(values: xr.DataArray, first: float, last: float) -> xr.DataArray:
    """Epochs from first to last, both included, up to the end of the case; may be empty.

    Beyond the end there is nothing to know: NaN in a window means that a run has failed.
    """
    epoch = values["epoch"].values
    if "epochs" in values.coords:
        last = min(last, last_epoch(values))
    return values.isel(epoch=np.flatnonzero((epoch >= first) & (epoch <= last)))


def smooth(values: xr.DataArray, width: int) -> xr.DataArray:
    """Centred mean over ``width`` (odd) consecutive epochs, at those where the window is full."""
    if values.sizes["epoch"] < width:
        return values.isel(epoch=[])
    half = width // 2
    inside = slice(half, values.sizes["epoch"] - half)
    return values.rolling(epoch=width, center=True, min_periods=width).mean().isel(epoch=inside)


def minimum(values: xr.DataArray) -> xr.DataArray:
    """Smallest value over epochs, seed by seed; NaN if an epoch is unknown or there is none.

    What a run that diverged would have reached is not known.
    """
    if not values.sizes["epoch"]:
        return values.sum("epoch", min_count=1)
    return values.min("epoch", skipna=False)


def minimum_epoch(values: xr.DataArray) -> xr.DataArray:
    """Epoch of the smallest value, the first one if there are several; NaN as in `minimum`."""
    if not values.sizes["epoch"]:
        return values.sum("epoch", min_count=1)
    known = values.notnull().all("epoch")
    return values["epoch"][values.fillna(np.inf).argmin("epoch")].drop_vars("epoch").where(known)


def last_finite_epoch(values: xr.DataArray) -> xr.DataArray:
    """Last epoch with a finite value, seed by seed; NaN without any."""
    return values["epoch"].where(np.isfinite(values)).max("epoch")


def first_epoch(condition: xr.DataArray) -> xr.DataArray:
    """First epoch at which a condition (epoch, ...) holds; infinite if it never does."""
    held = condition.any("epoch")
    if not condition.sizes["epoch"]:
        return xr.where(held, 0.0, np.inf)
    epoch = condition["epoch"][condition.argmax("epoch")].drop_vars("epoch")
    return epoch.astype(float).where(held, np.inf)


def over_seeds(values: xr.DataArray) -> float:
    """Mean over seeds and all other dimensions; NaN if an entry is unknown or there is none."""
    entries = np.ravel(values.values.astype(float))
    return float(entries.mean()) if entries.size else math.nan
