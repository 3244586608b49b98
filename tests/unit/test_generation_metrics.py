"""ROUGE against rouge-chinese, BLEU against sacrebleu and its formula, and what an evaluation of texts records."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rouge_chinese import Rouge as Reference
from sacrebleu import sentence_bleu as reference_bleu

from nlpx.metrics import generation
from nlpx.metrics.bleu import corpus_bleu, sentence_bleu
from nlpx.metrics.rouge import lcs_length, mean, rouge, rouge_n

# What their F adds to the denominator, twice at most.
EPSILON = 2e-8
TEXTS = (
    ("研究人员提出一种新的分词方法，速度提高三倍。", "本文提出了一种速度更快的中文分词方法。"),
    ("城市的公园在春天开放。市民可以免费进入！", "春天，城市公园向市民免费开放"),
    ("模型 A 在 CPU 上每秒处理 200 句", "在CPU上，模型A每秒能处理两百个句子"),
)


def theirs(prediction: Sequence[str], reference: Sequence[str], *, exclusive: bool = True) -> list[float]:
    found = Reference(exclusive=exclusive).get_scores(" ".join(prediction), " ".join(reference))[0]
    return [found[name]["f"] for name in ("rouge-1", "rouge-2", "rouge-l")]


@pytest.mark.parametrize(("counting", "exclusive"), [("sets", True), ("multisets", False)])
def test_rouge_is_that_of_rouge_chinese(counting, exclusive):
    chance = random.Random(3)
    pairs = [[generation.characters(text) for text in pair] for pair in TEXTS]
    pairs += [[chance.choices("春夏秋冬风雨", k=chance.randint(1, 20)) for _ in range(2)] for _ in range(60)]
    for prediction, reference in pairs:
        wanted = theirs(prediction, reference, exclusive=exclusive)
        assert rouge(prediction, reference, counting) == pytest.approx(wanted, abs=EPSILON)


def test_sets_and_multisets_differ():
    assert rouge_n("春春春", "春夏", 1, "sets") == pytest.approx(2 / 3)
    assert rouge_n("春春春", "春夏", 1, "multisets") == pytest.approx(2 / 5)


@given(st.text("春夏秋", max_size=40), st.text("春夏秋", max_size=40))
def test_the_longest_common_subsequence_is_that_of_the_table(first, second):
    row = [0] * (len(first) + 1)
    for token in second:
        before = row[:]
        for index, other in enumerate(first):
            row[index + 1] = before[index] + 1 if token == other else max(before[index + 1], row[index])
    assert lcs_length(first, second) == lcs_length(second, first) == row[-1]


def test_equal_and_empty_texts():
    assert rouge("春夏秋", "春夏秋").main == pytest.approx(1)
    assert rouge("", "春") == rouge("春", "") == rouge("", "") == (0, 0, 0)
    assert mean([]) == (0, 0, 0)
    assert mean([rouge("春夏", "春夏"), rouge("", "春夏")]) == (0.5, 0.5, 0.5)


@pytest.mark.parametrize("pair", TEXTS)
def test_sentence_bleu_is_sacrebleus_with_a_floor(pair):
    prediction, reference = ("".join(generation.characters(text)) for text in pair)
    options = {"smooth_method": "floor", "smooth_value": 0.1, "tokenize": "char"}
    wanted = reference_bleu(prediction, [reference], **options).score / 100
    assert sentence_bleu(prediction, reference) == pytest.approx(wanted, rel=1e-9)


def test_sentence_bleu_of_short_texts():
    """Two characters have no 3-gram and no 4-gram: each counts as one that has no match."""
    assert sentence_bleu("春夏", "春夏") == pytest.approx((1 * 1 * 0.1 * 0.1) ** 0.25)
    assert sentence_bleu("春", "春夏") == pytest.approx(math.exp(1 - 2) * 0.1**0.75)
    assert sentence_bleu("", "春") == sentence_bleu("夏", "春") == 0


def test_corpus_bleu_is_of_all_texts_together():
    predictions, references = zip(*TEXTS, strict=True)
    assert corpus_bleu(references, references) == pytest.approx(1)
    assert 0 < corpus_bleu(predictions, references) < 1
    assert corpus_bleu(predictions, references) != corpus_bleu(predictions, references, "char")
    assert corpus_bleu([], []) == 0


def test_an_evaluation_says_what_it_counted():
    predictions, references = ["春 天A", "", "夏天"], ["春天a", "秋", "夏日"]
    record = generation.evaluate(predictions, references, words=lambda text: [text], counting="multisets")
    assert record["exact_match"] == pytest.approx(1 / 3)
    assert (record["rows"], record["empty"], record["ngrams_as"]) == (3, 1, "multisets")
    assert record["score"] == record["characters"]["main"] == pytest.approx((1 + 0 + 0.2 * 0.5 + 0.4 * 0.5) / 3)
    assert record["words"]["rouge_1"] == 0  # `春 天a` as one word is another than `春天a`
    assert (record["predicted_length"], record["reference_length"]) == (pytest.approx(5 / 3), pytest.approx(2))
    assert record["bleu"] == 0  # no text has four tokens in a row
    assert record["score_is"] == "0.2 ROUGE-1 + 0.4 ROUGE-2 + 0.4 ROUGE-L, by characters"
