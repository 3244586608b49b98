"""Word segmenters for counting: jieba's segments, token for token, ten times as fast through rjieba.

With the hidden Markov model (HMM) off, rjieba segments as jieba does. With HMM on it does not: its probabilities are
rounded to six digits, so that wherever two readings are about equally likely it may choose the other one, and it
leaves sequences of ASCII characters whole. So rjieba always runs with HMM off, and the model is run here, in
jieba's own arithmetic (`nlpx.counting.segmentation.new_words`, `viterbi`). jieba's dictionary is not loaded for that.
"""

from __future__ import annotations

import os
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, cast

from nlpx.counting.segmentation.new_words import find_new_words
from nlpx.errors import UsageError
from nlpx.tokenizers.segment import (
    SEGMENTERS,
    Segment,
    jieba_engine,
    part_as_jieba,
    rjieba_engine,
    segment_without_hmm,
    set_apart,
)
from nlpx.tokenizers.user_dictionary import UserWord, read_user_dictionary

ENGINES = ("auto", *SEGMENTERS)

# Characters segmented at once: their segments stay in the cache of the processor until they are counted.
_CHUNK = 1 << 15
# Up to so many characters, plain Python takes less time than numpy needs to be imported.
_SHORT = 1000
_SINGLE_ASCII = re.compile(r"[a-zA-Z0-9+#&._%\-]")
_LARGEST_FREQUENCY = 1 << 53  # beyond it a float, in which jieba computes, no longer holds every whole number


def build_word_segmenter(engine: str, *, hmm: bool, user_dictionary: str | None) -> WordSegmenter:
    """The segmenter for `engine` "rjieba", "jieba" (the reference) or "auto": rjieba unless the user dictionary has
    entries that only jieba can follow (deleted words, for one).

    `user_dictionary` is the path of a file in jieba's format. Raises `UsageError` for an unknown engine and for
    such entries with "rjieba", `InputError` for a dictionary that cannot be read.
    """
    if engine not in ENGINES:
        raise UsageError(f"unknown segmenter `{engine}`", hint=f"choose one of {', '.join(ENGINES)}")
    words = read_user_dictionary(user_dictionary)
    obstacle = _obstacle(words, hmm=hmm)
    if engine == "rjieba" and obstacle:
        hint = "choose the segmenter `auto` or `jieba`"
        raise UsageError(f"{user_dictionary}: rjieba cannot take {obstacle}", hint=hint)
    if engine == "jieba" or obstacle:
        return WordSegmenter(_jieba_segmenter(words, hmm=hmm), partial(_describe, "jieba", hmm, len(words)))
    describe = partial(_describe, "rjieba", hmm, len(words))
    fast = rjieba_engine(words)
    return _NewWordSegmenter(fast, describe) if hmm else WordSegmenter(partial(segment_without_hmm, fast), describe)


class WordSegmenter:
    """Segments and counts exactly as `jieba.lcut` does: every segment, punctuation included.

    Tables of counts are dictionaries segment -> number; `settle` them once before they are used.
    """

    def __init__(self, segment: Segment, describe: Callable[[], str]) -> None:
        self._segment = segment
        self._describe = describe

    @property
    def name(self) -> str:
        """Engine and version, and what its segments are equal to."""
        return self._describe()

    def segment(self, text: str) -> list[str]:
        """The segments of `text`; joined they are the text again."""
        return self._segment(text)

    def count(self, text: str, table: dict[str, int]) -> None:
        """Add the segments of `text`, of any number of lines, to `table`. Long texts are cheaper than short ones."""
        for chunk in _whole_lines(text):
            _add(table, self._segment(chunk))

    def count_texts(self, texts: Iterable[str], table: dict[str, int]) -> None:
        """Add the segments of all `texts` to `table`; quicker than to count each, and equal once settled."""
        waiting: list[str] = []
        size = 0
        for text in texts:
            waiting.append(text)
            size += len(text) + 1
            if size >= _CHUNK:
                self.count("\n".join(waiting), table)
                waiting, size = [], 0
        if waiting:
            self.count("\n".join(waiting), table)

    def settle(self, table: dict[str, int]) -> None:
        """Remove the segments that are only white space from `table`."""
        # jieba splits at white space, so such a segment is one character or a line end of two.
        for segment in ("\r\n", *filter(str.isspace, map(chr, range(0x3001)))):
            table.pop(segment, None)


class _NewWordSegmenter(WordSegmenter):
    """rjieba with HMM off, and the model in jieba's arithmetic."""

    def __init__(self, engine: Any, describe: Callable[[], str]) -> None:
        super().__init__(self._segment_any, describe)
        self._engine = engine

    def _segment_any(self, text: str) -> list[str]:
        parts = part_as_jieba(text)
        return [word for part, whole in parts for word in ([part] if whole else self._segment_part(part))]

    def _segment_part(self, part: str) -> Iterable[str]:
        segments = self._engine.cut(part, False)
        if len(part) <= _SHORT:
            return find_new_words(segments, self._engine.has_word)
        from nlpx.counting.segmentation.new_words_at_once import NewWords

        return NewWords(part, segments, self._engine.has_word).all_segments()

    def count(self, text: str, table: dict[str, int]) -> None:
        if len(text) <= _SHORT:
            _add(table, self._segment(text))
            return
        from nlpx.counting.segmentation.new_words_at_once import NewWords, count_characters

        characters = []
        for chunk, apart in map(set_apart, _whole_lines(text)):
            _add(table, apart)
            found = NewWords(chunk, self._engine.cut(chunk, False), self._engine.has_word)
            _add(table, found.several())
            characters.append(found.single())
        for character, number in count_characters(characters):
            table[character] = table.get(character, 0) + number


def _obstacle(words: Sequence[UserWord], *, hmm: bool) -> str | None:
    """What in a user dictionary rjieba cannot follow."""
    if any(entry.frequency == 0 for entry in words):
        return "entries that delete a word (frequency 0)"
    if any((entry.frequency or 0) >= _LARGEST_FREQUENCY for entry in words):
        return f"frequencies of {_LARGEST_FREQUENCY} and more"
    if hmm and any(_SINGLE_ASCII.fullmatch(entry.word) for entry in words):
        return "single letters, digits or marks as words (with HMM)"
    return None


def _jieba_segmenter(words: Sequence[UserWord], *, hmm: bool) -> Segment:
    from jieba import finalseg

    segment = partial(jieba_engine(words).lcut, HMM=hmm)
    deleted = {entry.word for entry in words if entry.frequency == 0}

    def segment_with_deletions(text: str) -> list[str]:
        # jieba keeps deleted words, which its model may not make again, in one set for all of its instances.
        shared, finalseg.Force_Split_Words = finalseg.Force_Split_Words, deleted
        try:
            words: list[str] = segment(text)
            return words
        finally:
            finalseg.Force_Split_Words = shared

    return segment_with_deletions


def _describe(engine: str, hmm: bool, num_words: int) -> str:
    equal = "" if engine == "jieba" else f", equal to jieba {_version('jieba')}"
    with_words = f" and {num_words} user words" if num_words else ""
    return f"{engine} {_version(engine)}{equal} with{'' if hmm else 'out'} HMM{with_words}"


def _version(package: str) -> str:
    """The installed version, from the name of its metadata folder: to import `importlib.metadata` takes far longer."""
    for folder in sys.path:
        with suppress(OSError):
            for name in os.listdir(folder or "."):  # noqa: PTH208
                if name.startswith(f"{package}-") and name.endswith(".dist-info"):
                    return name.removeprefix(f"{package}-").removesuffix(".dist-info")
    from importlib.metadata import version

    return version(package)


def _whole_lines(text: str) -> Iterator[str]:
    """Parts of about `_CHUNK` characters that end where lines end, where jieba always splits."""
    begin = 0
    while begin < len(text):
        end = text.find("\n", begin + _CHUNK) + 1 or len(text)
        yield text[begin:end]
        begin = end


def _add(table: dict[str, int], segments: Iterable[str]) -> None:
    # Counter's loop is written in C and takes any dictionary.
    Counter.update(cast("Counter[str]", table), segments)
