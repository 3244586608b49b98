"""Writes small TensorFlow checkpoints from the format's description, for tests only; shares no code with the reader.

It also makes what TensorFlow's own Saver will not: tiny blocks, compressed blocks, any number of shards, big-endian
headers, single entries with wrong fields. Runs on CPython 3.7 too, where `fixtures/make_bert4keras.py` uses it.
"""

from __future__ import annotations

import struct

import numpy as np

MAGIC = 0xDB4775248B80FB57
CODES = {"float32": 1, "float64": 2, "int32": 3, "int64": 9, "bfloat16": 14, "float16": 19}


def write_bundle(prefix, tensors, *, num_shards=1, big_endian=False, changes=None, **table_options):
    """Write `tensors` (name -> array, or ("bfloat16", float32 array)) under `prefix`, dealt round to the shards.

    `changes` maps a tensor's name to entry fields to falsify, such as {"w": {"dtype": 7}}.
    """
    shards = [bytearray() for _ in range(num_shards)]
    header = number(1, num_shards) + number(2, 1 if big_endian else 0) + message(3, number(1, 1))
    items = [(b"", header)]
    for order, (name, value) in enumerate(sorted(tensors.items())):
        shard = order % num_shards
        fields = _entry(value, shard, shards[shard])
        fields.update((changes or {}).get(name, {}))
        items.append((name.encode("utf-8"), entry_message(**fields)))
    for shard, content in enumerate(shards):
        data_path(prefix, shard, num_shards).write_bytes(bytes(content))
    index_path(prefix).write_bytes(table(items, **table_options))


def index_path(prefix):
    return prefix.with_name(prefix.name + ".index")


def data_path(prefix, shard=0, num_shards=1):
    return prefix.with_name(f"{prefix.name}.data-{shard:05d}-of-{num_shards:05d}")


def _entry(value, shard, content):
    name, array = value if isinstance(value, tuple) else (value.dtype.name, value)
    if name == "bfloat16":
        raw = (np.ascontiguousarray(array, "<f4").view("<u4") >> 16).astype("<u2").tobytes()
    else:
        raw = array.astype(array.dtype.newbyteorder("<")).tobytes()
    offset = len(content)
    content.extend(raw)
    fields = {"dtype": CODES[name], "shape": array.shape, "shard": shard}
    fields.update(offset=offset, size=len(raw), checksum=mask(checksum(raw)))
    return fields


def entry_message(*, dtype, shape, shard, offset, size, checksum):
    dimensions = b"".join(message(2, number(1, length)) for length in shape)
    numbers = number(3, shard) + number(4, offset) + number(5, size)
    return number(1, dtype) + message(2, dimensions) + numbers + b"\x35" + struct.pack("<I", checksum)


def number(field, value):
    """A varint field; zero is left out, as protocol buffers do."""
    return bytes([field << 3]) + varint(value) if value else b""


def message(field, content):
    return bytes([field << 3 | 2]) + varint(len(content)) + content


def varint(value):
    output = bytearray()
    while value > 127:
        output.append(value & 127 | 128)
        value >>= 7
    output.append(value)
    return bytes(output)


def table(items, *, block_size=4096, restart_interval=16, compress=None):
    """A sorted table of (key, value) pairs; `compress` turns a block's bytes into a snappy stream."""
    output = bytearray()
    index, pending = [], []
    for key, value in sorted(items):
        pending.append((key, value))
        if sum(len(k) + len(v) for k, v in pending) >= block_size:
            index.append((pending[-1][0], _append_block(output, pending, restart_interval, compress)))
            pending = []
    if pending:
        index.append((pending[-1][0], _append_block(output, pending, restart_interval, compress)))
    footer = _append_block(output, [], restart_interval, None) + _append_block(output, index, 1, compress)
    return bytes(output) + footer.ljust(40, b"\0") + struct.pack("<Q", MAGIC)


def _append_block(output, items, restart_interval, compress):
    content, kind = _block(items, restart_interval), b"\0"
    if compress is not None:
        content, kind = compress(content), b"\1"
    handle = varint(len(output)) + varint(len(content))
    output += content + kind + struct.pack("<I", mask(checksum(content + kind)))
    return handle


def _block(items, restart_interval):
    output, restarts, previous = bytearray(), [], b""
    for order, (key, value) in enumerate(items):
        shared = 0
        if order % restart_interval == 0:
            restarts.append(len(output))
        else:
            while shared < min(len(key), len(previous)) and key[shared] == previous[shared]:
                shared += 1
        output += varint(shared) + varint(len(key) - shared) + varint(len(value)) + key[shared:] + value
        previous = key
    restarts = restarts or [0]
    return bytes(output) + b"".join(struct.pack("<I", n) for n in restarts) + struct.pack("<I", len(restarts))


def snappy_literals(data):
    """A snappy stream of literals alone, with every width of the length field that fits."""
    output, at = bytearray(varint(len(data))), 0
    for width, count in ((0, 7), (1, 200), (2, 300), (3, 100), (4, len(data))):
        chunk = data[at : at + count]
        if chunk:
            output += _literal(chunk, width)
            at += len(chunk)
    return bytes(output)


def _literal(chunk, width):
    if width == 0:
        return bytes([(len(chunk) - 1) << 2]) + chunk
    return bytes([(59 + width) << 2]) + (len(chunk) - 1).to_bytes(width, "little") + chunk


def snappy_copies(data):
    """A snappy stream that copies whatever appeared before, with one-, two- and four-byte distances in turn."""
    output, at = bytearray(varint(len(data))), 0
    while at < len(data):
        count, distance = _longest_match(data, at)
        if count < 4:
            output += _literal(data[at : at + 1], 0)
            at += 1
            continue
        output += _copy(count, distance, at % 3)
        at += count
    return bytes(output)


def _longest_match(data, at):
    best = (0, 0)
    for start in range(max(0, at - 3000), at):
        count = 0
        while count < 64 and at + count < len(data) and data[start + count] == data[at + count]:
            count += 1  # may run past `at`: a copy may overlap what it writes
        best = max(best, (count, at - start))
    return best


def _copy(count, distance, turn):
    if turn == 0 and count <= 11 and distance < 2048:
        return bytes([distance >> 8 << 5 | (count - 4) << 2 | 1, distance & 255])
    kind, width = (2, 2) if turn < 2 else (3, 4)
    return bytes([(count - 1) << 2 | kind]) + distance.to_bytes(width, "little")


def checksum(data):
    """CRC-32C, one bit at a time."""
    register = 0xFFFFFFFF
    for byte in data:
        register ^= byte
        for _ in range(8):
            register = register >> 1 ^ (0x82F63B78 if register & 1 else 0)
    return register ^ 0xFFFFFFFF


def mask(value):
    return ((value >> 15 | value << 17) + 0xA282EAD8) & 0xFFFFFFFF
