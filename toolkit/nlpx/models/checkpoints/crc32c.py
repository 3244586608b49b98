"""CRC-32C (Castagnoli), the checksum inside TensorFlow checkpoints, as numpy XORs of whole blocks.

A checksum is the remainder of the message, read as a polynomial over GF(2), modulo P. Squaring is linear there, so
P(x)^2 = P(x^2), and P(x^(2^k)) is a multiple of P for every k. With y = x^(bits of a block) the message is a polynomial
in y whose coefficients are blocks, and dividing it by P(y) leaves 32 blocks with the same remainder modulo P: seventeen
XORs of a block each, no tables, no bit shuffling. A few rounds with ever smaller blocks leave 512 bytes for the classic
byte loop. That is about a gigabyte a second where the byte loop alone does a few megabytes.
"""

from __future__ import annotations

import numpy as np

_REVERSED_POLYNOMIAL = 0x82F63B78  # Castagnoli's, lowest power in the highest bit
# P = x^32 + x^28 + x^27 + ... + 1; block j is added to blocks j + 32 - e for each lower exponent e.
_EXPONENTS = (28, 27, 26, 25, 23, 22, 20, 19, 18, 14, 13, 11, 10, 9, 8, 6, 0)
_GAPS = tuple(32 - exponent for exponent in _EXPONENTS)
_BLOCK_SIZES = (1 << 13, 1 << 8, 1 << 4)
_WINDOW = 1 << 23  # bytes folded at a time, so that a large tensor is never copied whole
_MASK_DELTA = 0xA282EAD8  # LevelDB's constant for stored checksums


def crc32c(data: bytes | np.ndarray) -> int:
    """CRC-32C of bytes or of a one-dimensional uint8 array (which may be a memory map; it is read window by window)."""
    message = np.frombuffer(data, np.uint8) if isinstance(data, bytes) else data
    if len(message) < 4:
        return _by_bytes(0xFFFFFFFF, message) ^ 0xFFFFFFFF
    rest = message[:4] ^ np.uint8(0xFF)  # the initial register, moved into the message
    for start in range(4, len(message), _WINDOW):
        rest = _fold(np.concatenate([rest, message[start : start + _WINDOW]]))
    return _by_bytes(0, rest) ^ 0xFFFFFFFF


def masked(checksum: int) -> int:
    """The form in which the format stores a checksum, so that a checksum of checksums is not degenerate."""
    return ((checksum >> 15 | checksum << 17) + _MASK_DELTA) & 0xFFFFFFFF


def _fold(message: np.ndarray) -> np.ndarray:
    """At most 512 bytes with the same remainder as `message`."""
    for size in _BLOCK_SIZES:
        if len(message) > 32 * size:
            # Leading zeros change nothing once the initial register is part of the message.
            message = np.concatenate([np.zeros(-len(message) % size, np.uint8), message])
            message = _divide(message.view(np.uint64).reshape(-1, size // 8)).reshape(-1).view(np.uint8)
    return message


def _divide(blocks: np.ndarray) -> np.ndarray:
    """The last 32 blocks after every earlier one has been reduced into those that follow it."""
    first_kept = len(blocks) - 32
    step = min(_GAPS)  # blocks closer than this do not feed each other
    for start in range(0, first_kept, step):
        stop = min(start + step, first_kept)
        for gap in _GAPS:
            blocks[start + gap : stop + gap] ^= blocks[start:stop]
    return blocks[first_kept:]


def _by_bytes(register: int, message: np.ndarray) -> int:
    for byte in message.tolist():
        register = _TABLE[(register ^ byte) & 0xFF] ^ register >> 8
    return register


def _table_row(byte: int) -> int:
    for _ in range(8):
        byte = byte >> 1 ^ (_REVERSED_POLYNOMIAL if byte & 1 else 0)
    return byte


_TABLE = tuple(_table_row(byte) for byte in range(256))
