"""Both ways of counting words against jieba on the real texts: every segment and every table equal."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable
from itertools import islice
from pathlib import Path

import jieba
import pytest

from nlpx.counting.segmentation.segmenters import WordSegmenter, build_word_segmenter
from real_texts import FILES, texts

SAMPLE = 150  # strings a file in the run that is always made

pytestmark = pytest.mark.skipif(not FILES, reason="the shared data are not beside this checkout")


def compare(segmenter: WordSegmenter, sample: Iterable[str], hmm: bool) -> None:
    """Cut and count the distinct texts of `sample`, one by one and as one block."""
    distinct = list(dict.fromkeys(sample))
    expected: Counter[str] = Counter()
    for text in distinct:
        segments = jieba.lcut(text, HMM=hmm)
        assert segmenter.segment(text) == segments, text
        expected.update(segment for segment in segments if not segment.isspace())
    table: dict[str, int] = {}
    segmenter.count_texts(distinct, table)
    segmenter.settle(table)
    assert table == expected
    whole = segmenter.segment("\n".join(distinct))
    assert "".join(whole) == "\n".join(distinct)
    assert Counter(segment for segment in whole if not segment.isspace()) == expected


@pytest.fixture(scope="module", autouse=True)
def quiet_jieba() -> None:
    logging.getLogger("jieba").setLevel(logging.WARNING)


@pytest.fixture(scope="module", params=[True, False], ids=["hmm", "no-hmm"])
def hmm(request: pytest.FixtureRequest) -> bool:
    return request.param


@pytest.fixture(scope="module")
def segmenter(hmm: bool) -> WordSegmenter:
    return build_word_segmenter("rjieba", hmm=hmm, user_dictionary=None)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_sample_of_each_file(path: Path, segmenter: WordSegmenter, hmm: bool) -> None:
    compare(segmenter, islice(texts(path), SAMPLE), hmm)


@pytest.mark.slow
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_text_of_each_file(path: Path, segmenter: WordSegmenter, hmm: bool) -> None:
    compare(segmenter, texts(path), hmm)
