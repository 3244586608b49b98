"""Files of vectors whose header lies or is damaged: one sentence, never a traceback, never the memory it asks for."""

from __future__ import annotations

import struct

import pytest

from nlpx.embed.vectors import open_vectors
from nlpx.errors import InputError


def npy(header: str, body: bytes = b"\0" * 64, version: int = 1) -> bytes:
    text = header.encode() + b"\n"
    size = struct.pack("<H" if version == 1 else "<I", len(text))
    return b"\x93NUMPY" + bytes([version, 0]) + size + text + body


def whole(shape: str, descr: str = "'<f4'") -> str:
    return f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}"


HEADERS = {
    "rows below nothing": (whole("(-1, 4)"), "which no file can hold"),
    "columns below nothing": (whole("(4, -4)"), "which no file can hold"),
    "more than any disk": (whole("(1000000000000, 1000000000)"), "which no file can hold"),
    "more than 64 bits": (whole("(2, 99999999999999999999999999)"), "which no file can hold"),
    "more than the file": (whole("(1000000000, 4)"), "truncated: 4 of"),
    "a shape that is none": (whole("'abc'"), "no .npy file"),
    "sizes that are no integers": (whole("(2.5, 4)"), "no .npy file"),
    "a number type that is none": (whole("(4, 4)", "'<q9'"), "no .npy file"),
    "Python objects": (whole("(4, 4)", "'|O'"), "pickled objects"),
    "no Python": ("{'descr': ", "no .npy file"),
    "brackets without end": ("(" * 5000, "no .npy file"),
    "a key too few": ("{'descr': '<f4', 'shape': (4, 4), }", "no .npy file"),
    "no dictionary": ("[1, 2, 3]", "no .npy file"),
    "a zero byte": ("{'descr': '\0'}", "no .npy file"),
}


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize(("header", "said"), HEADERS.values(), ids=HEADERS)
def test_a_header_that_lies(tmp_path, header, said, version):
    path = tmp_path / "e.npy"
    path.write_bytes(npy(header, version=version))
    with pytest.raises(InputError, match=r"e\.npy") as caught:
        open_vectors(path)
    assert said in caught.value.message
    assert len(caught.value.message) < 300
    assert "\n" not in caught.value.message


@pytest.mark.parametrize("kept", [0, 3, 6, 8, 9, 12, 40])
def test_a_header_cut_short(tmp_path, kept):
    path = tmp_path / "e.npy"
    path.write_bytes(npy(whole("(4, 4)"))[:kept])
    with pytest.raises(InputError, match=r"e\.npy"):
        open_vectors(path)
