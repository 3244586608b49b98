"""Texts to start from: which of their tokens may change, and how they are written once some have.

What did not change comes back as it was typed: letter case, blanks, characters that the vocabulary does not know.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from nlpx.data.batches.masking import SpecialIds
from nlpx.errors import InputError, UsageError
from nlpx.tokenizers.base import Tokenizer
from nlpx.tokenizers.encoding import Span

MASK = "[MASK]"
_SPAN = re.compile(r"(-?\d*):(-?\d*)")
_RANGE = re.compile(r"(\d+)(?::(\d+))?")


@dataclass(frozen=True, slots=True)
class Prompt:
    """Ids (n,) without special tokens around them, whether each may change, and where each stands in `text`.

    Without a text, `spans` is empty and everything is open.
    """

    token_ids: list[int]
    is_free: list[bool]
    text: str = ""
    spans: Sequence[Span] = ()


def parse_length(text: str) -> tuple[int, int]:
    """`8:32` or `20` as the fewest and the most tokens. Raises `UsageError` for anything else."""
    match = _RANGE.fullmatch(text)
    if match is None:
        raise UsageError(f"--length {text}: not a length", hint="for example 20, or 8:32 for 8 to 32 tokens")
    low = int(match[1])
    high = low if match[2] is None else int(match[2])
    if not 1 <= low <= high:
        raise UsageError(
            f"--length {text}: no text has that length", hint="the first number is at least 1, the second no smaller"
        )
    return low, high


def parse_span(text: str) -> slice:
    """`0:4`, `4:` or `:-2` as a slice of characters. Raises `UsageError` for anything else."""
    match = _SPAN.fullmatch(text)
    if match is None:
        raise UsageError(f"--keep {text}: not a span", hint="for example 0:4, the first four characters")
    start, end = (int(part) if part not in ("", "-") else None for part in match.groups())
    return slice(start, end)


def open_prompt(length: int, mask_token_id: int) -> Prompt:
    """Nothing but [MASK]."""
    return Prompt([mask_token_id] * length, [True] * length)


def read_prompt(
    text: str, tokenizer: Tokenizer, special: SpecialIds, keep: Sequence[slice] = (), *, place: str = "--from"
) -> Prompt:
    """A text as the user typed it: its [MASK]s are what changes, or, without any, all that `keep` leaves free.

    Raises `InputError`, naming `place`, for a text without a free position and for a span outside of it.
    """
    has_masks = MASK in text
    if has_masks and keep:
        raise InputError(f"{place}: --keep has no effect beside [MASK]: nothing else changes there")
    token_ids, spans = _encode(text, tokenizer, special)
    held = [_bounds(span, text, place) for span in keep]
    frame = {special.cls, special.sep, special.pad}
    is_free = [
        token_id == special.mask
        if has_masks
        else token_id not in frame and not any(start < b and a < end for a, b in held)
        for token_id, (start, end) in zip(token_ids, spans, strict=True)
    ]
    if not any(is_free):
        hint = "write [MASK] where something is to be filled in, or keep less with --keep"
        raise InputError(f"{place}: no position of the text is free to change", hint=hint)
    return Prompt(token_ids, is_free, text, spans)


def check_length(num_tokens: int, longest: int, *, place: str) -> None:
    """Raise `InputError` if a text of so many tokens is longer than the `longest` that the model takes."""
    if num_tokens > longest:
        message = f"{place}: {num_tokens} tokens, and the model has positions for {longest} beside [CLS] and [SEP]"
        raise InputError(message, hint="shorten the text, or take a model with more positions")


def write_text(prompt: Prompt, tokens: Sequence[tuple[int, int | None]], tokenizer: Tokenizer) -> str:
    """The text of (id, place in the prompt or None) pairs; what is as it was in the prompt is written as it was."""
    if not prompt.spans:
        return tokenizer.decode([token_id for token_id, _ in tokens], skip_special_tokens=False)
    written = ""
    for token_id, origin in tokens:
        is_new = origin is None or prompt.token_ids[origin] != token_id
        gap = "" if origin is None else _gap_before(prompt, origin)
        surface = tokenizer.vocab.tokens[token_id] if is_new else _slice(prompt, origin)
        parted = not gap and is_new and not surface.startswith("##") and _would_join(written, surface)
        written += gap + (" " if parted else "") + (surface.removeprefix("##") if is_new else surface)
    return written + prompt.text[prompt.spans[-1][1] :]


def _encode(text: str, tokenizer: Tokenizer, special: SpecialIds) -> tuple[list[int], list[Span]]:
    """Ids and spans; between two [MASK]s each part is tokenized for itself, as word tokenizers do not know the mark."""
    token_ids: list[int] = []
    spans: list[Span] = []
    start = 0
    for number, part in enumerate(text.split(MASK)):
        if number:
            token_ids.append(special.mask)
            spans.append((start - len(MASK), start))
        encoding = tokenizer.encode(part, return_offsets=True)
        body = [(i, s) for i, s in zip(encoding.token_ids, encoding.offsets or (), strict=True) if s != (0, 0)]
        token_ids += [token_id for token_id, _ in body]
        spans += [(start + a, start + b) for _, (a, b) in body]
        start += len(part) + len(MASK)
    return token_ids, spans


def _bounds(span: slice, text: str, place: str) -> Span:
    size = len(text)
    start = (span.start or 0) + (size if (span.start or 0) < 0 else 0)
    end = size if span.stop is None else span.stop + (size if span.stop < 0 else 0)
    if not 0 <= start < end <= size:
        shown = f"{'' if span.start is None else span.start}:{'' if span.stop is None else span.stop}"
        raise InputError(f"{place}: --keep {shown} lies outside of the text of {size} characters")
    return start, end


def _gap_before(prompt: Prompt, origin: int) -> str:
    before = prompt.spans[origin - 1][1] if origin else 0
    return prompt.text[before : prompt.spans[origin][0]]


def _slice(prompt: Prompt, origin: int | None) -> str:
    assert origin is not None
    start, end = prompt.spans[origin]
    return prompt.text[start:end]


def _would_join(written: str, surface: str) -> bool:
    """Whether a new word would grow together with the one before it."""
    return bool(written) and all(c.isascii() and c.isalnum() for c in (written[-1], surface[0]))
