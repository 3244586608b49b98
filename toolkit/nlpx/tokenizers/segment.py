"""Word segmentation with HMM off: rjieba (ten times faster) or jieba (the reference); both give the same words.

jieba's rules for user words are reproduced for rjieba, whose own differ in three places: the suggested
frequency (rounded otherwise), the running total (jieba counts a word again when it is added again) and
words with characters at which jieba always splits. Where readings have equal scores, as in 嘻|嘻嘻 and 嘻嘻|嘻,
rounding decides; so rjieba is also given jieba's total, and texts are parted at rare Chinese characters,
where jieba splits them and rjieba would continue adding.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any

from nlpx.errors import UsageError
from nlpx.tokenizers.user_dictionary import UserWord

Segment = Callable[[str], list[str]]

SEGMENTERS = ("rjieba", "jieba")
# Characters within which jieba looks for words; everything else stands alone.
_BLOCK = re.compile(r"[\u4e00-\u9fd5a-zA-Z0-9+#&._%\-]+")
# A private-use character never occurs in such a block: as a word it only adds to the total.
_BALLAST = "\ue000"
# The frequency of the one word that jieba's own dictionary holds twice: jieba's total counts both lines, rjieba's one.
_COUNTED_TWICE = 3
# Chinese characters outside jieba's blocks but within rjieba's, and halves of characters, which rjieba refuses.
_APART = re.compile(r"([\u3400-\u4dbf\u9fd6-\u9fff\uf900-\ufaff\U00020000-\U0003ffff\ud800-\udfff])")


def build_segmenter(name: str, user_words: Sequence[UserWord] = ()) -> Segment:
    """A function text -> words whose concatenation is the text. Instances are private: no global is changed.

    Deleting a word (frequency 0) is beyond rjieba; with such an entry jieba itself segments. Raises
    `UsageError` for an unknown name.
    """
    if name not in SEGMENTERS:
        raise UsageError(f"unknown segmenter `{name}`", hint=f"choose one of {', '.join(SEGMENTERS)}")
    if name == "jieba" or any(entry.frequency == 0 for entry in user_words):
        return partial(jieba_engine(user_words).lcut, HMM=False)
    return partial(segment_without_hmm, rjieba_engine(user_words))


def jieba_engine(user_words: Iterable[UserWord] = ()) -> Any:
    """A `jieba.Tokenizer` of its own with `user_words`, deletions included."""
    engine = _reference()
    for entry in user_words:
        _add(engine, entry)
    return engine


def rjieba_engine(user_words: Sequence[UserWord] = ()) -> Any:
    """A `rjieba.Jieba` in the state that jieba reaches with `user_words`, none of which may be a deletion."""
    engine = _rjieba().Jieba()
    frequencies = dict(_as_jieba_would(user_words)) if user_words else {}
    frequencies[_BALLAST] = frequencies.get(_BALLAST, 0) + _COUNTED_TWICE
    for word, frequency in frequencies.items():
        engine.add_word(word, frequency, "")
    return engine


def _rjieba() -> Any:
    """rjieba's compiled module; the package around it would load a dictionary of its own that nobody uses."""
    import importlib.util
    from importlib.machinery import PathFinder

    package, name = PathFinder.find_spec("rjieba"), "rjieba.rjieba"
    spec = package and PathFinder.find_spec(name, package.submodule_search_locations)
    if name in sys.modules or spec is None or spec.loader is None:
        return importlib.import_module(name)
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def segment_without_hmm(engine: Any, text: str) -> list[str]:
    """The segments of `text` by a `rjieba.Jieba`, HMM off, as jieba gives them."""
    if _APART.search(text) is None:
        words: list[str] = engine.cut(text, False)
        return words
    return [word for part, whole in part_as_jieba(text) for word in ([part] if whole else engine.cut(part, False))]


def part_as_jieba(text: str) -> Iterator[tuple[str, bool]]:
    """The parts of `text` that rjieba must be given one by one, and for each whether it already is a segment."""
    if _APART.search(text) is None:
        yield text, False
        return
    for number, part in enumerate(_APART.split(text)):
        if part:
            yield part, number % 2 == 1


def set_apart(text: str) -> tuple[str, list[str]]:
    """`text` with a line end for each character that rjieba must not be given, and these characters: for counting."""
    apart = _APART.findall(text)
    return (_APART.sub("\n", text) if apart else text), apart


def _as_jieba_would(user_words: Iterable[UserWord]) -> list[tuple[str, int]]:
    """Words and frequencies that bring rjieba to the state jieba reaches with `user_words`."""
    reference = _reference()
    surplus = reference.total
    before: dict[str, int] = {}
    for entry in user_words:
        before.setdefault(entry.word, reference.FREQ.get(entry.word, 0))
        _add(reference, entry)
    known = {word: reference.FREQ[word] for word in before if _BLOCK.fullmatch(word)}
    grown = sum(frequency - before[word] for word, frequency in known.items())
    surplus = reference.total - surplus - grown
    return [*known.items(), *([(_BALLAST, surplus)] if surplus else [])]


def _reference() -> Any:
    import logging

    import jieba

    # jieba announces on stderr that it builds its dictionary; that is no news to a user of nlpx.
    logging.getLogger("jieba").setLevel(logging.WARNING)
    engine = jieba.Tokenizer()
    engine.initialize()
    return engine


def _add(engine: Any, entry: UserWord) -> None:
    if entry.frequency != 0:
        engine.add_word(entry.word, entry.frequency)
        return
    # add_word(word, 0) would also enter the word into a table that all of jieba's instances share.
    for end in range(1, len(entry.word)):
        engine.FREQ.setdefault(entry.word[:end], 0)
    engine.FREQ[entry.word] = 0
