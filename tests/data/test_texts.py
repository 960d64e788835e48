"""WikiText-2 files as numbers: tokens, vocabulary, windows, analogies, and files that are wrong."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from regimes.config import ConfigError
from regimes.data import texts

KINGS = "the king and the queen , a man and a woman ."
TRAIN = [
    "",
    " = Kings and Queens = ",
    "",
    f" {KINGS} The <unk> King 's men . ",
    " the king met a queen ; the man met a woman . ",
    "",
]
TEST = ["", f" {KINGS} "]
QUESTIONS = ": family\nking queen man woman\nKing Queen boy girl\n: other\nman woman king queen\n"
SIZE, RADIUS = 11, 2


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Data folder with the text in plain files."""
    monkeypatch.setenv("REGIMES_DATA", str(tmp_path))
    home = tmp_path / "wikitext2"
    home.mkdir()
    (home / "wiki.train.tokens").write_text("\n".join(TRAIN))
    (home / "wiki.test.tokens").write_text("\n".join(TEST))
    (home / "questions-words.txt").write_text(QUESTIONS)
    return home


def to_parquet(home, **columns):
    for part, lines in (("train", TRAIN), ("test", TEST)):
        table = pyarrow.table(columns or {"text": lines})
        pyarrow.parquet.write_table(table, home / f"{part}-00000-of-00001.parquet")


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (' Robert <unk> \'s " films " ( 2000 ) ', "robert <unk> ' s films ( 2000 )"),
        (" 1 @,@ 000 people ; U.S. : no ! ", "1 @ , @ 000 people u . s . no !"),
        ("a<br />b?", "a b ?"),
        ("  ", ""),
    ],
)
def test_tokens_are_those_of_basic_english(line, expected):
    """Expected by hand from the replacements that torchtext documents."""
    assert texts.tokens(line) == expected.split()


def test_the_vocabulary_has_the_most_frequent_words_after_unk():
    paragraphs = [["b", "a", "c", "<unk>", "<unk>"], ["c", "d", "c", "b"]]
    assert texts.vocabulary(paragraphs, 4) == ("<unk>", "c", "b", "a")
    with pytest.raises(ValueError, match="5 different words where 6"):
        texts.vocabulary(paragraphs, 6)


def test_windows_stay_within_paragraphs_of_at_most_256_words():
    numbers = {"<unk>": 0} | {f"w{i}": i for i in range(1, 300)}
    long = [f"w{i}" for i in range(1, 300)]
    contexts, centre = texts.windows_of(
        [["w1"] * 4, long, ["w7", "x", "w9", "w2", "y"]], numbers, 2
    )
    assert len(centre) == 252 + 1
    np.testing.assert_array_equal(centre[:252], np.arange(3, 255))
    np.testing.assert_array_equal(contexts[251], [252, 253, 255, 256])
    np.testing.assert_array_equal(contexts[252], [7, 0, 2, 0])
    assert centre[252] == 9


def test_plain_files_and_parquet_files_give_the_same_text(folder):
    plain = texts.wikitext2(20, SIZE, RADIUS)
    for name in ("wiki.train.tokens", "wiki.test.tokens"):
        (folder / name).unlink()
    to_parquet(folder)
    table = texts.wikitext2(20, SIZE, RADIUS)
    for one, two in zip((*plain.train, *plain.test), (*table.train, *table.test), strict=True):
        np.testing.assert_array_equal(one, two)
    assert plain.words == table.words
    counts = Counter(" ".join(TRAIN).lower().split())
    assert plain.words[:3] == ("<unk>", "the", "a")
    assert {"king", "queen", "man", "woman"} <= set(plain.words)
    assert min(counts[word] for word in plain.words[1:]) >= 2
    assert len(plain.train.centre) == 20 and plain.train.contexts.shape == (20, 4)
    assert len(plain.test.centre) == len(KINGS.split()) - 2 * RADIUS


def test_windows_read_as_the_text_does(folder):
    text = texts.wikitext2(20, SIZE, RADIUS)
    contexts, centre = text.test
    given = [word if word in text.words else "<unk>" for word in KINGS.split()]
    read = [text.words[i] for i in contexts[0][:2]] + [text.words[i] for i in centre]
    assert read == given[:-2]


def test_analogies_are_asked_in_four_ways_and_without_unknown_words(folder):
    text = texts.wikitext2(20, SIZE, RADIUS)
    asked = {tuple(text.words[i] for i in row) for row in text.analogies}
    assert asked == {
        ("king", "queen", "man", "woman"),
        ("queen", "king", "woman", "man"),
        ("man", "woman", "king", "queen"),
        ("woman", "man", "queen", "king"),
    }
    assert len(text.analogies) == 4  # "man woman king queen" is one of the four


@pytest.mark.parametrize(
    ("file", "content", "expected"),
    [
        ("questions-words.txt", None, "no word analogies in .*questions-words.txt"),
        ("questions-words.txt", ": x\nking queen\n", "txt:2: has 2 words, expected the four"),
        ("questions-words.txt", "one two three four\n", "none of its 1 lines"),
        ("questions-words.txt", "", "none of its 0 lines"),
        ("wiki.train.tokens", None, "no train text of WikiText-2 .*wikitext2"),
        ("wiki.test.tokens", None, "no test text of WikiText-2 .*wikitext2"),
        ("wiki.train.tokens", "too short\n", "the training text has 3 different words"),
        ("wiki.train.tokens", "a b c d e f g h i j", "have 6 and 8 windows .* where 20"),
        ("wiki.test.tokens", "too short\n", "have 23 and 0 windows"),
        ("wiki.train.tokens", b"\xff\xfe", "cannot be read as text"),
    ],
)
def test_wrong_files_are_refused_with_what_to_do(folder, file, content, expected):
    if content is None:
        (folder / file).unlink()
    elif isinstance(content, bytes):
        (folder / file).write_bytes(content)
    else:
        (folder / file).write_text(content)
    with pytest.raises(ConfigError, match=expected):
        texts.wikitext2(20, SIZE, RADIUS)


def test_wrong_parquet_files_are_refused_with_what_to_do(folder):
    to_parquet(folder, page=TRAIN)
    with pytest.raises(ConfigError, match="has columns page, expected 'text'"):
        texts.wikitext2(20, SIZE, RADIUS)
    to_parquet(folder, text=[1, 2])
    with pytest.raises(ConfigError, match="expected 'text' with strings"):
        texts.wikitext2(20, SIZE, RADIUS)
    to_parquet(folder, text=["a", None])
    with pytest.raises(ConfigError, match="1 rows have no text"):
        texts.wikitext2(20, SIZE, RADIUS)
    to_parquet(folder)
    path = folder / "train-00000-of-00001.parquet"
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ConfigError, match="train-00000-of-00001.parquet: cannot be read"):
        texts.wikitext2(20, SIZE, RADIUS)


def test_the_study_reads_windows_of_its_sizes(folder, monkeypatch):
    from regimes.studies.second_order_mup import data_sets
    from regimes.studies.second_order_mup.settings import CONTEXT, DATA, DataSet

    monkeypatch.setitem(DATA, "wikitext2", DataSet(12, (2 * CONTEXT,), SIZE))
    data_sets.load.cache_clear()
    found = data_sets.load("wikitext2")
    data_sets.load.cache_clear()
    assert found.x.shape == (12, 8) and found.label.shape == (12,)
    assert found.test_x.shape == (4, 8) and found.analogies.shape == (4, 4)
    assert max(found.x.max(), found.label.max(), found.test_x.max()) < SIZE
