"""Runs of the gpu and paper scales against the settings listed for the paper, by hand.

The official code documents the grid (21 gammas, 49 learning rates), the data streams, one pass
over each, one seed (E = 1), lr = N eta without momentum, float64 below gamma = 0.01, 5000 test
samples. Width and batch size of single panels are unknown: N = 512 (MLP), N = 64 (CNN, ResNet) and
B = 128 are the choices of the table of section 3.4; where a comment says so, more is a choice.
"""

from __future__ import annotations

from math import ceil, floor

import pytest

from tests.studies.listed import check, check_complete, listed

NAME = "feature_strength"
HALF_DECADES = [index / 2 for index in range(-10, 11)]  # log10 gamma: 21 values, 1e-5 to 1e5
DECADES = [float(index) for index in range(-5, 6)]
OFFICIAL_RATES = [index / 2 for index in range(-24, 25)]  # log10 eta: 49 values, 1e-12 to 1e12
FOLLOWUP_RATES = [index / 4 for index in range(-52, 53)]  # 4 per decade, 1e-13 to 1e13

# One pass: floor(1e6 / 128) steps; six files of 1,000,448 images, 7816 steps each.
MNIST_1M = {"stream": "mnist1m", "batch_size": 128, "steps": 7812}
CIFAR_5M = {"stream": "cifar5m", "batch_size": 128, "steps": 6 * 7816}
# Tiny ImageNet repeats under augmentation; a million samples, a choice.
TINY = {"stream": "tinyimagenet_augmented", "batch_size": 128, "steps": 7812}
# Medium streams: 5e5 and 1e5 samples for portraits.
MNIST = {"stream": "mnist_augmented", "batch_size": 128}
CIFAR = {"stream": "cifar10_augmented", "batch_size": 128}

MLP = {"architecture": "mlp", "depth": 3, "optimizer": "sgd", "bias": True}
CNN = {"architecture": "cnn", "depth": 4}
RESNET = {"architecture": "resnet", "depth": 3, "blocks": 2}  # ResNet-18, an assigned depth
VIT = {"architecture": "vit", "depth": 3, "blocks": 4, "heads": 4, "patch": 8, "width": 128}
MSE, XENT = {"loss": "mse"}, {"loss": "cross_entropy"}
COMMON = {"precision": "auto", "data_seed": None}
SMALL_CNN, WIDE_CNN = {**CNN, "width": 32, **CIFAR}, {**CNN, "width": 64, **CIFAR_5M}
SMALL_VIT = {**VIT, **CIFAR}


def grid(**settings):
    """Portrait on the official grid, one seed."""
    return listed(
        1, **settings, **COMMON, log10_gamma=HALF_DECADES, log10_eta=OFFICIAL_RATES,
        eta_rule="absolute", test_size=5000,
    )  # fmt: skip


def window(seeds, gammas, top, bottom, step, *, upper, lower, **settings):
    """Portrait between the theory's edges, on a grid of rates that all gammas share.

    ``upper`` and ``lower`` are the exponents of gamma, below and above gamma = 1; ``top`` and
    ``bottom`` levels in decades.
    """
    rows = []
    for gamma in gammas:
        high, low = (edge[gamma >= 0] for edge in (upper, lower))
        first = ceil((bottom + low * gamma) / step - 1e-9)
        last = floor((top + high * gamma) / step + 1e-9)
        rates = [index * step for index in range(first, last + 1)]
        rows += listed(
            seeds, **settings, **COMMON, log10_gamma=gamma, log10_eta=rates, eta_rule="absolute",
            test_size=5000,
        )  # fmt: skip
    return rows


def squared(depth):
    """Exponents of both edges for squared error."""
    return {"upper": (2, 2 / depth), "lower": (2, 1)}


def entropy(depth):
    """Exponents of both edges for cross-entropy, catapults included."""
    return {"upper": (1, 2 / depth), "lower": (2, 1)}


def power(factor, gammas, seeds=3, **settings):
    """Learning rates factor gamma^2 below gamma = 1 and factor gamma^(2/L) above."""
    return listed(
        seeds, **settings, **COMMON, eta_rule="power", eta_factor=factor, log10_gamma=gammas,
        log10_eta=0.0,
    )  # fmt: skip


LAZY_TO_RICH = [-3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0]
EQUAL_TIME = [-2.0, -1.0, 0.0, 1.0, 2.0, 3.0]
RICH = [1.0, 2.0, 3.0, 4.0]
MULTIPLES = [0.8, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0]  # of the critical learning rate


def hessian_mlp(**settings):
    """Half of c = 10^1.25 for L = 2, 3 and of c = 10 for L = 4; spectrum on 1000 images."""
    given = {**MLP, **MSE, "points": 1000, **settings}
    gammas = [*LAZY_TO_RICH, 4.0]
    return [
        *power(8.891, gammas, **{**given, "depth": [2, 3]}),
        *power(5.0, gammas, **{**given, "depth": 4}),
    ]


def catapult(gammas, **settings):
    """Learning rates m 2/(N lambda_0) with the sharpness at step 0."""
    return listed(
        3, **settings, **COMMON, eta_rule="sharpness", eta_factor=MULTIPLES, log10_gamma=gammas,
        points=1000,
    )  # fmt: skip


def consistency(**settings):
    """10 gamma^(2/3) and gamma, three widths."""
    given = {**MLP, **MSE, "width": [128, 256, 512], "log10_gamma": RICH, **COMMON, **settings}
    return [
        *listed(3, **given, eta_rule="power", eta_factor=10.0),
        *listed(3, **given, eta_rule="gamma", eta_factor=1.0),
    ]


def signs(**settings):
    """SignSGD, squared error; both edges grow as gamma (lazy) and gamma^(1/3) (rich)."""
    given = {**MLP, **MSE, "optimizer": "sign", **settings}
    slopes = {"upper": (1, 1 / 3), "lower": (1, 1 / 3)}
    return window(3, HALF_DECADES, 0.75, -3.5, 0.25, **slopes, **given)


MLP_GPU = {**MLP, "width": 256, **MNIST}
WIDTH_512 = {**MLP, "width": 512}
BATCH_WIDTH = {**MLP, **MSE, "stream": "mnist_augmented", "steps": 3906}
SIZES = [(256, size) for size in (32, 64, 128, 256, 512)]
SIZES += [(width, 128) for width in (64, 128, 512, 1024)]

SAME = {  # at both scales
    # As the follow-up code: no biases, pixels / 255, B = 256, 1e5 samples, read at step 360.
    "portrait_followup": listed(
        1, **{**MLP, "bias": False}, **MSE, **COMMON, stream="mnist_pixels", width=128,
        batch_size=256, steps=390, log10_gamma=HALF_DECADES, log10_eta=FOLLOWUP_RATES,
    ),
    # An addition of this project: no published counterpart.
    "accuracy_mnist1d": power(
        [0.3, 1.0, 3.0, 10.0], [index / 2 for index in range(-4, 7)], **MLP, **MSE, width=256,
        stream="mnist1d", batch_size=128, steps=200_000,
    ),
    # Not in the paper, which shows the CNN: the medium runs stand at paper scale too.
    "catapult_mlp": [
        *catapult([-1.0, -2.0, -3.0], **MLP_GPU, **MSE, steps=1000),
        *catapult(-2.0, **MLP_GPU, **XENT, steps=1000),
    ],
    # Content of the appendix figure unknown: the medium runs stand at paper scale too.
    "portrait_batch_width": [
        row
        for width, size in SIZES
        for row in window(
            3, [-3.0, 0.0, 2.0], 3, -1, 0.25, **squared(3), **BATCH_WIDTH, width=width,
            batch_size=size,
        )
    ],
    # Synthetic task at its full size at every scale; the paper's data and settings are unknown.
    "staircase_mlp": power(
        3.0, [0.0, 3.0], **MLP, **MSE, width=64, stream="hierarchical", batch_size=64, steps=1500
    ),
    "toy_portrait": listed(
        1, loss=["mse", "cross_entropy"], depth=[2, 3, 4, 5], optimizer="gd", steps=1000,
        log10_gamma_range=(-5.0, 5.0, 0.25), log10_eta_range=(-15.0, 6.0, 0.05),
    ),
    "toy_portrait_time": listed(
        1, loss=["mse", "cross_entropy"], depth=3, steps=[250, 500, 1000, 2000, 4000],
        log10_gamma_range=(-3.0, 3.0, 6.0), log10_eta_range=(-12.0, 6.0, 0.02),
    ),
    "toy_catapult": listed(
        1, loss=["mse", "cross_entropy"], steps=1000, log10_gamma_range=(-3.0, -1.0, 0.25),
        log10_eta_range=(-8.0, 1.0, 0.02), duration_steps=60_000,
    ),
    "toy_sign": listed(
        1, loss="mse", optimizer="sign", depth=[2, 3, 4], steps=1000, grid_shifts=10,
        log10_gamma_range=(-5.0, 5.0, 0.5), log10_eta_range=(-10.0, 4.0, 0.05),
    ),
    "toy_staircase": listed(
        1, depth=3, log10_gamma=[0.0, 3.0], targets=(1.0, 0.3, 0.1), edge_share=0.02, steps=8000
    ),
}  # fmt: skip
GPU = {
    **SAME,
    "portrait_mlp_mse": [
        row
        for depth in (2, 3, 4)
        for row in window(
            3, HALF_DECADES, 3, -1, 0.25, **squared(depth), **{**MLP_GPU, "depth": depth}, **MSE,
            steps=3906,
        )
    ],
    "portrait_mlp_xent": window(
        3, HALF_DECADES, 3.5, -1.5, 0.25, **entropy(3), **MLP_GPU, **XENT, steps=3906
    ),
    "portrait_cnn_xent": window(
        3, HALF_DECADES, 2.5, -2, 0.25, **entropy(4), **SMALL_CNN, **XENT, steps=781
    ),
    "portrait_cnn_mse": window(
        3, HALF_DECADES, 2.5, -2, 0.25, **squared(4), **SMALL_CNN, **MSE, steps=781
    ),
    # Eleven gammas and nine rates where lazy (fewer where the triangle closes); width
    # multiplier 1/4; 3e4 samples.
    "portrait_resnet": window(
        1, DECADES, 3, -1, 0.5, **squared(3), **RESNET, width=16, **CIFAR, **MSE, steps=234
    ),
    "portrait_vit": window(
        1, DECADES, 2.5, -1.5, 0.5, **squared(3), **SMALL_VIT, **MSE, steps=781
    ),
    "loss_curves": power(0.5, EQUAL_TIME, **SMALL_CNN, **MSE, steps=30_000),
    "accuracy_equal_time": power(
        [0.1, 0.3, 1.0, 3.0], EQUAL_TIME, **SMALL_CNN, **MSE, steps=30_000
    ),
    "hessian_mlp": hessian_mlp(width=256, **MNIST, steps=20_000),
    "hessian_cnn": power(
        0.3, LAZY_TO_RICH, **SMALL_CNN, **MSE, steps=20_000, points=1000, spectrum_size=20
    ),
    "hessian_vit": power(
        1.0, LAZY_TO_RICH, 1, **SMALL_VIT, **MSE, steps=7812, spectrum_size=20
    ),
    "catapult_cnn": [
        row
        for loss in (MSE, XENT)
        for row in catapult([-2.0, -3.0], **SMALL_CNN, **loss, steps=5000)
    ],
    "alignment_mlp": power(10.0, RICH, **WIDTH_512, **MNIST, **MSE, steps=20_000),
    "alignment_cnn": power(0.3, RICH[:3], **SMALL_CNN, **MSE, steps=20_000),
    "universality": power(
        10.0, [-2.0, 0.0, 1.0, 2.0, 3.0], **WIDTH_512, **MNIST, **MSE, steps=20_000,
        final_outputs=True,
    ),
    "plateau_vit": power(
        [0.3, 1.0, 3.0, 10.0], EQUAL_TIME, 2, **SMALL_VIT, **MSE, steps=7812
    ),
    "rich_consistency": consistency(**MNIST, steps=20_000),
    "portrait_sign_mlp": signs(width=256, **MNIST, steps=3906),
    "staircase_cnn": power(0.3, RICH[1:], 1, **SMALL_CNN, **MSE, steps=20_000),
}  # fmt: skip
PAPER = {
    **SAME,
    # Depths 2 and 4 are not documented; they serve figure A1.
    "portrait_mlp_mse": grid(**{**WIDTH_512, "depth": [2, 3, 4]}, **MNIST_1M, **MSE),
    "portrait_mlp_xent": grid(**WIDTH_512, **MNIST_1M, **XENT),
    "portrait_cnn_xent": grid(**WIDE_CNN, **XENT),
    "portrait_cnn_mse": grid(**WIDE_CNN, **MSE),
    # Loss, width and batch size unknown; standard width, squared error.
    "portrait_resnet": grid(**RESNET, width=64, **CIFAR_5M, **MSE),
    # Everything but the data set unknown.
    "portrait_vit": grid(**VIT, **TINY, **MSE),
    # The best rates of the portrait are not known in advance: listed factors, a choice.
    "loss_curves": power(0.5, EQUAL_TIME, **WIDE_CNN, **MSE),
    "accuracy_equal_time": power(
        [0.03, 0.1, 0.3, 1.0, 3.0], [index / 2 for index in range(-4, 7)], **WIDE_CNN, **MSE
    ),
    "hessian_mlp": hessian_mlp(width=512, **MNIST_1M),
    "hessian_cnn": power(0.3, LAZY_TO_RICH, **WIDE_CNN, **MSE, points=1000, spectrum_size=20),
    "hessian_vit": power(1.0, LAZY_TO_RICH, 1, **VIT, **TINY, **MSE, spectrum_size=20),
    "catapult_cnn": [
        row
        for loss in (MSE, XENT)
        for row in catapult([-2.0, -3.0], **{**WIDE_CNN, "steps": 5000}, **loss)
    ],
    "alignment_mlp": power(10.0, RICH, **WIDTH_512, **MNIST_1M, **MSE),
    "alignment_cnn": power(0.3, RICH[:3], **WIDE_CNN, **MSE),
    "universality": power(
        10.0, [-2.0, 0.0, 1.0, 2.0, 3.0], **WIDTH_512, **MNIST_1M, **MSE, final_outputs=True
    ),
    "plateau_vit": power([0.3, 1.0, 3.0, 10.0], EQUAL_TIME, 2, **VIT, **TINY, **MSE),
    "rich_consistency": consistency(**MNIST_1M),
    # Whether the paper trains networks by SignSGD is unknown: the medium window.
    "portrait_sign_mlp": signs(width=512, **MNIST_1M),
    "staircase_cnn": power(0.3, RICH[1:], 1, **WIDE_CNN, **MSE),
}
SCALES = {"gpu": GPU, "paper": PAPER}


@pytest.mark.parametrize(("scale", "experiment"), [(s, e) for s in SCALES for e in SCALES[s]])
def test_runs_are_those_listed(scale, experiment):
    check(NAME, scale, experiment, SCALES[scale][experiment])


@pytest.mark.parametrize("scale", SCALES)
def test_no_experiment_is_forgotten(scale):
    check_complete(NAME, scale, SCALES[scale])


@pytest.mark.parametrize(
    ("experiment", "rates"),
    [("portrait_mlp_mse", 13), ("portrait_mlp_xent", 13), ("portrait_cnn_mse", 13),
     ("portrait_cnn_xent", 13), ("portrait_sign_mlp", 13), ("portrait_resnet", 9),
     ("portrait_vit", 9)],
)  # fmt: skip
def test_medium_portraits_have_as_many_rates_as_listed(experiment, rates):
    """Where gamma <= 1: above, the band that training leaves is narrower than the window."""
    rows = [row for row in GPU[experiment] if row["seed"] == 0 and row["depth"] <= 4]
    for gamma in {row["log10_gamma"] for row in rows if row["log10_gamma"] <= 0}:
        cells = [row for row in rows if row["log10_gamma"] == gamma]
        assert len(cells) >= rates * len({row["depth"] for row in cells})
