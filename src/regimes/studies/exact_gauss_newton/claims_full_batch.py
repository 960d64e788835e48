"""How claims on full-batch training are read off (Fig. 1)."""

from __future__ import annotations

import math

import numpy as np
import xarray as xr

from regimes.claims import Measure
from regimes.fit.power_laws import fit_power_law
from regimes.studies.exact_gauss_newton.comparisons import (
    ANY,
    GN,
    OTHERS,
    Select,
    curve,
    difference,
    larger,
    ratio,
    seed_mean,
    smaller,
)
from regimes.studies.exact_gauss_newton.reading import (
    at_epoch,
    final,
    first_epoch,
    last_finite_epoch,
    matching,
    together,
)

EASY, HARD = "full_batch_easy", "full_batch_hard"
ROUNDING = 1e-6  # of an accuracy, stored in single precision
LEVEL = 0.1  # cross-entropy that is to be reached
TAIL = (20, 100)  # steps over which the slope is fitted
PAPER_EASY = {"gn": 0.5, "adam": 1e-4, "sgd": 0.1}  # learning rates in the paper


def _loss(data: xr.Dataset, experiment: str, optimizer: str, **settings) -> xr.DataArray:
    return curve(data, "train_loss", optimizer, experiment=experiment, **settings)


def _initial_loss(data: xr.Dataset) -> xr.DataArray:
    """Loss of the initial network, mean over all full-batch runs of a seed."""
    start, ran = at_epoch(data["train_loss"], 0), data["ran"] > 0
    mean = start.mean("case").where((start.notnull() | ~ran).all("case"))
    return mean.isel(seed=np.flatnonzero(ran.any("case")))


def _reached(values: xr.DataArray, held: xr.DataArray, optimizer: str, never: int) -> xr.DataArray:
    """First step at which a condition holds, seed by seed.

    A run that never gets there counts with the last step at which its value is finite, a lower
    bound, plus ``never``. For GN this would be a nicer number than the true one where the run has
    broken off: it is unknown then.
    """
    found = first_epoch(held)
    end = last_finite_epoch(values)
    if optimizer == GN:
        end = end.where(np.isfinite(final(values)))
    return xr.where(np.isposinf(found), end + never, found)


def _steps_to_level(data: xr.Dataset, experiment: str, optimizer: str, **rate) -> xr.DataArray:
    """First step with the loss at most `LEVEL`."""
    loss = _loss(data, experiment, optimizer, **rate)
    return _reached(loss, loss <= LEVEL, optimizer, 0)


def _speed(experiment: str, rates: dict[str, float] | None = None) -> Select:
    """Steps of the faster of Adam and SGD over those of GN."""

    def select(data: xr.Dataset) -> xr.DataArray:
        steps = {}
        for name in (GN, *OTHERS):
            rate = {"lr_code": rates[name]} if rates else {}
            steps[name] = _steps_to_level(data, experiment, name, **rate)
        return ratio(smaller(steps["adam"], steps["sgd"]), steps[GN])

    return select


def _step10_easy(data: xr.Dataset) -> xr.DataArray:
    """GN lr 1.0 over the best of four first-order runs, after ten steps."""
    first_order = [("sgd", 0.1), ("sgd", 1.0), ("adam", 1e-3), ("adam", 1e-4)]
    losses = [at_epoch(_loss(data, EASY, name, lr_code=rate), 10) for name, rate in first_order]
    return ratio(at_epoch(_loss(data, EASY, GN, lr_code=1.0), 10), smaller(*losses))


def _step10_20_hard(data: xr.Dataset) -> xr.DataArray:
    """Larger ratio of GN to Adam of the two after ten and twenty steps."""
    gn, adam = _loss(data, HARD, GN, lr_code=1 / 3), _loss(data, HARD, "adam", lr_code=1e-3)
    return larger(*(ratio(at_epoch(gn, step), at_epoch(adam, step)) for step in (10, 20)))


def _steps_to_accuracy(data: xr.Dataset, optimizer: str, **settings) -> xr.DataArray:
    """First step with all training samples classified correctly; last step + 1 if never."""
    values = curve(data, "train_accuracy", optimizer, **settings)
    return _reached(values, values >= 1 - ROUNDING, optimizer, 1)


def _accuracy_first(data: xr.Dataset) -> xr.DataArray:
    """Steps by which GN is first: against every Adam and SGD run, on the worse data set.

    GN at the learning rate of the paper; Adam and SGD at whichever of their rates is fastest.
    """
    leads = []
    for experiment, rate in ((EASY, {"lr_code": PAPER_EASY[GN]}), (HARD, {})):
        gn = _steps_to_accuracy(data, GN, experiment=experiment, **rate)
        others = []
        for name in OTHERS:
            found = matching(data, experiment=experiment, optimizer=name)
            rates = np.unique(data["lr_code"].values[found]).tolist() or [math.nan]
            others += [
                _steps_to_accuracy(data, name, experiment=experiment, lr_code=lr) for lr in rates
            ]
        leads.append(difference(smaller(*others), gn))
    return smaller(*leads)


def _tail_slopes(data: xr.Dataset, experiment: str) -> xr.DataArray:
    """Log-log slope of the GN loss against the step over the steps `TAIL`, (case, seed).

    Unknown for a run that lacks one of the steps.
    """
    found = data.isel(case=matching(data, experiment=experiment, optimizer=GN))
    found = found.isel(seed=np.flatnonzero((found["ran"] > 0).all("case")))
    steps = np.arange(TAIL[0], TAIL[1] + 1)
    log = np.log10(found["train_loss"].reset_coords(drop=True).reindex(epoch=steps))
    log = log.assign_coords(epoch=np.log10(steps)).rename(epoch="log10_step")
    slope = fit_power_law(log, "log10_step", *np.log10(TAIL))["slope"]
    return slope.where(np.isfinite(log).all("log10_step"))


def _asymptote(data: xr.Dataset) -> xr.DataArray:
    """Loss times alpha times step after 100 steps for the three GN learning rates."""
    losses = [_loss(data, EASY, GN, lr_code=rate) for rate in (0.5, 1.0, 2.0)]
    # Without the case there is no alpha and the product is unknown.
    scaled = [
        at_epoch(loss, 100) * 100 * float(loss.coords.get("alpha_eff", math.nan)) for loss in losses
    ]
    return together(**{f"rate_{i}": v for i, v in enumerate(scaled)}).to_dataarray("rate")


FULL_BATCH: dict[str, Measure] = {
    "gn_fig1_initial_loss": seed_mean("full_batch", _initial_loss),
    "gn_fig1_speed_easy": seed_mean("full_batch", _speed(EASY, PAPER_EASY)),
    "gn_fig1_speed_hard": seed_mean("full_batch", _speed(HARD)),
    "gn_fig1_step10_easy": seed_mean("full_batch", _step10_easy),
    "gn_fig1_step10_20_hard": seed_mean("full_batch", _step10_20_hard),
    "gn_fig1_accuracy_first": seed_mean("full_batch", _accuracy_first, ANY),
    "gn_fig1_tail_slope_easy": seed_mean("full_batch", lambda data: _tail_slopes(data, EASY), ANY),
    "gn_fig1_tail_slope_hard": seed_mean("full_batch", lambda data: _tail_slopes(data, HARD), ANY),
    "gn_fig1_asymptote": seed_mean("full_batch", _asymptote),
    "gn_fig1_rate_factor_hard": seed_mean(
        "full_batch", lambda data: curve(data, "rate_factor", GN, experiment=HARD)
    ),
}
