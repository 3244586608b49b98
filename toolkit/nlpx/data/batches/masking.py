"""Hiding words from a masked language model: a pure function of the row and of a generator made for it.

A word is chosen as a whole, its pieces are then treated one by one (arXiv 1810.04805; whole words: 1906.08101).
"""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from nlpx.errors import InputError
from nlpx.tokenizers.vocab import SPECIAL_TOKENS

if TYPE_CHECKING:
    from nlpx.data.batches.packing import PackedRow
    from nlpx.tokenizers.base import Tokenizer

Ids = NDArray[np.int64]

_UNUSED = re.compile(r"\[unused\d+\]")


@dataclass(frozen=True)
class SpecialIds:
    """Ids of the special tokens; `specials` holds these, those of `[unusedN]` and of blank lines: never text."""

    pad: int
    unk: int
    cls: int
    sep: int
    mask: int
    vocab_size: int
    specials: frozenset[int]

    @classmethod
    def of(cls, tokenizer: Tokenizer) -> SpecialIds:
        """Take them from a tokenizer. Raises `InputError` naming those that its vocabulary lacks."""
        tokenizer.require_bert(needed_by="Filling and hiding words")
        vocab = tokenizer.vocab
        missing = [token for token in SPECIAL_TOKENS if token not in vocab.ids]
        if missing:
            raise InputError(
                f"{vocab.source} has no {' '.join(missing)}, which pretraining needs",
                hint=f"add {'it' if len(missing) == 1 else 'them'} to the vocabulary, one token a line",
            )
        never_text = (index for index, token in enumerate(vocab.tokens) if not token or _UNUSED.fullmatch(token))
        pad, unk, start, end, mask = (vocab.ids[token] for token in SPECIAL_TOKENS)
        specials = frozenset([pad, unk, start, end, mask, *never_text])
        return cls(pad=pad, unk=unk, cls=start, sep=end, mask=mask, vocab_size=len(vocab), specials=specials)

    @cached_property
    def ordinary(self) -> Ids:
        """All other ids, ascending: what a random token is drawn from."""
        return np.setdiff1d(np.arange(self.vocab_size), np.fromiter(self.specials, dtype=np.int64))

    @cached_property
    def table(self) -> NDArray[np.bool_]:
        """Whether each id of the vocabulary is special, (V,)."""
        table = np.ones(self.vocab_size, dtype=bool)
        table[self.ordinary] = False
        return table


def row_generator(seed: int, epoch: int, row: int, purpose: str) -> np.random.Generator:
    """The generator of one row in one epoch for one purpose: the same in every process and after every resume."""
    words = np.random.SeedSequence((seed, epoch, row, zlib.crc32(purpose.encode())))
    return np.random.Generator(np.random.PCG64(words))


def mask_words(
    row: PackedRow,
    random: np.random.Generator,
    special: SpecialIds,
    *,
    rate: float = 0.15,
    mask_fraction: float = 0.8,
    random_fraction: float = 0.1,
) -> tuple[Ids, Ids]:
    """Input ids (T,) and the positions (K,) whose tokens are to be predicted, ascending; the row stays as it is.

    Each word is chosen with probability `rate`, at least one a row. Of the pieces of chosen words, each becomes [MASK]
    with probability `mask_fraction`, a random ordinary token with `random_fraction`, and stays otherwise. Special
    tokens, [UNK] among them, belong to no word, so a row of nothing else has no position.
    """
    ids = row.token_ids.copy()
    positions = _chosen(row, random, rate)
    draw = random.random(len(positions))
    ids[positions[draw < mask_fraction]] = special.mask
    changed = positions[(draw >= mask_fraction) & (draw < mask_fraction + random_fraction)]
    ids[changed] = special.ordinary[random.integers(len(special.ordinary), size=len(changed))]
    return ids, positions


def _chosen(row: PackedRow, random: np.random.Generator, rate: float) -> Ids:
    """Positions of all pieces of the chosen words."""
    number = np.cumsum(row.word_starts)  # of the word each token belongs to, from 1
    num_words = int(number[-1]) if len(number) else 0
    if not num_words:
        return np.empty(0, dtype=np.int64)
    chosen = random.random(num_words) < rate
    if not chosen.any():
        chosen[random.integers(num_words)] = True
    return np.flatnonzero(chosen[number - 1] & ~row.is_special)
