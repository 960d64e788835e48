"""WikiText-2 as numbers: words, windows of words, and word analogies.

The text is treated as by the official code of the second-order muP paper: torchtext's tokenizer
"basic_english", which makes everything lower-case, and every line (a paragraph or a heading) cut
after 256 words, so that no window reaches from one into the next. Words outside the vocabulary
become ``<unk>``.

The official vocabulary has the words that occur 128 times or more. How many these are is known
only after reading, but the shapes of networks are planned before; so the vocabulary here has a
fixed number of words, the most frequent ones.

References
----------
Merity, Xiong, Bradbury and Socher, Pointer sentinel mixture models (2016).
Mikolov, Chen, Corrado and Dean, Efficient estimation of word representations in vector space
(2013).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from regimes.config import ConfigError
from regimes.data import files
from regimes.data.corpus import windows
from regimes.ensemble import probing

UNKNOWN = "<unk>"
LONGEST = 256  # words of a paragraph that are used
ANALOGIES = "questions-words.txt"
REPOSITORY = "huggingface.co/datasets/Salesforce/wikitext, configuration wikitext-2-v1"
REVISION = "b08601e04326"

# About as many windows has the test text, and questions the vocabulary: what a forecast assumes.
HELD_OUT, QUESTIONS = 230_000, 10_000

# What torchtext's "basic_english" replaces, in its order, before it splits at spaces.
_REPLACED = [
    (re.compile(pattern), text)
    for pattern, text in (
        (r"\'", " '  "),
        (r"\"", ""),
        (r"\.", " . "),
        (r"<br \/>", " "),
        (r",", " , "),
        (r"\(", " ( "),
        (r"\)", " ) "),
        (r"\!", " ! "),
        (r"\?", " ? "),
        (r"\;", " "),
        (r"\:", " "),
    )
]


class Windows(NamedTuple):
    """Words with their neighbours, from one part of a text.

    Attributes
    ----------
    contexts : ndarray of int64 (n, 2 * radius)
        Neighbours in their order in the text.
    centre : ndarray of int64 (n,)
        The words between them.
    """

    contexts: np.ndarray
    centre: np.ndarray


class Text(NamedTuple):
    """A text as numbers.

    Attributes
    ----------
    train, test : Windows
        Words with their neighbours, in the order of the text.
    words : tuple of str (V,)
        The vocabulary, most frequent words first after ``<unk>``.
    analogies : ndarray of int64 (Q, 4)
        Questions "0 is to 1 as 2 is to 3", indices into ``words``.
    """

    train: Windows
    test: Windows
    words: tuple[str, ...]
    analogies: np.ndarray


def tokens(line: str) -> list[str]:
    """Words and punctuation of a line, in lower case, as by torchtext's "basic_english"."""
    line = line.lower()
    for pattern, text in _REPLACED:
        line = pattern.sub(text, line)
    return line.split()


def vocabulary(paragraphs: Iterable[Sequence[str]], size: int) -> tuple[str, ...]:
    """``<unk>`` and the ``size - 1`` most frequent other words; ties in alphabetical order.

    Raises
    ------
    ValueError
        If there are not so many different words.
    """
    counts = Counter(word for paragraph in paragraphs for word in paragraph)
    counts.pop(UNKNOWN, None)
    ranked = sorted(counts, key=lambda word: (-counts[word], word))
    if len(ranked) < size - 1:
        raise ValueError(f"{len(ranked) + 1} different words where {size} are needed")
    return (UNKNOWN, *ranked[: size - 1])


def windows_of(
    paragraphs: Iterable[Sequence[str]], numbers: Mapping[str, int], radius: int
) -> Windows:
    """Windows of all paragraphs; those of fewer than ``2 * radius + 1`` words have none.

    Parameters
    ----------
    paragraphs
        Words of each; words after the 256th are left out.
    numbers
        Number of each word of the vocabulary; all others count as ``<unk>``.
    radius
        Number of neighbours on each side.
    """
    unknown = numbers[UNKNOWN]
    contexts = [np.empty((0, 2 * radius), np.int64)]
    centre = [np.empty(0, np.int64)]
    for paragraph in paragraphs:
        if len(paragraph) > 2 * radius:
            known = [numbers.get(word, unknown) for word in paragraph[:LONGEST]]
            around, middle = windows(np.array(known, np.int64), radius)
            contexts.append(around)
            centre.append(middle)
    return Windows(np.concatenate(contexts), np.concatenate(centre))


def questions(path: Path, numbers: Mapping[str, int]) -> np.ndarray:
    """Analogies of a file in the format of word2vec's ``questions-words.txt``.

    Lines ": name" open sections, all others hold four words "a b c d" for "a is to b as c is to
    d". Words are made lower-case, as the text is. Questions with words outside the vocabulary are
    skipped. Every other question is asked in four ways, as in the official code: a b c d, and by
    symmetry b a d c, c d a b and d c b a.

    Returns
    -------
    ndarray of int64 (Q, 4)
        Without repetitions.

    Raises
    ------
    regimes.config.ConfigError
        If the file is missing, a line does not have four words, or no question is left.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise ConfigError(
            f"data: no word analogies in {path.absolute()}. Put there the file {ANALOGIES} of "
            "word2vec (600 kB, github.com/tmikolov/word2vec); or choose scale smoke or laptop, "
            "which need no downloads"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read as text ({error})") from None
    asked: dict[tuple[int, ...], None] = {}
    for number, line in enumerate(lines, 1):
        if line.startswith(":") or not line.strip():
            continue
        four = line.lower().split()
        if len(four) != 4:
            raise ConfigError(
                f"{path}:{number}: has {len(four)} words, expected the four of an analogy or a "
                f"section ': name'; get {ANALOGIES} anew"
            )
        if all(word in numbers for word in four):
            a, b, c, d = (numbers[word] for word in four)
            asked |= dict.fromkeys([(a, b, c, d), (b, a, d, c), (c, d, a, b), (d, c, b, a)])
    if not asked:
        raise ConfigError(
            f"{path}: none of its {len(lines)} lines is an analogy between words of the "
            f"vocabulary; get {ANALOGIES} anew"
        )
    return np.array(list(asked), np.int64)


def wikitext2(samples: int, size: int, radius: int) -> Text:
    """WikiText-2 from ``<data folder>/wikitext2``.

    Reads ``train-*.parquet`` and ``test-*.parquet`` with a column ``text``, one line of the text
    per row, or the plain files ``wiki.train.tokens`` and ``wiki.test.tokens``; and
    ``questions-words.txt``.

    Parameters
    ----------
    samples
        Number of training windows, the first ones.
    size
        Number of words V of the vocabulary, ``<unk>`` among them.
    radius
        Number of neighbours on each side.

    Raises
    ------
    regimes.config.ConfigError
        If files are missing or damaged, or the text is too short.
    """
    folder = files.folder() / "wikitext2"
    if (probe := probing.current()) is not None and not folder.exists():
        train, test = (Windows(*probe.windows(n, size, radius)) for n in (samples, HELD_OUT))
        asked = probe.windows(QUESTIONS, size, 2)[0]
        return Text(train, test, tuple(map(str, range(size))), asked)
    train, test = ([tokens(line) for line in _lines(folder, part)] for part in ("train", "test"))
    try:
        words = vocabulary(train, size)
    except ValueError as error:
        raise ConfigError(f"{folder}: the training text has {error}; {_advice()}") from None
    numbers = {word: number for number, word in enumerate(words)}
    found, held_out = (windows_of(part, numbers, radius) for part in (train, test))
    if len(found.centre) < samples or not len(held_out.centre):
        raise ConfigError(
            f"{folder}: training and test text have {len(found.centre)} and "
            f"{len(held_out.centre)} windows of {2 * radius + 1} words where {samples} and at "
            f"least one are expected; {_advice()}"
        )
    first = Windows(found.contexts[:samples], found.centre[:samples])
    return Text(first, held_out, words, questions(folder / ANALOGIES, numbers))


def _lines(folder: Path, part: str) -> list[str]:
    """Lines of one part of the text."""
    tables = sorted(folder.glob(f"{part}-*.parquet"))
    tables = tables or sorted(folder.glob(f"wikitext-2-v1/{part}-*.parquet"))
    plain = folder / f"wiki.{part}.tokens"
    if not tables and not plain.exists():
        raise ConfigError(
            f"data: no {part} text of WikiText-2 ('wikitext2') in {folder.absolute()}. Put there "
            f"train-*.parquet and test-*.parquet of {REPOSITORY}, revision {REVISION} (7 MB), or "
            "wiki.train.tokens and wiki.test.tokens; or name the folder that has them "
            "(config/config.yaml, data, or environment REGIMES_DATA); or choose scale smoke or "
            "laptop, which need no downloads"
        )
    if tables:
        return [line for path in tables for line in _column(path)]
    try:
        return plain.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{plain}: cannot be read as text ({error}); {_advice()}") from None


def _column(path: Path) -> list[str]:
    """Column ``text`` of a parquet file."""
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path) as handle:
            names = handle.schema_arrow.names
            kind = handle.schema_arrow.field("text").type if "text" in names else None
            if kind not in (pyarrow.string(), pyarrow.large_string()):
                raise ConfigError(
                    f"{path}: has columns {', '.join(names)}, expected 'text' with strings; "
                    f"{_advice()}"
                )
            lines = handle.read(["text"]).column("text")
    except (pyarrow.ArrowException, OSError) as error:
        raise ConfigError(
            f"{path}: cannot be read ({' '.join(str(error).split())[:200]}); {_advice()}"
        ) from None
    if lines.null_count:
        raise ConfigError(f"{path}: {lines.null_count} rows have no text; {_advice()}")
    return lines.to_pylist()


def _advice() -> str:
    return f"get the files of {REPOSITORY}, revision {REVISION}, anew"
