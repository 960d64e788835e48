"""How claims on laziness are read off: tangent kernel, representations, weights (Figs. 4, 9 to 11).

Where the quantity combines optimizers or blocks, it does so seed by seed; the statistic is then a
mean over seeds. Seeds with which one of the optimizers was not run are left out; a run that
diverged makes the number unknown.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import xarray as xr

from regimes.claims import Measure
from regimes.studies.exact_gauss_newton.comparisons import (
    POSITIVE,
    SHARE,
    Select,
    difference,
    seed_mean,
)
from regimes.studies.exact_gauss_newton.probes import EARLY, pair_name, shown_blocks
from regimes.studies.exact_gauss_newton.reading import (
    at_epoch,
    final,
    members,
    pick,
    window,
)

DIFFERENCE = (-1.0, 1.0)
LONG = 100  # epochs of the runs on images
HIGH, LOW = "lazy_probe", "lazy_low_dim"  # experiments with many and with few inputs
SLOW_ADAM = 1e-4


def of(values: xr.DataArray, *names: str) -> xr.DataArray:
    """Curves (optimizer, seed, epoch, ...) of some optimizers, with the seeds that all ran with."""
    return members(values, "optimizer", names)


def last(values: xr.DataArray) -> xr.DataArray:
    """Values after the last epoch."""
    return values.isel(epoch=-1, drop=True)


def at_block(values: xr.DataArray, which: int) -> xr.DataArray:
    """Values of the first (0), middle (1) or last (2) block."""
    block = shown_blocks(values.sizes["block"])[which]
    return values.isel(block=block - 1, drop=True)


def quarter(values: xr.DataArray, late: bool = False) -> xr.DataArray:
    """Mean over the first or last quarter of the epochs, at least one; epoch 0 does not count."""
    end = int(values["epoch"].values[-1])
    length = max(1, end // 4)
    first = end - length + 1 if late else 1
    part = window(values, first, first + length - 1)
    return part.sum("epoch", skipna=False) / (part.sizes["epoch"] or math.nan)


def _extreme(values: xr.DataArray, names: Sequence[str], largest: bool = False) -> xr.DataArray:
    """Smaller or larger value of two optimizers, seed by seed; NaN if one is unknown."""
    pair = values.sel(optimizer=list(names))
    return (pair.max if largest else pair.min)("optimizer", skipna=False)


def _one(name: str, optimizer: str) -> Select:
    """Last value of one optimizer."""
    return lambda data: last(of(data[name], optimizer)).sel(optimizer=optimizer)


# --- Tangent kernel (Fig. 4) ---------------------------------------------------------------------


def _smaller_similarity(data: xr.Dataset) -> xr.DataArray:
    """Smaller similarity of GN and SGD to the start."""
    return _extreme(last(of(data["ntk_similarity"], "gn", "sgd")), ("gn", "sgd"))


def _similarity_gap(data: xr.Dataset) -> xr.DataArray:
    """Smaller similarity of GN and SGD minus that of Adam."""
    ends = last(of(data["ntk_similarity"], "gn", "sgd", "adam"))
    return _extreme(ends, ("gn", "sgd")) - ends.sel(optimizer="adam", drop=True)


def _velocity_ratio(data: xr.Dataset) -> xr.DataArray:
    """Early velocity of Adam over the larger one of GN and SGD."""
    early = quarter(of(data["ntk_velocity"], "gn", "sgd", "adam"))
    return early.sel(optimizer="adam", drop=True) / _extreme(early, ("gn", "sgd"), largest=True)


def _velocity_decay(data: xr.Dataset) -> xr.DataArray:
    """Early over late velocity of Adam."""
    adam = of(data["ntk_velocity"], "adam").sel(optimizer="adam", drop=True)
    return quarter(adam) / quarter(adam, late=True)


def _last_block_gap(data: xr.Dataset) -> xr.DataArray:
    """CKA of the last block to its start, GN minus Adam."""
    ends = at_block(last(of(data["cka_initial"], "gn", "adam")), 2)
    return ends.sel(optimizer="gn", drop=True) - ends.sel(optimizer="adam", drop=True)


def _mean_difference(data: xr.Dataset) -> xr.DataArray:
    """|CKA to init of GN minus that of SGD|, mean over first, middle and last block."""
    ends = last(of(data["cka_initial"], "gn", "sgd"))
    apart = abs(ends.sel(optimizer="gn", drop=True) - ends.sel(optimizer="sgd", drop=True))
    blocks = [at_block(apart, which) for which in (0, 1, 2)]
    return xr.concat(blocks, "place").mean("place", skipna=False)


KERNELS = {
    "gn_fig4_ntk_gn": seed_mean("laziness", _one("ntk_similarity", "gn"), DIFFERENCE),
    "gn_fig4_ntk_adam": seed_mean("laziness", _one("ntk_similarity", "adam"), DIFFERENCE),
    "gn_fig4_ntk_near_one": seed_mean("laziness", _smaller_similarity, DIFFERENCE),
    "gn_fig4_ntk_gap": seed_mean("laziness", _similarity_gap, (-2.0, 2.0)),
    "gn_fig4_velocity_ratio": seed_mean("laziness", _velocity_ratio, POSITIVE),
    "gn_fig4_velocity_decay": seed_mean("laziness", _velocity_decay, POSITIVE),
    "gn_fig4_cka_adam_last": seed_mean(
        "laziness", lambda data: at_block(_one("cka_initial", "adam")(data), 2), SHARE
    ),
    "gn_fig4_cka_gap": seed_mean("laziness", _last_block_gap, DIFFERENCE),
    "gn_fig4_cka_gn_sgd": seed_mean("laziness", _mean_difference, SHARE),
}

# --- Weights (Fig. 9) ----------------------------------------------------------------------------


def _cosines(data: xr.Dataset, names: Sequence[str], epoch: float | None) -> xr.DataArray:
    """Cosine between initial and present weights, mean over half-layers; None: last epoch."""
    curves = of(data["weight_cosine"], *names)
    here = last(curves) if epoch is None else at_epoch(curves, epoch)
    return here.mean("half", skipna=False)


def _sgd_above(factor: float, epoch: float | None) -> Select:
    """Cosine of SGD minus a multiple of the larger of Adam and GN."""

    def select(data: xr.Dataset) -> xr.DataArray:
        cosines = _cosines(data, ("gn", "adam", "sgd"), epoch)
        most = _extreme(cosines, ("gn", "adam"), largest=True)
        return cosines.sel(optimizer="sgd", drop=True) - factor * most

    return select


def _turned_alike(data: xr.Dataset) -> xr.DataArray:
    """|Cosine of GN minus that of Adam| at epoch 100 if runs are that long, else at epoch 10."""
    epoch = LONG if data["epoch"].values[-1] >= LONG else EARLY
    cosines = _cosines(data, ("gn", "adam"), epoch)
    return abs(cosines.sel(optimizer="gn", drop=True) - cosines.sel(optimizer="adam", drop=True))


TURNS = {
    "gn_fig9_sgd_double": seed_mean("weights", _sgd_above(2, EARLY), (-3.0, 3.0)),
    "gn_fig9_sgd_highest": seed_mean("weights", _sgd_above(1, None), (-2.0, 2.0)),
    "gn_fig9_gn_adam_similar": seed_mean("weights", _turned_alike, (0.0, 2.0)),
}

# --- Representations (Figs. 10 and 11) -----------------------------------------------------------


def _least_kept(*optimizers: str) -> Select:
    """Smallest CKA to the start over blocks and optimizers."""

    def select(data: xr.Dataset) -> xr.DataArray:
        ends = last(of(data["cka_initial"], *optimizers))
        return ends.min(["optimizer", "block"], skipna=False)

    return select


def depth(values: xr.DataArray) -> xr.DataArray:
    """First minus last block at the last epoch."""
    return at_block(last(values), 0) - at_block(last(values), 2)


def _adam_depth(data: xr.Dataset) -> xr.DataArray:
    """CKA to init under Adam, first minus last block."""
    return depth(of(data["cka_initial"], "adam").sel(optimizer="adam", drop=True))


GN_ADAM, GN_SGD = pair_name("gn", "adam"), pair_name("gn", "sgd")


def _between(data: xr.Dataset, *pairs: str) -> xr.DataArray:
    """CKA between optimizers (pair, seed, epoch, block)."""
    return members(data["cka"].rename(both_ran="ran"), "pair", pairs)


def _closer(data: xr.Dataset) -> xr.DataArray:
    """Last-block CKA of GN with SGD minus that of GN with Adam."""
    ends = at_block(last(_between(data, GN_SGD, GN_ADAM)), 2)
    return ends.sel(pair=GN_SGD, drop=True) - ends.sel(pair=GN_ADAM, drop=True)


def _apart_with_depth(data: xr.Dataset) -> xr.DataArray:
    """CKA of GN with Adam, first minus last block."""
    return depth(_between(data, GN_ADAM).sel(pair=GN_ADAM, drop=True))


def _drifting(data: xr.Dataset) -> xr.DataArray:
    """Last-block CKA of GN with Adam after the first epoch minus after the last."""
    curve = at_block(_between(data, GN_ADAM).sel(pair=GN_ADAM, drop=True), 2)
    return at_epoch(curve, 1) - last(curve)


REPRESENTATIONS = {
    "gn_fig10_gn_all_blocks": seed_mean("laziness", _least_kept("gn"), SHARE),
    "gn_fig10_gn_sgd_near_one": seed_mean("laziness", _least_kept("gn", "sgd"), SHARE),
    "gn_fig10_adam_depth": seed_mean("laziness", _adam_depth, DIFFERENCE),
    "gn_fig11_sgd_closer": seed_mean("cross_cka", _closer, DIFFERENCE),
    "gn_fig11_gn_sgd_near_one": seed_mean(
        "cross_cka",
        lambda data: last(_between(data, GN_SGD)).min(["pair", "block"], skipna=False),
        SHARE,
    ),
    "gn_fig11_gn_adam_depth": seed_mean("cross_cka", _apart_with_depth, DIFFERENCE),
    "gn_fig11_gn_adam_falls": seed_mean("cross_cka", _drifting, DIFFERENCE),
}

# --- Controls ------------------------------------------------------------------------------------


def _control(name: str, **settings) -> Select:
    """Last value of one case over its seeds."""
    return lambda data: final(pick(data, **settings)[name])


def _more_learned(data: xr.Dataset) -> xr.DataArray:
    """Train loss of SGD minus that of GN, many inputs."""
    sgd, gn = (
        _control("running_loss", experiment=HIGH, optimizer=optimizer)(data)
        for optimizer in ("sgd", "gn")
    )
    return difference(sgd, gn)


CONTROLS = {
    "gn_supp_low_dim_gn": seed_mean(
        "lazy_controls", _control("ntk_similarity", experiment=LOW, optimizer="gn"), DIFFERENCE
    ),
    "gn_supp_slow_adam_lazy": seed_mean(
        "lazy_controls",
        _control("ntk_similarity", experiment=HIGH, optimizer="adam", lr_code=SLOW_ADAM),
        DIFFERENCE,
    ),
    "gn_supp_lazy_but_learning": seed_mean("lazy_controls", _more_learned),
}

LAZINESS: dict[str, Measure] = KERNELS | TURNS | REPRESENTATIONS | CONTROLS
