"""Tokenizers against their peers: the same texts, alternating rounds in one process, equal ids checked first.

Characters: wall-clock seconds of `encode_batch` against the `tokenizers` library with two threads (goal: 3x).
Words: CPU seconds of one thread against the same algorithm on jieba, twice (goal: 6x): written plainly, and with
every step of ours but the segmenter.

    python bench/tokenizers.py [--data DIR] [--lines 12000] [--rounds 7]
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import statistics
import sys
import time
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from rounds import SHARED, Variant, in_process, markdown, ratios, spread

from nlpx.tokenizers.char import CharTokenizer
from nlpx.tokenizers.vocab import Vocab
from nlpx.tokenizers.word import WordTokenizer

os.environ["RAYON_NUM_THREADS"] = "2"  # read by the library at its first use
os.environ["TOKENIZERS_PARALLELISM"] = "true"

FILES = ("corpus_0", "cls_shopping10", "match_sohu_ssA", "match_news_slA", "sts_bq")
TEXT_FIELDS = ("text", "text1", "text2", "source", "target")
LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"


def read_lines(folder: Path, num_lines: int) -> list[str]:
    """The same number of lines from each file, long texts cut into lines as they stand."""
    share = num_lines // len(FILES)
    return [line for name in FILES for line in islice(lines_of(folder / f"{name}.jsonl.gz"), share)]


def lines_of(path: Path) -> Iterator[str]:
    with gzip.open(path, "rt", encoding="utf-8") as rows:
        for row in map(json.loads, rows):
            for field in TEXT_FIELDS:
                yield from (line for line in row.get(field, "").split("\n") if line.strip())


def build_vocabulary(lines: Sequence[str], words: Sequence[str] = ()) -> Vocab:
    characters = [c for c, _ in Counter("".join(lines).lower()).most_common(8000) if not c.isspace()]
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    pieces = [*LETTERS, *("##" + letter for letter in LETTERS), "the", "##ing", "20", "##24"]
    return Vocab(list(dict.fromkeys([*special, *pieces, *characters, *words])))


def jieba_engine() -> Any:
    import logging

    import jieba

    logging.getLogger("jieba").setLevel(logging.WARNING)
    engine = jieba.Tokenizer()
    engine.initialize()
    return engine


def plain_word_encode(text: str, engine: Any, vocab: Vocab, inside: Any) -> list[int]:
    """WoBERT's algorithm written down directly: normalise, jieba, whole word or BERT inside it."""
    decomposed = unicodedata.normalize("NFD", text.lower())
    normalised = "".join(c for c in decomposed if unicodedata.category(c) != "Mn")
    ids = [vocab.ids["[CLS]"]]
    for word in engine.cut(normalised, HMM=False):
        index = vocab.ids.get(word)
        if index is not None:
            ids.append(index)
        elif not word.isspace():
            ids += inside(word)
    return [*ids, vocab.ids["[SEP]"]]


def print_table(title: str, variants: Sequence[Variant], seconds: list[list[float]], num_characters: int) -> None:
    ours, rows = seconds[0], []
    for (name, _), times in zip(variants, seconds, strict=True):
        speed = num_characters / statistics.median(times) / 1e6
        rows.append([name, f"{speed:.2f}", spread(ratios(times, ours)) if times is not ours else "1"])
    columns = ("variant", "million characters/s", "ours is faster by (median, smallest-largest)")
    print(f"\n{title}\n\n{markdown(columns, rows)}")


def measure_characters(lines: list[str], num_rounds: int) -> None:
    ours = CharTokenizer(build_vocabulary(lines))
    library = ours._backend
    expected = [row.ids for row in library.encode_batch(lines)]
    assert [row.token_ids for row in ours.encode_batch(lines)] == expected
    variants: list[Variant] = [
        ("nlpx", lambda: ours.encode_batch(lines)),
        ("nlpx, with offsets", lambda: ours.encode_batch(lines, return_offsets=True)),
        ("tokenizers encode_batch", lambda: library.encode_batch(lines)),
        ("tokenizers encode_batch, ids read", lambda: [row.ids for row in library.encode_batch(lines)]),
        ("tokenizers encode_batch, ids and offsets read",
         lambda: [(row.ids, row.offsets) for row in library.encode_batch(lines)]),
    ]  # fmt: skip
    seconds = in_process(variants, time.perf_counter, num_rounds)
    print_table("Characters, wall clock, two threads", variants, seconds, sum(map(len, lines)))


def measure_words(lines: list[str], num_rounds: int) -> None:
    engine = jieba_engine()
    words = [word for word, frequency in engine.FREQ.items() if frequency and len(word) > 1]
    words.sort(key=lambda word: -engine.FREQ[word])
    vocab = build_vocabulary(lines, words[:20_000])
    ours, reference = WordTokenizer(vocab), WordTokenizer(vocab, segmenter="jieba")
    backend = CharTokenizer(vocab)._backend

    def inside(word: str) -> list[int]:
        return backend.encode(word, add_special_tokens=False).ids

    def plainly() -> list[list[int]]:
        return [plain_word_encode(line, engine, vocab, inside) for line in lines]

    found = [row.token_ids for row in ours.encode_batch(lines)]
    assert found == [row.token_ids for row in reference.encode_batch(lines)]
    assert found == plainly()
    variants: list[Variant] = [
        ("nlpx (rjieba)", lambda: ours.encode_batch(lines)),
        ("nlpx (rjieba), with offsets", lambda: ours.encode_batch(lines, return_offsets=True)),
        ("the same algorithm on jieba, written plainly", plainly),
        ("nlpx with jieba", lambda: reference.encode_batch(lines)),
        ("nlpx with jieba, with offsets", lambda: reference.encode_batch(lines, return_offsets=True)),
    ]
    seconds = in_process(variants, time.process_time, num_rounds)
    print_table("Words, CPU seconds, one thread", variants, seconds, sum(map(len, lines)))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=SHARED, help="folder with the .jsonl.gz files")
    parser.add_argument("--lines", type=int, default=12_000)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    absent = [name for name in FILES if not (options.data / f"{name}.jsonl.gz").is_file()]
    if absent:
        print(f"no {absent[0]}.jsonl.gz in {options.data}: name the folder with --data", file=sys.stderr)
        return 3
    lines = read_lines(options.data, options.lines)
    print(f"{len(lines):,} lines, {sum(map(len, lines)):,} characters, median of {options.rounds} rounds")
    measure_characters(lines, options.rounds)
    measure_words(lines, options.rounds)
    return 0


if __name__ == "__main__":
    sys.exit(main())
