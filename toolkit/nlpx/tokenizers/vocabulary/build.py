"""A vocabulary from counts: special tokens, Latin pieces, characters by frequency, and perhaps words."""

from __future__ import annotations

import string
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from nlpx.tokenizers.characters import is_cjk, is_dropped, is_punctuation, is_space, lower_and_strip
from nlpx.tokenizers.vocab import SPECIAL_TOKENS, Vocab

# Letters and digits as whole words and as continuations, so that no Latin word or number is unknown.
ALPHANUMERIC = tuple(string.ascii_lowercase + string.digits)
SMALLEST = len(SPECIAL_TOKENS) + 2 * len(ALPHANUMERIC)  # what every new vocabulary holds

Counts = Iterable[tuple[str, int]]


@dataclass(frozen=True, slots=True)
class Built:
    """A new vocabulary, and the share of the counted characters that its single characters cover."""

    vocab: Vocab
    coverage: float
    num_characters: int
    num_words: int


def count_characters(counts: Counts) -> Counter[str]:
    """Characters of counted texts or words, normalised as the tokenizer does; what vanishes there is left out."""
    characters: Counter[str] = Counter()
    for text, count in counts:
        for character in lower_and_strip(text):
            characters[character] += count
    vanishing = [character for character in characters if is_space(character) or is_dropped(character)]
    for character in vanishing:
        del characters[character]
    return characters


def count_words(counts: Counts) -> Counter[str]:
    """Words of two or more characters, normalised; what holds a blank or a vanishing character is no word."""
    words: Counter[str] = Counter()
    for text, count in counts:
        word = lower_and_strip(text)
        if len(word) > 1 and not any(is_space(character) or is_dropped(character) for character in word):
            words[word] += count
    return words


def build_vocabulary(
    characters: Mapping[str, int],
    words: Mapping[str, int] | None = None,
    *,
    size: int = 8000,
    min_count: int = 1,
    coverage: float = 1.0,
    source: str = "the new vocabulary",
) -> Built:
    """Special tokens, Latin letters and digits with their `##` forms, characters by frequency, then words by frequency.

    A character that joins its neighbours (kana, Greek, ℃: whatever is neither Chinese nor punctuation) also gets its
    `##` form, without which every longer run of such characters would be one unknown word. With `words`, characters
    are taken until they cover the share `coverage` of all; a word whose characters are not all there is left out.
    Ties are ordered by code point, so equal counts give an equal vocabulary.
    """
    tokens = dict.fromkeys([*SPECIAL_TOKENS, *ALPHANUMERIC, *(f"##{character}" for character in ALPHANUMERIC)])
    _add_characters(tokens, characters, size=size, min_count=min_count, coverage=coverage)
    num_pieces = len(tokens)
    num_characters = sum(len(token) == 1 for token in tokens) - len(ALPHANUMERIC)
    for word in _ranked(words or {}, min_count):
        if len(tokens) >= size:
            break
        if spellable(word, tokens):
            tokens.setdefault(word)
    covered = character_coverage(characters, tokens)
    return Built(Vocab(list(tokens), source=source), covered, num_characters, len(tokens) - num_pieces)


def character_coverage(characters: Mapping[str, int], tokens: Iterable[str]) -> float:
    """The share of the counted characters that stand in `tokens`; 1 where nothing was counted."""
    known, total = set(tokens), sum(characters.values())
    return sum(count for character, count in characters.items() if character in known) / total if total else 1.0


def joins(character: str) -> bool:
    """Whether `character` is part of a longer word where its neighbours are: neither Chinese nor punctuation."""
    return not (is_cjk(character) or is_punctuation(character))


def spellable(word: str, tokens: Mapping[str, object]) -> bool:
    """Whether the characters of `word` can all be written with `tokens`."""
    return all(character in tokens and (not joins(character) or f"##{character}" in tokens) for character in word)


def _add_characters(
    tokens: dict[str, None], characters: Mapping[str, int], *, size: int, min_count: int, coverage: float
) -> None:
    wanted = coverage * sum(characters.values())
    covered = sum(characters.get(character, 0) for character in ALPHANUMERIC)
    for character in _ranked(characters, min_count):
        if covered >= wanted and coverage < 1.0:
            return
        forms = [character, f"##{character}"] if joins(character) else [character]
        if character in tokens or len(tokens) + len(forms) > size:
            continue  # a Chinese character may still fit where two forms do not
        tokens.update(dict.fromkeys(forms))
        covered += characters[character]


def _ranked(counts: Mapping[str, int], min_count: int) -> Iterator[str]:
    """Entries by descending count, equal ones by code point."""
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return (entry for entry, count in ordered if count >= min_count)
