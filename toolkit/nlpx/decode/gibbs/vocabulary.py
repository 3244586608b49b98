"""Which tokens may be drawn: by default no special token, not [UNK], and no `##` piece."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from nlpx.configuration import registry
from nlpx.data.batches.masking import SpecialIds
from nlpx.errors import UsageError
from nlpx.tokenizers.base import Tokenizer

PIECES = "##"  # stands for all of them


def banned_ids(
    tokenizer: Tokenizer, special: SpecialIds, *, vocab_size: int, allow: Sequence[str] = (), ban: Sequence[str] = ()
) -> Tensor:
    """True (V,) for ids that are never drawn; V is the model's, which may have rows that no token uses.

    `allow` and `ban` name tokens, or `##` for all pieces. Raises `UsageError` for an unknown token, for a frame token
    in `allow`, and where nothing is left.
    """
    tokens = tokenizer.vocab.tokens
    is_piece = [token.startswith(PIECES) and len(token) > len(PIECES) for token in tokens]
    banned = torch.ones(vocab_size, dtype=torch.bool)
    banned[: len(tokens)] = torch.tensor(is_piece) | torch.from_numpy(special.table)
    for token in allow:
        _refuse_frame(token, tokens, special)
        banned[_ids_of(token, tokenizer, is_piece)] = False
    for token in ban:
        banned[_ids_of(token, tokenizer, is_piece)] = True
    if bool(banned.all()):
        raise UsageError("--ban leaves no token that could be drawn")
    return banned


def _ids_of(token: str, tokenizer: Tokenizer, is_piece: Sequence[bool]) -> list[int]:
    if token == PIECES:
        return [index for index, piece in enumerate(is_piece) if piece]
    found = tokenizer.vocab.ids.get(token)
    if found is None:
        near = registry.did_you_mean(token, tokenizer.vocab.tokens)
        raise UsageError(f"`{token}` is no token of {tokenizer.vocab.source}", hint=near or "or `##` for all pieces")
    return [found]


def _refuse_frame(token: str, tokens: Sequence[str], special: SpecialIds) -> None:
    frame = [tokens[index] for index in (special.pad, special.cls, special.sep, special.mask)]
    if token in frame:
        raise UsageError(f"--allow {token}: it is never part of a text")
