"""Runs of the gpu and paper scales against the settings listed for the paper, by hand.

The paper documents models, data, optimizers and some widths (E1 to E8 of section 3.3); learning
rates, dampings, grids, epochs and batch sizes are mostly unknown and chosen here: the table pins
the choice. Of the code are known base widths (64 MLP, 8 CNN, 16 Myrtle-5, 128 CBOW), batch 64 and
20 epochs as defaults, and all of the CBOW script. Epochs leave out samples that fill no batch.
"""

from __future__ import annotations

import pytest

from tests.studies.listed import check, check_complete, listed

NAME = "second_order_mup"
TWO = ["sp", "mup"]
POWERS_OF_TWO = [2**power for power in range(6, 15)]  # 64 to 16384
RATES = [2.0**power for power in range(-11, 1)]  # factor two, 2^-11 to 1
SGD_RATES = [2.0**power for power in range(-8, 5)]
SHAMPOO_RATES = [2.0**power for power in range(-10, 0)]
# Half decades: 10^-6 to 1, and 10^-4.25 to 10^-0.25.
HEURISTIC = [10 ** (index / 2) for index in range(-12, 1)]
RESCALED = [10 ** (index / 2 - 0.25) for index in range(-8, 1)]

SHAMPOO = {"optimizer": "shampoo", "damping_rule": "largest", "damping": 1e-4}
KFAC = {"optimizer": "kfac", "damping_rule": "rescaled", "fisher": "ggn"}
# Training runs: one sampled label, averages with weight 0.3, factors every tenth update. How
# often the roots of Shampoo are renewed is a matter of cost: every 100th or 200th update.
TRAINED = {"optimizer": "kfac", "fisher": "mc", "ema": 0.3, "interval": 10}
TRAINED_KFAC = {**TRAINED, "damping_rule": "rescaled", "damping": 0.01}
TRAINED_SHAMPOO = {**SHAMPOO, "ema": 0.3}

# E1: batch of 64 that gives the factors too, M = 2^6 to 2^14, float64. Three seeds.
CHECKED = {"data": "mnist", "samples": 64, "batch_size": 64, "lr": 0.1, "precision": "double"}
MLP = {**CHECKED, "model": "mlp", "base_width": 64, "width": POWERS_OF_TWO}
# 1/sqrt(M_0) under muP, so that the deviation of the output layer is 1/M.
SP, MUP = {"parameterization": "sp"}, {"parameterization": "mup", "output_multiplier": 0.125}


def both(mup=MUP, **settings):
    """Standard parameterization and muP, three seeds."""
    return [*listed(3, **SP, **settings), *listed(3, **mup, **settings)]


def coordinate_checks():
    """One step of tanh, five of relu; beyond the list of the paper SGD and the three-layer CNN."""
    step = {**MLP, "activation": "tanh", "steps": 1}
    five = {**MLP, "activation": "relu", "steps": 5}
    heuristic = {**KFAC, "damping_rule": "heuristic", "damping": [1e-3, 1.0, 1e4]}
    wide = [8, 16, 32, 64, 128]
    cnn = {**CHECKED, "model": "cnn", "base_width": 8, "width": wide, "steps": 1}
    cnn_mup = {"parameterization": "mup", "output_multiplier": 8**-0.5}
    return [
        *both(**step, optimizer="sgd"),
        *both(**step, **SHAMPOO),
        *both(**step, **KFAC, damping=0.1),
        *both(**step, **{**KFAC, "fisher": "mc"}, damping=0.01),
        *both(**step, **heuristic),
        *both(**five, optimizer="sgd"),
        *both(**five, **SHAMPOO),
        *both(**five, **KFAC, damping=0.1),
        *both(cnn_mup, **cnn, optimizer="sgd"),
        *both(cnn_mup, **cnn, **SHAMPOO),
        *both(cnn_mup, **cnn, **{**KFAC, "fisher": "mc"}, damping=0.1),
    ]


TANH = {**MLP, "activation": "tanh", "steps": 1}
# Appendix, known in kind only.
ACTIVATIONS = {**TANH, "activation": ["tanh", "relu", "gelu", "identity"]}
UP = {**TANH, "parameterization": "up"}
NARROW = {**TANH, "parameterization": "mup", "width": [64, 128, 256, 512, 1024]}
OTHERS = {
    "coord_check_activations": [
        *both(**ACTIVATIONS, **SHAMPOO),
        *both(**ACTIVATIONS, **KFAC, damping=0.1),
    ],
    "coord_check_foof_gn": [
        *both(**TANH, optimizer="foof", damping=0.01),
        *both(**TANH, optimizer="layerwise_gn", damping=[0.01, 0.1]),
    ],
    "coord_check_cross_entropy": [
        *both(**TANH, loss="cross_entropy", **SHAMPOO),
        *both(**TANH, loss="cross_entropy", **KFAC, damping=0.1),
    ],
    "coord_check_up": [
        *listed(3, **UP, optimizer="sgd"),
        *listed(3, **UP, **SHAMPOO),
        *listed(3, **UP, **KFAC, damping=0.1),
    ],
}


def factor_order(data):
    """E2: batch 64, 20 epochs of 937 updates; three seeds where one run is published."""
    return listed(
        3, data=data, model="mlp", base_width=64, width=[64, 256, 1024, 4096], **MUP,
        optimizer="kfac", fisher="mc", ema=0.3, interval=1, damping_rule="rescaled", damping=0.01,
        lr=0.03, batch_size=64, epochs=20, steps=20 * 937, loss="mse", factors="always",
    )  # fmt: skip


def zero_init(seeds):
    """E3: 1024 images, b_L = 1/2, 1, 64 with M_0 = 1; M = 64 and 200 epochs are choices."""
    given = {"data": "fashion_mnist", "samples": 1024, "model": "cnn", "width": 64, "base_width": 1}
    given |= {"output_exponent": [0.5, 1.0, 64.0], "epochs": 200, "loss": "mse", **SP}
    rows = []
    for size in (4, 16, 64, 256, 1024):
        run = {**given, "batch_size": size, "steps": 200 * 1024 // size}
        kfac = {**run, "optimizer": "kfac", "fisher": "mc"}
        rows += [
            *listed(seeds, **kfac, damping_rule="rescaled", damping=0.01, lr=[0.1, 0.3]),
            *listed(seeds, **kfac, damping_rule="absolute", damping=0.1, lr=1.0),
            *listed(seeds, **run, optimizer="sgd", lr=0.3),
            *listed(seeds, **run, **SHAMPOO, interval=20, lr=0.1),
        ]
    return rows


def cbow(widths):
    """E4, text: all of the CBOW script; "martens" is the heuristic damping."""
    script = {"data": "wikitext2", "model": "cbow", "base_width": 128, "loss": "cross_entropy"}
    script |= {"batch_size": 96, "epochs": 5, "lr": 0.025, "momentum": 0.99, "weight_decay": 3e-5}
    script |= {"ema": 0.1, "interval": 10, "parameterization": TWO, "width": widths}
    kfac = {"optimizer": "kfac", "fisher": "mc", "damping_rule": "heuristic", "damping": 1e-4}
    return [*listed(2, **script, **kfac), *listed(2, **script, **SHAMPOO)]


MYRTLE5 = listed(  # E4, images: one fixed rate; 390 updates an epoch
    3, data="cifar10", model="myrtle5", base_width=16, width=[16, 32, 64, 128, 256, 512],
    parameterization=TWO, loss="mse", **TRAINED_KFAC, lr=0.01, batch_size=128, epochs=20,
    steps=20 * 390,
)  # fmt: skip


def accuracy(model, widths, epochs, seeds):
    """E5 on CIFAR-100: "slightly small" learning rate, value unknown."""
    given = {"data": "cifar100", "model": model, "base_width": 1, "unit": 16, "width": widths}
    given |= {"parameterization": TWO, "loss": "cross_entropy", "batch_size": 128, "lr": 0.003}
    given |= {"epochs": epochs, "steps": epochs * 390}
    kfac = listed(seeds, **given, **TRAINED_KFAC)
    return [*kfac, *listed(seeds, **given, **TRAINED_SHAMPOO, interval=100)]


IMAGENET = {"data": "imagenet", "model": "resnet50", "base_width": 1, "unit": 16}
IMAGENET |= {"parameterization": TWO, "loss": "cross_entropy", "batch_size": 128, **TRAINED_KFAC}
IMAGENET |= {"epochs": 90, "steps": 90 * 10_009}
ROBUSTNESS = [3e-4, 1e-3, 3e-3, 1e-2, 3e-2]


def transfer(seeds, model, data, base, widths, size, epochs, updates, **settings):
    """E7, K-FAC."""
    return listed(
        seeds, model=model, data=data, base_width=base, width=widths, parameterization=TWO,
        **TRAINED_KFAC, lr=RATES, batch_size=size, epochs=epochs, steps=epochs * updates,
        **{"loss": "mse", **settings},
    )  # fmt: skip


def transfer_others(widths, size, epochs, updates):
    """E7, appendix: SGD and Shampoo."""
    given = {"model": "mlp", "data": "fashion_mnist", "base_width": 64, "width": widths}
    given |= {"parameterization": TWO, "loss": "mse", "batch_size": size}
    given |= {"epochs": epochs, "steps": epochs * updates}
    sgd = listed(3, **given, optimizer="sgd", lr=SGD_RATES)
    return [*sgd, *listed(3, **given, **TRAINED_SHAMPOO, interval=200, lr=SHAMPOO_RATES)]


CNN_WIDTHS = [8, 16, 32, 64, 128]
DAMPED = {"data": "fashion_mnist", "model": "cnn", "base_width": 8, "width": CNN_WIDTHS}
DAMPED |= {**TRAINED, "parameterization": "mup", "loss": "mse", "lr": 0.03}
DAMPED |= {"batch_size": 64, "epochs": 20, "steps": 20 * 937}

SAME = {  # at both scales
    "coord_check_main": coordinate_checks(),
    **OTHERS,
    "wider_myrtle5": MYRTLE5,
    "damping_transfer": [  # E8
        *listed(3, **DAMPED, damping_rule="heuristic", damping=HEURISTIC),
        *listed(3, **DAMPED, damping_rule="rescaled", damping=RESCALED),
    ],
    "exponent_algebra": listed(
        1, width=[32, 64, 128], samples=16, outputs=4, damping=[1e-3, 1e-2, 0.1, 1.0], pairs=100
    ),
    "nngp_one_step": listed(
        3, width=[256, 512, 1024, 2048, 4096], depth=3, samples=128, smallest_ridge=1e-4,
        largest_ridge=1e-2,
    ),
}  # fmt: skip
WIDE = [512, 1024, 2048, 4096, 8192]
GPU = {
    **SAME,
    # At the small widths of the laptop: the effect of the multiplier is seen there.
    "coord_check_output_multiplier": [
        row
        for multiplier in (1.0, 0.125)
        for row in (
            *listed(3, **NARROW, output_multiplier=multiplier, optimizer="sgd"),
            *listed(3, **NARROW, output_multiplier=multiplier, **KFAC, damping=0.1),
        )
    ],
    "factor_order": factor_order("fashion_mnist"),
    "zero_init_bias": zero_init(5),
    "wider_cbow": cbow([128, 256, 512, 1024, 2048, 4096]),
    "acc_vgg19": accuracy("vgg19", [1, 2, 4, 8], 30, 3),
    "acc_resnet18": accuracy("resnet18", [1, 2, 4, 8], 30, 3),
    "lr_robustness_resnet": listed(
        3, data="cifar100", model="resnet18", base_width=1, unit=16, width=4,
        parameterization=TWO, loss="cross_entropy", **TRAINED_KFAC, lr=ROBUSTNESS,
        batch_size=128, epochs=30, steps=30 * 390,
    ),
    "lr_transfer_mlp_kfac": transfer(3, "mlp", "fashion_mnist", 64, WIDE, 128, 20, 468),
    "lr_transfer_cnn_kfac": transfer(3, "cnn", "fashion_mnist", 8, CNN_WIDTHS, 128, 10, 468),
    "lr_transfer_resnet_kfac": transfer(
        2, "resnet18", "cifar10", 1, [1, 2, 4, 8], 128, 5, 390, loss="cross_entropy"
    ),
    "lr_transfer_sgd_shampoo": transfer_others(WIDE, 128, 5, 468),
}  # fmt: skip
PAPER = {
    **SAME,
    "factor_order": factor_order("mnist"),
    "zero_init_bias": zero_init(3),  # three seeds where one run is published
    "wider_cbow": cbow([128, 256, 512, 1024, 2048, 4096, 8192]),
    # 100 epochs of the inferred 100 to 200, one seed as published.
    "acc_vgg19": accuracy("vgg19", [1, 2, 4, 8, 16], 100, 1),
    "acc_resnet18": accuracy("resnet18", [1, 2, 4, 8, 16], 100, 1),
    "acc_resnet50": listed(1, **IMAGENET, width=[1, 2, 4, 8], lr=0.003),
    "lr_robustness_resnet": listed(1, **IMAGENET, width=4, lr=ROBUSTNESS),
    "lr_transfer_mlp_kfac": transfer(3, "mlp", "fashion_mnist", 64, [*WIDE, 16_384], 64, 20, 937),
    "lr_transfer_cnn_kfac": transfer(3, "cnn", "fashion_mnist", 8, CNN_WIDTHS, 64, 20, 937),
    "lr_transfer_resnet_kfac": transfer(
        3, "resnet18", "cifar10", 1, [1, 2, 4, 8], 128, 20, 390, loss="cross_entropy"
    ),
    "lr_transfer_sgd_shampoo": transfer_others([*WIDE, 16_384], 64, 20, 937),
}
SCALES = {"gpu": GPU, "paper": PAPER}
# ResNet50 on ImageNet is out of scope for the medium size; the multiplier is a control of ours.
ABSENT = {"gpu": {"acc_resnet50"}, "paper": {"coord_check_output_multiplier"}}


@pytest.mark.parametrize(("scale", "experiment"), [(s, e) for s in SCALES for e in SCALES[s]])
def test_runs_are_those_listed(scale, experiment):
    check(NAME, scale, experiment, SCALES[scale][experiment])


@pytest.mark.parametrize("scale", SCALES)
def test_no_experiment_is_forgotten(scale):
    check_complete(NAME, scale, SCALES[scale], ABSENT[scale])
