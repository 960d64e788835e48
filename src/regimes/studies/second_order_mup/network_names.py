"""Networks, data and optimizers as figures write them."""

from __future__ import annotations

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
    "colour_motifs": "colour motifs",
    "made_text": "generated text",
    "mnist": "MNIST",
    "fashion_mnist": "FashionMNIST",
    "cifar10": "CIFAR-10",
    "cifar100": "CIFAR-100",
    "imagenet": "ImageNet",
    "wikitext2": "WikiText-2",
}
OPTIMIZERS = {"kfac": "K-FAC", "shampoo": "Shampoo", "sgd": "SGD", "adam": "Adam"}


def name(names: dict[str, str], key: str) -> str:
    """Written form, or the key itself where there is none."""
    return names.get(key, key)
