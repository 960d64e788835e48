"""Data sets of the study: bundled or generated, always the same samples."""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np
import torch

from regimes.data import corpus, mnist1d, tables
from regimes.data.bundled import loaded
from regimes.data.motifs import ColourMotifs
from regimes.data.streams import numpy_stream, stream_seed
from regimes.studies.second_order_mup.settings import CONTEXT, DATA

TEST_MOTIFS = 1000
TEST_WINDOWS = 2000


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


@cache
def load(name: str) -> DataSet:
    """Data set of this name, made once per process.

    Parameters
    ----------
    name
        Entry of `settings.DATA`.

    Raises
    ------
    regimes.config.ConfigError
        If it has to be read from files: see `regimes.data.bundled`.
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


_LOADERS = {
    "digits": _digits,
    "mnist1d": _mnist1d,
    "colour_motifs": _colour_motifs,
    "made_text": _made_text,
}
