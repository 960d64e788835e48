"""Data sets of the study: bundled or generated, always the same samples."""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np
import torch

from regimes.data import augmentation, corpus, mnist1d, tables, texts
from regimes.data.augmentation import Augmentation
from regimes.data.bundled import loaded
from regimes.data.catalog import CATALOG
from regimes.data.labelled import Samples, labelled_images, on_device
from regimes.data.motifs import ColourMotifs
from regimes.data.streams import numpy_stream, stream_seed
from regimes.studies.second_order_mup.settings import CONTEXT, DATA, IMAGES, TEXTS, Train

TEST_MOTIFS = 1000
TEST_WINDOWS = 2000

# Mean and deviation per channel as in the official code, which differ from the usual ones.
_GREY = ((0.1307,), (0.3081,))
_COLOUR = (
    tuple(each / 255 for each in (125.3, 123.0, 113.9)),
    tuple(each / 255 for each in (63.0, 62.1, 66.7)),
)
STANDARDIZATION = {
    "mnist": _GREY,
    "fashion_mnist": _GREY,
    "cifar10": _COLOUR,
    "cifar10_jpeg": _COLOUR,
    "cifar100": _COLOUR,
}


class DataSet(NamedTuple):
    """Training and test samples.

    Attributes
    ----------
    x, test_x : ndarray (n, ...)
        Images (n, channels, height, width) in float64, standardized; or word numbers (n, c).
    label, test_label : ndarray of int64 (n,)
    analogies : ndarray of int64 (Q, 4) or None
        Questions about words: see `regimes.data.corpus`.
    """

    x: np.ndarray
    label: np.ndarray
    test_x: np.ndarray
    test_label: np.ndarray
    analogies: np.ndarray | None = None


def samples(run: Train, *, dtype: torch.dtype, device: torch.device | str) -> Samples:
    """Samples of a run on a device; squared losses have one-hot targets minus 1 / C.

    Words are numbers (int64), and so are the targets of a text.

    Raises
    ------
    regimes.config.ConfigError
        If files are missing or damaged.
    """
    where = {"dtype": dtype, "device": device}
    classes = DATA[run.data].classes
    shift = 1 / classes if run.loss == "mse" else 0.0
    if run.data in IMAGES:
        standardization = _standardization(run.data)
        return labelled_images(
            run.data, run.used(), shift=shift, standardization=standardization, **where
        )
    data = load(run.data)
    arrays = {"x": data.x, "test_x": data.test_x}
    if run.data in TEXTS:
        arrays |= {"targets": data.label[:, None], "test_targets": data.test_label[:, None]}
        return on_device(arrays, run.used(), device=device)
    for name, label in (("targets", data.label), ("test_targets", data.test_label)):
        arrays[name] = np.eye(classes)[label] - shift
    return on_device(arrays, run.used(), **where)


def augmentation_of(run: Train) -> Augmentation | None:
    """Random changes of a run's training images, as in the official code; None for none."""
    if not run.augment:
        return None
    fill = augmentation.black(*_standardization(run.data))
    if run.augment == "affine":
        return augmentation.affine(shift=0, rotation=15, scale=(0.8, 1.2), fill=fill)
    if run.augment == "crop_and_flip":
        return augmentation.crop_and_flip(fill=fill)
    size = DATA[run.data].shape[1:]
    return augmentation.compose(augmentation.resized_crop(size=size), augmentation.flip())


def _standardization(name: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and deviation per channel of an image data set."""
    source = CATALOG[name]
    return STANDARDIZATION.get(name, (source.mean, source.deviation))


def analogies(run: Train) -> np.ndarray | None:
    """Questions about the words of a run's text, (Q, 4); None for images."""
    return load(run.data).analogies if run.data in TEXTS else None


@cache
def load(name: str) -> DataSet:
    """Data set of this name that is no image set, made once per process.

    Parameters
    ----------
    name
        Entry of `settings.DATA`.

    Raises
    ------
    regimes.config.ConfigError
        If it is read from files that are missing or damaged.
    """
    expected = DATA[name]
    return loaded(name, _LOADERS, (expected.samples, *expected.shape))


def _digits() -> DataSet:
    """Handwritten digits of 8 x 8 pixels, one mean and deviation for all pixels."""
    table = tables.digits()
    order = numpy_stream(0, "digits", "split").permutation(len(table.x))
    train, test = np.split(order, [DATA["digits"].samples])
    images = table.x.reshape(-1, *DATA["digits"].shape)
    mean, deviation = images[train].mean(), images[train].std()
    images, label = (images - mean) / deviation, table.target.astype("int64")
    return DataSet(images[train], label[train], images[test], label[test])


def _mnist1d() -> DataSet:
    """Digits as signals of 40 numbers, standardized by the package that makes them."""
    made = mnist1d.fixed_set()
    x, test_x = (each.reshape(-1, *DATA["mnist1d"].shape) for each in (made.x, made.test_x))
    return DataSet(x, made.label.astype("int64"), test_x, made.test_label.astype("int64"))


def _colour_motifs() -> DataSet:
    """Small colour images, generated; one mean and deviation for all pixels."""
    expected = DATA["colour_motifs"]
    generator = torch.Generator().manual_seed(stream_seed(0, "colour motifs") % 2**63)
    x, label = ColourMotifs(expected.shape[-1]).draw(generator, expected.samples + TEST_MOTIFS)
    images, label = x.double().numpy(), label.numpy()
    train = images[: expected.samples]
    images = (images - train.mean()) / train.std()
    cut = expected.samples
    return DataSet(images[:cut], label[:cut], images[cut:], label[cut:])


def _made_text() -> DataSet:
    """Windows of a generated text; the test text follows the training text."""
    expected = DATA["made_text"]
    total = expected.samples + TEST_WINDOWS + 2 * CONTEXT
    text = corpus.made_corpus(numpy_stream(0, "made text"), total)
    contexts, centre = corpus.windows(text.tokens, CONTEXT)
    cut = expected.samples
    return DataSet(contexts[:cut], centre[:cut], contexts[cut:], centre[cut:], text.analogies)


def _wikitext2() -> DataSet:
    """Windows of WikiText-2, read from files."""
    expected = DATA["wikitext2"]
    text = texts.wikitext2(expected.samples, expected.classes, CONTEXT)
    return DataSet(*text.train, *text.test, text.analogies)


_LOADERS = {
    "digits": _digits,
    "mnist1d": _mnist1d,
    "colour_motifs": _colour_motifs,
    "made_text": _made_text,
    "wikitext2": _wikitext2,
}
