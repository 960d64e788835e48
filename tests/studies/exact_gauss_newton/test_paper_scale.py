"""Runs of the gpu and paper scales against the settings listed for the paper, by hand.

Networks, learning rates, batch sizes and seeds are those of the tables of section 3 (paper and
official code): RevMLPs with d' = 8000, L = 2 on MNIST and L = 6 on CIFAR-10, batches of 1024 with
the last partial one kept, no momentum, no weight decay, no schedule; Gauss-Newton rates in the
code's convention, alpha = L times that. Medium runs of the appendix: L = 3, d' = 4000, n = 512.
"""

from __future__ import annotations

import pytest

from tests.studies.listed import check, check_complete, listed

NAME = "exact_gauss_newton"
OFFICIAL_SEEDS = [42, 43, 44]
# What every run on images has in common: corrected update, truncation at 1 % and 1e-5.
COMMON = {"cross_term": True, "first_block_linear": True, "precision": "single"}
COMMON |= {"rtol": 1e-2, "atol": 1e-5}
MNIST = {**COMMON, "data": "mnist", "blocks": 2, "width": 8000, "augment": False}
CIFAR = {**COMMON, "data": "cifar10", "blocks": 6, "width": 8000}
FULL = {"samples": 1024, "batch_size": None, "epochs": 100, "updates_per_epoch": 1}
# 60000 / 1024 and 50000 / 1024, rounded up.
EASY = {**MNIST, "batch_size": 1024, "epochs": 100, "updates_per_epoch": 59}
CROPS = {**CIFAR, "batch_size": 1024, "augment": True, "updates_per_epoch": 49}
MEDIUM = {**COMMON, "data": "cifar10", "blocks": 3, "width": 4000, "batch_size": 512}
MEDIUM |= {"augment": True, "updates_per_epoch": 98}
ADAM = {"optimizer": "adam", "lr_code": 1e-4}  # mini-batches
GN = {"optimizer": "gn", "lr_code": 0.1}


def three(seeds, settings, *, gn, adam, sgd):
    """All three optimizers at their learning rates."""
    return [
        *listed(seeds, **settings, optimizer="gn", lr_code=gn),
        *listed(seeds, **settings, optimizer="adam", lr_code=adam),
        *listed(seeds, **settings, optimizer="sgd", lr_code=sgd),
    ]


def documented(seeds):
    """Figures 1 to 4, 9 to 11: the same at both scales but for the seeds."""
    # Tangent kernel, CKA and loss change of figures 3, 4, 10, 11 are measured in these runs, on
    # 1024 images without augmentation, so that `lazy_probe` has no runs of its own here.
    probed = {"probe_at": "every 1", "probe_samples": 1024, "judge_updates": True}
    hard = {**CIFAR, **FULL, "augment": False}
    crops = {**CROPS, "epochs": 100, **probed}
    # Half decades; unknown in the paper. The best at step 20, or in the first epoch, is drawn.
    adam = [1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2]
    sgd = [3e-3, 1e-2, 3e-2, 0.1, 0.3, 1.0, 3.0]
    bare, bare_crops = {**hard, "width": None}, {**CROPS, "width": None, "epochs": 100}
    return {
        "full_batch_easy": three(seeds, {**MNIST, **FULL}, gn=0.5, adam=1e-4, sgd=0.1),
        # The code has 1.0 for one of its three seeds; 0.5 is stable for two of them: a choice.
        "full_batch_hard": three(seeds, hard, gn=0.5, adam=1e-5, sgd=0.01),
        "mini_batch_easy": three(seeds, EASY, gn=0.1, adam=1e-4, sgd=0.1),
        "mini_batch_hard": three(seeds, crops, gn=0.1, adam=1e-4, sgd=0.01),
        "no_bottleneck_full": three(seeds, bare, gn=0.5, adam=adam, sgd=sgd),
        "no_bottleneck_mini": three(
            seeds, bare_crops, gn=[0.01, 0.03, 0.1, 0.3], adam=adam, sgd=sgd
        ),
    }


def regression(width, **settings):
    """Everything about the tables is a choice: L = 2, these rates, 60 epochs."""
    given = {"blocks": 2, "width": width, "epochs": 60, "augment": False, **settings}
    seeds = 5 if settings["data"] != "superconductivity" else 3
    return three(seeds, given, gn=0.1, adam=1e-3, sgd=0.03)


SAME = {  # at both scales
    # alpha = L lr: 0.25 and 1, up to alpha t = 20.
    "function_space_recursion": [
        row
        for rate, epochs in ((0.125, 80), (0.5, 20))
        for row in listed(
            3, data="digits", samples=64, batch_size=None, blocks=2, width=800, lr_code=rate,
            epochs=epochs, first_block_linear=False, sigma=1e-3, rtol=1e-9, atol=0.0,
            optimizer="gn", precision="double", alpha_eff=2 * rate,
        )
    ],
    "right_inverse_toy": listed(
        16, inputs=8, blocks=3, width=40, samples=6, activation=["tanh", "relu"], weight_std=0.3,
        expansion_std=1.0, smallest_step=1e-5, largest_step=1e-3,
    ),
    "gn_architecture_counts": [
        *listed(1, inputs=784, blocks=2, width=8000), *listed(1, inputs=3072, blocks=6, width=8000)
    ],
    "squared_loss_flow_toy": listed(
        16, inputs=8, blocks=3, width=40, samples=6, activation="tanh", weight_std=[0.3, 1e-3],
        alpha=[0.2, 0.1, 0.05, 0.02],
    ),
    "feature_rank": [
        *listed(
            3, data=["mnist", "cifar10"], inputs=None, samples=1024, width=8000,
            activation=["relu", "linear"], rtol=0.01,
        ),
        *listed(
            1, data="gaussian", inputs=784, samples=1024, width=8000, activation="linear",
            rtol=1e-9,
        ),
    ],
}  # fmt: skip
FORTY = {**MEDIUM, "epochs": 40}
GPU = {
    **SAME,
    **documented(3),
    "mini_batch_long": three(3, {**MEDIUM, "epochs": 200}, gn=0.1, adam=1e-4, sgd=0.01),
    "optimizer_switch": [
        *listed(3, **MEDIUM, **ADAM, epochs=20, then="gn", then_lr_code=0.1, then_epochs=20),
        *listed(3, **MEDIUM, **GN, epochs=20, then="adam", then_lr_code=1e-4, then_epochs=20),
        *listed(3, **FORTY, **ADAM),
        *listed(3, **FORTY, **GN),
    ],
    "init_std": [
        *listed(3, **FORTY, **GN, sigma=[1e-2, 1e-3, 1e-6]), *listed(3, **FORTY, **ADAM)
    ],
    "gn_lr": [
        *listed(3, **FORTY, optimizer="gn", lr_code=[0.1, 1e-3, 1e-4]), *listed(3, **FORTY, **ADAM)
    ],
    "gn_weight_decay": [
        *listed(3, **FORTY, **GN, weight_decay=[0.0, 1e-2]), *listed(3, **FORTY, **ADAM)
    ],
    "pinv_regularization": [
        *listed(3, **FORTY, **GN, inverse=["truncate", "damp", "noise"], damping=0.01, noise=0.1),
        *listed(3, **FORTY, **ADAM),
    ],
    # As at laptop scale: wine and, in place of superconductivity, diabetes.
    "regression_full": [
        row for data in ("wine", "diabetes") for row in regression(400, data=data, batch_size=None)
    ],
    "regression_mini": [
        row for data in ("wine", "diabetes") for row in regression(400, data=data, batch_size=32)
    ],
}  # fmt: skip
HUNDRED = {**CROPS, "epochs": 100}
PAPER = {
    **SAME,
    **documented(OFFICIAL_SEEDS),
    "mini_batch_long": three(
        OFFICIAL_SEEDS, {**CROPS, "epochs": 1000}, gn=0.1, adam=1e-4, sgd=0.01
    ),
    # Of the appendix figures the default runs (sigma = 1e-3, rate 0.1, truncation, no decay, one
    # optimizer) are those of `mini_batch_hard`. What follows the switch lasts 50 epochs: a choice.
    "optimizer_switch": [
        *listed(
            OFFICIAL_SEEDS, **CROPS, **ADAM, epochs=50, then="gn", then_lr_code=0.1, then_epochs=50
        ),
        *listed(
            OFFICIAL_SEEDS, **CROPS, **GN, epochs=50, then="adam", then_lr_code=1e-4,
            then_epochs=50,
        ),
    ],
    "init_std": listed(OFFICIAL_SEEDS, **HUNDRED, **GN, sigma=[1e-2, 1e-6]),
    "gn_lr": listed(OFFICIAL_SEEDS, **HUNDRED, optimizer="gn", lr_code=[1e-3, 1e-4]),
    # Strength unknown; the largest of the code's search range, 1e-4 to 1e-2.
    "gn_weight_decay": listed(OFFICIAL_SEEDS, **HUNDRED, **GN, weight_decay=1e-2),
    "pinv_regularization": listed(
        OFFICIAL_SEEDS, **HUNDRED, **GN, inverse=["damp", "noise"], damping=0.01, noise=0.1
    ),
    # d' >= 4n: 4 * 142 and 4 * 1024. All 17010 rows would need a width of 68,000: the first 1024.
    "regression_full": [
        *regression(600, data="wine", used=142, batch_size=None),
        *regression(4200, data="superconductivity", used=1024, batch_size=None),
    ],
    "regression_mini": [
        *regression(600, data="wine", used=142, batch_size=32),
        *regression(4200, data="superconductivity", used=17_010, batch_size=1024),
    ],
}  # fmt: skip
SCALES = {"gpu": GPU, "paper": PAPER}
# `lazy_probe` is `mini_batch_hard` here; the others are controls of this project, laptop only.
ABSENT = {"lazy_probe", "lazy_low_dim", "gn_update_variants"}


@pytest.mark.parametrize(("scale", "experiment"), [(s, e) for s in SCALES for e in SCALES[s]])
def test_runs_are_those_listed(scale, experiment):
    check(NAME, scale, experiment, SCALES[scale][experiment])


@pytest.mark.parametrize("scale", SCALES)
def test_no_experiment_is_forgotten(scale):
    check_complete(NAME, scale, SCALES[scale], ABSENT)
