"""How claims on full-batch, mini-batch and long training are read off (Figs. 1, 2, 5, 6, 15).

Ratios and differences are formed seed by seed and averaged over seeds, unless a claim says
otherwise. A seed whose run diverged makes the mean unknown: leaving it out would flatter the
optimizer. "Final" is the last epoch that all compared runs reach. Figure 1 is in
`claims_full_batch`; `CURVES` holds all.
"""

from __future__ import annotations

import math

import numpy as np
import xarray as xr

from regimes.claims import Measure
from regimes.studies.exact_gauss_newton.claims_full_batch import FULL_BATCH
from regimes.studies.exact_gauss_newton.comparisons import (
    ANY,
    GN,
    OTHERS,
    POSITIVE,
    SHARE,
    Select,
    curve,
    difference,
    final_ratio,
    larger,
    median,
    over_decrease,
    ratio,
    seed_mean,
    smaller,
)
from regimes.studies.exact_gauss_newton.reading import (
    at_epoch,
    common_end,
    final,
    first_epoch,
    last_epoch,
    minimum,
    minimum_epoch,
    pick,
    smooth,
    together,
    window,
)

# --- Figure 2: mini-batches ----------------------------------------------------------------------

MINI_EASY, MINI_HARD = "mini_batch_easy", "mini_batch_hard"


def _running(data: xr.Dataset, experiment: str, optimizer: str) -> xr.DataArray:
    return curve(data, "running_loss", optimizer, experiment=experiment)


def _lead(data: xr.Dataset, experiment: str, first: int, last: int) -> xr.DataArray:
    """Share of epochs at which GN is below Adam and SGD; unknown beyond the runs' end."""
    loss = together(**{n: _running(data, experiment, n) for n in (GN, *OTHERS)})
    planned = np.arange(first, last + 1)
    loss = loss.reindex(epoch=planned)
    # A run that diverged is not below any other, and the others are not below it.
    known = loss[GN].notnull() | loss["adam"].notnull() | loss["sgd"].notnull()
    leads = (loss[GN] < loss["adam"]) & (loss[GN] < loss["sgd"])
    return leads.where(known).mean("epoch", skipna=False)


def _early_lead(data: xr.Dataset) -> xr.DataArray:
    """Share of epochs 2-5 and of both data sets."""
    shares = [_lead(data, name, 2, 5) for name in (MINI_EASY, MINI_HARD)]
    return together(easy=shares[0], hard=shares[1]).to_dataarray("data").mean("data", skipna=False)


def _overtaking(data: xr.Dataset) -> xr.DataArray:
    """First epoch at which Adam is below GN after GN was below Adam.

    In the first epoch, before GN leads, Adam may be below GN as well. Never counts as the last
    epoch + 1; unknown if a run breaks off before.
    """
    curves = {n: _running(data, MINI_HARD, n) for n in (GN, "adam")}
    end = common_end(*curves.values())
    after = window(together(**curves), 1, end)
    led = (after[GN] < after["adam"]).astype(int).cumsum("epoch") > 0
    found = first_epoch((after["adam"] < after[GN]) & led)
    complete = (after["adam"].notnull() & after[GN].notnull()).all("epoch")
    never = xr.where(complete, end + 1, math.nan)
    return found.where(np.isfinite(found), never)


def _final_gap(data: xr.Dataset, experiment: str) -> xr.DataArray:
    """Final train loss of GN minus Adam."""
    gn, adam = (_running(data, experiment, name) for name in (GN, "adam"))
    end = common_end(gn, adam)
    return difference(at_epoch(gn, end), at_epoch(adam, end))


def _final_over_gn(experiment: str, optimizer: str) -> Select:
    return lambda data: final_ratio(
        _running(data, experiment, optimizer), _running(data, experiment, GN)
    )


def _plateau(data: xr.Dataset) -> xr.DataArray:
    """Change between epochs 50 and 100 over the change between 0 and 100."""
    start, half, end = (at_epoch(_running(data, MINI_HARD, GN), e) for e in (0, 50, 100))
    return abs(half - end) / abs(start - end)


def _accuracy_gap(data: xr.Dataset) -> xr.DataArray:
    """Percentage points by which Adam is above GN on test data."""
    gn, adam = (curve(data, "test_accuracy", name, experiment=MINI_HARD) for name in (GN, "adam"))
    epoch = 40 if "data" in gn.coords and gn["data"].item() == "mnist1d" else 100
    return 100 * difference(at_epoch(adam, epoch), at_epoch(gn, epoch))


MINI_BATCH = {
    "gn_fig2_early_lead_laptop": seed_mean(
        "mini_batch", lambda data: _lead(data, MINI_HARD, 2, 20), SHARE
    ),
    "gn_fig2_early_lead": seed_mean("mini_batch", _early_lead, SHARE),
    "gn_fig2_gn_minimum": seed_mean(
        "mini_batch", lambda data: minimum(window(_running(data, MINI_HARD, GN), 1, 60))
    ),
    "gn_fig2_gn_minimum_epoch": seed_mean(
        "mini_batch",
        lambda data: minimum_epoch(smooth(window(_running(data, MINI_HARD, GN), 1, 60), 3)),
    ),
    "gn_fig2_adam_crossing": seed_mean("mini_batch", _overtaking),
    "gn_fig2_adam_below_hard": seed_mean("mini_batch", _final_over_gn(MINI_HARD, "adam")),
    "gn_fig2_adam_below_easy": seed_mean("mini_batch", _final_over_gn(MINI_EASY, "adam")),
    "gn_fig2_sgd_above_easy": seed_mean("mini_batch", _final_over_gn(MINI_EASY, "sgd")),
    "gn_fig2_plateau": seed_mean("mini_batch", _plateau),
    "gn_fig2_stronger_on_hard": seed_mean(
        "mini_batch",
        lambda data: difference(_final_gap(data, MINI_HARD), _final_gap(data, MINI_EASY)),
        ANY,
    ),
    "gn_fig2_test_accuracy": seed_mean("mini_batch", _accuracy_gap, (-100.0, 100.0)),
}

# --- Figure 5: no bottleneck ---------------------------------------------------------------------

BARE_FULL, BARE_MINI = "no_bottleneck_full", "no_bottleneck_mini"


def _best(data: xr.Dataset, variable: str, experiment: str, optimizer: str) -> xr.DataArray:
    """Curve of an optimizer at its best learning rate, chosen once on all seeds."""
    chosen = data.isel(case=np.flatnonzero(data["best"].values == 1))
    return curve(chosen, variable, optimizer, experiment=experiment)


def _bare_full(data: xr.Dataset) -> xr.DataArray:
    """GN over the better of Adam and SGD after 20 full-batch steps."""
    at20 = {n: at_epoch(_best(data, "train_loss", BARE_FULL, n), 20) for n in (GN, *OTHERS)}
    return ratio(at20[GN], smaller(at20["adam"], at20["sgd"]))


def _bare_running(data: xr.Dataset) -> dict[str, xr.DataArray]:
    return {n: _best(data, "running_loss", BARE_MINI, n) for n in (GN, *OTHERS)}


def _late_progress(data: xr.Dataset) -> xr.DataArray:
    """Decrease of the train loss after a quarter of the epochs, GN over the smaller of others.

    Infinite if Adam or SGD does not decrease: then GN is not the flattest.
    """
    loss = _bare_running(data)
    end = common_end(*loss.values())
    quarter = math.nan if math.isnan(end) else round(end / 4)
    fell = {n: at_epoch(v, quarter) - at_epoch(v, end) for n, v in loss.items()}
    return over_decrease(fell[GN], smaller(fell["adam"], fell["sgd"]))


def _bare_end(data: xr.Dataset) -> xr.DataArray:
    """GN over the larger of Adam and SGD after 20 epochs."""
    at20 = {name: at_epoch(values, 20) for name, values in _bare_running(data).items()}
    return ratio(at20[GN], larger(at20["adam"], at20["sgd"]))


NO_BOTTLENECK = {
    "gn_fig5_full_batch": seed_mean("no_bottleneck", _bare_full),
    "gn_fig5_gn_flattest": seed_mean("no_bottleneck", _late_progress, ANY),
    "gn_fig5_gn_highest": seed_mean("no_bottleneck", _bare_end),
}

# --- Figure 6: long training ---------------------------------------------------------------------


def _long(data: xr.Dataset, optimizer: str = GN) -> xr.DataArray:
    return curve(data, "running_loss", optimizer)


def _over_minimum(data: xr.Dataset) -> xr.DataArray:
    """Train loss after 60 epochs over its minimum up to there."""
    loss = window(_long(data), 1, 60)
    return at_epoch(loss, 60) / minimum(loss)


LONG = {
    "gn_fig6_rise_laptop": seed_mean("long_training", _over_minimum),
    "gn_fig6_no_gain": seed_mean(
        "long_training", lambda data: final(_long(data)) / at_epoch(_long(data), 50)
    ),
    "gn_fig6_rise_epoch": seed_mean(
        "long_training",
        lambda data: minimum_epoch(smooth(window(_long(data), 1, math.inf), 9)),
    ),
    "gn_fig6_sgd_overtakes": seed_mean(
        "long_training", lambda data: final_ratio(_long(data, "sgd"), _long(data))
    ),
}

# --- Figure 15: regression -----------------------------------------------------------------------

TABLE_FULL, TABLE_MINI = "regression_full", "regression_mini"


def _error(
    data: xr.Dataset, variable: str, experiment: str, table: str, optimizer: str
) -> xr.DataArray:
    return curve(data, variable, optimizer, experiment=experiment, data=table)


def _against_best(variable: str, experiment: str, table: str, epoch: int) -> Select:
    """GN over the smaller of Adam and SGD after an epoch or step."""

    def select(data: xr.Dataset) -> xr.DataArray:
        at = {
            n: at_epoch(_error(data, variable, experiment, table, n), epoch) for n in (GN, *OTHERS)
        }
        return ratio(at[GN], smaller(at["adam"], at["sgd"]))

    return select


def _wine_test(data: xr.Dataset, optimizer: str) -> xr.DataArray:
    return _error(data, "test_loss", TABLE_MINI, "wine", optimizer)


def _wine_stagnates(data: xr.Dataset) -> xr.DataArray:
    """Test error after 60 epochs over its minimum in epochs 1-5."""
    error = _wine_test(data, GN)
    return at_epoch(error, 60) / minimum(window(error, 1, 5))


def _instability(data: xr.Dataset) -> xr.DataArray:
    """Largest train error over epochs 21-60 over the smallest in 1-20; infinite if diverged."""
    run = pick(data, optimizer=GN, experiment=TABLE_MINI, data="diabetes")
    loss = run["running_loss"]
    if not last_epoch(loss) >= 60:  # too short, or not run at all
        return at_epoch(loss, math.nan)
    rise = window(loss, 21, 60).max("epoch") / minimum(window(loss, 1, 20))
    diverged = (run["diverged_at"] >= 0) | at_epoch(loss, 60).isnull()
    return rise.where(~diverged, np.inf)


REGRESSION = {
    "gn_fig15_wine_full": seed_mean(
        "regression", _against_best("train_loss", TABLE_FULL, "wine", 5)
    ),
    "gn_fig15_wine_mini_test": seed_mean(
        "regression",
        lambda data: ratio(*(at_epoch(_wine_test(data, name), 60) for name in (GN, "adam"))),
    ),
    "gn_fig15_wine_mini_stagnates": seed_mean("regression", _wine_stagnates),
    "gn_fig15_second_full": seed_mean(
        "regression", _against_best("train_loss", TABLE_FULL, "diabetes", 5)
    ),
    "gn_fig15_superconductivity_full": seed_mean(
        "regression", _against_best("train_loss", TABLE_FULL, "superconductivity", 10)
    ),
    "gn_fig15_second_mini_early": seed_mean(
        "regression", _against_best("running_loss", TABLE_MINI, "diabetes", 5)
    ),
    "gn_fig15_second_mini_later": Measure(
        "regression", _instability, median, POSITIVE, interval="bootstrap"
    ),
    "gn_fig15_superconductivity_stagnates": seed_mean(
        "regression",
        lambda data: final_ratio(
            *(
                _error(data, "running_loss", TABLE_MINI, "superconductivity", name)
                for name in (GN, "adam")
            )
        ),
    ),
}

CURVES: dict[str, Measure] = FULL_BATCH | MINI_BATCH | NO_BOTTLENECK | LONG | REGRESSION
