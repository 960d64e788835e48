"""Image data sets that the project can read: sizes, normalization, where they come from.

Nothing is imported here but names and numbers, so that settings and plans can look at them.
"""

from __future__ import annotations

from typing import NamedTuple

PARTS = ("train", "test")


class Hub(NamedTuple):
    """A data set of the public hub (huggingface.co), pinned.

    Attributes
    ----------
    repository
        Owner and name.
    revision
        Commit of the repository.
    gated
        Whether its owner asks for a login and the acceptance of terms.
    """

    repository: str
    revision: str
    gated: bool = False


class Moments(NamedTuple):
    """Channel statistics that the pixels of one part must have.

    In units of the files: 0 to 255, or about 0 to 1 for pixels of type float16.

    Attributes
    ----------
    part
        "train" or "test".
    mean
        Mean per channel.
    deviation
        Standard deviation per channel, None where it is not known.
    tolerance
        Largest difference that is accepted.
    """

    part: str
    mean: tuple[float, ...]
    deviation: tuple[float, ...] | None
    tolerance: float


class Source(NamedTuple):
    """One image data set.

    Attributes
    ----------
    name
        Of the data set and of its folder.
    title
        Name for people.
    shape
        Channels C, height H and width W of one image as networks see it.
    classes
        Number of classes; labels are 0 to classes - 1.
    samples
        Images in the parts train and test. None where files decide.
    mean, deviation
        Per channel, of pixels in [0, 1]: what standardization subtracts and divides by.
    splits
        Names of the parts in file names and on the hub.
    image, label
        Columns of the parquet files.
    hub
        Where the files can be fetched from, None for files that only the user can provide.
    download
        Bytes of the files.
    origin
        For files that cannot be fetched: what to put into the folder and where to get it.
    arrays
        For sets that come as NumPy archives: pattern of their names, images, labels, and whether
        channels are the last axis. None for parquet files.
    kind
        Type of the pixels in archives: "uint8" (0 to 255), or "float16" (about 0 to 1).
    archives
        Number of archives that must be there, None for any number.
    test_of
        Set whose test part serves as the test part of this one, which has none of its own.
    converted
        Whether images of another colour mode are converted to the channels of ``shape``: a few
        are grey, for instance. Otherwise they are errors.
    resized
        Side of the square that decoding leaves of images of all sizes: the short side is resized
        to it and the centre is kept. None: every image must have the size of ``shape``.
    digests
        SHA-256 of the decoded pixels, bytes in the order (N, C, H, W), of train and test; None
        where it is not known.
    label_digests
        SHA-256 of the labels as little-endian int64, of train and test; None where it is not
        known.
    balanced
        Whether every class has equally many images, in train and in test.
    moments
        Statistics of the decoded pixels, where the digest is not known.
    """

    name: str
    title: str
    shape: tuple[int, int, int]
    classes: int
    samples: tuple[int | None, int | None]
    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    splits: tuple[str, str] = ("train", "test")
    image: str = "image"
    label: str = "label"
    hub: Hub | None = None
    download: int = 0
    origin: str = ""
    arrays: tuple[str, str, str, bool] | None = None
    kind: str = "uint8"
    archives: int | None = None
    test_of: str | None = None
    converted: bool = False
    resized: int | None = None
    digests: tuple[str | None, str | None] = (None, None)
    label_digests: tuple[str | None, str | None] = (None, None)
    balanced: bool = False
    moments: Moments | None = None

    @property
    def stored(self) -> tuple[int, int, int]:
        """Shape of an image as decoded, before crops."""
        return self.shape if self.resized is None else (self.shape[0], self.resized, self.resized)


# Means and deviations of the training pixels that the papers' codes use.
_CIFAR10 = {
    "mean": (0.49139968, 0.48215827, 0.44653124),
    "deviation": (0.24703233, 0.24348505, 0.26158768),
}
_MNIST = {"mean": (0.1307,), "deviation": (0.3081,)}

CATALOG: dict[str, Source] = {
    "mnist": Source(
        name="mnist",
        title="MNIST",
        shape=(1, 28, 28),
        classes=10,
        samples=(60_000, 10_000),
        hub=Hub("ylecun/mnist", "77f3279092a1c1579b2250db8eafed0ad422088c"),
        download=18_200_000,
        digests=(
            "741c988805d008ac6e4c904b69001ba184c24b2c540a4ef403f4c71b676cf757",
            "6d87418db22cc8025d05968bec9bd5c3932904b23485740db143a061a2c9d161",
        ),
        label_digests=(
            "e474323ac02fc156161b0bbb1f8c9cfeb327a74bcd9f9680a8385269a24f566c",
            "2fd8de6bdb8d11780b4b96dc57847bcfe6953f7c32aa48bfcd8237c3b7847243",
        ),
        **_MNIST,
    ),
    "fashion_mnist": Source(
        name="fashion_mnist",
        title="Fashion-MNIST",
        shape=(1, 28, 28),
        classes=10,
        samples=(60_000, 10_000),
        mean=(0.2860,),
        deviation=(0.3530,),
        hub=Hub("zalando-datasets/fashion_mnist", "531be5e2ccc9dba0c201ad3ae567a4f3d16ecdd2"),
        download=36_100_000,
        digests=(
            "2e487a6c89124f78f2d7521542223cafe96f7123c3ca13d447772ac6ecbb3012",
            "c867c93ff95360594e8ec3287995350b824dd110b11595c0e13d5423f621867a",
        ),
        label_digests=(
            "e3245b63f7c40d1c8b652835f19744d970c1613b40ddac6bcfc87b9c46e16a0b",
            "d51d859896c55775b9e9e219b77ff03bcec1b6ac322f313544dc3f9e7bc94fae",
        ),
    ),
    "cifar10": Source(
        name="cifar10",
        title="CIFAR-10",
        shape=(3, 32, 32),
        classes=10,
        samples=(50_000, 10_000),
        image="img",
        hub=Hub("uoft-cs/cifar10", "0b2714987fa478483af9968de7c934580d0bb9a2"),
        download=143_600_000,
        balanced=True,
        moments=Moments("train", (125.307, 122.950, 113.865), (62.993, 62.089, 66.705), 0.05),
        **_CIFAR10,
    ),
    "cifar10_jpeg": Source(
        name="cifar10_jpeg",
        title="CIFAR-10 re-encoded as JPEG",
        shape=(3, 32, 32),
        classes=10,
        samples=(50_000, 10_000),
        image="img",
        download=20_900_000,
        origin="train-*.parquet and test-*.parquet of CIFAR-10 images re-encoded as JPEG with "
        "quality 75 (not the original pixels; the original is cifar10)",
        label_digests=(
            "6a52fa40600133bc8a9cf8f2bb05083c71a029708e732d422832912489cb7e6a",
            "7097ad086772b7ab7c8e1641c441f0a0570d8a0da160f5509eba30165b53cfd1",
        ),
        moments=Moments("test", (125.99, 123.69, 114.85), None, 0.3),
        **_CIFAR10,
    ),
    "cifar100": Source(
        name="cifar100",
        title="CIFAR-100",
        shape=(3, 32, 32),
        classes=100,
        samples=(50_000, 10_000),
        mean=(0.5071, 0.4865, 0.4409),
        deviation=(0.2673, 0.2564, 0.2762),
        image="img",
        label="fine_label",
        hub=Hub("uoft-cs/cifar100", "aadb3af77e9048adbea6b47c21a81e47dd092ae5"),
        download=143_300_000,
        balanced=True,
        moments=Moments("train", (129.304, 124.070, 112.434), (68.170, 65.392, 70.418), 0.05),
    ),
    "tinyimagenet": Source(
        name="tinyimagenet",
        title="Tiny ImageNet",
        shape=(3, 64, 64),
        classes=200,
        samples=(100_000, 10_000),
        mean=(0.4802, 0.4481, 0.3975),
        deviation=(0.2770, 0.2691, 0.2821),
        splits=("train", "valid"),
        hub=Hub("zh-plus/tiny-imagenet", "5a77092c28e51558c5586e9c5eb71a7e17a5e43f"),
        download=157_000_000,
        converted=True,
        balanced=True,
        # 255 times the mean and deviation above.
        moments=Moments("train", (122.45, 114.27, 101.36), (70.64, 68.62, 71.94), 0.7),
    ),
    "imagenet": Source(
        name="imagenet",
        title="ImageNet (ILSVRC 2012)",
        shape=(3, 224, 224),
        classes=1000,
        samples=(1_281_167, 50_000),
        mean=(0.485, 0.456, 0.406),
        deviation=(0.229, 0.224, 0.225),
        splits=("train", "validation"),
        hub=Hub("ILSVRC/imagenet-1k", "49e2ee26f3810fb5a7536bbf732a7b07389a47b5", gated=True),
        download=153_000_000_000,
        converted=True,
        resized=256,
    ),
    "mnist1m": Source(
        name="mnist1m",
        title="MNIST-1M",
        shape=(1, 28, 28),
        classes=10,
        samples=(None, None),
        download=1_580_000_000,
        origin="part-0.npz to part-9.npz with images (float16, n x 1 x 28 x 28, about 0 to 1) and "
        "label (n), as python -m regimes make mnist1m makes them",
        arrays=("part-*.npz", "images", "label", False),
        kind="float16",
        archives=10,
        test_of="mnist",
        # About those of MNIST: images of a generator whose training failed are far off.
        moments=Moments("train", (0.13,), (0.31,), 0.03),
        **_MNIST,
    ),
    "cifar5m": Source(
        name="cifar5m",
        title="CIFAR-5M",
        shape=(3, 32, 32),
        classes=10,
        samples=(None, None),
        # Of the "centred" files: 121.4, 119.3, 109.83 and 63.1, 62.1, 66.6 of 255.
        mean=(121.4 / 255, 119.3 / 255, 109.83 / 255),
        deviation=(63.1 / 255, 62.1 / 255, 66.6 / 255),
        download=18_400_000_000,
        origin="cifar5m_part0.npz to cifar5m_part5.npz with X (uint8, n x 32 x 32 x 3) and Y (n), "
        "linked from github.com/preetum/cifar5m",
        arrays=("cifar5m_part*.npz", "X", "Y", True),
        archives=6,
        test_of="cifar10",
        moments=Moments("train", (121.4, 119.3, 109.83), (63.1, 62.1, 66.6), 0.5),
    ),
}


def beginning(name: str) -> str | None:
    """Data set from which one that is made of it has its name, the longest that fits.

    ``cifar10_augmented`` is made of ``cifar10``; None for names of data that are no images.
    """
    fitting = [known for known in CATALOG if f"{name}_".startswith(f"{known}_")]
    return max(fitting, key=len, default=None)
