"""Sentences and clauses, the longest common subsequence, labels for extraction and copying, TextRank, choosing."""

from __future__ import annotations

import random
from collections import defaultdict
from itertools import pairwise

import networkx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.feature_extraction.text import CountVectorizer

from nlpx.metrics.generation import characters
from nlpx.metrics.rouge import rouge
from nlpx.spaces import copy_labels, labelling
from nlpx.spaces.extract import Size, extract, joined
from nlpx.spaces.lcs import longest_common_subsequence
from nlpx.spaces.sentences import LONGEST, clauses, sentences
from nlpx.spaces.textrank import textrank

NEWS = (
    "春天来了，公园里的花开了。市民纷纷来到公园看花。公园今年种了三千株新花，花期到五月。"
    "市民说公园的花一年比一年好看。天气预报说明天有雨。"
)


def test_sentences_and_clauses_of_a_text():
    text = "今天，天气 3,000 好。“走吧！”他说：行；\n  二行 a,b c, d"
    assert [span.text for span in sentences(text)] == [
        "今天，天气 3,000 好。",
        "“走吧！”",
        "他说：行；",
        "二行 a,b c, d",
    ]
    assert [span.text for span in clauses(text)] == [
        *("今天，", "天气 3,000 好。", "“走吧！”"),
        *("他说：", "行；", "二行 a,b c,", "d"),
    ]


@pytest.mark.parametrize("split", [sentences, clauses])
@given(text=st.text("春夏,，。；：a1 \n”！", max_size=60), longest=st.integers(1, 9))
def test_spans_hold_all_of_a_text_but_blanks(split, text, longest):
    spans = split(text, longest)
    assert "".join("".join(span.text.split()) for span in spans) == "".join(text.split())
    assert all(text[span.start : span.end] == span.text == span.text.strip() for span in spans)
    assert all(0 < len(span.text) <= longest for span in spans)
    assert all(one.end <= other.start for one, other in pairwise(spans))


@pytest.mark.parametrize("split", [sentences, clauses])
@pytest.mark.parametrize("text", ["字" * 200_000, "字 " * 100_000, "字a,b" * 50_000])
def test_a_long_text_without_punctuation_is_parted(split, text):
    spans = split(text)
    assert max(len(span.text) for span in spans) <= LONGEST
    assert "".join("".join(span.text.split()) for span in spans) == "".join(text.split())


def test_a_text_of_blanks_has_no_spans():
    assert sentences(" \n ") == clauses("") == []


def classic_pairs(source, target):
    """The table and its trace as they are usually written."""
    table = defaultdict(int)
    for row, one in enumerate(source):
        for column, other in enumerate(target):
            longest = max(table[row - 1, column], table[row, column - 1])
            table[row, column] = table[row - 1, column - 1] + 1 if one == other else longest
    row, column, pairs = len(source) - 1, len(target) - 1, []
    while row >= 0 and column >= 0 and table[row, column]:
        if source[row] == target[column]:
            pairs.append((row, column))
            row, column = row - 1, column - 1
        elif table[row, column - 1] > table[row - 1, column]:
            column -= 1
        else:
            row -= 1
    return pairs[::-1]


@given(st.text("春夏秋冬", max_size=24), st.text("春夏秋风", max_size=24))
def test_the_trace_is_that_of_the_classic_table(source, target):
    assert longest_common_subsequence(source, target) == classic_pairs(source, target)


def test_the_trace_of_long_texts():
    chance = random.Random(5)
    source, target = chance.choices(range(40), k=300), chance.choices(range(40), k=150)
    assert longest_common_subsequence(source, target) == classic_pairs(source, target)


def test_copied_tokens_begin_and_continue():
    source, target = ["我", "真的", "非常", "热爱", "我", "的", "祖国"], ["我", "爱", "我", "的", "祖国"]
    assert longest_common_subsequence(source, target) == [(0, 0), (4, 2), (5, 3), (6, 4)]
    found = copy_labels.tags(source, target)
    assert found.source == [1, 0, 0, 0, 1, 2, 2]
    assert [copy_labels.Tag(tag).name for tag in found.target] == ["B", "O", "B", "I", "I"]


def test_labels_of_a_target_stand_a_token_earlier():
    source, target = ["[CLS]", *"春夏", "[SEP]"], ["[CLS]", *"夏秋", "[SEP]"]
    found = copy_labels.tags(source, target, special={"[CLS]", "[SEP]"})
    assert found == ([0, 0, 1, 0], [0, 1, 0, 0])
    # Outputs: those at the source's own tokens, and from the target's start on those of the tokens that follow.
    assert copy_labels.labels(found) == [0, 0, 1, 0, 1, 0, 0]


def test_special_tokens_are_no_copies():
    source, target = ["[CLS]", *"春夏", "[SEP]"], ["[CLS]", *"春夏", "[SEP]"]
    assert copy_labels.tags(source, target).target == [1, 2, 2, 2]
    assert copy_labels.tags(source, target, special={"[CLS]", "[SEP]"}).target == [0, 1, 2, 0]


@given(st.text("春夏秋冬", max_size=24), st.text("春夏秋冬", max_size=24))
def test_every_copy_is_a_part_of_the_source(source, target):
    found = copy_labels.tags(source, target)
    runs, before = [], 0
    for token, tag in zip(target, found.target, strict=True):
        assert tag != 2 or before != 0
        if tag == 1:
            runs.append("")
        if tag:
            runs[-1] += token
        before = tag
    assert all(run in source for run in runs)


def divided(source, summary, first_source=0, first_summary=0):
    """The matching as a recursion over slices, with all scores of a clause at once."""
    if not source or not summary:
        return []
    number = int(np.argmax([len(text) for text in summary]))
    scores = [rouge(characters(text), characters(summary[number])).main for text in source]
    place = int(np.argmax(scores))
    if not scores[place]:
        rest = [*summary[:number], "", *summary[number + 1 :]]
        return divided(source, rest, first_source, first_summary) if any(rest) else []
    left = divided(source[: place + 1], summary[:number], first_source, first_summary)
    right = divided(source[place:], summary[number + 1 :], first_source + place, first_summary + number + 1)
    return [*left, (first_summary + number, first_source + place, scores[place]), *right]


CLAUSES = st.lists(st.text("春夏秋冬风，", min_size=1, max_size=8), max_size=7)


@given(CLAUSES, CLAUSES)
def test_matches_are_those_of_the_recursion(source, summary):
    found = [tuple(one) for one in labelling.match(source, summary)]
    wanted = divided(source, summary)
    assert [one[:2] for one in found] == [one[:2] for one in wanted]
    assert [one[2] for one in found] == pytest.approx([one[2] for one in wanted])
    assert all(one[1] <= other[1] for one, other in pairwise(found))
    assert labelling.labels(source, summary) == [number in {one[1] for one in found} for number in range(len(source))]


def test_a_clause_without_a_common_character_is_matched_to_nothing():
    assert labelling.match(["春风，", "夏雨。"], ["abc", "夏雨"]) == [
        (1, 1, pytest.approx(rouge("夏雨。", "夏雨").main))
    ]


def test_a_thousand_clauses_need_no_recursion():
    texts = [f"{number}春" for number in range(2000)]
    assert labelling.labels(texts, texts) == [True] * 2000


def test_ranks_are_those_of_pagerank_on_the_graph_of_cosines():
    texts = [span.text for span in sentences(NEWS)] + ["xyz"]
    counts = CountVectorizer(analyzer="char", ngram_range=(2, 2), token_pattern=None).fit(texts)
    kept = [number for name, number in counts.vocabulary_.items() if name.isalnum()]
    frequencies = counts.transform(texts).toarray()[:, kept]
    weighted = frequencies * np.log(len(texts) / (frequencies > 0).sum(0))
    unit = weighted / np.linalg.norm(weighted, axis=1, keepdims=True)
    cosines = unit @ unit.T
    np.fill_diagonal(cosines, 0)
    wanted = networkx.pagerank(networkx.from_numpy_array(cosines), tol=1e-10)
    assert textrank(texts) == pytest.approx([wanted[number] for number in range(len(texts))], abs=1e-6)


@pytest.mark.parametrize("texts", [[], ["春"], ["春", "夏"], ["。", "，"], ["春风", "春风"], ["春风", "夏雨", "。"]])
def test_ranks_sum_to_one_whatever_the_sentences(texts):
    ranks = textrank(texts)
    assert sum(ranks) == pytest.approx(1 if texts else 0)
    assert len(ranks) == len(texts)


def test_a_common_sentence_ranks_above_one_about_something_else():
    ranks = textrank([span.text for span in sentences(NEWS)])
    assert int(np.argmin(ranks)) == len(ranks) - 1


@pytest.mark.parametrize("method", ["textrank", "lead"])
@given(text=st.text("春夏秋。！，a 1\n", max_size=80), limit=st.integers(1, 30))
def test_an_extract_is_a_part_of_the_text_and_fits(method, text, limit):
    spans = sentences(text)
    by_number = extract(text, method, Size(sentences=limit))
    assert [one.span for one in by_number] == [span for span in spans if span in {one.span for one in by_number}]
    assert len(by_number) == min(limit, len(spans))
    by_length = [one.span for one in extract(text, method, Size(characters=limit))]
    assert len(joined(by_length)) <= limit
    assert all(text[span.start : span.end] == span.text for span in by_length)
    assert bool(by_length) == bool(spans)


def test_the_lead_is_the_beginning():
    assert joined([one.span for one in extract(NEWS, "lead", Size(characters=20))]) == NEWS[:20]
    assert joined([one.span for one in extract(NEWS, "lead", Size(sentences=2))]) == NEWS[:24]
