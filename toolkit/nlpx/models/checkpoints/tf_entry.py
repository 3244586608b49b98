"""The entries of a TensorFlow checkpoint's index: two small protocol buffer messages, parsed by hand.

BundleHeaderProto (key ""): 1 num_shards, 2 endianness. BundleEntryProto: 1 dtype, 2 shape, 3 shard, 4 offset, 5 size,
6 masked CRC-32C, 7 slices. TensorShapeProto: 2 dimensions, each 1 size. TensorSliceProto: 1 extents, each 1 start and
2 length (absent: the whole dimension).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from nlpx.models.checkpoints.tf_table import CorruptError, varint

Extent = tuple[int, int | None]


@dataclass(frozen=True)
class Header:
    """How many data files there are, and whether their numbers are big-endian."""

    num_shards: int
    big_endian: bool


@dataclass(frozen=True)
class Entry:
    """One tensor, or one slice of it. A partitioned tensor has `slices` (extents per dimension) and no data itself."""

    dtype: int
    shape: tuple[int, ...]
    shard: int
    offset: int
    size: int
    checksum: int
    slices: tuple[tuple[Extent, ...], ...]


def parse_header(message: bytes) -> Header:
    """Raises `CorruptError` if the bytes are no message."""
    values = dict(_fields(message))
    return Header(num_shards=_number(values.get(1, 0)), big_endian=_number(values.get(2, 0)) != 0)


def parse_entry(message: bytes) -> Entry:
    """Raises `CorruptError` if the bytes are no message."""
    fields = list(_fields(message))
    numbers = {field: _number(value) for field, value in fields if field not in (2, 7)}
    return Entry(
        dtype=numbers.get(1, 0),
        shape=tuple(size for field, value in fields if field == 2 for size in _shape(_bytes(value))),
        shard=numbers.get(3, 0),
        offset=numbers.get(4, 0),
        size=numbers.get(5, 0),
        checksum=numbers.get(6, 0),
        slices=tuple(_slice(_bytes(value)) for field, value in fields if field == 7),
    )


def slice_owner(key: bytes) -> bytes:
    """The tensor a slice's key (zero byte, name, 0x00 0x01, extents) belongs to."""
    return key[1:].split(b"\x00\x01")[0]


def slice_order(extents: tuple[Extent, ...]) -> list[tuple[int, int]]:
    """Sorts slices as their keys sort: the keys' number code keeps the order, with -1 for a whole dimension."""
    return [(start, -1 if length is None else length) for start, length in extents]


def _shape(message: bytes) -> Iterator[int]:
    for field, dimension in _fields(message):
        if field == 2:
            yield _number(dict(_fields(_bytes(dimension))).get(1, 0))


def _slice(message: bytes) -> tuple[Extent, ...]:
    extents = (dict(_fields(_bytes(value))) for field, value in _fields(message) if field == 1)
    return tuple((_number(e.get(1, 0)), _number(e[2]) if 2 in e else None) for e in extents)


def _fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """(field number, value) pairs; a value is a number or, for strings and inner messages, bytes."""
    at = 0
    while at < len(message):
        tag, at = varint(message, at)
        kind = tag & 7
        if kind == 0:
            value, at = varint(message, at)
            yield tag >> 3, value
            continue
        if kind == 2:
            size, at = varint(message, at)
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
        else:
            raise CorruptError(f"unknown wire type {kind}")
        if at + size > len(message):
            raise CorruptError("a field leaves its message")
        content = message[at : at + size]
        yield tag >> 3, content if kind == 2 else int.from_bytes(content, "little")
        at += size


def _number(value: int | bytes) -> int:
    if isinstance(value, bytes):
        raise CorruptError("bytes where a number belongs")
    return value


def _bytes(value: int | bytes) -> bytes:
    if isinstance(value, int):
        raise CorruptError("a number where a message belongs")
    return value
