"""The sorted table in a TensorFlow checkpoint's `.index` file (LevelDB's file format), read without TensorFlow.

Layout: data blocks, a metaindex block, an index block that names the data blocks, a footer of 48 bytes. A block holds
entries whose keys leave out what they share with the key before, then restart offsets, then one byte for the kind of
compression and the masked CRC-32C of everything before it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from nlpx.errors import InputError
from nlpx.models.checkpoints.crc32c import crc32c, masked

MAGIC = (0xDB4775248B80FB57).to_bytes(8, "little")
_FOOTER_SIZE = 48  # two block handles, padded to 40 bytes, and the magic number
_TRAILER_SIZE = 5  # of a block: one byte for the compression, four for the checksum


class CorruptError(ValueError):
    """The bytes do not follow the format; callers that have the file's name turn it into an `InputError`."""


def read_table(path: Path) -> dict[bytes, bytes]:
    """Keys and values of the table at `path`, in key order; every block's checksum is verified.

    Raises `InputError` naming the file if it is no table, is truncated, or is damaged.
    """
    data = path.read_bytes()
    if data[-8:] != MAGIC or len(data) < _FOOTER_SIZE:
        raise InputError(
            f"{path}: truncated, or not the index of a TensorFlow checkpoint",
            hint="copy or download the file again; its size must equal that of the original",
        )
    try:
        return dict(_entries_of_table(data))
    except CorruptError as error:
        raise InputError(f"{path}: damaged ({error})", hint="copy or download the file again") from error


def _entries_of_table(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    footer = data[-_FOOTER_SIZE:]
    metaindex, at = _handle(footer, 0)
    index, _ = _handle(footer, at)
    _block(data, metaindex)  # holds nothing for us, but its checksum is part of the file's
    last = None
    for _, value in _entries_of_block(_block(data, index)):
        for key, entry in _entries_of_block(_block(data, _handle(value, 0)[0])):
            if last is not None and key <= last:
                raise CorruptError("keys out of order")
            yield key, entry
            last = key


def _handle(data: bytes, at: int) -> tuple[tuple[int, int], int]:
    offset, at = varint(data, at)
    size, at = varint(data, at)
    return (offset, size), at


def _block(data: bytes, handle: tuple[int, int]) -> bytes:
    offset, size = handle
    end = offset + size
    if end + _TRAILER_SIZE > len(data):
        raise CorruptError(f"a block ends at byte {end} of {len(data)}")
    if masked(crc32c(data[offset : end + 1])) != int.from_bytes(data[end + 1 : end + _TRAILER_SIZE], "little"):
        raise CorruptError(f"wrong checksum of the block at byte {offset}")
    if data[end] > 1:
        raise CorruptError(f"unknown compression {data[end]} of the block at byte {offset}")
    content = data[offset:end]
    return snappy_decompress(content) if data[end] else content


def _entries_of_block(block: bytes) -> Iterator[tuple[bytes, bytes]]:
    num_restarts = int.from_bytes(block[-4:], "little")
    end = len(block) - 4 - 4 * num_restarts
    if len(block) < 4 or end < 0:
        raise CorruptError(f"a block of {len(block)} bytes with {num_restarts} restarts")
    key, at = b"", 0
    while at < end:
        shared, at = varint(block, at)
        unshared, at = varint(block, at)
        size, at = varint(block, at)
        if shared > len(key) or at + unshared + size > end:
            raise CorruptError("an entry leaves its block")
        key = key[:shared] + block[at : at + unshared]
        at += unshared + size
        yield key, block[at - size : at]


def varint(data: bytes, at: int) -> tuple[int, int]:
    """The number at `at`, seven bits a byte with the lowest first, and the position after it."""
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            break
        value |= (data[at] & 0x7F) << shift
        at += 1
        if data[at - 1] < 0x80:
            return value, at
    raise CorruptError("a number without an end")


def snappy_decompress(data: bytes) -> bytes:
    """The content of a snappy stream without framing: its length, then literals and copies of earlier output."""
    length, at = varint(data, 0)
    output = bytearray()
    while at < len(data):
        if data[at] & 3:
            count, distance, at = _snappy_copy(data, at)
            if not 0 < distance <= len(output):
                raise CorruptError("a copy from before the start")
            pattern = output[-distance:] * (count // distance + 1)  # may overlap what it writes
            output += pattern[:count]
        else:
            count, at = _snappy_literal(data, at)
            output += data[at : at + count]
            at += count
        if len(output) > length:
            break
    if len(output) != length or at != len(data):
        raise CorruptError(f"a compressed block of {length} bytes gave {len(output)}")
    return bytes(output)


def _snappy_literal(data: bytes, at: int) -> tuple[int, int]:
    count = (data[at] >> 2) + 1
    if count <= 60:
        return count, at + 1
    width = count - 60
    return int.from_bytes(data[at + 1 : at + 1 + width], "little") + 1, at + 1 + width


def _snappy_copy(data: bytes, at: int) -> tuple[int, int, int]:
    """Length, distance back, and the position after the element."""
    tag = data[at]
    width = (0, 1, 2, 4)[tag & 3]
    distance = int.from_bytes(data[at + 1 : at + 1 + width], "little")
    if width == 1:
        return (tag >> 2 & 7) + 4, (tag >> 5 << 8) + distance, at + 2
    return (tag >> 2) + 1, distance, at + 1 + width
