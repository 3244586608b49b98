"""The rule of `new_words.py` for all buffers of a long text at once, on arrays instead of segments."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import chain, compress

import numpy as np

from nlpx.counting.segmentation.new_words import IsWord, find_new_words, is_loose_ascii, split_ascii
from nlpx.counting.segmentation.viterbi import FIRST_HAN, LAST_HAN, find_word_ends

# [code]: a letter, digit or mark, at which jieba does not split a text into parts.
_JOINS = np.array([re.fullmatch(r"[a-zA-Z0-9+#&._%\-]", chr(code)) is not None for code in range(0x80)])


class NewWords:
    """What HMM on changes in the `segments` of `text` with HMM off; `is_word` asks the dictionary.

    Either take `all_segments` or both `several` and `single`; the given list is used up.
    """

    def __init__(self, text: str, segments: list[str], is_word: IsWord) -> None:
        self._text = text
        self._segments = segments
        self._is_word = is_word
        lengths = _lengths(segments)
        self._offsets = np.cumsum(lengths, dtype=np.int64) - lengths
        self._codes = np.frombuffer(text.encode("utf-32-le"), np.uint32)[self._offsets]
        self._single = lengths == 1
        self._ascii = np.zeros(len(segments) + 2, dtype=bool)  # [i + 1]: segment i begins with a letter, digit or mark
        ascii_only = np.flatnonzero(self._codes < 0x80)
        self._ascii[ascii_only + 1] = _JOINS[self._codes[ascii_only]]
        first, last = self._read_runs()
        # The new segments, and the places of old ones that each may take.
        self._words = self._slices(first, last)
        self._places = first.tolist()
        self._replaced = _within(first, last, len(segments))
        self._split_ascii()

    def all_segments(self) -> list[str]:
        """The segments with HMM on."""
        kept = ~self._replaced
        kept[self._places] = True
        for place, word in zip(self._places, self._words, strict=True):
            self._segments[place] = word
        return list(compress(self._segments, kept.tobytes()))

    def several(self) -> Iterator[str]:
        """The segments of several characters, and all new ones, in no useful order."""
        kept = ~(self._replaced | self._single)
        return chain(compress(self._segments, kept.tobytes()), self._words)

    def single(self) -> np.ndarray:
        """All other segments, as code points: about half of all, and cheap to count as numbers."""
        codes: np.ndarray = self._codes[self._single & ~self._replaced]
        return codes

    def _slices(self, first: np.ndarray, last: np.ndarray) -> list[str]:
        places = zip(self._offsets[first].tolist(), (self._offsets[last] + 1).tolist(), strict=True)
        return [self._text[begin:end] for begin, end in places]

    def _read_runs(self) -> tuple[np.ndarray, np.ndarray]:
        """First and last segment of every word of several characters that the model finds in Chinese runs."""
        chinese = np.zeros(len(self._codes) + 2, dtype=bool)
        # Code points below the first one wrap around to large numbers.
        np.less_equal(self._codes - np.uint32(FIRST_HAN), LAST_HAN - FIRST_HAN, out=chinese[1:-1])
        chinese[1:-1] &= self._single
        edges = np.flatnonzero(chinese[1:] != chinese[:-1])
        begins, ends = edges[::2], edges[1::2]
        several = ends - begins > 1
        begins, ends = begins[several], ends[several]
        last = np.flatnonzero(find_word_ends(self._codes, begins, ends - begins))
        starts = np.zeros(len(self._codes) + 1, dtype=bool)
        starts[last + 1] = True
        starts[ends] = False
        starts[begins] = True
        first = np.flatnonzero(starts)
        new = last > first
        first, last = first[new], last[new]
        run = np.searchsorted(begins, first, side="right") - 1
        kept = ~self._known_runs(begins, ends, run)[run]
        return first[kept], last[kept]

    def _known_runs(self, begins: np.ndarray, ends: np.ndarray, runs: np.ndarray) -> np.ndarray:
        """For each run whether it is among `runs` and a buffer that the dictionary holds, which stays as it is."""
        known = np.zeros(len(begins), dtype=bool)
        known[runs] = True
        runs = np.flatnonzero(known)
        known[runs] = list(map(self._is_word, self._slices(begins[runs], ends[runs] - 1)))
        # A buffer that continues in letters or marks is no word, even where its Chinese part is one.
        for run in np.flatnonzero(known & (self._ascii[begins] | self._ascii[ends + 1])).tolist():
            begin, end = begins[run], ends[run]
            around = self._segments[max(begin - 1, 0) : begin] + self._segments[end : end + 1]
            known[run] = not any(is_loose_ascii(segment, self._is_word) for segment in around)
        return known

    def _split_ascii(self) -> None:
        """Split stretches of letters, digits and marks anew; a segment that stands alone is right as it is."""
        edges = np.flatnonzero(self._ascii[1:] != self._ascii[:-1])
        begins, ends = edges[::2], edges[1::2]
        several = ends - begins > 1
        for begin, end in zip(begins[several].tolist(), ends[several].tolist(), strict=True):
            stretch = self._segments[begin:end]
            pieces = self._split_stretch(stretch)
            if pieces != stretch:
                # Splitting anew only ever joins, so every piece finds a place.
                self._replaced[begin:end] = True
                self._places.extend(range(begin, begin + len(pieces)))
                self._words.extend(pieces)

    def _split_stretch(self, stretch: list[str]) -> list[str]:
        if any(len(segment) > 1 and self._is_word(segment) for segment in stretch):
            return list(find_new_words(stretch, self._is_word))
        return split_ascii("".join(stretch))


def count_characters(codes: list[np.ndarray]) -> Iterator[tuple[str, int]]:
    """Each character among the code points, and how often it occurs."""
    numbers = np.bincount(np.concatenate(codes))
    characters = np.flatnonzero(numbers)
    return zip(map(chr, characters.tolist()), numbers[characters].tolist(), strict=True)


def _within(first: np.ndarray, last: np.ndarray, size: int) -> np.ndarray:
    """(size,) bool: inside one of the spans, which do not overlap."""
    change = np.zeros(size + 1, np.int8)
    change[first] = 1
    change[last + 1] -= 1
    return np.cumsum(change[:-1], dtype=np.int8).view(bool)


def _lengths(segments: list[str]) -> np.ndarray:
    try:
        return np.frombuffer(bytes(map(len, segments)), np.uint8)
    except ValueError:  # one has more than 255 characters
        return np.fromiter(map(len, segments), np.int64, len(segments))
