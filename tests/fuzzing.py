"""Files that are almost right: damaged bytes, JSON with values of other kinds, by a seed, for tests only."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable
from typing import Any

HUGE = 10**25
# What may stand in the place of any value of a JSON document.
VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 3, 2**31, 2**63, -(2**63), HUGE, 0.5, -0.0, 1e308, float("nan"), float("inf")),
    *("", " ", "春", "null", "../x", "a\x00b", "\ud83d", "1e400", "x" * 5000),
    *([], {}, [None], [[]], [1, "2"], {"": None}, {"a": {"b": []}}, [0] * 3000),
)
DEEP = "[" * 50_000
WORDS = (
    *(b"\x00", b"\xff\xfe", b"\xef\xbb\xbf", b"\x80", b"\x1b[2J", "\u2028".encode(), "\U0010ffff".encode()),
    *(b"\r", b"\n\n", b"\t", b'"', b"'", b",", b"{", b"]", b": ", b"&a ", b"*a", b"!!x", b"%s", b"-1", b"NaN"),
)


def damaged(content: bytes, chance: random.Random) -> bytes:
    """Some bytes with one to three faults."""
    for _ in range(chance.choice((1, 1, 2, 3))):
        content = chance.choice(FAULTS)(content, chance)
    return content


def misvalued(content: bytes, chance: random.Random) -> bytes:
    """A JSON document, or one of its lines, in which a value is of another kind, gone, or there under another name."""
    lines = content.split(b"\n")
    places = [number for number, line in enumerate(lines) if line.strip()]
    if len(places) > 1 and all(_read(lines[place]) is not None for place in places):
        place = chance.choice(places)
        lines[place] = misvalued(lines[place], chance)
        return b"\n".join(lines)
    document = _read(content)
    if document is None:
        return damaged(content, chance)
    if chance.random() < 0.02:
        return DEEP.encode()
    return json.dumps(changed(document, chance), ensure_ascii=chance.random() < 0.5).encode("utf-8", "surrogatepass")


def misvalued_yaml(content: bytes, chance: random.Random) -> bytes:
    """The same of YAML; JSON is YAML too."""
    import yaml

    return misvalued(json.dumps(yaml.safe_load(content), ensure_ascii=False).encode(), chance)


def safetensors(content: bytes, chance: random.Random) -> bytes:
    """A safetensors file with a header that lies."""
    size = int.from_bytes(content[:8], "little")
    header = misvalued(content[8 : 8 + size], chance)
    claimed = len(header) if chance.random() < 0.8 else chance.choice((0, size, 2**40, 2**64 - 1))
    return claimed.to_bytes(8, "little") + header + content[8 + size :]


def numpy_array(content: bytes, chance: random.Random) -> bytes:
    """A .npy file with a header that lies."""
    shapes = ((3,), (), (-1, 16), (10**18, 16), (0, 16), (16, 0), (2**62, 4), (1, 2, 3), (HUGE, 1), (40, 16.0))
    kinds = (
        "<f4",
        ">f8",
        "<i8",
        "|O",
        "<c16",
        "|S3",
        "<U400",
        "|V8",
        "<f2",
        "<M8[ns]",
        "|b1",
        "<f99",
        "[('a', '<f4')]",
    )
    values = {
        "descr": chance.choice(kinds),
        "fortran_order": chance.choice((True, False, 2)),
        "shape": chance.choice(shapes),
    }
    key = chance.choice(list(values))
    header = content[10 : 10 + int.from_bytes(content[8:10], "little")].decode("latin-1")
    header = re.sub(rf"('{key}': )(\([^)]*\)|'[^']*'|\w+)", lambda found: found[1] + repr(values[key]), header)
    return content[:8] + len(header).to_bytes(2, "little") + header.encode("latin-1") + content[10 + len(header) :]


def changed(document: Any, chance: random.Random) -> Any:
    """The document with one change at a place that is drawn from all of them."""
    places = list(_places(document, ()))
    path = chance.choice(places)
    if not path:
        return chance.choice(VALUES)
    copied = json.loads(json.dumps(document))
    holder = copied
    for step in path[:-1]:
        holder = holder[step]
    kind = chance.random()
    if kind < 0.6:
        holder[path[-1]] = chance.choice(VALUES)
    elif kind < 0.75:
        del holder[path[-1]]
    elif isinstance(holder, dict):
        other = chance.choice([*holder, "春", "", "__class__"])
        holder[other] = holder[path[-1]] if kind < 0.9 else holder.pop(path[-1])
    else:
        holder.insert(path[-1], chance.choice([holder[path[-1]], *VALUES]))
    return copied


def _places(document: Any, path: tuple[Any, ...]) -> Any:
    yield path
    items = (
        document.items() if isinstance(document, dict) else enumerate(document) if isinstance(document, list) else ()
    )
    for number, (key, value) in enumerate(items):
        if number < 40:  # the rest of a vocabulary is like its beginning
            yield from _places(value, (*path, key))


def _read(content: bytes) -> Any:
    try:
        return json.loads(content)
    except ValueError:
        return None


def _flip(content: bytes, chance: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(chance.choice((1, 1, 4, 16)) if content else 0):
        changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
    return bytes(changed)


def _cut(content: bytes, chance: random.Random) -> bytes:
    return content[: chance.randrange(len(content) + 1)]


def _drop(content: bytes, chance: random.Random) -> bytes:
    start, end = _stretch(content, chance)
    return content[:start] + content[end:]


def _repeat(content: bytes, chance: random.Random) -> bytes:
    start, end = _stretch(content, chance)
    return content[:end] + content[start:end] * chance.choice((1, 2, 20)) + content[end:]


def _swap(content: bytes, chance: random.Random) -> bytes:
    a, b, c, d = sorted(chance.randrange(len(content) + 1) for _ in range(4))
    return content[:a] + content[c:d] + content[b:c] + content[a:b] + content[d:]


def _blank(content: bytes, chance: random.Random) -> bytes:
    start, end = _stretch(content, chance)
    return content[:start] + bytes(end - start) + content[end:]


def _insert(content: bytes, chance: random.Random) -> bytes:
    at = chance.randrange(len(content) + 1)
    return content[:at] + chance.choice(WORDS) * chance.choice((1, 1, 2, 500)) + content[at:]


def _enlarge(content: bytes, chance: random.Random) -> bytes:
    numbers = list(re.finditer(rb"\d+", content[:100_000]))
    if not numbers:
        return _flip(content, chance)
    found = chance.choice(numbers)
    value = chance.choice(
        (b"0", b"-1", str(HUGE).encode(), b"9" * 400, b"1e999", b"0x10", b"\xd9\xa3", b"1_0", b"2147483648")
    )
    return content[: found.start()] + value + content[found.end() :]


def _join(content: bytes, chance: random.Random) -> bytes:
    return content.replace(b"\n", chance.choice((b"", b"\r", b"\r\n", b"\x00")), chance.choice((1, 3, -1)))


def _stretch(content: bytes, chance: random.Random) -> tuple[int, int]:
    start = chance.randrange(len(content) + 1)
    return start, min(len(content), start + int(2 ** chance.uniform(0, 12)))


FAULTS: tuple[Callable[[bytes, random.Random], bytes], ...] = (
    *(_flip, _cut, _drop, _repeat, _swap, _blank, _insert, _insert, _enlarge, _join),
)
