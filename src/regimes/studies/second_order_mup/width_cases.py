"""Runs that differ in width and seed only, gathered into cases.

A case is one combination of all other settings. Layer variables of trained runs become arrays over
(case, layer_step, layer, width, seed): NaN where a case has no such width, seed or step; infinite
where a run has diverged before the step, so that a fit over widths cannot leave it out unnoticed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import xarray as xr

from regimes.fit.grids import by_setting, same
from regimes.store import described, long_names

CASE = (
    "data",
    "samples",
    "model",
    "activation",
    "loss",
    "parameterization",
    "output_exponent",
    "output_multiplier",
    "base_width",
    "optimizer",
    "fisher",
    "damping_rule",
    "damping",
    "ema",
    "interval",
    "lr",
    "momentum",
    "weight_decay",
    "batch_size",
    "steps",
    "precision",
)
"""Settings that tell cases apart: all but width and seed."""
TEXTS = (
    "data",
    "model",
    "activation",
    "loss",
    "parameterization",
    "optimizer",
    "fisher",
    "damping_rule",
    "precision",
)
"""Those that are words."""
LAYERS = 3
INNER = ("layer_step", "layer", "width", "seed")


def gather(
    experiments: Mapping[str, xr.Dataset], names: Sequence[str], layers: int = LAYERS
) -> xr.Dataset:
    """Layer variables of the runs of some experiments as cases over width and seed.

    Parameters
    ----------
    experiments
        Name to trained runs: variables over (run, layer_step, layer), settings and, optionally,
        ``diverged_at`` on ``run``. May be empty.
    names
        Variables that are wanted.
    layers
        Networks with another number of layers are left out.

    Returns
    -------
    xr.Dataset
        The variables over (case, layer_step, layer, width, seed), ``experiment`` and every setting
        of `CASE` on ``case``, in the order of the runs. A variable that no experiment has is NaN.
        Without runs there are no cases.

    Raises
    ------
    ValueError
        If two runs of an experiment share all settings, the width and the seed.
    """
    parts = [
        case
        for name, data in experiments.items()
        for case in _cases(name, data, names)
        if case.sizes["layer"] == layers
    ]
    if parts:
        joined = xr.concat(parts, "case", join="outer", data_vars="minimal", coords="minimal")
    else:
        joined = _without_cases(names, layers)
    joined = joined.assign_coords(case=np.arange(joined.sizes["case"]))
    return _described(joined[[*names]].transpose("case", *INNER), experiments)


def _cases(experiment: str, data: xr.Dataset, names: Sequence[str]) -> list[xr.Dataset]:
    """Cases of one experiment, each over (case, layer_step, layer, width, seed)."""
    settings = [name for name in CASE if name in data.coords]
    missing = {name: "" if name in TEXTS else math.nan for name in CASE if name not in settings}
    table = pd.DataFrame({name: data[name].values for name in settings})
    # NaN is a setting like any other: no momentum, no damping, the full batch.
    codes = table.groupby(settings, dropna=False, sort=False).ngroup().values
    variables = _with_divergence(data, names)
    found = []
    for code in range(codes.max(initial=-1) + 1):
        runs = np.flatnonzero(codes == code)
        case = by_setting(variables.isel(run=runs), ("width", "seed"))
        # Other cases of the experiment may have been trained for longer.
        case = case.dropna("layer_step", how="all").expand_dims("case")
        own = {"experiment": experiment, **table.iloc[runs[0]], **missing}
        found.append(case.assign_coords({n: ("case", [value]) for n, value in own.items()}))
    return found


def _with_divergence(data: xr.Dataset, names: Sequence[str]) -> xr.Dataset:
    """Variables of the runs, infinite at the steps after a divergence, NaN where there are none."""
    dims = ("run", "layer_step", "layer")
    unknown = (dims, np.full([data.sizes[name] for name in dims], np.nan))
    kept = data.assign({name: unknown for name in names if name not in data})[[*names]]
    if "diverged_at" not in data:
        return kept
    lost = (data["diverged_at"] >= 0) & (data["layer_step"] > data["diverged_at"])
    if "steps" in data.coords:
        lost = lost & (data["layer_step"] <= data["steps"])
    return kept.map(lambda values: values.where(~(lost & values.isnull()), np.inf), keep_attrs=True)


def _without_cases(names: Sequence[str], layers: int) -> xr.Dataset:
    """No case, but every variable and setting that code may read."""
    coords = {"layer_step": [0], "layer": np.arange(layers), "width": [1.0], "seed": [0]}
    empty = np.zeros([0, *(len(coords[name]) for name in INNER)])
    words = {name: ("case", np.array([], dtype=str)) for name in ("experiment", *TEXTS)}
    numbers = {name: ("case", np.array([])) for name in CASE if name not in TEXTS}
    return xr.Dataset(
        {name: (("case", *INNER), empty) for name in names}, coords={**coords, **words, **numbers}
    )


def _described(data: xr.Dataset, experiments: Mapping[str, xr.Dataset]) -> xr.Dataset:
    """Long names of the runs' variables and settings; others are called by their names."""
    texts = long_names(data)
    for part in reversed(experiments.values()):
        texts |= {name: text for name, text in long_names(part).items() if name in texts}
    texts |= {
        "case": "case: settings apart from width and seed",
        "experiment": "experiment the case was trained in",
        "layer_step": "updates before the layers were measured",
    }
    return described(data, texts)


def choose(data: xr.Dataset, **settings: float | str | None) -> xr.Dataset:
    """Cases with given settings, possibly none; see `same`."""
    mask = np.ones(data.sizes["case"], dtype=bool)
    for name, wanted in settings.items():
        mask &= same(data[name], wanted)
    return data.isel(case=np.flatnonzero(mask))


def known_widths(data: xr.DataArray) -> xr.DataArray:
    """Leave out widths and seeds without any value, which other cases brought along."""
    return data.dropna("width", how="all").dropna("seed", how="all")
