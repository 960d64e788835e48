"""Networks, data and optimizers as figures write them."""

from __future__ import annotations

import math

import xarray as xr

NETWORKS = {
    "mlp": "MLP",
    "cnn": "three-layer CNN",
    "myrtle5": "Myrtle-5",
    "vgg19": "VGG19",
    "resnet8": "ResNet8",
    "resnet18": "ResNet18",
    "resnet50": "ResNet50",
    "cbow": "CBOW",
}
DATA = {
    "digits": "8×8 digits",
    "mnist1d": "MNIST-1D",
    "colour_motifs": "colour motifs",
    "made_text": "generated text",
    "mnist": "MNIST",
    "fashion_mnist": "FashionMNIST",
    "cifar10": "CIFAR-10",
    "cifar10_jpeg": "CIFAR-10 (JPEG copy)",
    "cifar100": "CIFAR-100",
    "imagenet": "ImageNet",
    "wikitext2": "WikiText-2",
}
CLASSES = {
    "digits": 10,
    "mnist1d": 10,
    "colour_motifs": 10,
    "mnist": 10,
    "fashion_mnist": 10,
    "cifar10": 10,
    "cifar10_jpeg": 10,
    "cifar100": 100,
    "imagenet": 1000,
}
OPTIMIZERS = {"kfac": "K-FAC", "shampoo": "Shampoo", "sgd": "SGD", "adam": "Adam"}


def name(names: dict[str, str], key: str) -> str:
    """Written form, or the key itself where there is none."""
    return names.get(key, key)


def chance(data: str) -> float:
    """Accuracy in percent of guessing among equally frequent classes; NaN where unknown."""
    return 100 / CLASSES[data] if data in CLASSES else math.nan


def trained_on(cases: xr.Dataset) -> str:
    """Networks, data and training samples of some cases: "MLP, 8×8 digits, 64 samples".

    Parameters
    ----------
    cases
        ``model``, ``data`` and ``samples`` (NaN: all there are) over ``case``.

    Returns
    -------
    str
        What differs between the cases is joined by "and"; empty without cases.
    """
    networks = dict.fromkeys(name(NETWORKS, str(key)) for key in cases["model"].values)
    data = dict.fromkeys(name(DATA, str(key)) for key in cases["data"].values)
    counts = dict.fromkeys(f"{n:.0f}" for n in cases["samples"].values if math.isfinite(n))
    parts = [" and ".join(part) for part in (networks, data, counts)]
    if parts[2]:
        parts[2] += " samples"
    return ", ".join(part for part in parts if part)
