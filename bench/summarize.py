"""Summaries without a model: CPU time a document, one thread, against the plain ways of writing the same.

TextRank against a loop over all pairs of sentences with their words in common (W04-3252) and a dense matrix; labels of
extraction against the same recursion over `rouge-chinese`; the longest common subsequence of 1,024 x 512 tokens against
the table in Python. Matches are compared before anything is timed.

    python bench/summarize.py FILE [--documents 30] [--rounds 5]

FILE holds rows with `text` and `summary`, the text about as long as it is to be measured for.
"""

from __future__ import annotations

import argparse
import math
import random
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any

import numpy as np
from rouge_chinese import Rouge

from nlpx.jobs.summarize.documents import Documents, read_documents
from nlpx.metrics.generation import characters
from nlpx.spaces.labelling import match
from nlpx.spaces.lcs import longest_common_subsequence
from nlpx.spaces.sentences import clauses, sentences
from nlpx.spaces.textrank import textrank
from nlpx.tokenizers.segment import build_segmenter

SOURCE, TARGET, VOCABULARY = 1024, 512, 2000


def plain_textrank(texts: Sequence[str], words: Callable[[str], list[str]]) -> list[float]:
    """All pairs of sentences in a loop."""
    found = [set(words(text)) for text in texts]
    similar = np.zeros((len(texts), len(texts)))
    for one in range(len(texts)):
        for other in range(one):
            size = math.log(len(found[one]) + 1) + math.log(len(found[other]) + 1)
            similar[one, other] = similar[other, one] = len(found[one] & found[other]) / size
    similar /= np.maximum(similar.sum(0, keepdims=True), 1e-12)
    ranks = np.full(len(texts), 1 / len(texts))
    for _ in range(100):
        ranks = 0.15 / len(texts) + 0.85 * similar @ ranks
    return list(ranks)


def plain_match(source: Sequence[str], summary: Sequence[str]) -> list[tuple[int, int]]:
    """The recursion with one call of `rouge-chinese` a pair."""
    if not source or not summary:
        return []
    number = max(range(len(summary)), key=lambda place: len(summary[place]))
    scores = [main_score(text, summary[number]) for text in source]
    best = int(np.argmax(scores))
    left = plain_match(source[: best + 1], summary[:number])
    right = plain_match(source[best:], summary[number + 1 :])
    return [*left, (number, best), *((number + 1 + one, best + other) for one, other in right)]


def main_score(text: str, other: str) -> float:
    """By characters."""
    found = Rouge().get_scores(" ".join(characters(text)), " ".join(characters(other)))[0]
    return 0.2 * found["rouge-1"]["f"] + 0.4 * found["rouge-2"]["f"] + 0.4 * found["rouge-l"]["f"]


def plain_lcs(source: Sequence[int], target: Sequence[int]) -> list[tuple[int, int]]:
    """The table, and the way back through it."""
    table = [[0] * (len(target) + 1) for _ in range(len(source) + 1)]
    for row, one in enumerate(source):
        for column, other in enumerate(target):
            longest = max(table[row][column + 1], table[row + 1][column])
            table[row + 1][column + 1] = table[row][column] + 1 if one == other else longest
    row, column, pairs = len(source), len(target), []
    while table[row][column]:
        if source[row - 1] == target[column - 1]:
            row, column = row - 1, column - 1
            pairs.append((row, column))
        elif table[row][column - 1] > table[row - 1][column]:
            column -= 1
        else:
            row -= 1
    return pairs[::-1]


def milliseconds(work: Callable[[], Any], count: int) -> float:
    """CPU milliseconds of one of `count` things."""
    start = time.process_time()
    work()
    return 1000 * (time.process_time() - start) / count


def main() -> int:
    """Print a line a pair: medians of both, and their ratio with its range over the rounds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file")
    parser.add_argument("--documents", type=int, default=30)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    given = Documents(options.file, summary_field="summary")
    documents = list(islice(read_documents(given), options.documents))
    texts = [[span.text for span in sentences(document.text)] for document in documents]
    pairs = [
        ([span.text for span in clauses(document.text)], [span.text for span in clauses(document.summary)])
        for document in documents
    ]
    chance = random.Random(1)
    source, target = (chance.choices(range(VOCABULARY), k=size) for size in (SOURCE, TARGET))
    words = build_segmenter("rjieba")
    compared = [([one[:2] for one in match(*pair)], plain_match(*pair)) for pair in pairs]
    if any(set(ours) - set(theirs) for ours, theirs in compared) or plain_lcs(
        source, target
    ) != longest_common_subsequence(source, target):
        print("the answers differ")
        return 1
    rows: dict[str, tuple[Callable[[], Any], Callable[[], Any], int]] = {
        "TextRank": (
            lambda: [textrank(text) for text in texts],
            lambda: [plain_textrank(text, words) for text in texts],
            len(texts),
        ),
        "labels": (
            lambda: [match(*pair) for pair in pairs],
            lambda: [plain_match(*pair) for pair in pairs],
            len(pairs),
        ),
        f"LCS {SOURCE} x {TARGET}": (
            lambda: [longest_common_subsequence(source, target) for _ in range(20)],
            lambda: plain_lcs(source, target),
            1,
        ),
    }
    for name, (ours, theirs, count) in rows.items():
        scale = 20 if name.startswith("LCS") else 1
        found = [(milliseconds(ours, count * scale), milliseconds(theirs, count)) for _ in range(options.rounds)]
        ratios = [other / one for one, other in found]
        one, other = (statistics.median(column) for column in zip(*found, strict=True))
        times = f"{statistics.median(ratios):.0f} times ({min(ratios):.0f}-{max(ratios):.0f})"
        print(f"{name}: {one:.2f} ms, {other:.1f} ms, {times}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
