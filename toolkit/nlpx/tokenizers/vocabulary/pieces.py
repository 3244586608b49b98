"""Fewer pieces in a sentencepiece file, which is a protocol buffer: fields of a number, a type and a value.

Only what is needed of the format is read, so that no library for it has to be installed. ModelProto has its pieces in
field 1 and the training's settings in field 2; a piece has its text in 1, its score in 2 and its type in 3
(sentencepiece_model.proto; protobuf.dev/programming-guides/encoding).
"""

from __future__ import annotations

import re
import struct
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from nlpx.errors import InputError

_PIECES, _TRAINER, _SELF_TEST = 1, 2, 4  # fields of ModelProto
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5  # types of values
NORMAL = 1  # the type of a piece that was learned; others are unknown, control, user-defined, unused or a byte
_BPE = 2  # among the kinds of models
_SENTINEL = re.compile(r"▁?<extra_id_\d+>")  # of T5's span corruption


@dataclass(frozen=True, slots=True)
class Piece:
    """One entry of the vocabulary."""

    text: str
    score: float
    type: int


def read_pieces(model: bytes) -> list[Piece]:
    """The pieces in the order of their ids. Raises `InputError` for bytes that are no such file."""
    return [_piece(value) for number, value, _ in _fields(model) if number == _PIECES and isinstance(value, bytes)]


def is_bpe(model: bytes) -> bool:
    """Whether its pieces are merged from smaller ones, so that none can be left out though no text has it."""
    trainers = [value for number, value, _ in _fields(model) if number == _TRAINER and isinstance(value, bytes)]
    return any(_value(trainer, 3, default=NORMAL) == _BPE for trainer in trainers)


def with_pieces(model: bytes, kept: Collection[int]) -> bytes:
    """The file with the pieces of these old ids alone, in the old order.

    Texts whose pieces are all kept are cut as before, unless the model is a BPE.
    """
    chosen, count, written = frozenset(kept), 0, []
    for number, _, raw in _fields(model):
        if number == _PIECES:
            written += [raw] if count in chosen else []
            count += 1
        elif number != _SELF_TEST:  # sentences with the pieces they had, which the library would check
            written.append(raw)
    return b"".join(written)


def always_kept(pieces: Sequence[Piece]) -> set[int]:
    """Ids that stay whatever texts use: special pieces, bytes, sentinels, and the piece with the lowest score, from
    which that of unknown characters follows.
    """
    learned = [index for index, piece in enumerate(pieces) if piece.type == NORMAL]
    always = set(range(len(pieces))).difference(learned)
    always.update(index for index in learned if _SENTINEL.fullmatch(pieces[index].text))
    return always | set(sorted(learned, key=lambda index: pieces[index].score)[:1])


def _piece(message: bytes) -> Piece:
    text, score, kind = "", 0.0, NORMAL
    for number, value, _ in _fields(message):
        if number == 1 and isinstance(value, bytes):
            text = value.decode("utf-8", errors="replace")
        elif number == 2 and isinstance(value, bytes):
            (score,) = struct.unpack("<f", value)
        elif number == 3 and isinstance(value, int):
            kind = value
    return Piece(text, score, kind)


def _value(message: bytes, number: int, *, default: int) -> int:
    found = [value for field, value, _ in _fields(message) if field == number and isinstance(value, int)]
    return found[-1] if found else default  # the last one counts, says the format


def _fields(message: bytes) -> Iterator[tuple[int, int | bytes, bytes]]:
    """Number, value and all bytes of each field. Raises `InputError` where the bytes are no message."""
    position = 0
    while position < len(message):
        start = position
        key, position = _varint(message, position)
        number, kind = key >> 3, key & 7
        value: int | bytes
        if kind == _VARINT:
            value, position = _varint(message, position)
        else:
            size = {_FIXED64: 8, _FIXED32: 4}.get(kind)
            if kind == _BYTES:
                size, position = _varint(message, position)
            if size is None or position + size > len(message):
                raise _broken(start)
            value, position = message[position : position + size], position + size
        yield number, value, message[start:position]


def _varint(message: bytes, position: int) -> tuple[int, int]:
    """A number in groups of seven bits, the lowest first, and where it ends."""
    number = shift = 0
    while position < len(message) and shift < 64:
        byte = message[position]
        number |= (byte & 0x7F) << shift
        position, shift = position + 1, shift + 7
        if byte < 0x80:
            return number, position
    raise _broken(position)


def _broken(position: int) -> InputError:
    return InputError(f"no sentencepiece model: byte {position} begins no field", hint="copy or download it again")
