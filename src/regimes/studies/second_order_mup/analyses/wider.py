"""Training loss of word and image models at several widths (Fig. 4)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import xarray as xr

from regimes.fit.grids import by_setting
from regimes.store import described
from regimes.studies.second_order_mup.transfer import (
    PARAMETERIZATIONS,
    by_optimizer,
    final,
    seed_mean,
)
from regimes.studies.second_order_mup.width_cases import known_widths

PANELS = {
    "cbow_shampoo": ("wider_cbow", "shampoo"),
    "cbow_kfac": ("wider_cbow", "kfac"),
    "image_kfac": ("wider_myrtle5", "kfac"),
}
"""Rows of the figure: experiment and optimizer."""
TOLERANCE = 1.02  # a loss of the wider network up to so many times the other's is "no higher"
LOSSES = ("train_loss", "final_loss")
SCORES = ("final_accuracy", "final_analogy")
TEXTS = {
    "panel": "model and optimizer",
    "network": "network of the panel",
    "data": "data of the panel",
    "learning_rate": "base learning rate of the panel",
    "parameterization": "parameterization",
    "width": "width",
    "seed": "seed",
    "step": "updates",
    "epoch": "passes over the training samples",
    "whole_epoch": "1 for the record nearest to a whole number of epochs and for the last one",
    "train_loss": "loss on the training set, infinite after a divergence",
    "final_loss": "final loss on the training set, infinite where the run diverged",
    "final_accuracy": "final accuracy on the test set, 0 where the run diverged",
    "final_analogy": "final share of word analogies answered, 0 where the run diverged",
}


def analyse(experiments: Mapping[str, xr.Dataset]) -> xr.Dataset:
    """Losses over training and at its end for every width.

    Parameters
    ----------
    experiments
        Those of `PANELS` that were run at this scale.

    Returns
    -------
    xr.Dataset
        ``train_loss`` (panel, parameterization, width, seed, step); ``final_loss``,
        ``final_accuracy`` and ``final_analogy`` without the step; ``epoch`` and ``whole_epoch``
        (panel, step). All panels and both parameterizations are there, NaN where they were not
        run. Coordinates on the panels: ``network`` and ``data`` (empty where not run),
        ``learning_rate`` (NaN if it is not the same for all runs).
    """
    parts = {panel: _panel(runs) for panel, runs in by_optimizer(experiments, PANELS).items()}
    named = [part.drop_attrs().expand_dims(panel=[name]) for name, part in parts.items()]
    found = xr.concat(named, "panel", join="outer") if named else _nothing()
    found = found.reindex(panel=list(PANELS), parameterization=list(PARAMETERIZATIONS))
    for name in ("network", "data"):
        texts = [str(parts[p][name].values) if p in parts else "" for p in PANELS]
        found[name] = ("panel", texts)
    return described(found.set_coords(["network", "data", "learning_rate"]), TEXTS)


def _panel(runs: xr.Dataset) -> xr.Dataset:
    """Runs of one model and optimizer on the grid of parameterization, width and seed."""
    lost = runs["diverged_at"] >= 0
    late = (runs["step"] > runs["diverged_at"]) & (runs["step"] <= runs["steps"])
    loss = runs["train_loss"]
    loss = loss.where(~(loss.isnull() & lost & late), np.inf)
    unknown = xr.full_like(loss, np.nan)
    curves = xr.Dataset({"train_loss": loss, "final_loss": final(loss)})
    curves["final_loss"] = curves["final_loss"].where(~lost, np.inf)
    for name, source in zip(SCORES, ("test_accuracy", "analogy_accuracy"), strict=True):
        measured = final(runs.get(source, unknown))
        # Scores that a model does not have stay unknown where it diverged.
        exists = bool(measured.notnull().any())
        curves[name] = measured.where(~lost, 0.0) if exists else measured
    grid = by_setting(curves, ("parameterization", "width", "seed"))
    epoch = (
        runs["epoch"].max("run").drop_vars([*set(runs["epoch"].coords) - {"step"}], errors="ignore")
    )
    rates = np.unique(runs["lr"].values)
    return grid.assign(
        epoch=epoch,
        whole_epoch=whole_epochs(epoch),
        network=str(runs["model"].values[0]),
        data=str(runs["data"].values[0]),
        learning_rate=float(rates[0]) if rates.size == 1 else np.nan,
    )


def whole_epochs(epoch: xr.DataArray) -> xr.DataArray:
    """1 for the records nearest to 1, 2, 3 ... epochs and for the last one, 0 elsewhere.

    Records within an epoch would otherwise count as often as whole epochs.
    """
    values = epoch.values
    last = np.nanmax(values, initial=0.0)
    wanted = np.append(np.arange(1, np.floor(last + 1e-9) + 1), last)
    distance = np.where(np.isfinite(values) & (values > 0), abs(values - wanted[:, None]), np.inf)
    chosen = np.zeros(values.shape)
    chosen[distance.argmin(axis=1)[np.isfinite(distance).any(axis=1)]] = 1.0
    return epoch.copy(data=chosen)


def _nothing() -> xr.Dataset:
    """One panel without any run."""
    dims = ("panel", "parameterization", "width", "seed", "step")
    coords = {"panel": ["image_kfac"], "parameterization": ["sp"], "width": [1.0], "seed": [0.0]}
    coords["step"] = [0]
    loss = xr.DataArray(np.full((1,) * 5, np.nan), coords, dims)
    rest = {name: loss.isel(step=0, drop=True) for name in ("final_loss", *SCORES)}
    epoch = loss.isel(parameterization=0, width=0, seed=0, drop=True)
    rate = epoch.isel(step=0, drop=True)
    kept = {"train_loss": loss, **rest, "epoch": epoch, "whole_epoch": epoch}
    return xr.Dataset({**kept, "learning_rate": rate})


# --- Numbers -------------------------------------------------------------------------------------


def share_ordered(loss: xr.DataArray) -> float:
    """Share of (step, neighbouring widths) at which the wider network has no higher loss.

    Parameters
    ----------
    loss
        Over (width, seed, step), NaN at steps that do not count. Means over seeds are compared,
        with the `TOLERANCE`; a width that diverged has a higher loss than any other.

    Returns
    -------
    float
        Between 0 and 1; NaN without two widths.
    """
    mean = seed_mean(known_widths(loss)).transpose("width", "step").values
    narrow, wide = mean[:-1], mean[1:]
    compared = ~(np.isnan(narrow) | np.isnan(wide))
    ordered = np.isfinite(wide) & (wide <= TOLERANCE * narrow)
    return float(ordered[compared].mean()) if compared.any() else float("nan")


def widest_over_best(loss: xr.DataArray) -> float:
    """Seed-mean loss (width, seed) of the widest over the smallest of the narrower networks."""
    mean = seed_mean(known_widths(loss)).values
    if mean.size < 2:
        return float("nan")
    best = np.min(mean[:-1])
    return float(mean[-1] / best) if np.isfinite(best) else float("nan")


def smallest_gain(scores: xr.DataArray) -> float:
    """Smallest rise of the seed-mean score (width, seed) from a width to the next, in points."""
    rises = 100 * np.diff(known_widths(scores).mean("seed").values)
    return float(rises.min()) if rises.size else float("nan")
