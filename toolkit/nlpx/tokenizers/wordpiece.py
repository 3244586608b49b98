"""BERT's basic tokenization and WordPiece as bert4keras draws them, with spans; used inside one segment."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from nlpx.tokenizers.characters import is_cjk, is_dropped, is_punctuation, is_space
from nlpx.tokenizers.encoding import Span

LONGEST_WORD = 200  # characters; longer words are looked up whole. transformers stops at 100


def word_pieces(text: str, ids: Mapping[str, int], *, unknown: int) -> tuple[list[int], list[Span]]:
    """Ids and spans (relative to `text`) of the WordPiece tokens of `text`, which is normalised already."""
    piece_ids: list[int] = []
    spans: list[Span] = []
    for positions in _words(text):
        word = "".join(text[position] for position in positions)
        for index, start, end in _pieces(word, ids, unknown=unknown):
            piece_ids.append(index)
            spans.append((positions[start], positions[end - 1] + 1))
    return piece_ids, spans


def _words(text: str) -> Iterator[list[int]]:
    """Positions of the characters of each word: Chinese and punctuation alone, the rest split at blanks."""
    word: list[int] = []
    for position, character in enumerate(text):
        alone = is_punctuation(character) or is_cjk(character)
        if (alone or is_space(character)) and word:
            yield word
            word = []
        if alone:
            yield [position]
        elif not is_space(character) and not is_dropped(character):
            word.append(position)
    if word:
        yield word


def _pieces(word: str, ids: Mapping[str, int], *, unknown: int) -> list[tuple[int, int, int]]:
    """(id, start, end) of the longest pieces from the left; one unknown token if any part is not covered."""
    whole = [(ids.get(word, unknown), 0, len(word))]
    if len(word) > LONGEST_WORD:
        return whole
    pieces = longest_pieces(word, ids)
    return pieces if pieces and pieces[-1][2] == len(word) else whole


def longest_pieces(word: str, ids: Mapping[str, int]) -> list[tuple[int, int, int]]:
    """(id, start, end) of the longest pieces from the left, up to where none fits."""
    pieces: list[tuple[int, int, int]] = []
    start = 0
    while start < len(word):
        prefix = "##" if start else ""
        for end in range(len(word), start, -1):
            index = ids.get(prefix + word[start:end])
            if index is not None:
                break
        else:
            break
        pieces.append((index, start, end))
        start = end
    return pieces
