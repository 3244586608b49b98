"""Which tokens of a summary are copied from its source, as labels to learn (kexue.fm/archives/8046).

A longest common subsequence pairs tokens of both. A pair that follows the one before it in both texts continues a copy
(I), any other begins one (B), and a token without a partner is the writer's own (O).
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Sequence
from enum import IntEnum
from typing import NamedTuple

from nlpx.spaces.lcs import longest_common_subsequence


class Tag(IntEnum):
    """What a token is; the values are the classes of the published models."""

    O = 0  # noqa: E741 - its name in the literature
    B = 1
    I = 2  # noqa: E741


class Tags(NamedTuple):
    """A tag a token of the source, and of the target."""

    source: list[int]
    target: list[int]


def tags(source: Sequence[Hashable], target: Sequence[Hashable], special: Collection[Hashable] = ()) -> Tags:
    """The tags of two texts of tokens. `special` tokens, such as [CLS] and [SEP], are never part of a copy.

    In the published code they are, so that a target which begins as its source does would begin with I, a label that
    decoding forbids there.
    """
    ours, theirs = ([place for place, token in enumerate(text) if token not in special] for text in (source, target))
    pairs = longest_common_subsequence([source[place] for place in ours], [target[place] for place in theirs])
    found = Tags([Tag.O] * len(source), [Tag.O] * len(target))
    before = (-2, -2)
    for one, other in pairs:
        place = (ours[one], theirs[other])
        tag = Tag.I if place == (before[0] + 1, before[1] + 1) else Tag.B
        found.source[place[0]] = found.target[place[1]] = tag
        before = place
    return found


def labels(found: Tags) -> list[int]:
    """What the outputs of a model that reads source and target as one sequence are to predict; one less than tokens.

    Position p of the source has the tag of its own token. Position p of the target has that of token p + 1, as the
    token itself is predicted there. The first token of the target is its start, predicted by nobody: a [CLS] or [SEP]
    of its own, or the [SEP] that closes the source, which then counts as the target's.
    """
    return found.source + found.target[1:]
