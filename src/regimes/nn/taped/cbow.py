"""Continuous bag of words without biases, as second-order optimizers see it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from regimes.nn.taped.convolutional import check_sizes
from regimes.nn.taped.layers import (
    Layer,
    Parameters,
    Shapes,
    Stream,
    Tape,
    embedded,
    linear,
    standard_initial,
)


@dataclass(frozen=True)
class Cbow:
    """Sum of the embeddings of the words around a gap, and a linear map to all words.

    Outputs are logits of the word in the gap (Mikolov et al., arXiv 1301.3781, with a full softmax
    to follow). The sum is not divided by the number of words, as in the code of the first author.

    Attributes
    ----------
    words : int
        Vocabulary V, inputs and outputs.
    width : int
        Dimensions M of an embedding.
    embedding_deviation : float
        Standard deviation of the initial embeddings, at every width.
    """

    words: int
    width: int
    embedding_deviation: float = 1.0

    def __post_init__(self) -> None:
        check_sizes(words=self.words, width=self.width)
        if self.embedding_deviation < 0:
            raise ValueError(f"standard deviations are at least zero: {self}")

    @property
    def classes(self) -> int:
        """Outputs: one per word."""
        return self.words

    @property
    def layers(self) -> dict[str, Layer]:
        """Layers "w1", the embedding, and "w2": see `regimes.nn.taped.layers.TapedModel`."""
        return {
            "w1": Layer((self.words, self.width), "input", "embedding"),
            "w2": Layer((self.width, self.words), "output"),
        }

    def shapes(self) -> Shapes:
        """Shapes of the weights."""
        return {name: layer.shape for name, layer in self.layers.items()}

    def initial(self, stream: Stream) -> dict[str, np.ndarray]:
        """Float64 parameters of one run, the read-out N(0, 1 / M)."""
        return standard_initial(self.layers, self.shapes(), stream, self.embedding_deviation)

    def run(self, params: Parameters, x: Tensor) -> tuple[Tensor, Tape]:
        """Logits (R, B, V) and the tape, of word numbers (R, B, c), integers from 0 to V - 1."""
        tape: Tape = {}
        return linear(params, tape, "w2", embedded(params, tape, "w1", x).sum(2)), tape
