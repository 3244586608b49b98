"""Counting real text: equal to the naive loops on packed and plain files, divided, spilled and on one process alike."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import jieba
import pytest

from nlpx.counting import engine
from nlpx.counting.engine import count
from nlpx.counting.settings import CountSettings
from nlpx.data.corpus.texts import find_sources
from nlpx.messages import Silent

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"
FILES = sorted(DATA.glob("corpus_*.jsonl.gz"))
NUM_TEXTS = 300

pytestmark = pytest.mark.skipif(not FILES, reason="the shared data are not beside this checkout")


@pytest.fixture(autouse=True)
def with_pool(monkeypatch):
    monkeypatch.setattr(engine, "_SMALL", dict.fromkeys(engine._SMALL, -1))


def texts_of(path: Path, number: int | None = NUM_TEXTS) -> Iterator[str]:
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for line in islice(lines, number):
            yield json.loads(line)["text"]


def counted(path: Path, **settings) -> list[tuple[str, int]]:
    with count(find_sources([str(path)]), CountSettings(**settings), Silent()) as found:
        return list(found.ranked())


def in_order(table: Counter[str]) -> list[tuple[str, int]]:
    return sorted(table.items(), key=lambda item: (-item[1], item[0]))


@pytest.fixture(scope="module")
def rows(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("real") / "rows.jsonl"
    with path.open("w", encoding="utf-8") as stream:
        for file in FILES:
            stream.writelines(json.dumps({"text": text}) + "\n" for text in texts_of(file))
    return path


@pytest.mark.parametrize("hmm", [True, False])
def test_words_of_rows_are_those_of_jieba(rows, hmm):
    texts = [text for file in FILES for text in texts_of(file)]
    table = Counter(word for text in texts for word in jieba.lcut(text, HMM=hmm) if not word.isspace())
    for num_workers, block_bytes in ((1, None), (2, 30_000), (4, 1001)):
        assert counted(rows, hmm=hmm, workers=num_workers, block_bytes=block_bytes) == in_order(table)


@pytest.mark.parametrize("n", [2, 5])
def test_grams_that_are_spilled_are_those_of_a_counter(rows, n):
    parts = [part for file in FILES for text in texts_of(file) for part in text.split()]
    table = Counter(part[place : place + n] for part in parts for place in range(len(part) - n + 1))
    found = counted(rows, unit="ngram", ngram=n, workers=2, block_bytes=100_000, table_bytes=1 << 20)
    assert found == in_order(table)


@pytest.mark.slow
def test_a_whole_packed_file_read_by_two_workers_has_the_characters_of_a_counter():
    table = Counter(character for text in texts_of(FILES[0], None) for character in text if not character.isspace())
    assert counted(FILES[0], unit="char", workers=2) == in_order(table)
    grams = Counter(
        part[place : place + 3]
        for text in texts_of(FILES[0], None)
        for part in text.split()
        for place in range(len(part) - 2)
    )
    assert counted(FILES[0], unit="ngram", ngram=3, workers=2) == in_order(grams)


@pytest.mark.slow
def test_all_words_of_a_packed_file_are_those_of_jieba():
    table = Counter(word for text in texts_of(FILES[1], None) for word in jieba.lcut(text) if not word.isspace())
    assert counted(FILES[1], workers=2) == in_order(table)
