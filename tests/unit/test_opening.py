"""The opener under rows and corpora: what a file is, its encoding, its form; opened once, refused by its name."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import os
import socket
import sys
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Thread

import pytest
from backports import zstd
from hypothesis import given, settings
from hypothesis import strategies as st

from nlpx import notes
from nlpx.data.corpus.texts import Reading, find_sources, plan_blocks, read_block, read_texts
from nlpx.data.opening.arrays import ArrayLines
from nlpx.data.opening.csv_reader import CsvReader
from nlpx.data.opening.encodings import detect
from nlpx.data.opening.remote import without_password
from nlpx.data.opening.streams import open_source
from nlpx.data.opening.tables import is_header
from nlpx.data.rows.reading import Shape, read_rows
from nlpx.data.rows.writing import write_rows
from nlpx.errors import InputError, MachineError

SENTENCES = "今天天气很好，我们去公园。\n这个问题应该怎么处理？\n"
TRADITIONAL = "今天天氣很好，我們去臺北看電影。\n這個問題應該怎麼處理？\n"


@pytest.fixture
def noted() -> Iterator[list[str]]:
    found: list[str] = []
    notes.listen(found.append)
    yield found
    notes.listen(None)


def write(path: Path, data: bytes | str) -> Path:
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


def texts(path: Path | str, reading: Reading | None = None, **options: str) -> list[str]:
    reading = reading or Reading()
    found = find_sources([str(path)], encoding=reading.encoding, **options)
    return [text for source in found for text in read_texts(source, reading)]


def rows(path: Path | str, **options: object) -> list[dict[str, object]]:
    return [row.values for row in read_rows(path, **options)]  # type: ignore[arg-type]


# What a file is


def tar(path: Path, mode: str = "w") -> Path:
    inside = write(path.parent / "inside.txt", SENTENCES)
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        archive.add(inside, "inside.txt")
    return path


def zipped(path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("inside.txt", SENTENCES)
    return path


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 411577189\n"
OTHERS: dict[str, tuple[str, Callable[[Path], object], str, str]] = {
    "zip": ("a.txt", zipped, "a ZIP archive", "unzip -p"),
    "xlsx": ("a.xlsx", zipped, "an Excel workbook", "CSV"),
    "tar": ("a.tar", tar, "a TAR archive", "tar -xOf"),
    "tar-in-gzip": ("a.tgz", lambda path: tar(path, "w:gz"), "a TAR archive", "tar -x"),
    "lfs": ("a.txt", lambda path: path.write_bytes(LFS), "a Git LFS pointer (411 MB are not here)", "git lfs pull"),
    "page": ("a.txt", lambda path: path.write_text("\n <!DOCTYPE html>\n<p>404"), "an HTML page", "fetch"),
    "numpy": ("a.txt", lambda path: path.write_bytes(b"\x93NUMPY\1\0v\0"), "a NumPy array", "vectors"),
    "pickle": ("a.jsonl", lambda path: path.write_bytes(b"\x80\x04\x95\0\0"), "a Python pickle", "code"),
    "safetensors": ("a.csv", lambda path: path.write_bytes(b'\x40\0\0\0\0\0\0\0{"a":{}}'), "safetensors", ""),
    "pdf": ("a.txt", lambda path: path.write_bytes(b"%PDF-1.4\n"), "a PDF", "pdftotext"),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_what_is_no_text_is_named_for_rows_and_corpora_alike(tmp_path: Path, kind: str) -> None:
    name, make, what, hint = OTHERS[kind]
    make(tmp_path / name)
    for read in (texts, rows):
        with pytest.raises(InputError) as caught:
            read(tmp_path / name)
        assert what in caught.value.message
        assert hint in str(caught.value.hint)


def test_a_page_is_text_where_that_is_meant(tmp_path: Path) -> None:
    page = "<html>\n春\n"
    assert texts(write(tmp_path / "a.html", page)) == ["<html>", "春"]
    assert texts(write(tmp_path / "a.txt", page), format="txt") == ["<html>", "春"]


PACK = {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress, "zst": zstd.compress}


@pytest.mark.parametrize("kind", PACK)
def test_every_compression_for_rows_and_on_stdin(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    packed = PACK[kind]('{"text": "春"}\n'.encode())
    assert rows(write(tmp_path / "a.bin", packed)) == [{"text": "春"}]
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(packed)))
    assert rows("-") == [{"text": "春"}]


# Pipes are opened once


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
@pytest.mark.parametrize("read", [rows, texts], ids=["rows", "texts"])
def test_nothing_of_a_named_pipe_is_lost(tmp_path: Path, read: Callable[..., list[object]]) -> None:
    pipe = tmp_path / "pipe.txt"
    os.mkfifo(pipe)
    lines = "".join(f"第{number}行\n" for number in range(5000))
    writer = Thread(target=lambda: pipe.write_text(lines, encoding="utf-8"))
    writer.start()
    assert len(read(pipe)) == 5000
    writer.join()


# Encodings


@pytest.mark.parametrize(
    ("text", "encoding", "found"),
    [
        (SENTENCES, "utf-8", "utf-8"),
        (SENTENCES, "gb18030", "gb18030"),
        (TRADITIONAL, "big5", "big5hkscs"),
        (TRADITIONAL, "gb18030", "gb18030"),
        (SENTENCES, "utf-16-le", "utf-16-le"),
        (SENTENCES, "utf-16-be", "utf-16-be"),
        (SENTENCES, "utf-16", "utf-16"),
        (SENTENCES, "utf-32", "utf-32"),
        ("plain words\n", "utf-16-le", "utf-16-le"),
        ("春风又绿江南岸\n", "gb18030", "gb18030"),
        ("Ça déjà été à Noël\n", "latin-1", None),
        ("こんにちは世界\n", "shift_jis", None),
        ("Привет мир\n", "cp1251", None),
    ],
)
def test_an_encoding_is_told_only_where_that_is_sure(text: str, encoding: str, found: str | None) -> None:
    assert detect(text.encode(encoding)) == found
    assert detect((text * 50).encode(encoding)[:-1]) == found  # cut in the middle of a character


@pytest.mark.parametrize("encoding", ["gb18030", "big5", "utf-16-le", "utf-16"])
def test_auto_reads_what_it_decided_and_says_so(tmp_path: Path, encoding: str, noted: list[str]) -> None:
    text = TRADITIONAL if encoding == "big5" else SENTENCES
    path = write(tmp_path / "a.txt", text.encode(encoding))
    assert texts(path, Reading(encoding="auto")) == text.splitlines()
    assert rows(path, encoding="auto") == [{"text": line} for line in text.splitlines()]
    packed = write(tmp_path / "a.txt.gz", gzip.compress(text.encode(encoding)))
    assert texts(packed, Reading(encoding="auto")) == text.splitlines()
    assert sorted(found.split(": encoding ")[0] for found in noted) == [str(path), str(packed)]


def test_auto_refuses_to_guess(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be told"):
        texts(write(tmp_path / "a.txt", "Привет мир".encode("cp1251")), Reading(encoding="auto"))


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_the_order_of_bytes_without_a_mark(tmp_path: Path, encoding: str) -> None:
    path = write(tmp_path / "a.txt", SENTENCES.encode(encoding))
    assert texts(path, Reading(encoding="utf-16")) == SENTENCES.splitlines()


def test_a_broken_pack_behind_broken_bytes(tmp_path: Path) -> None:
    packed = gzip.compress(b"\xff\xfe\xfd\n" + os.urandom(1000))
    with pytest.raises(InputError):
        rows(write(tmp_path / "a.txt.gz", packed[:-9]))


@pytest.mark.parametrize("size", [1, 5, 64, 10_000])
def test_blocks_of_wide_text_are_the_whole(tmp_path: Path, size: int) -> None:
    path = write(tmp_path / "a.txt", SENTENCES.encode("utf-16"))
    blocks = plan_blocks(find_sources([str(path)]), block_bytes=size)
    assert [text for block in blocks for text in read_block(block, Reading())] == SENTENCES.splitlines()


@pytest.mark.parametrize(
    ("text", "encoding", "proposed"),
    [(TRADITIONAL, "big5", "big5hkscs"), (SENTENCES, "gb18030", "gb18030"), (SENTENCES, "utf-16-le", "utf-16-le")],
)
def test_the_proposed_encoding_is_the_right_one(tmp_path: Path, text: str, encoding: str, proposed: str) -> None:
    path = write(tmp_path / "a.txt", text.encode(encoding))
    for read in (texts, rows):
        with pytest.raises(InputError) as caught:
            read(path)
        assert f"`--encoding {proposed}`" in str(caught.value.hint)
        assert text.splitlines()[0] in caught.value.message


def test_one_broken_line_of_utf8_is_no_reason_to_propose_another(tmp_path: Path) -> None:
    lines = [SENTENCES.encode() * 20, "春风\n".encode("gb18030"), SENTENCES.encode() * 20]
    path = write(tmp_path / "a.txt", b"".join(lines))
    for read in (texts, rows):
        with pytest.raises(InputError) as caught:
            read(path)
        assert "gb18030" not in str(caught.value.hint)


def test_an_encoding_that_was_asked_for_and_cannot_be(tmp_path: Path, noted: list[str]) -> None:
    path = write(tmp_path / "a.txt", SENTENCES)
    with pytest.raises(InputError, match="not UTF-16-LE: the bytes are UTF-8 text"):
        texts(path, Reading(encoding="utf-16-le"))
    big5 = write(tmp_path / "b.txt", TRADITIONAL.encode("big5"))
    texts(big5, Reading(encoding="gb18030", errors="replace"))
    assert noted == [f"{big5}: read as gb18030, as asked for; its bytes look like Big5"]


# JSON arrays


def array_rows(count: int) -> list[dict[str, object]]:
    return [{"text": f'第{number}行 ",[{{\\ \n', "more": [{"a": [number]}, None]} for number in range(count)]


@pytest.mark.parametrize("indent", [None, 0, 1, 4])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030", "utf-16"])
def test_an_array_is_read_as_its_elements(tmp_path: Path, indent: int | None, encoding: str) -> None:
    content = json.dumps(array_rows(30), indent=indent, ensure_ascii=False)
    path = write(tmp_path / "a.json", content.encode(encoding))
    asked = "gb18030" if encoding == "gb18030" else "utf-8"
    assert rows(path, encoding=asked) == array_rows(30)
    assert texts(path, Reading(encoding=asked)) == [row["text"] for row in array_rows(30)]
    blocks = plan_blocks(find_sources([str(path)], encoding=asked), block_bytes=50)
    found = [text for block in blocks for text in read_block(block, Reading(encoding=asked))]
    assert found == [row["text"] for row in array_rows(30)]


def test_rows_of_an_indented_array_keep_their_line(tmp_path: Path) -> None:
    path = write(tmp_path / "a.json", json.dumps([{"text": "春"}, {"text": 5}, {"text": "夏"}], indent=1))
    assert [row.place for row in read_rows(path)] == [f"{path}:2", f"{path}:5", f"{path}:8"]
    with pytest.raises(InputError, match=r"a\.json:5: field `text` is no text"):
        texts(path)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.recursive(st.text(max_size=4) | st.integers(), lambda inner: st.lists(inner, max_size=3), max_leaves=5)
    ),
    st.integers(1, 9),
    st.sampled_from([None, 1]),
)
def test_elements_are_found_whatever_the_chunks(values: list[object], size: int, indent: int | None) -> None:
    class Trickle(io.BytesIO):
        def read1(self, _: int | None = -1) -> bytes:
            return self.read(size)

    made = [{"value": value} for value in values]
    stream = Trickle(json.dumps(made, indent=indent, ensure_ascii=False).encode())
    lines = io.BufferedReader(ArrayLines(stream, "a"))  # type: ignore[arg-type, type-var]
    assert [json.loads(line) for line in lines if line.strip()] == made


@pytest.mark.parametrize(
    "content", ['[{"text": "春"}', '[{"text": "春"}, {"te', '[{"text": "春"}]]', '[{"text": "春"}] x']
)
def test_an_array_that_is_not_whole_is_refused(tmp_path: Path, content: str) -> None:
    for read in (texts, rows):
        with pytest.raises(InputError, match=r"never ends|not JSON|not a JSON|holds no usable"):
            read(write(tmp_path / "a.json", content))


def test_a_text_may_begin_with_a_bracket(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", "[图片] 很好\n{很差}\n")
    assert rows(path) == [{"text": "[图片] 很好"}, {"text": "{很差}"}]


# Tables


def csv_rows(text: str) -> tuple[list[tuple[int, list[str]]], list[int]]:
    broken: list[int] = []
    lines = enumerate(text.split("\n")[:-1], start=1)
    reader = CsvReader(iter(lines), "a.csv", lambda number, _what, _text: broken.append(number))
    return list(reader), broken


@pytest.mark.parametrize(
    ("text", "kept", "broken"),
    [
        ('a,1\nb,"2\n3"\nc,4\n', ["a", "b", "c"], []),
        ('a,1\n"b,2\nc,3\n', ["a", "c"], [2]),
        ('a,1\n"b,2\nc,3\n"d,4\ne,5\n', ["a", "c", "e"], [2, 4]),
        ('a,1\nb,"2\n3","4\nc,5\nd,6\n', ["a"], [3]),
        ('a,1\n"b"x,2\nc,3\n', ["a", "c"], [2]),
        ('a,1\nb"x,2\nc,3\n', ["a", 'b"x', "c"], []),
    ],
    ids=["none", "open", "two", "second-cell", "behind", "inside"],
)
def test_a_broken_quote_costs_its_own_line(text: str, kept: list[str], broken: list[int]) -> None:
    found, lost = csv_rows(text)
    assert [cells[0] for _, cells in found][: len(kept)] == kept
    assert lost[: len(broken)] == broken
    assert bool(lost) == bool(broken)


def test_a_stray_quote_names_the_line_where_its_cell_began(tmp_path: Path) -> None:
    lines = [f"第{number}条,0" for number in range(2, 40)]
    lines[10] = '"第12条,0'
    for closing, what in ((None, "never ends"), ('"第30条,1', r"follows the quote that closes it in line 30")):
        found = [*lines]
        if closing:
            found[28] = closing
        path = write(tmp_path / "a.csv", "\n".join(["text,label", *found]) + "\n")
        for read in (texts, rows):
            with pytest.raises(InputError, match=rf"a\.csv:12: a quote opens a cell.* {what}"):
                read(path)


@pytest.mark.parametrize(("opening", "distance"), [(12, 1), (12, 2), (12, 20), (2, 20)])
def test_quotes_that_happen_to_be_valid_swallow_no_rows(tmp_path: Path, opening: int, distance: int) -> None:
    lines = [f"第{number}条,{number % 2}" for number in range(2, 40)]
    lines[opening - 2] = '"' + lines[opening - 2]
    lines[opening - 2 + distance] = f'第x条",{distance % 2}'
    path = write(tmp_path / "a.csv", "\n".join(["text,label", *lines]) + "\n")
    for read in (texts, rows):
        with pytest.raises(InputError, match=rf"a\.csv:{opening}: a quote opens a cell of {distance + 1} lines"):
            read(path)
    assert len(rows(path, on_bad_row="skip")) == 37


def test_texts_over_several_lines_are_texts(tmp_path: Path) -> None:
    made = [{"text": "一,二\n三,四\n五", "label": str(number % 2)} for number in range(5)]
    write_rows(made, tmp_path / "a.csv", format="csv")
    assert rows(tmp_path / "a.csv") == made


def test_a_broken_quote_is_skipped_alone(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", 'text,label\na,1\n"b,2\nc,3\nd,4\n')
    assert [row["text"] for row in rows(path, on_bad_row="skip")] == ["a", "c", "d"]


def test_rows_over_several_lines_are_noted(tmp_path: Path, noted: list[str]) -> None:
    rows(write(tmp_path / "a.csv", 'text,label\na,1\n"b\nc\nd",2\n'))
    assert noted == [f"{tmp_path / 'a.csv'}: 1 row spans several lines, at most 3 (from line 3)"]


@pytest.mark.parametrize(
    ("first", "following", "expected"),
    [
        (["text", "label"], [["a", "0"]], True),
        (["标题", "类别"], [["a", "体育"], ["b", "体育"]], None),
        (["a", "体育"], [["b", "体育"], ["c", "财经"]], False),
        (["a", "1"], [["b", "0"]], False),
        (["", "标题", "类"], [["0", "a", "b"]], True),
        (["0", "1"], [["a", "b"]], True),
        (["一列"], [["a"]], None),
    ],
)
def test_what_tells_a_header(first: list[str], following: list[list[str]], expected: bool | None) -> None:
    assert is_header(first, following) is expected


LABELLED = Shape({2: ("text", "label"), 3: ("text1", "text2", "label")})


def test_tables_without_a_header(tmp_path: Path, noted: list[str]) -> None:
    one = write(tmp_path / "one.txt", "很好\t1\n很差\t0\n还行\t1\n")
    assert rows(one, shape=LABELLED)[0] == {"text": "很好", "label": "1"}
    turned = write(tmp_path / "turned.tsv", "".join(f"{number % 2}\t第{number}条\n" for number in range(9)))
    assert rows(turned, shape=LABELLED)[0] == {"text": "第0条", "label": "0"}
    two = write(tmp_path / "two.csv", "一,二,0\n三,四,1\n")
    assert rows(two, shape=LABELLED)[1] == {"text1": "三", "text2": "四", "label": "1"}
    assert len(noted) == 3
    assert all("the first line is a row, not a header" in found for found in noted)
    wide = write(tmp_path / "wide.tsv", "a\tb\tc\t0\nd\te\tf\t0\n")
    with pytest.raises(InputError, match="seems to hold a row, not the names"):
        rows(wide, shape=LABELLED)
    assert texts(one, format="tsv") == ["很好", "很差", "还行"]
    for size in (1, 7, 100):
        blocks = plan_blocks(find_sources([str(one)], format="tsv"), block_bytes=size)
        assert [text for block in blocks for text in read_block(block, Reading())] == ["很好", "很差", "还行"]


def test_csv_on_stdin_is_told_by_its_names(monkeypatch: pytest.MonkeyPatch, noted: list[str]) -> None:
    content = 'text,label\n"春,\n\n天",1\n夏,0\n'
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content.encode())))
    assert rows("-", shape=LABELLED) == [{"text": "春,\n\n天", "label": "1"}, {"text": "夏", "label": "0"}]
    assert noted[0] == "stdin: read as CSV, by the names in its first line"
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("text, 今天\n".encode())))
    assert rows("-", shape=LABELLED) == [{"text": "text, 今天"}]


def test_a_column_without_a_name_is_left_out(tmp_path: Path, noted: list[str]) -> None:
    path = write(tmp_path / "a.csv", ",text,label\n0,春,1\n1,夏,0\n")
    assert rows(path)[1] == {"text": "夏", "label": "0"}
    assert texts(path) == ["春", "夏"]
    assert noted == [f"{path}: column 1 has no name and is left out"]


def test_rows_of_parquet(tmp_path: Path) -> None:
    import pyarrow
    from pyarrow.parquet import write_table

    made = [{"text": f"第{number}行", "label": number % 2} for number in range(2500)]
    write_table(pyarrow.Table.from_pylist(made), tmp_path / "a.parquet", row_group_size=700)
    assert rows(tmp_path / "a.parquet") == made
    assert rows((tmp_path / "a.parquet").rename(tmp_path / "renamed.bin")) == made


# URLs


def test_a_password_is_never_shown() -> None:
    assert without_password("http://user:secret@host/a@b.txt") == "http://…@host/a@b.txt"
    assert without_password("s3://bucket/a.txt") == "s3://bucket/a.txt"


def test_a_refused_connection_is_the_network_s_fault() -> None:
    with socket.socket() as held:  # bound and never listening: nobody else gets the port
        held.bind(("127.0.0.1", 0))
        url = f"http://user:secret@127.0.0.1:{held.getsockname()[1]}/a.txt"
        for read in (texts, rows):
            with pytest.raises(MachineError, match="cannot be reached: connection refused") as caught:
                read(url)
            assert "secret" not in str(caught.value)


@pytest.mark.parametrize(("status", "kind"), [(401, InputError), (404, InputError), (503, MachineError)])
def test_what_a_server_answers_is_told_as_what_it_is(status: int, kind: type[Exception]) -> None:
    from http.server import BaseHTTPRequestHandler, HTTPServer

    class Refusing(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_error(status)

        do_HEAD = do_GET  # noqa: N815

        def log_message(self, *_: object) -> None:
            """Nothing."""

    with HTTPServer(("127.0.0.1", 0), Refusing) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        try:
            with pytest.raises(kind, match="no such file" if status == 404 else str(status)):
                texts(f"http://127.0.0.1:{server.server_port}/a.txt")
        finally:
            server.shutdown()


def test_opening_leaves_stdin_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"a\n")))
    with open_source(find_sources(["-"])[0]) as (_, stream):
        assert stream.read() == b"a\n"
    assert not sys.stdin.buffer.closed
