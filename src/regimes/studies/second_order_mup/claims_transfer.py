"""How claims on the transfer of learning rate and damping are read (Figs. 6, 7, A4).

Best settings jump from grid point to grid point: their intervals come from drawing seeds with
replacement. What is reached at the best setting is read at the one found from all seeds, so that
leaving out a seed does not jump to another. A best setting at an end of its grid is unknown, since
the true one may lie beyond, and with it every claim on where it is.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import xarray as xr

from regimes.claims import Measure
from regimes.studies.second_order_mup.analyses.damping_transfer import DAMPING
from regimes.studies.second_order_mup.analyses.lr_transfer import RATE
from regimes.studies.second_order_mup.claims_zero_init import ZERO_INIT
from regimes.studies.second_order_mup.transfer import (
    at_end,
    best_point,
    mean_or_unknown,
    near,
    one,
    ratio_of_means,
)

POSITIVE = (0.0, math.inf)
ANY = (-math.inf, math.inf)
FOLD = 16.0  # range of widths
SMALL_RATE = -11.0  # log2 of a learning rate well below the best

Select = Callable[[xr.Dataset], xr.DataArray]


# --- Where the best setting lies -----------------------------------------------------------------


def _run(values: xr.DataArray) -> xr.DataArray:
    """Leave out widths and seeds without any run; widths rise."""
    return values.dropna("width", how="all").dropna("seed", how="all").sortby("width")


def _sixteen_fold(loss: xr.DataArray) -> xr.DataArray:
    """The widest 16-fold range of widths; NaN throughout where they do not span it."""
    width = loss["width"].values.astype(float)
    low = width.max(initial=0) / FOLD
    kept = loss.isel(width=np.flatnonzero(width >= low * (1 - 1e-6)))
    spans = near(width, low).any()
    return kept if spans else kept * np.nan


def _inside(loss: xr.DataArray, dim: str) -> xr.DataArray:
    """NaN throughout where the best setting of a width is unknown or an end of its grid."""
    sure = loss.sizes["width"] and bool((at_end(loss, dim) == 0).all())
    return loss if sure else loss * np.nan


def _rates(panel: str, parameterization: str, cut: Callable | None = _sixteen_fold) -> Select:
    """Losses (width, log2_learning_rate, seed) of a panel whose best rates are compared."""

    def select(data: xr.Dataset) -> xr.DataArray:
        chosen = {"panel": panel, "parameterization": parameterization}
        loss = _run(data["train_loss"].sel(chosen, drop=True))
        return _inside(cut(loss) if cut else loss, RATE)

    return select


def _dampings(rule: str) -> Select:
    """Losses (width, log10_damping, seed) with a damping rule."""

    def select(data: xr.Dataset) -> xr.DataArray:
        loss = _run(data["train_loss"].sel(damping_rule=rule, drop=True))
        return _inside(_sixteen_fold(loss), DAMPING)

    return select


def _listed(*widths: float) -> Callable[[xr.DataArray], xr.DataArray]:
    """Keep given widths; NaN throughout if one of them was not run."""

    def cut(loss: xr.DataArray) -> xr.DataArray:
        run = loss["width"].values.astype(float)
        kept = loss.isel(width=np.flatnonzero([near(widths, w).any() for w in run]))
        return kept if kept.sizes["width"] == len(widths) else kept * np.nan

    return cut


def _range(dim: str) -> Callable[[xr.DataArray], float]:
    """Largest minus smallest best setting over widths."""

    def statistic(loss: xr.DataArray) -> float:
        found = _bests(loss, dim)
        return float(found.max() - found.min()) if found.size > 1 else math.nan

    return statistic


def _rise(dim: str) -> Callable[[xr.DataArray], float]:
    """Best setting at the widest minus at the narrowest."""

    def statistic(loss: xr.DataArray) -> float:
        found = _bests(loss, dim)
        return float(found[-1] - found[0]) if found.size > 1 else math.nan

    return statistic


def _bests(loss: xr.DataArray, dim: str) -> np.ndarray:
    """Best setting at each width, rising; NaN where it is unknown."""
    if not (loss.sizes["width"] and loss.sizes["seed"]):
        return np.array([])
    plain = loss.transpose("width", dim, "seed")
    return best_point(plain.values, plain[dim].values)


def _slope(loss: xr.DataArray) -> float:
    """Exponent of the best learning rate as a power of the width, unknown if one of them is."""
    found = _bests(loss, RATE)
    if found.size < 2 or np.isnan(found).any():
        return math.nan
    return float(np.polyfit(np.log2(loss["width"].values), found, 1)[0])


def _conv_rates(data: xr.Dataset) -> xr.DataArray:
    """Losses of CNN and residual network; unknown unless both were run."""
    parts = [_rates(name, "mup", None)(data) for name in ("cnn_kfac", "resnet_kfac")]
    if not all(part.size for part in parts):
        return xr.DataArray(np.full((2, 1), np.nan), dims=("panel", "seed"))
    return xr.concat(parts, "panel", join="outer")


def _largest_range(loss: xr.DataArray) -> float:
    """Largest range of best learning rates over panels."""
    if RATE not in loss.dims:
        return math.nan
    panels = [loss.isel(panel=i).dropna("width", how="all") for i in range(loss.sizes["panel"])]
    return float(np.max([_range(RATE)(each) for each in panels]))


# --- What is reached there -----------------------------------------------------------------------


def _pair(above: xr.DataArray, below: xr.DataArray) -> xr.Dataset:
    """Two numbers over the seeds that either of them was run with."""
    data = xr.Dataset({"above": above.drop_vars("width", errors="ignore"), "below": below})
    return data.reset_coords(drop=True).dropna("seed", how="all")


def _at_best(data: xr.Dataset, name: str, panel: str, parameterization: str) -> xr.DataArray:
    """Loss or accuracy (width, seed) at the best learning rate, widths rising."""
    chosen = {"panel": panel, "parameterization": parameterization}
    run = data["train_loss"].sel(chosen).notnull().any((RATE, "seed"))
    return data[name].sel(chosen, drop=True).isel(width=np.flatnonzero(run.values)).sortby("width")


def _place(values: xr.DataArray, position: int) -> xr.DataArray:
    """Entry of a width by position; NaN where no width was run."""
    if values.sizes["width"]:
        return values.isel(width=position, drop=True)
    return xr.DataArray(np.full(values.sizes["seed"], np.nan), {"seed": values["seed"]}, "seed")


def _loss_falls(data: xr.Dataset) -> xr.Dataset:
    """Train loss at the best learning rate at the ends of a 16-fold range, muP."""
    loss = _sixteen_fold(_at_best(data, "loss_at_best", "mlp_kfac", "mup"))
    return _pair(_place(loss, -1), _place(loss, 0))


def _sgd_losses(data: xr.Dataset) -> xr.Dataset:
    """Train loss of SGD at M = 512, SP and muP, each at its best learning rate."""
    losses = [one(_at_best(data, "loss_at_best", "mlp_sgd", p), width=512) for p in ("sp", "mup")]
    return _pair(*losses)


def _small_rate(parameterization: str) -> Callable[[xr.Dataset], xr.Dataset]:
    """Train loss of K-FAC at a small learning rate, M = 512 and 32."""

    def select(data: xr.Dataset) -> xr.Dataset:
        loss = data["train_loss"].sel(panel="mlp_kfac", parameterization=parameterization)
        loss = one(loss.reset_coords(drop=True), **{RATE: SMALL_RATE})
        return _pair(one(loss, width=512), one(loss, width=32))

    return select


def _widest_accuracies(width: float | None) -> Select:
    """Test accuracy of K-FAC, muP minus SP, at a width or the largest one."""

    def select(data: xr.Dataset) -> xr.DataArray:
        found = {p: _at_best(data, "accuracy_at_best", "mlp_kfac", p) for p in ("mup", "sp")}
        mup, sp = (
            _place(each, -1) if width is None else one(each, width=width) for each in found.values()
        )
        return (mup - sp).dropna("seed", how="all")

    return select


def _gain(data: xr.Dataset) -> xr.DataArray:
    """Rise of the test accuracy of K-FAC from M = 32 to 512 under muP minus that under SP."""
    rises = []
    for parameterization in ("mup", "sp"):
        values = _at_best(data, "accuracy_at_best", "mlp_kfac", parameterization)
        rises.append(one(values, width=512) - one(values, width=32))
    return (rises[0] - rises[1]).dropna("seed", how="all")


def _rate_range(panel: str, parameterization: str) -> Measure:
    select = _rates(panel, parameterization)
    return Measure("lr_transfer", select, _range(RATE), POSITIVE, interval="bootstrap")


def _rate_slope(cut: Callable | None) -> Measure:
    select = _rates("mlp_sgd", "sp", cut)
    return Measure("lr_transfer", select, _slope, ANY, interval="bootstrap")


TRANSFER: dict[str, Measure] = {
    "so_fig6_mlp_mup_lr_transfer": _rate_range("mlp_kfac", "mup"),
    # Two seeds are enough for the jackknife, not for drawing them with replacement.
    "so_fig6_conv_mup_lr_transfer": Measure("lr_transfer", _conv_rates, _largest_range, POSITIVE),
    "so_fig6_mlp_mup_loss_falls": Measure("lr_transfer", _loss_falls, ratio_of_means, POSITIVE),
    "so_fig6_mlp_sp_lr_also_stable": _rate_range("mlp_kfac", "sp"),
    "so_fig6_mlp_accuracy_widest_laptop": Measure(
        "lr_transfer", _widest_accuracies(512), mean_or_unknown, (-1.0, 1.0)
    ),
    "so_fig6_mlp_accuracy_widest": Measure(
        "lr_transfer", _widest_accuracies(None), mean_or_unknown, (-1.0, 1.0)
    ),
    "so_fig6_mlp_accuracy_gain_with_width": Measure(
        "lr_transfer", _gain, mean_or_unknown, (-2.0, 2.0)
    ),
    "so_fig6_mlp_small_lr_sp_worsens": Measure(
        "lr_transfer", _small_rate("sp"), ratio_of_means, POSITIVE
    ),
    "so_fig6_mlp_small_lr_mup_improves": Measure(
        "lr_transfer", _small_rate("mup"), ratio_of_means, POSITIVE
    ),
    "so_figA4_sgd_sp_shift_laptop": _rate_slope(_listed(32, 128, 512)),
    "so_figA4_sgd_sp_shift": _rate_slope(None),
    "so_figA4_sgd_mup_lr_transfer": _rate_range("mlp_sgd", "mup"),
    "so_figA4_sgd_loss_ratio": Measure("lr_transfer", _sgd_losses, ratio_of_means, POSITIVE),
    "so_figA4_shampoo_mup_lr_transfer": _rate_range("mlp_shampoo", "mup"),
    "so_fig7_rescaled_damping_transfer": Measure(
        "damping_transfer", _dampings("rescaled"), _range(DAMPING), POSITIVE, interval="bootstrap"
    ),
    "so_fig7_heuristic_damping_moves": Measure(
        "damping_transfer", _dampings("heuristic"), _rise(DAMPING), ANY, interval="bootstrap"
    ),
    **ZERO_INIT,
}
