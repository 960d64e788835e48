"""The generated corpus: statistics of its definition, windows and the analogy score."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from regimes.data.corpus import SENTENCE, analogy_accuracy, made_corpus, windows


def rng(seed=0):
    return np.random.default_rng(seed)


def test_equal_generators_give_equal_corpora_of_the_length_asked_for():
    first, second = made_corpus(rng(), 1003), made_corpus(rng(), 1003)
    np.testing.assert_array_equal(first.tokens, second.tokens)
    np.testing.assert_array_equal(first.analogies, second.analogies)
    assert first.words == second.words and len(first.words) == 296 == len(set(first.words))
    assert first.tokens.shape == (1003,)
    assert first.tokens.min() >= 0 and first.tokens.max() < 296
    assert not np.array_equal(first.tokens, made_corpus(rng(1), 1003).tokens)


def test_every_sentence_has_one_pair_and_only_words_of_its_properties():
    corpus = made_corpus(rng(), 300 * SENTENCE, first=3, second=4, around=2, fillers=5)
    for sentence in corpus.tokens.reshape(300, SENTENCE):
        words = [corpus.words[token] for token in sentence]
        pairs = [word for word in words if word[0] == "p" and "q" in word]
        assert len(pairs) == 1
        properties = tuple(pairs[0].replace("q", " q").split())
        others = [word for word in words if word != pairs[0] and word[0] != "f"]
        assert all(word.split("_")[0] in properties for word in others)


@pytest.mark.parametrize("clarity", [0.0, 0.5, 1.0])
def test_share_of_telling_words_is_the_clarity_and_fillers_follow_zipf(clarity):
    corpus = made_corpus(rng(), 6000 * SENTENCE, clarity=clarity)
    letters = np.array([word[0] + ("_" if "_" in word else "") for word in corpus.words])
    kinds = letters[corpus.tokens]
    telling = np.isin(kinds, ["p_", "q_"]).sum()
    others = (kinds != "p").sum()  # all but the pairs
    np.testing.assert_allclose(telling / others, clarity, atol=0.01)
    if clarity < 1:
        counts = np.bincount(corpus.tokens, minlength=296)[-80:]
        np.testing.assert_allclose(counts[0] / counts[4], 3, rtol=0.15)  # (4 + 2) / (0 + 2)


def test_analogies_are_distinct_and_swap_one_property_at_a_time():
    corpus = made_corpus(rng(), 10, first=4, second=3, questions=1000)
    assert len(corpus.analogies) == 4 * 3 * 3 * 2
    assert len({tuple(row) for row in corpus.analogies}) == len(corpus.analogies)
    for row in corpus.analogies:
        (a, b), (c, d), (e, f), (g, h) = (corpus.words[i][1:].split("q") for i in row)
        assert a == c != e == g and b == f != d == h
    assert len(made_corpus(rng(), 10, questions=7).analogies) == 7


def test_windows_against_slicing():
    tokens = rng().integers(9, size=30)
    contexts, centre = windows(tokens, 2)
    assert contexts.shape == (26, 4)
    for k in range(26):
        assert centre[k] == tokens[k + 2]
        np.testing.assert_array_equal(contexts[k], tokens[[k, k + 1, k + 3, k + 4]])
    with pytest.raises(ValueError, match="on both sides"):
        windows(tokens, 15)


def test_additive_vectors_answer_every_question_and_random_ones_none():
    corpus = made_corpus(rng(), 10, first=5, second=4)
    first, second = rng(1).standard_normal((5, 40)), rng(2).standard_normal((4, 40))
    vectors = rng(3).standard_normal((len(corpus.words), 40))
    additive = vectors.copy()
    additive[:20] = (first[:, None] + second).reshape(20, 40)
    both = analogy_accuracy(np.stack([vectors, additive])[:, None], corpus.analogies)
    assert both.shape == (2, 1)
    assert both[0, 0] < 0.1 and both[1, 0] > 0.95


def test_analogy_accuracy_against_the_definition_question_by_question():
    vectors = rng(5).standard_normal((12, 3))
    questions = np.array(list(itertools.permutations(range(4), 4)))
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    right = 0
    for one, two, three, four in questions:
        wanted = unit[two] - unit[one] + unit[three]
        cosine = unit @ wanted / np.linalg.norm(wanted)
        cosine[[one, two, three]] = -2
        right += cosine.argmax() == four
    assert 0 < right < len(questions)
    np.testing.assert_allclose(analogy_accuracy(vectors, questions), right / len(questions))


@pytest.mark.parametrize("value", [0.0, 1.0, np.nan])
def test_vectors_without_information_answer_nothing(value):
    corpus = made_corpus(rng(), 10)
    assert analogy_accuracy(np.full((296, 4), value), corpus.analogies) == 0


@pytest.mark.parametrize(
    ("wrong", "what"), [({"first": 1}, "two values"), ({"clarity": 1.5}, "share between 0 and 1")]
)
def test_impossible_corpora_are_refused(wrong, what):
    with pytest.raises(ValueError, match=what):
        made_corpus(rng(), 100, **wrong)


def test_co_occurrence_alone_determines_the_analogies():
    """No network: rows of the shifted log co-occurrence matrix answer most questions."""
    corpus = made_corpus(rng(), 120_000)
    contexts, centre = windows(corpus.tokens, 4)
    count = np.zeros((296, 296))
    np.add.at(count, (np.repeat(centre, 8), contexts.ravel()), 1)
    expected = count.sum(1, keepdims=True) * count.sum(0) / count.sum()
    information = np.log((count + 1) / (expected + 1))
    left, size, _ = np.linalg.svd(information)
    assert analogy_accuracy(left[:, :20] * np.sqrt(size[:20]), corpus.analogies) > 0.8
