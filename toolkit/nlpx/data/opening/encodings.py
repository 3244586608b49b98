"""Encodings of Chinese text: which there may be, which one some bytes are in, and what to say where they are not.

That bytes are valid proves little: nearly every pair of bytes is a character of GB18030. What tells is whether common
characters come out. Text in Big5 read as GB18030 gives rare ones, kana and private ones, and the other way round.
"""

from __future__ import annotations

import codecs
import io
import math
from functools import cache
from typing import Any, BinaryIO, Literal, cast

from nlpx.data.opening.refusals import bad_row
from nlpx.errors import InputError, UsageError
from nlpx.notes import note

AUTO = "auto"
SAMPLE_BYTES = 1 << 16  # of a file are looked at, which is enough to tell
CANDIDATES = ("gb18030", "big5hkscs", "utf-16-le", "utf-16-be")
# UTF-32 before UTF-16, whose mark it begins with.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
    (b"\x84\x31\x95\x33", "gb18030"),
)
# The commonest characters, which make up half of every text, simplified and where they differ traditional.
_COMMONEST = frozenset(
    "的一是在不了有和人这中大为上个国我以要他时来用们生到作地于出就分对成会可主发年动同工也能下过子说产种面而方后多定行学法"
    "所民得经十三之进着等部度家电力里如水化高自二理起小物现实加量都两体制机当使点从业本去把性好应开它合还因由其些然前外天"
    "政四日那社义事平形相全表间样与关各重新线内数正心反你明看原又么利比或但质气第向道命此变条只没结解问意建月公无系军很情"
    "者最立代想已通并提直题党程展五果料象员革位入常文总次品式活设及管特件长求老头基资边流路级少图山统接知较将组见计别她手"
    "這為個國時來們於對會發動過說產種後學經進著將電裡現實應開與當點從業還樣關兩體製機義間線內數質氣變條沒結問無軍題黨員總"
    "設長頭資邊級圖統較組見計別"
)
_MARKS_OF_SENTENCES = frozenset("，。、；：？！“”‘’《》（）—…·「」『』　【】〈〉％＋－／０１２３４５６７８９")
# What one character tells, in nats: half of a text are the commonest, of which there are some 500, most of the rest
# are the 3,755 of the first level of GB 2312 or the 5,401 of Big5, and a fiftieth is any of 20,000 others.
_OF_COMMONEST, _OF_MARK, _OF_ASCII, _OF_COMMON, _OF_OTHER_SCRIPT, _OF_RARE = -6.9, -6.0, -4.0, -9.0, -10.0, -14.0
# Of the characters beyond ASCII: below, it is no Chinese text in this encoding. Any 20 hold some of the commonest.
_LEAST_MEAN, _LEAST_MEAN_OF_LONG, _LONG = -11.0, -8.9, 20
_SURE = 3.0  # nats between the likeliest encoding and the next, odds of 20 to 1


def check_encoding(encoding: str) -> None:
    """Raise UsageError for an unknown encoding and for one that is none of text in lines."""
    if encoding == AUTO:
        return
    try:
        canonical = codecs.lookup(encoding).name
        is_text = canonical == "utf-8-sig" or is_wide(canonical) or "\n".encode(encoding) == b"\n"
    except LookupError as error:
        if "is not a text encoding" in str(error):
            is_text = False
        else:
            hint = "for example `--encoding utf-8`, `--encoding gb18030` or `--encoding auto`"
            raise UsageError(f"unknown encoding `{encoding}`", hint=hint) from None
    if not is_text:
        hint = "convert first: iconv -f ENCODING -t utf-8 FILE | nlpx ... -"
        raise UsageError(f"encoding `{encoding}` cannot be read line by line", hint=hint)


def is_wide(encoding: str) -> bool:
    """Whether a line end is more than one byte."""
    return codecs.lookup(encoding).name.startswith(("utf-16", "utf-32"))


def by_mark(head: bytes) -> str | None:
    """Return the encoding that a byte-order mark names."""
    return next((name for mark, name in _MARKS if head.startswith(mark)), None)


def detect(sample: bytes) -> str | None:
    """Return the encoding of some text: by its mark, UTF-8 if valid, else where common characters come out.

    None if that is not sure. `sample` may end in the middle of a character.
    """
    marked = by_mark(sample)
    if marked is not None:
        return marked
    if b"\0" not in sample and _decoded(sample, "utf-8") is not None:
        return "utf-8"
    likelihoods = sorted(((_log_likelihood(sample, name), name) for name in CANDIDATES), reverse=True)
    (best, name), (second, _) = likelihoods[:2]
    return name if best - second >= _SURE else None


def decide(sample: bytes, name: str) -> str:
    """Return what `--encoding auto` takes a file for. Raises InputError where that is not sure."""
    found = detect(sample)
    if found is None:
        hint = f"name it: --encoding with one of utf-8, {', '.join(CANDIDATES)}"
        raise InputError(f"{name}: its encoding cannot be told from its characters", hint=hint)
    return found


def warn_of_other(sample: bytes, name: str, asked: str) -> None:
    """Note that text looks like another encoding than the one asked for; raise InputError where it cannot be that one.

    Nearly any bytes can be read as UTF-16, and as GB18030, without an error.
    """
    found = detect(sample)
    if found is None or _kin(found) == _kin(asked) or (sample.isascii() and not is_wide(asked)):
        return
    if is_wide(asked):
        hint = f"`--encoding {found}` reads it"
        raise InputError(f"{name}: not {asked.upper()}: the bytes are {_shown(found)} text", hint=hint)
    note(f"{name}: read as {asked}, as asked for; its bytes look like {_shown(found)}")


def byte_order(sample: bytes, asked: str) -> str:
    """Return `utf-16` or `utf-32` with the order of bytes that text without a mark has; little-endian if unsure."""
    if codecs.lookup(asked).name not in ("utf-16", "utf-32"):
        return asked
    found = detect(sample)
    return found if found is not None and _kin(found) == _kin(asked) else f"{codecs.lookup(asked).name}-le"


def _kin(encoding: str) -> str:
    """One name for encodings of which one holds the other."""
    name = codecs.lookup(encoding).name
    if name.startswith(("utf-16", "utf-32")):
        return name[:6]
    kin = {"gb2312": "gb18030", "gbk": "gb18030", "big5": "big5hkscs", "cp950": "big5hkscs", "ascii": "utf-8"}
    return kin.get(name, name)


def _decoded(sample: bytes, encoding: str) -> str | None:
    try:
        return codecs.getincrementaldecoder(encoding)().decode(sample)
    except UnicodeDecodeError:
        return None


def _log_likelihood(sample: bytes, encoding: str) -> float:
    """How likely Chinese text in this encoding is these bytes; the least there is where they are not valid."""
    text = _decoded(sample, encoding)
    if text is None or len(text) < 2 or "\0" in text:
        return -math.inf
    own = _first_level("big5") if encoding.startswith("big5") else _first_level("gb2312")
    wide = [_weight(character, own) for character in text if character > "\x7f"]
    if wide and sum(wide) / len(wide) < (_LEAST_MEAN if len(wide) < _LONG else _LEAST_MEAN_OF_LONG):
        return -math.inf
    return sum(wide) + _OF_ASCII * (len(text) - len(wide))


def _weight(character: str, own: frozenset[str]) -> float:
    if character in _COMMONEST:
        return _OF_COMMONEST
    if character in _MARKS_OF_SENTENCES:
        return _OF_MARK
    if character in own:
        return _OF_COMMON
    is_common = character in _first_level("gb2312") or character in _first_level("big5")
    return _OF_OTHER_SCRIPT if is_common else _OF_RARE


@cache
def _first_level(encoding: Literal["gb2312", "big5"]) -> frozenset[str]:
    """The characters that the makers of an encoding found common, which stand first in it."""
    leads = range(0xB0, 0xD8) if encoding == "gb2312" else range(0xA4, 0xC6)
    trails = [*range(0x40, 0x7F), *range(0xA1, 0xFF)]
    pairs = (bytes((lead, trail)).decode(encoding, "ignore") for lead in leads for trail in trails)
    return frozenset(pair for pair in pairs if len(pair) == 1 and pair > "\x7f")


def undecodable(
    error: UnicodeDecodeError, *, place: str, offset: int, row: bytes, sample: bytes, encoding: str, hint: str
) -> InputError:
    """Return the error for bytes that break an encoding; it proposes another only where that is sure.

    `offset` is the place in the file of the first byte that was to be decoded, `row` the line that broke, `sample`
    as much of the file around it as is at hand, `hint` what to do where nothing can be proposed.
    """
    found = detect(sample)
    if found is not None and _decoded(row, found) is not None and codecs.lookup(found) != codecs.lookup(encoding):
        shown = row.decode(found, "replace")
        hint = f"the bytes are {_shown(found)} text: try `--encoding {found}`"
    else:
        shown = row.decode(encoding, "replace")
    at, value = offset + error.start, error.object[error.start]
    return bad_row(place, f"not {encoding.upper()} at byte {at} (0x{value:02x})", row=shown.rstrip("\r\n"), hint=hint)


def hint_of_nul(sample: bytes, hint: str) -> str:
    """Return the way out where a NUL came up: UTF-16 without a mark, if it surely is, else `hint`."""
    found = detect(sample)
    return f"the bytes are {_shown(found)} text: try `--encoding {found}`" if found and is_wide(found) else hint


def _shown(encoding: str) -> str:
    return {"big5hkscs": "Big5"}.get(encoding, encoding.upper())


class Recoded(io.RawIOBase):
    """A stream of text in any encoding as a stream of UTF-8, where a line end is one byte. Raises InputError."""

    def __init__(self, stream: BinaryIO, encoding: str, *, errors: str, name: str) -> None:
        self._stream, self._encoding, self._name = stream, encoding, name
        self._decoder = codecs.getincrementaldecoder(encoding)(errors)
        self._num_read, self._ready, self._at_end = 0, b"", False

    def readable(self) -> bool:
        """Always."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer as far as what has arrived reaches; 0 at the end."""
        while not self._ready and not self._at_end:
            chunk = cast(Any, self._stream).read1(SAMPLE_BYTES)
            self._at_end = not chunk
            self._ready = self._decode(chunk).encode("utf-8", "replace")
            self._num_read += len(chunk)
        count = min(len(buffer), len(self._ready))
        buffer[:count] = self._ready[:count]
        self._ready = self._ready[count:]
        return count

    def _decode(self, chunk: bytes) -> str:
        try:
            return self._decoder.decode(chunk, self._at_end)
        except UnicodeDecodeError as error:
            near = max(0, self._num_read + len(chunk) - len(error.object) + error.start)
            what = f"not {self._encoding.upper()} at byte {near} or soon after"
            raise InputError(f"{self._name}: {what}", hint="name the right encoding with `--encoding`") from None
