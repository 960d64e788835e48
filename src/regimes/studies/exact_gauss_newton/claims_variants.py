"""How claims on variants of GN are read off: other settings, and the batch just used."""

from __future__ import annotations

import math

import numpy as np
import xarray as xr

from regimes.claims import Measure
from regimes.studies.exact_gauss_newton.analyses.init_std import SIGMAS
from regimes.studies.exact_gauss_newton.analyses.per_update import CHANGE, over_better
from regimes.studies.exact_gauss_newton.comparisons import ANY, POSITIVE, SHARE, seed_mean
from regimes.studies.exact_gauss_newton.reading import members, over_seeds, window
from regimes.studies.exact_gauss_newton.variants import final_levels

FIRST_EPOCHS = (1, 20)


def seeds_of(data: xr.Dataset, *variants: str) -> xr.Dataset:
    """Keep the seeds with which all of these variants were run.

    A variant that the analysis does not have was not run: what depends on it is NaN.
    """
    known = [name for name in variants if name in data["variant"].values]
    return data.sel(seed=members(data["ran"], "variant", known)["seed"]) if known else data


def _mean(
    analysis: str, name: str, *variants: str, limits: tuple[float, float] = POSITIVE
) -> Measure:
    """Mean over seeds of a number that compares variants; unknown if one of the runs diverged."""
    return seed_mean(analysis, lambda data: seeds_of(data, *variants)[name], limits)


def _seed_means(values: xr.DataArray) -> xr.DataArray:
    """Mean over seeds of each entry; NaN where one seed is unknown."""
    return values.mean("seed", skipna=False)


# --- Figure 3 ------------------------------------------------------------------------------------

OPTIMIZERS = ("gn", "adam", "sgd")


def _first_epochs(data: xr.Dataset) -> xr.DataArray:
    """Percent change by the updates of the first epochs, (variant, seed, epoch)."""
    return window(members(data[CHANGE], "variant", OPTIMIZERS), *FIRST_EPOCHS)


def _smallest_lead(change: xr.DataArray) -> float:
    """Smallest over epochs of the change by GN over the better of Adam and SGD, of seed means."""
    lead = over_better(_seed_means(change)).values
    return float(lead.min()) if lead.size else math.nan


FIG3 = {
    "gn_fig3_ratio_early": Measure("per_update", _first_epochs, _smallest_lead, ANY),
    "gn_fig3_start": _mean("per_update", "first_change_images", "gn", limits=(-100.0, math.inf)),
    "gn_fig3_gap_early": _mean("per_update", "lead_early", *OPTIMIZERS, limits=ANY),
    "gn_fig3_gap_shrinks": _mean("per_update", "lead_late", *OPTIMIZERS, limits=ANY),
    "gn_fig3_gap_persists": _mean("per_update", "lead_share", *OPTIMIZERS, limits=SHARE),
}

# --- Figure 7 ------------------------------------------------------------------------------------

FIG7 = {
    "gn_fig7_gn_after_adam_floor": _mean("switching", "floor", "adam_gn"),
    "gn_fig7_gn_after_adam_vs_adam": _mean("switching", "adam_gn_over_adam", "adam_gn", "adam"),
    "gn_fig7_gn_after_adam_vs_gn": _mean("switching", "adam_gn_over_gn", "adam_gn", "gn"),
    "gn_fig7_adam_after_gn_level": _mean("switching", "adam_after_gn", "gn_adam"),
    "gn_fig7_adam_after_gn": _mean("switching", "gn_adam_over_lowest", "gn_adam", "gn"),
}

# --- Figure 8 ------------------------------------------------------------------------------------


def _by_sigma(data: xr.Dataset) -> xr.DataArray:
    """Last running train loss for each spread of the weights, at equal epochs, (variant, seed)."""
    return final_levels(seeds_of(data, *SIGMAS), *SIGMAS)


def _largest_over_smallest(values: xr.DataArray) -> float:
    """Largest over smallest mean over seeds; NaN if one is unknown."""
    means = _seed_means(values).values
    return float(means.max() / means.min()) if means.size else math.nan


FIG8 = {
    # The runs with other spreads have 20 epochs at laptop scale.
    "gn_fig8_train_spread": Measure("init_std", _by_sigma, _largest_over_smallest, (1.0, math.inf)),
    "gn_fig8_larger_sigma": _mean("init_std", "wide_over_narrow", "gn_1e-2", "gn_1e-6"),
    "gn_fig8_all_saturate": _mean("init_std", "late_share", *SIGMAS, limits=ANY),
    "gn_fig8_worse_than_adam": _mean("init_std", "over_adam", *SIGMAS, "adam"),
}

# --- Figures 12 to 14 ----------------------------------------------------------------------------


def _slower() -> Measure:
    """The next smaller learning rate than 0.1 that was run, whichever that is."""

    def select(data: xr.Dataset) -> xr.DataArray:
        rates = data["lr_code"].values
        base = int(np.flatnonzero(data["variant"].values == "gn_0.1")[0])
        smaller = [base + 1] if base + 1 < len(rates) and np.isfinite(rates[base + 1]) else []
        compared = [str(data["variant"].values[i]) for i in [base, *smaller]]
        return seeds_of(data, *compared)["slower"]

    return Measure("learning_rates", select, over_seeds, POSITIVE)


def _rates(name: str, *variants: str, limits: tuple[float, float] = POSITIVE) -> Measure:
    return _mean("learning_rates", name, *variants, limits=limits)


FIG12 = {
    "gn_fig12_slower": _slower(),
    "gn_fig12_no_cure": _rates("no_cure", "gn_0.001", "gn_0.0001", "gn_0.1"),
    "gn_fig12_earlier": _rates("earlier", "gn_0.1", "gn_0.3", limits=ANY),
    "gn_fig12_higher": _rates("higher", "gn_0.1", "gn_0.3"),
    "gn_fig12_still_above_adam": _rates("small_over_adam", "gn_0.03", "adam"),
}

FIG13 = {
    "gn_fig13_train": _mean("weight_decay", "change_at_20", "gn_decay", "gn"),
    "gn_fig13_train_images": _mean("weight_decay", "change_at_end", "gn_decay", "gn"),
    "gn_fig13_no_cure": _mean("weight_decay", "over_adam", "gn_decay", "adam"),
}

REGULARIZED = ("truncate", "damp", "noise")
FIG14 = {
    "gn_fig14_damping_better": _mean("pinv", "damp_over_truncate", "damp", "truncate"),
    "gn_fig14_noise_less": _mean("pinv", "noise_over_damp", "noise", "damp"),
    "gn_fig14_truncation_above_adam": _mean("pinv", "truncate_over_adam", "truncate", "adam"),
    "gn_fig14_adam_best": _mean("pinv", "smallest_over_adam", *REGULARIZED, "adam"),
}

# --- Variants of the update ----------------------------------------------------------------------


def _updates(name: str, variant: str) -> Measure:
    return _mean("update_variants", name, variant, "corrected")


SUPPLEMENT = {
    "gn_supp_uncorrected_same_loss": _updates("uncorrected_ratio", "uncorrected"),
    "gn_supp_all_relu_lower": _updates("all_relu_ratio", "all_relu"),
}

VARIANTS: dict[str, Measure] = {**FIG3, **FIG7, **FIG8, **FIG12, **FIG13, **FIG14, **SUPPLEMENT}
