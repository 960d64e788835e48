"""Made-up runs of the experiments on variants of GN, with curves whose numbers are known."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import xarray as xr

from tests.studies.exact_gauss_newton.made_curves import SEEDS, runs

# Seeds differ by a factor common to all optimizers, or the claims' ratios per seed would not be
# told from ratios of means: `scatter` gives each optimizer its own.
SCALE = {42: 1.0, 43: 2.0, 44: 4.0}

Curve = Callable[[np.ndarray, int], np.ndarray]


def falling(start: float, rate: float, floor: float = 0.0) -> Curve:
    """start at epoch 0, decaying exponentially to a floor; times `SCALE`."""
    return lambda e, s: SCALE[s] * (floor + (start - floor) * np.exp(-rate * e))


def turning(at: float, lowest: float, width: float = 400.0) -> Curve:
    """Parabola in the epoch with its minimum at a given epoch, times `SCALE`."""
    return lambda e, s: SCALE[s] * (lowest + (e - at) ** 2 / width)


def constant(value: float) -> Curve:
    """The same at all epochs, times `SCALE`."""
    return lambda e, s: SCALE[s] * value + 0 * e


def case(loss: Curve, **settings) -> dict:
    """One case: running loss as given, the others at a fixed relation to it."""
    return {
        "running_loss": loss,
        "train_loss": lambda e, s: 0.9 * loss(e, s),
        "test_loss": lambda e, s: 1.3 * loss(e, s),
        "test_accuracy": lambda e, s: np.clip(0.9 - 0.05 * loss(e, s), 0.1, 1.0),
        **settings,
    }


def percent(level: float, slope: float = 0.0) -> Curve:
    """Percent change linear in the epoch, NaN at epoch 0."""
    return lambda e, s: np.where(e > 0, SCALE[s] * (level + slope * e), np.nan)


# Minimum of GN at epoch 20 (0.8), 4.8 at epoch 60; Adam at epoch e: 3 exp(-e / 30).
GN = turning(20, 0.8)
ADAM = falling(3.0, 1 / 30)
SGD = falling(3.0, 1 / 100)


def mini_batch_hard(seeds=SEEDS) -> xr.Dataset:
    """GN, Adam and SGD for 60 epochs; the first GN update lowers its batch loss by 12 %."""
    adam, sgd = {"lr_code": 1e-3, "optimizer": "adam"}, {"optimizer": "sgd"}
    found = [
        case(GN, pct_change_mean=percent(-10, 0.1)),
        case(ADAM, pct_change_mean=percent(-2), **adam),
        case(SGD, pct_change_mean=percent(-1, -0.05), **sgd),
    ]
    before = np.full((3 * len(seeds), 4), 2.5)
    return runs(
        found,
        seeds,
        batch_loss=(("update",), before),
        batch_loss_after=(("update",), before * np.array([0.88, 0.9, 0.9, 0.9])),
    )


def optimizer_switch() -> xr.Dataset:
    """Adam for 30 epochs, then GN for 20, and GN for 20, then Adam for 30."""

    def adam_gn(e, s):
        return np.where(e <= 30, ADAM(e, s), ADAM(np.full_like(e, 30.0), s) * (1 + (e - 30) / 10))

    def gn_adam(e, s):
        return np.where(e <= 20, GN(e, s), 0.8 * SCALE[s] * np.exp(-(e - 20) / 10))

    first = {"optimizer": "adam", "lr_code": 1e-3, "epochs": 30, "then": "gn"}
    second = {"optimizer": "gn", "epochs": 20, "then": "adam"}
    return runs(
        [
            case(adam_gn, **first, then_lr_code=0.1, then_epochs=20),
            case(gn_adam, **second, then_lr_code=1e-3, then_epochs=30),
        ]
    )


def init_std() -> xr.Dataset:
    """Other spreads for 20 epochs: 4 % above and 2 % below the usual one."""
    return runs(
        [
            case(lambda e, s: 0.98 * GN(e, s), sigma=1e-2, epochs=20),
            case(lambda e, s: 1.04 * GN(e, s), sigma=1e-6, epochs=20),
        ]
    )


def gn_lr() -> xr.Dataset:
    """Larger learning rates have an earlier and higher minimum; the largest diverges."""

    def lost(e, s):
        return np.where(e < 4, 2 + e**2, np.nan)

    return runs(
        [
            case(turning(4, 1.2), lr_code=0.3, epochs=20),
            case(falling(2.5, 1 / 25), lr_code=0.03),
            case(lost, lr_code=0.5, epochs=5),
        ]
    )


def gn_weight_decay() -> xr.Dataset:
    """With weight decay 3 % lower."""
    return runs([case(lambda e, s: 0.97 * GN(e, s), weight_decay=1e-2, epochs=20)])


def pinv_regularization() -> xr.Dataset:
    """Damping 10 % lower, noise 5 % higher."""
    return runs(
        [
            case(lambda e, s: (0.9 + 1e-3 * (e - 20)) * GN(e, s), inverse="damp", rtol=0.0),
            case(lambda e, s: 1.05 * GN(e, s), inverse="noise", rtol=0.0, precision="double"),
        ]
    )


def gn_update_variants() -> xr.Dataset:
    """Without the cross term 4 % (epoch 5) and 8 % (epoch 10) lower; ReLU first 25 % lower."""
    return runs(
        [
            case(lambda e, s: (1 - 0.008 * e) * GN(e, s), cross_term=False, epochs=10),
            case(lambda e, s: 0.75 * GN(e, s), first_block_linear=False, epochs=20),
            case(lambda e, s: 1.01 * GN(e, s), rtol=1e-3, epochs=10),
        ]
    )


IMAGES = {"data": "cifar10", "blocks": 3, "width": 4000.0, "batch_size": 512.0, "epochs": 40}


def on_images(cases: list[dict]) -> xr.Dataset:
    """Cases on CIFAR-10, with their own GN and Adam runs of 40 epochs."""
    own = [
        case(falling(2.5, 1 / 5, 1.8), **IMAGES),
        case(falling(2.5, 1 / 20, 0.9), optimizer="adam", lr_code=1e-4, **IMAGES),
    ]
    return runs([*own, *({**IMAGES, **each} for each in cases)])


def laptop() -> dict[str, xr.Dataset]:
    """All experiments as at laptop scale."""
    return {
        "mini_batch_hard": mini_batch_hard(),
        "optimizer_switch": optimizer_switch(),
        "init_std": init_std(),
        "gn_lr": gn_lr(),
        "gn_weight_decay": gn_weight_decay(),
        "pinv_regularization": pinv_regularization(),
        "gn_update_variants": gn_update_variants(),
    }


READ = {
    "per_update": ["mini_batch_hard"],
    "switching": ["optimizer_switch", "mini_batch_hard"],
    "init_std": ["init_std", "mini_batch_hard"],
    "learning_rates": ["gn_lr", "mini_batch_hard"],
    "weight_decay": ["gn_weight_decay", "mini_batch_hard"],
    "pinv": ["pinv_regularization", "mini_batch_hard"],
    "update_variants": ["gn_update_variants", "mini_batch_hard"],
}
FIGURES = {
    "fig3": "per_update",
    "fig7": "switching",
    "fig8": "init_std",
    "fig12": "learning_rates",
    "fig13": "weight_decay",
    "fig14": "pinv",
    "supp_update_variants": "update_variants",
}
