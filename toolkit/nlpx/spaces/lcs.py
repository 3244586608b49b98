"""The longest common subsequence of two texts of tokens, with the pairs of places that it matches.

The classic table has a row a token of the source. Along a row lengths grow by 0 or 1, so a row is one Python integer of
a bit a token of the target, and the next row follows by one addition (Crochemore et al. 2001; Hyyrö 2004). All rows are
kept, N integers of M bits, and the way back through the table is read off them.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

Pairs = list[tuple[int, int]]  # (place in the source, place in the target), both ascending


def longest_common_subsequence(source: Sequence[Hashable], target: Sequence[Hashable]) -> Pairs:
    """The pairs of a longest common subsequence of N and M tokens; of several, the one of the classic trace.

    The trace begins at the ends of both. Equal tokens are a pair; else it goes back by a token of the target if that
    keeps more in common than going back by a token of the source, which is what it does on ties
    (kexue.fm/archives/8046).
    """
    rows = _rows(source, target)
    row, column, left = len(source), len(target), len(target) - rows[-1].bit_count()
    below = (1 << column) - 1  # the bits of the columns that the trace has not passed
    pairs: Pairs = []
    while left:  # the length of what the first `row` and `column` tokens have in common
        if source[row - 1] == target[column - 1]:
            pairs.append((row - 1, column - 1))
            row, column, left, below = row - 1, column - 1, left - 1, below >> 1
        elif column - (rows[row - 1] & below).bit_count() < left:
            column, below = column - 1, below >> 1  # without this token of the source less would be in common
        else:
            row -= 1
    return pairs[::-1]


def _rows(source: Sequence[Hashable], target: Sequence[Hashable]) -> list[int]:
    """The rows of the table from the empty one on: bit j is 0 where the length grows with token j of the target."""
    places: dict[Hashable, int] = {}  # token -> bits of the columns in which it stands
    for column, token in enumerate(target):
        places[token] = places.get(token, 0) | 1 << column
    full = (1 << len(target)) - 1
    rows = [full]
    for token in source:
        row = rows[-1]
        matches = row & places.get(token, 0)
        rows.append(((row + matches) | (row - matches)) & full)
    return rows
