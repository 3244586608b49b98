"""What is counted: one counter a unit, each on the cheapest representation that stays exact.

A counter takes texts of any number of lines, reports when its table has outgrown its part of the memory, and writes the
table as a sorted run. White space is never counted and breaks n-grams, so that none crosses a line; with `words_only`
the same holds for whatever has no letter in it: punctuation, digits, signs.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

from nlpx.counting.runs import write_run
from nlpx.counting.segmentation.segmenters import WordSegmenter, build_word_segmenter
from nlpx.counting.settings import CountSettings

if TYPE_CHECKING:
    from nlpx.counting.grams import Grams

# A key, its count and what the allocator adds, beside the dictionary itself and the characters of the key.
_ENTRY_BYTES = 112
# Up to so many characters a plain loop takes less time than the import of numpy.
_SHORT = 1 << 16
# Arrays of n-grams are added up from this size on: merging equal ones sooner saves too little memory for its time.
_LEAST_SUM = 64 << 20
_GOOD_SUM = 0.7  # of the size before: a merge that saves less is not repeated until memory runs out


class UnitCounter(Protocol):
    """Counts one unit in one table."""

    def add(self, text: str) -> None:
        """Count a text of one or more whole lines."""

    def is_full(self) -> bool:
        """Whether the table has reached its limit."""

    def write(self, path: Path) -> None:
        """Write the table as a sorted run and empty it. Raises MachineError if the disk is full."""


def build_unit(settings: CountSettings) -> tuple[UnitCounter, str]:
    """The counter for the unit of some settings, and the name of what segments texts for it.

    Raises UsageError and InputError for a segmenter, user dictionary or tokenizer that cannot be loaded.
    """
    limit, words_only = settings.worker_table_bytes, settings.words_only
    if settings.unit == "token":
        from nlpx.tokenizers.load import load_tokenizer

        tokenizer = load_tokenizer(str(settings.tokenizer))
        return TokenCounter(tokenizer, words_only=words_only), f"tokenizer {settings.tokenizer} ({tokenizer.reason})"
    if settings.segments_words:
        segmenter = build_word_segmenter(settings.segmenter, hmm=settings.hmm, user_dictionary=settings.user_dictionary)
        if settings.counts_words:
            return WordCounter(segmenter, limit=limit, words_only=words_only), segmenter.name
        return WordGramCounter(segmenter, settings.ngram, limit=limit, words_only=words_only), segmenter.name
    if settings.unit == "char" or settings.ngram == 1:
        return CharacterCounter(words_only=words_only), "characters"
    return GramCounter(settings.ngram, limit=limit, words_only=words_only), "characters"


def counts_character_grams(settings: CountSettings) -> bool:
    """Whether tables are arrays of n-grams of characters rather than texts with counts."""
    return settings.unit == "ngram" and settings.of == "char" and settings.ngram > 1


def has_letter(text: str) -> bool:
    """Whether there is a letter of any script in it."""
    return text.isalpha() or any(map(str.isalpha, text))


class TextTable:
    """Counts of texts, and how much memory they take."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.counts: dict[str, int] = {}
        self._measured = self._entries = self._added = 0

    def grow(self, num_characters: int) -> None:
        """Take note that a text of that length was counted."""
        self._added += num_characters

    def is_full(self) -> bool:
        """Whether the limit is reached. The keys are only measured when it could be."""
        # A new character can add four bytes to a key, a new entry its own: a bound that costs nothing to have.
        bound = self._measured + 4 * self._added + (len(self.counts) - self._entries) * _ENTRY_BYTES
        if bound + sys.getsizeof(self.counts) < self.limit:
            return False
        self._entries, self._added = len(self.counts), 0
        self._measured = 2 * sum(map(len, self.counts)) + self._entries * _ENTRY_BYTES
        return self._measured + sys.getsizeof(self.counts) >= self.limit

    def write(self, path: Path, *, words_only: bool = False) -> None:
        """Write the table as a sorted run and empty it."""
        counts = self.counts
        keys = sorted(filter(has_letter, counts) if words_only else counts)
        write_run(path, ((part, [counts[key] for key in part]) for part in _slices(keys)))
        self.counts = {}
        self._measured = self._entries = self._added = 0


class WordCounter:
    """Segments of jieba."""

    def __init__(self, segmenter: WordSegmenter, *, limit: int, words_only: bool) -> None:
        self.segmenter = segmenter
        self.table = TextTable(limit)
        self.words_only = words_only

    def add(self, text: str) -> None:
        """Count a text of one or more whole lines."""
        self.segmenter.count(text, self.table.counts)
        self.table.grow(len(text))

    def is_full(self) -> bool:
        """Whether the table has reached its limit."""
        return self.table.is_full()

    def write(self, path: Path) -> None:
        """Write the table as a sorted run and empty it."""
        self.segmenter.settle(self.table.counts)
        self.table.write(path, words_only=self.words_only)


class WordGramCounter:
    """Neighbouring segments of jieba, joined by a blank; white space between two of them parts them."""

    def __init__(self, segmenter: WordSegmenter, n: int, *, limit: int, words_only: bool) -> None:
        self.segmenter = segmenter
        self.n = n
        self.table = TextTable(limit)
        self._breaks = _has_no_letter if words_only else str.isspace

    def add(self, text: str) -> None:
        """Count a text of one or more whole lines."""
        run: list[str] = []
        for segment in self.segmenter.segment(text):
            if self._breaks(segment):
                self._add_run(run)
                run = []
            else:
                run.append(segment)
        self._add_run(run)
        self.table.grow(self.n * len(text) + len(run))

    def _add_run(self, run: Sequence[str]) -> None:
        if len(run) >= self.n:
            _count_all(self.table.counts, map(" ".join, zip(*(run[place:] for place in range(self.n)), strict=False)))

    def is_full(self) -> bool:
        """Whether the table has reached its limit."""
        return self.table.is_full()

    def write(self, path: Path) -> None:
        """Write the table as a sorted run and empty it."""
        self.table.write(path)


class CharacterCounter:
    """Characters: an array of counts over all code points, so that its size never changes."""

    def __init__(self, *, words_only: bool) -> None:
        self.words_only = words_only
        self._few: dict[str, int] = {}
        self._many: Any = None

    def add(self, text: str) -> None:
        """Count a text of one or more whole lines."""
        if len(text) < _SHORT:
            _count_all(self._few, text)
            return
        import numpy as np

        if self._many is None:
            self._many = np.zeros(sys.maxunicode + 1, np.int64)
        found = np.bincount(np.frombuffer(text.encode("utf-32-le"), np.uint32))
        self._many[: len(found)] += found

    def is_full(self) -> bool:
        """Never: there are only so many characters."""
        return False

    def write(self, path: Path) -> None:
        """Write the table as a sorted run and empty it."""
        counts = Counter(self._few)
        if self._many is not None:
            codes = self._many.nonzero()[0]
            counts.update(dict(zip(map(chr, codes.tolist()), self._many[codes].tolist(), strict=True)))
        table = TextTable(0)
        table.counts = {key: count for key, count in counts.items() if not key.isspace()}
        table.write(path, words_only=self.words_only)
        self._few, self._many = {}, None


class TokenCounter:
    """Tokens of a checkpoint's tokenizer as its vocabulary writes them, without those it puts around each text."""

    def __init__(self, tokenizer: Any, *, words_only: bool) -> None:
        self.tokenizer = tokenizer
        self.words_only = words_only
        self._ids: dict[int, int] = {}
        frame = tokenizer.encode("").token_ids
        self._frame = Counter(frame)

    def add(self, text: str) -> None:
        """Count a text of one or more whole lines."""
        lines = [line for line in text.split("\n") if line]
        for encoding in self.tokenizer.encode_batch(lines):
            _count_all(self._ids, encoding.token_ids)
        for token_id, number in self._frame.items():
            self._ids[token_id] = self._ids.get(token_id, 0) - number * len(lines)

    def is_full(self) -> bool:
        """Never: the vocabulary bounds the table."""
        return False

    def write(self, path: Path) -> None:
        """Write the table as a sorted run and empty it."""
        table, tokens = TextTable(0), self.tokenizer.vocab.tokens
        for token_id, number in self._ids.items():
            if number:
                table.counts[tokens[token_id]] = table.counts.get(tokens[token_id], 0) + number
        table.write(path, words_only=self.words_only)
        self._ids = {}


class GramCounter:
    """N-grams of characters, 2 to 5: sorted arrays, added up when they become too many."""

    def __init__(self, n: int, *, limit: int, words_only: bool) -> None:
        from nlpx.counting import grams

        self.n = n
        self._grams = grams
        self._limit = limit // grams.MERGE_FACTOR
        self._next_sum = _LEAST_SUM
        self._is_break = grams.is_break_table(words_only=words_only)
        self._tables: list[Grams] = []
        self._waiting: list[str] = []
        self._num_waiting = 0

    def add(self, text: str) -> None:
        """Count a text of one or more whole lines."""
        self._waiting.append(text)
        self._num_waiting += len(text) + 1
        if self._num_waiting >= self._grams.WINDOW:
            self._count_waiting()

    def _count_waiting(self) -> None:
        text = "\n".join(self._waiting)
        self._waiting, self._num_waiting = [], 0
        self._tables += self._grams.count_windows(text, self.n, self._is_break)

    def is_full(self) -> bool:
        """Whether the arrays have reached their limit even when they are added up, as they are now and then."""
        if 4 * self._num_waiting > self._limit:
            self._count_waiting()
        before = self._num_bytes()
        if before < min(self._next_sum, self._limit):
            return False
        # They are dense where texts repeat themselves; in one piece they are quicker to go through again.
        self._tables = [self._grams.joined(list(self._grams.merge_tables(self._tables)), self.n)]
        after = self._num_bytes()
        # Long n-grams hardly repeat themselves: then only the limit is a reason to try again.
        self._next_sum = max(2 * after, _LEAST_SUM) if after < _GOOD_SUM * before else self._limit
        # Half, or else the next few texts would make it necessary again.
        return after >= self._limit // 2

    def _num_bytes(self) -> int:
        return sum(table.num_bytes for table in self._tables)

    def write(self, path: Path) -> None:
        """Write the table as a sorted run and empty it."""
        self._count_waiting()
        self._grams.write_grams(path, self._grams.merge_tables(self._tables))
        self._tables, self._next_sum = [], _LEAST_SUM


def _has_no_letter(text: str) -> bool:
    return not has_letter(text)


def _count_all(table: dict[Any, int], items: Iterable[Any]) -> None:
    # Counter's loop is written in C and takes any dictionary.
    Counter.update(cast("Counter[Any]", table), items)


def _slices(keys: Sequence[str], size: int = 1 << 14) -> Iterator[Sequence[str]]:
    return (keys[first : first + size] for first in range(0, len(keys), size))
