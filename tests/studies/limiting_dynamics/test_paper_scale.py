"""Runs of the gpu and paper scales against the settings listed for the paper, by hand.

The paper resumes networks of torchvision on ImageNet (5005 updates of 256 an epoch), without
replacement, one run each; the settings stand in the table of section 3. The medium size resumes a
ResNet-18 of width 32 on CIFAR-10 with random crops and 20 % label noise, which does not
interpolate, at a tenth of its last rate, with independent batches.
"""

from __future__ import annotations

import pytest

from tests.studies.listed import check, check_complete, listed

NAME = "limiting_dynamics"
RESUMED = {"eta": 1e-4, "batch_size": 256, "momentum": 0.9, "weight_decay": 1e-4}
# Eight cores normalize their parts of a batch by themselves.
IMAGENET = {"model": "resnet18", "width": 64, "data": "imagenet", "sampling": "epochs"}
IMAGENET |= {"norm_groups": 8}
NOISY = {"model": "resnet18", "width": 32, "data": "cifar10_augmented_noisy"}
NOISY |= {"sampling": "with_replacement"}
INTERPOLATING = {"model": "resnet18", "width": 32, "data": "cifar10_augmented"}
INTERPOLATING |= {"sampling": "with_replacement"}
PUBLISHED = {"width": 64, "data": "cifar10_augmented", "sampling": "epochs"}
RESNETS, VGGS = ["resnet18", "resnet34"], ["vgg16", "vgg16_bn", "vgg11_bn"]
EPOCH = 5005  # ceil(1281167 / 256)

# Twenty evenly spaced values, with the default beside them where it is not among them.
ETAS = [round(1e-5 + index * (1e-3 - 1e-5) / 19, 7) for index in range(20)] + [1e-4]
PUBLISHED_ETAS = [6.2e-5 if eta == 6.21e-5 else eta for eta in ETAS]  # as its exponent is quoted
BETAS = [round(0.8 + 0.01 * index, 2) for index in range(20)]
# int(linspace(32, 1024, 20)); eight cores of floor(S/8) samples each make up the batch.
DRAWN = [int(32 + index * 992 / 19) for index in range(20)]
SIZES = [*(8 * (size // 8) for size in DRAWN), 256]


def two_epochs(samples, sizes):
    """Batch sizes with the updates of two epochs, the last smaller batch included."""
    return [(size, 2 * -(-samples // size)) for size in sizes]


def sweep(settings, samples, sizes, seeds=1):
    """Batch sizes of a sweep over two epochs."""
    return [
        row
        for size, steps in two_epochs(samples, sizes)
        for row in listed(seeds, **{**settings, "batch_size": size}, steps=steps)
    ]


# Medium sweeps: eight values around the default, two seeds.
MEDIUM_ETAS = [1e-4 * 2.0**power for power in range(-3, 5)]
MEDIUM_SIZES = [32, 64, 128, 192, 256, 384, 512, 1024]
MEDIUM_BETAS = [0.8, 0.85, 0.875, 0.9, 0.925, 0.95, 0.975, 0.99]
CIFAR_ETAS = [1e-5, 2.5e-5, 5e-5, 1e-4, 2e-4, 4e-4, 7e-4, 1e-3]
MEDIUM = {**NOISY, **RESUMED, "steps": 4000}
DECAYS = [1e-4, 1e-3, 1e-2, 0.1, 1.0]
CLOUD = {"record_at": "every 10", "project_at": "every 1", "modes": 30, "controls": 2}

# Linear regression of F2 on CIFAR-10: eta = 1e-5, S = 512, four epochs of 98 updates.
LINEAR = {"model": "linear", "data": "cifar10_regression", "origin": "initial"}
LINEAR |= {"project_at": "every 1"}
PHASE_SPACE = listed(
    20, **LINEAR, eta=1e-5, batch_size=512, momentum=[0.9, 0.99, 0.999], weight_decay=0.0,
    steps=392,
)  # fmt: skip
GRID = [  # F2-ext: four epochs at each batch size
    row
    for size, steps in ((256, 784), (512, 392), (1024, 196))
    for row in listed(
        1, **LINEAR, eta=[1e-3, 1e-4, 1e-5], batch_size=size, momentum=[0.9, 0.99, 0.999],
        weight_decay=[0.0, 1e-4, 1e-2], steps=steps,
    )
]  # fmt: skip
FREQUENCIES = {**LINEAR, "eta": 1e-4, "batch_size": 1024, "momentum": 0.99, "weight_decay": 1e-4}
FREQUENCIES |= {"steps": 196, "modes": 96}

# CIFAR-10 networks: 196 updates an epoch, rate 0.1 divided by ten at epochs 30, 60 and 80.
STAGES = ((0.1, 30 * 196), (0.01, 30 * 196), (1e-3, 20 * 196), (1e-4, 20 * 196))
PRETRAINED = {"origin": "initial", "stages": STAGES, "batch_size": 256, "momentum": 0.9}
PRETRAINED |= {"weight_decay": 1e-4}
TEN_EPOCHS = {**RESUMED, "steps": 1960, "record_at": "every 10", "project_at": "every 1"}
TEN_EPOCHS |= {"modes": 30, "evaluate_at": "every 196"}

TOP = {"weight_decay": 1e-4, "spectrum": "top", "modes": 30}  # eigenvectors
PARTS = {"noise_batch": 256, "norm_groups": 8}  # 32 images a core
OU = {"start": (0.09, 0.0), "drift_eigenvalues": (4.0, 1.0), "drift_bias": (-0.1, 0.05)}
OU |= {"diffusion_diagonal": (4.0, 1.0)}
SURROGATE = {"top": 52.8, "exponent": 0.5, "modes": 10_000_000, "bins": 110, "noise_trace": 6177.0}
SURROGATE |= {"offset_norm": 1.0, "weight_decay": 1e-4, "fit_from": EPOCH, "fit_to": 2 * EPOCH}
STATIONARY = {"model": "linear", "data": "regression_harmonic", "origin": "minimum", "eta": 1e-3}
STATIONARY |= {"residual_sd": 1.0, "batch_size": 32, "momentum": 0.9, "weight_decay": 1e-3}
STATIONARY |= {"steps": 60_000}

SAME = {  # at both scales
    "linreg_phase_space": PHASE_SPACE,  # one published run; twenty, for means over runs
    "linreg_grid": GRID,
    "ou_2d_path": listed(4, **OU, eta=1e-4, steps=100_000),
    "ou_2d_ensemble": listed(4, **OU, eta=1e-2, steps=3000, walkers=2000, burn_in_times=10.0),
    "surrogate_spectrum": [
        *listed(
            1, **SURROGATE, batch_size=256, momentum=0.9,
            eta=[1e-5, 2e-5, 4e-5, 6.2e-5, 1e-4, 1.5e-4, 2.2e-4, 3.5e-4, 5e-4, 7.5e-4, 1e-3],
        ),
        *listed(
            1, **SURROGATE, eta=1e-4, momentum=0.9,
            batch_size=[32, 50, 84, 136, 188, 240, 345, 450, 555, 700, 850, 1024],
        ),
        *listed(
            1, **SURROGATE, eta=1e-4, batch_size=256,
            momentum=[0.8, 0.825, 0.85, 0.875, 0.925, 0.95, 0.965, 0.98, 0.99],
        ),
    ],
    "powerlaw_modes": listed(
        1, exponent=[0.5, 1.0, 1.5, 2.0, 3.0], modes=200_000, eta=1e-3, momentum=0.9,
        fit_from=1000, fit_to=100_000, fit_points=60,
    ),
    "toy_mode_recursions": [
        *listed(1, case=["flat", "saturating", "drift"], momentum=[0.8, 0.9, 0.98, 0.99], eta=1e-3),
        *listed(1, case="oscillating", momentum=[0.9, 0.99, 0.999], eta=1e-5),
        *listed(1, case=["double_sum"] * 2, momentum=0.9, eta=0.01),
    ],
}  # fmt: skip
GPU = {
    **SAME,
    # Eighty epochs of 195 updates of the 40 to 100 listed; three rates, a choice.
    "mlp_pretrain": listed(
        1, **NOISY, origin="initial", stages=((0.1, 5850), (0.01, 5850), (1e-3, 3900)),
        batch_size=256, momentum=0.9, weight_decay=1e-4, keep_weights=True,
    ),
    "start_geometry": listed(1, model="resnet18", width=32, data=NOISY["data"], **TOP),
    # An experiment has one start point at all scales: one step in place of re-heating.
    "mlp_pretrain_reheat": listed(1, **NOISY, **RESUMED, steps=1),
    "reheat_geometry": listed(1, model="resnet18", width=32, data=NOISY["data"], **TOP),
    "stationary_cloud_resume": listed(1, **NOISY, **RESUMED, steps=20_000, **CLOUD),
    "stationary_cloud_resume_epochs": listed(
        1, **{**NOISY, "sampling": "epochs"}, **RESUMED, steps=20_000, **CLOUD
    ),
    "converged_long_resume": listed(
        2, **NOISY, **{**RESUMED, "eta": [2.5e-5, 1e-4, 4e-4]}, steps=10_000
    ),
    "sweep_eta": listed(2, **{**MEDIUM, "eta": MEDIUM_ETAS}),
    "sweep_batch": listed(2, **{**MEDIUM, "batch_size": MEDIUM_SIZES}),
    "sweep_beta": listed(2, **{**MEDIUM, "momentum": MEDIUM_BETAS}),
    "grid_eta_batch_beta": listed(
        2, **{**MEDIUM, "eta": [2.5e-5, 1e-4, 4e-4], "batch_size": [128, 256, 512],
              "momentum": [0.9, 0.99]},
    ),
    "very_long_resume": listed(2, **NOISY, **RESUMED, steps=100 * 195),
    "weight_decay_resume": listed(1, **NOISY, **{**RESUMED, "weight_decay": DECAYS}, steps=195),
    "linreg_phase_space_additive": listed(
        40, model="linear", data="regression_cascade", residual_sd=3.0, origin="initial",
        eta=1e-5, batch_size=512, momentum=[0.9, 0.99, 0.999], steps=392,
    ),
    "linreg_stationary_iid": listed(3, **STATIONARY, sampling="with_replacement"),
    "linreg_stationary_epochs": listed(3, **STATIONARY, sampling="epochs"),
    "linreg_fft": listed(8, **FREQUENCIES),
    "cifar_pretrain": listed(1, **INTERPOLATING, **PRETRAINED),
    "cifar_geometry": listed(1, model="resnet18", width=32, data="cifar10_augmented", **TOP),
    "cifar_resume": listed(2, **INTERPOLATING, **TEN_EPOCHS),
    "cifar_sweep_eta": listed(2, **INTERPOLATING, **{**RESUMED, "eta": CIFAR_ETAS}, steps=392),
    "cifar_sweep_batch": sweep({**INTERPOLATING, **RESUMED}, 50_000, MEDIUM_SIZES, 2),
    "cifar_sweep_beta": listed(
        2, **INTERPOLATING, **{**RESUMED, "momentum": MEDIUM_BETAS}, steps=392
    ),
    "cifar_fc_portraits": listed(1, batch_size=[256, 512], momentum=0.99, modes=3),
}  # fmt: skip
PUBLISHED_RESUME = {"model": "resnet18", **PUBLISHED, **RESUMED}
PAPER = {
    **SAME,
    # Start: torchvision's weights for ImageNet.
    "mlp_pretrain": listed(
        1, model=[*RESNETS, *VGGS], data="imagenet", origin="torchvision", keep_weights=True,
        norm_groups=8,
    ),
    # Forty thousand images, as published; runs of ResNet-18 alone are projected.
    "start_geometry": listed(
        1, model="resnet18", width=64, data="imagenet", curvature_samples=40_000,
        curvature_batch=128, **PARTS, **TOP,
    ),
    "mlp_pretrain_reheat": listed(
        1, model=[*RESNETS, *VGGS], data="imagenet", steps=1, norm_groups=8
    ),
    # For the noise: eigenvectors of the largest networks would fill the memory.
    "reheat_geometry": listed(
        1, model=[*RESNETS, *VGGS], width=64, data="imagenet", **PARTS, **{**TOP, "modes": 2},
        curvature_batch=32,
    ),
    # Five epochs, eta = 1e-4: the notebook's label 1e-5 contradicts the size of its cloud.
    "stationary_cloud_resume": listed(1, **IMAGENET, **RESUMED, steps=5 * EPOCH, **CLOUD),
    # Ten epochs; VGG16 and VGG11-BN as VGG16-BN, by inference. Every 50 updates, for claims on
    # steps of 50, where every 250 were published.
    "converged_long_resume": [
        *listed(
            1, **{**IMAGENET, "model": RESNETS}, **RESUMED, steps=10 * EPOCH, record_at="every 50",
            evaluate_at="every 5005",
        ),
        *listed(
            1, **{**IMAGENET, "model": VGGS}, **{**RESUMED, "eta": 1e-5, "weight_decay": 5e-4},
            steps=10 * EPOCH, record_at="every 50", evaluate_at="every 5005",
        ),
    ],
    "sweep_eta": listed(
        1, **IMAGENET, **{**RESUMED, "eta": PUBLISHED_ETAS}, steps=2 * EPOCH
    ),
    "sweep_batch": sweep({**IMAGENET, **RESUMED}, 1_281_167, SIZES),
    "sweep_beta": listed(1, **IMAGENET, **{**RESUMED, "momentum": BETAS}, steps=2 * EPOCH),
    "grid_eta_batch_beta": [
        row
        for size, steps in two_epochs(1_281_167, [128, 256, 512])
        for row in listed(
            1, **IMAGENET, eta=[1e-5, 1e-4, 1e-3], momentum=[0.8, 0.9, 0.99], batch_size=size,
            weight_decay=1e-4, steps=steps,
        )
    ],
    # eta is assumed.
    "very_long_resume": listed(1, **IMAGENET, **RESUMED, steps=100 * EPOCH),
    "weight_decay_resume": listed(
        1, **IMAGENET, **{**RESUMED, "weight_decay": DECAYS}, steps=EPOCH
    ),
    "linreg_fft": listed(1, **FREQUENCIES),
    "cifar_pretrain": listed(1, model=RESNETS, **PUBLISHED, **PRETRAINED),
    "cifar_geometry": listed(1, model=RESNETS, width=64, data="cifar10_augmented", **TOP),
    "cifar_resume": listed(1, model=RESNETS, **PUBLISHED, **TEN_EPOCHS),
    "cifar_sweep_eta": listed(1, **{**PUBLISHED_RESUME, "eta": ETAS}, steps=392),
    "cifar_sweep_batch": sweep(PUBLISHED_RESUME, 50_000, [*DRAWN, 256]),
    "cifar_sweep_beta": listed(1, **{**PUBLISHED_RESUME, "momentum": BETAS}, steps=392),
    "cifar_fc_portraits": listed(
        1, batch_size=[256, 512], momentum=0.99, modes=3, norm_groups=8
    ),
}  # fmt: skip
SCALES = {"gpu": GPU, "paper": PAPER}
# Checks of this project without a published counterpart.
ABSENT = {
    "gpu": set(),
    "paper": {
        "stationary_cloud_resume_epochs", "linreg_phase_space_additive", "linreg_stationary_iid",
        "linreg_stationary_epochs",
    },
}  # fmt: skip


@pytest.mark.parametrize(("scale", "experiment"), [(s, e) for s in SCALES for e in SCALES[s]])
def test_runs_are_those_listed(scale, experiment):
    check(NAME, scale, experiment, SCALES[scale][experiment])


@pytest.mark.parametrize("scale", SCALES)
def test_no_experiment_is_forgotten(scale):
    check_complete(NAME, scale, SCALES[scale], ABSENT[scale])
