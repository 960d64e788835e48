"""A generated corpus with known co-occurrence and analogy structure, for word embeddings.

Some words stand for pairs of properties, like "queen" for (royal, female). Each property has
words of its own that turn up near every pair that has it. Since the surroundings of a pair are
those of its first plus those of its second property, embeddings that explain the surroundings are
about additive, and ``v(a, d) = v(a, b) - v(c, b) + v(c, d)`` holds as for the word analogies of
Mikolov et al. (2013). Nothing has to be downloaded.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

SENTENCE = 12  # words per sentence, the first of them the pair that it is about
ZIPF = 1.0  # frequency of the k-th filler is proportional to (k + 2)^-ZIPF


class Corpus(NamedTuple):
    """A text as numbers.

    Attributes
    ----------
    tokens : ndarray of int64 (T,)
        The text, one index into ``words`` per word.
    words : tuple of str (V,)
        The vocabulary: pairs (``p3q1``), words around first (``p3_0``) and second
        properties (``q1_0``), fillers (``f0``).
    analogies : ndarray of int64 (Q, 4)
        Questions "0 is to 1 as 2 is to 3", indices into ``words``.
    """

    tokens: np.ndarray
    words: tuple[str, ...]
    analogies: np.ndarray


def made_corpus(
    generator: np.random.Generator,
    length: int,
    *,
    first: int = 12,
    second: int = 8,
    around: int = 6,
    fillers: int = 80,
    clarity: float = 0.6,
    questions: int = 600,
) -> Corpus:
    """Draw a text about pairs of properties.

    A sentence has `SENTENCE` words: a pair at a random place, and else, independently, a word
    around its first property (probability ``clarity / 2``), one around its second
    (``clarity / 2``), or a filler. Pairs are equally likely, fillers follow Zipf's law.

    Parameters
    ----------
    generator
        Source of randomness; equal generators give equal corpora.
    length
        Number T of tokens; the last sentence may be cut.
    first, second
        Number of values of the first and of the second property, 2 or more.
    around
        Number of words that belong to one value of a property.
    fillers
        Number of words without meaning.
    clarity
        Share of words that tell about the pair, between 0 and 1.
    questions
        Largest number of analogy questions, drawn without replacement.

    Returns
    -------
    Corpus
        With ``first * second + around * (first + second) + fillers`` words, 296 by default.

    Raises
    ------
    ValueError
        If a number is too small or ``clarity`` is no probability.
    """
    if min(first, second) < 2 or min(around, fillers, length, questions) < 1:
        raise ValueError(
            f"a corpus needs two values of each property and one of everything else, got "
            f"{first=}, {second=}, {around=}, {fillers=}, {length=}, {questions=}"
        )
    if not 0 <= clarity <= 1:
        raise ValueError(f"clarity is a share between 0 and 1, got {clarity}")
    words = [f"p{a}q{b}" for a in range(first) for b in range(second)]
    start_first = len(words)
    words += [f"p{a}_{k}" for a in range(first) for k in range(around)]
    start_second = len(words)
    words += [f"q{b}_{k}" for b in range(second) for k in range(around)]
    start_fillers = len(words)
    words += [f"f{k}" for k in range(fillers)]

    sentences = -(-length // SENTENCE)
    a = generator.integers(first, size=(sentences, 1))
    b = generator.integers(second, size=(sentences, 1))
    shape = (sentences, SENTENCE)
    which = generator.integers(around, size=shape)
    kind = generator.random(shape)
    frequency = (np.arange(fillers) + 2.0) ** -ZIPF
    filler = generator.choice(fillers, size=shape, p=frequency / frequency.sum())
    tokens = np.select(
        [kind < clarity / 2, kind < clarity],
        [start_first + around * a + which, start_second + around * b + which],
        start_fillers + filler,
    )
    place = generator.integers(SENTENCE, size=(sentences, 1))
    np.put_along_axis(tokens, place, second * a + b, axis=1)
    return Corpus(
        tokens.ravel()[:length].astype(np.int64),
        tuple(words),
        _analogies(generator, first, second, questions),
    )


def _analogies(
    generator: np.random.Generator, first: int, second: int, questions: int
) -> np.ndarray:
    """Questions (a, b) : (a, d) :: (c, b) : (c, d) with a != c and b != d, as (Q, 4) indices."""
    total = first * (first - 1) * second * (second - 1)
    chosen = generator.choice(total, size=min(questions, total), replace=False)
    rest, shift_second = np.divmod(chosen, second - 1)
    rest, b = np.divmod(rest, second)
    a, shift_first = np.divmod(rest, first - 1)
    c = (a + 1 + shift_first) % first
    d = (b + 1 + shift_second) % second
    pairs = [(a, b), (a, d), (c, b), (c, d)]
    return np.stack([second * row + column for row, column in pairs], axis=1).astype(np.int64)


def windows(tokens: np.ndarray, radius: int) -> tuple[np.ndarray, np.ndarray]:
    """Every word with its neighbours on both sides.

    Parameters
    ----------
    tokens : ndarray of int (T,)
    radius
        Number of neighbours on each side.

    Returns
    -------
    contexts : ndarray of int (T - 2 * radius, 2 * radius)
        Neighbours in their order in the text.
    centre : ndarray of int (T - 2 * radius,)
        The words between them; words too near an end of the text are left out.

    Raises
    ------
    ValueError
        If the radius is below one or the text has no word with so many neighbours.
    """
    if radius < 1 or len(tokens) <= 2 * radius:
        raise ValueError(f"no word of a text of {len(tokens)} words has {radius} on both sides")
    view = np.lib.stride_tricks.sliding_window_view(tokens, 2 * radius + 1)
    return np.delete(view, radius, axis=1), view[:, radius].copy()


def analogy_accuracy(vectors: np.ndarray, analogies: np.ndarray) -> np.ndarray:
    """Share of questions answered by the word nearest to ``v1 - v0 + v2`` (3CosAdd).

    Vectors are divided by their lengths first; the three given words are no answers, so that
    chance is one in V - 3.

    Parameters
    ----------
    vectors : ndarray (..., V, M)
        Embeddings; a vector of zeros, or one that is not finite, is similar to no word.
    analogies : ndarray of int (Q, 4)
        Questions "0 is to 1 as 2 is to 3".

    Returns
    -------
    ndarray (...)
        Between 0 and 1.

    References
    ----------
    Mikolov, Yih and Zweig, Linguistic regularities in continuous space word representations (2013).
    """
    vectors = np.where(np.isfinite(vectors), vectors, 0.0).astype(float)
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    unit = np.divide(vectors, length, out=np.zeros_like(vectors), where=length > 0)
    given, answer = analogies[:, :3], analogies[:, 3]
    wanted = unit[..., given[:, 1], :] - unit[..., given[:, 0], :] + unit[..., given[:, 2], :]
    # The length of the wanted vector does not change which word is nearest to it.
    similarity = wanted @ np.swapaxes(unit, -1, -2)
    question = np.arange(len(analogies))
    similarity[..., question[:, None], given] = -np.inf
    # Only a strictly best answer counts: equal similarities, as of zeros, are no knowledge.
    others = similarity.copy()
    others[..., question, answer] = -np.inf
    return (similarity[..., question, answer] > others.max(axis=-1)).mean(axis=-1)
