"""Exact rewritings of the updates on random matrices, and one step from zero output weights.

Draws of one shape are lanes of one program; everything is float64 on the CPU, whatever the device.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import xarray as xr

from regimes import store
from regimes.config import RunSettings
from regimes.ensemble.programs import in_programs
from regimes.studies.second_order_mup.rewritings import exponents
from regimes.studies.second_order_mup.toy_settings import ZeroOutputStep
from regimes.studies.second_order_mup.zero_output_step import one_step

Train = Callable[..., xr.Dataset]

WIDEST = 64
WEIGHTS_AT_ONCE = 2**25  # numbers in the hidden layers of a program: 0.25 GiB a copy

TEXTS = {
    "pair": "number of the random pair of powers",
    "power_inputs": "power e_A of the factor on the input side, uniform in [0, 1]",
    "power_outputs": "power e_B of the factor on the output side, uniform in [0, 1]",
    "rewriting": "form of an update that needs no matrix of the width's size",
    "rewriting_error": "relative Frobenius distance of a rewriting from the dense form",
    "ridge": "damping rho: rho_A = rho M, ridge N rho of the kernel h.h' / M",
    "optimizer": "optimizer of the step",
    "layer": "hidden layer, counted from the first",
    "kernel_gap": "|f - f_own| / |f_own| on the test set: K-FAC's network after one step, kernel "
    "ridge regression with its own last hidden layer",
    "nngp_gap": "|f - f_NNGP| / |f_NNGP| on the test set: K-FAC's network after one step, kernel "
    "ridge regression at infinite width",
    "kernel_error": "|K_M - K| / |K| of the kernels at this and at infinite width, training set",
    "train_residual": "|f - y| / |y| on the training set after one step",
    "test_accuracy": "share of test digits with the right sign after one step",
    "nngp_accuracy": "share of test digits with the right sign, kernel regression at infinite "
    "width",
    "hidden_change": "largest change of a weight below the output layer, infinite if not a number",
    "step_size": "learning rate of the step: that of a full Newton step for K-FAC, otherwise the "
    "best on the training set",
    "recursion_ratio": "diagonal of the kernel of a hidden layer over that of the layer below, "
    "mean over training inputs",
}


def _together(simulate: Callable[[Sequence], xr.Dataset], widest: Callable, *free: str) -> Train:
    """Turn a function of runs that differ in seed and ``free`` settings only into one of any."""

    def shape(run: RunSettings) -> tuple:
        return tuple(sorted(run.model_dump(exclude={"seed", *free}).items()))

    def train(settings: Sequence[RunSettings], device: object = None) -> xr.Dataset:
        """Simulate runs in the order of ``settings``; the device does not matter."""
        return in_programs(
            settings, shape, lambda runs: store.described(simulate(runs), TEXTS), widest
        )

    return train


def _widest(run: ZeroOutputStep) -> int:
    return max(2, min(WIDEST, WEIGHTS_AT_ONCE // ((run.depth - 1) * run.width**2)))


TOY_TRAIN: dict[str, Train] = {
    "exponents": _together(exponents, lambda run: WIDEST, "damping"),
    "nngp": _together(one_step, _widest),
}
