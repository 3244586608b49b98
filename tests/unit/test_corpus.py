"""Sources and texts of a corpus: any division gives each text once, whatever cannot be read is named by place."""

from __future__ import annotations

import builtins
import bz2
import gzip
import io
import json
import lzma
import os
import random
import sys
from collections import Counter
from pathlib import Path
from urllib.request import pathname2url

import pytest
from backports import zstd
from hypothesis import given, settings
from hypothesis import strategies as st

from nlpx.data.corpus.texts import (
    Block,
    Reading,
    Source,
    find_sources,
    plan_blocks,
    read_block,
    read_part,
    read_raw_block,
    read_raw_part,
    read_texts,
)
from nlpx.errors import InputError, MachineError, UsageError

READING = Reading()
PACK = {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress, "zst": zstd.compress}
LINES = ["春风又绿江南岸", "", "  ", "ASCII line 18-24", "𠀀𠮷😀 astral", "明月何时照我还" * 30, "末行没有换行"]


def write(path: Path, data: bytes | str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


def source(path: Path, **changes: object) -> Source:
    (found,) = find_sources([str(path)], **changes)
    return found


def whole(path: Path, reading: Reading = READING, **changes: object) -> list[str]:
    return list(read_texts(source(path, **changes), reading))


def by_blocks(found: Source, size: int, reading: Reading = READING) -> list[str]:
    return [text for block in plan_blocks([found], block_bytes=size) for text in read_block(block, reading)]


def naive(data: str) -> list[str]:
    return [line for line in data.replace("\r\n", "\n").split("\n") if line.strip()]


# Which sources


def test_folders_are_read_in_order_without_hidden_and_unknown_files(tmp_path):
    for name in (
        "b.txt",
        "a.jsonl",
        "sub/c.csv.gz",
        "sub/deep/d.TXT",
        ".hidden.txt",
        ".git/x.txt",
        "photo.png",
        "e.md",
    ):
        write(tmp_path / name, "x\n")
    names = [Path(found.path).relative_to(tmp_path).as_posix() for found in find_sources([str(tmp_path)])]
    assert names == ["a.jsonl", "b.txt", "sub/c.csv.gz", "sub/deep/d.TXT"]
    everything = find_sources([str(tmp_path)], format="txt")
    assert [Path(found.path).name for found in everything] == [
        "a.jsonl",
        "b.txt",
        "e.md",
        "photo.png",
        "c.csv.gz",
        "d.TXT",
    ]
    assert {found.format for found in everything} == {"txt"}


def test_a_trailing_slash_changes_no_name(tmp_path):
    write(tmp_path / "a.txt", "x\n")
    assert find_sources([f"{tmp_path}/"]) == find_sources([str(tmp_path)])


def test_patterns_are_sorted_and_reach_into_folders(tmp_path):
    for name in ("2.txt", "1.txt", "sub/3.txt", "sub/4.csv"):
        write(tmp_path / name, "x\n")
    assert [Path(found.path).name for found in find_sources([str(tmp_path / "*.txt")])] == ["1.txt", "2.txt"]
    assert len(find_sources([str(tmp_path / "**" / "*.txt")])) == 3


def test_a_file_whose_name_looks_like_a_pattern_is_that_file(tmp_path):
    path = write(tmp_path / "a[1].txt", "甲\n")
    assert whole(path) == ["甲"]


def test_a_path_named_twice_is_read_twice(tmp_path):
    path = str(write(tmp_path / "a.txt", "x\n"))
    assert len(find_sources([path, path])) == 2


@pytest.mark.parametrize(
    ("name", "format"),
    [("a.txt", "txt"), ("a.ndjson", "jsonl"), ("a.json.gz", "jsonl"), ("a.TSV", "tsv"), ("a.log", "txt"), ("a", "txt")],
)
def test_the_format_follows_the_suffix(tmp_path, name, format):
    assert source(write(tmp_path / name, "x\n")).format == format


def test_compression_follows_the_content_and_then_the_suffix(tmp_path):
    assert source(write(tmp_path / "named.txt", gzip.compress(b"x"))).compression == "gz"
    assert source(write(tmp_path / "empty.txt.gz", b"")).compression is None
    assert source(write(tmp_path / "lie.txt.gz", b"plain")).compression == "gz"


def test_what_can_be_divided(tmp_path):
    kinds = {
        name: source(write(tmp_path / name, "text\nx\n")).splittable for name in ("a.txt", "a.jsonl", "a.tsv", "a.csv")
    }
    assert kinds == {"a.txt": True, "a.jsonl": True, "a.tsv": True, "a.csv": False}
    assert not source(write(tmp_path / "a.txt.gz", gzip.compress(b"x"))).splittable
    assert not find_sources(["-"])[0].splittable


def test_missing_things_name_a_way_out(tmp_path):
    write(tmp_path / "corpus.txt", "x\n")
    with pytest.raises(InputError, match="no such file") as error:
        find_sources([str(tmp_path / "corpsu.txt")])
    assert "corpus.txt" in error.value.hint
    write(tmp_path / "empty" / "photo.png", "x")
    with pytest.raises(InputError, match="is a folder without text"):
        find_sources([str(tmp_path / "empty")])
    with pytest.raises(InputError, match="matches no file"):
        find_sources([str(tmp_path / "*.jsonl")])
    with pytest.raises(UsageError, match="no text"):
        find_sources([])
    with pytest.raises(UsageError, match="unknown format `xml`"):
        find_sources(["-"], format="xml")


def test_a_plan_covers_every_byte_once(tmp_path):
    first = source(write(tmp_path / "a.txt", b"x" * 25))
    packed = source(write(tmp_path / "b.txt.gz", gzip.compress(b"y" * 25)))
    blocks = plan_blocks([first, packed], block_bytes=10)
    assert [(block.index, block.start, block.end) for block in blocks] == [
        (0, 0, 10),
        (1, 10, 20),
        (2, 20, 25),
        (3, 0, None),
    ]
    assert plan_blocks([source(write(tmp_path / "c.txt", b""))], block_bytes=10) == []


# Division


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("last", ["", "\n"])
@pytest.mark.parametrize("size", [1, 2, 3, 7, 20, 64, 10_000])
def test_any_block_size_gives_each_line_once(tmp_path, end, mark, last, size):
    path = write(tmp_path / "a.txt", mark + (end.join(LINES) + last).encode())
    expected = [line for line in LINES if line.strip()]
    assert by_blocks(source(path), size) == expected
    assert whole(path) == expected
    raw = "".join(read_raw_block(block, READING) for block in plan_blocks([source(path)], block_bytes=size))
    assert [line for line in raw.split("\n") if line.strip()] == expected


@settings(max_examples=60)
@given(st.text(alphabet=st.sampled_from("天地a \r\n\t\x0b\x85\u2028𠀀"), max_size=60), st.integers(1, 40))
def test_blocks_parts_and_the_whole_agree(tmp_path_factory, text, size):
    path = write(tmp_path_factory.mktemp("any") / "a.txt", text)
    found = source(path)
    expected = [line.removesuffix("\r") for line in text.split("\n")]
    expected = [line for line in expected if line and not line.isspace()]
    assert by_blocks(found, size) == expected
    parts = [list(read_part(found, READING, part=part, num_parts=3, block_bytes=size)) for part in range(3)]
    assert Counter(text for part in parts for text in part) == Counter(expected)


@pytest.mark.parametrize("encoding", ["gb18030", "gbk", "big5", "utf-8"])
def test_blocks_of_other_encodings(tmp_path, encoding):
    lines = ["中文文字" * 5, "龍門客棧" if encoding != "gbk" else "龙门客栈", "abc 123"]
    path = write(tmp_path / "a.txt", "\n".join(lines).encode(encoding))
    for size in (1, 5, 9, 100):
        assert by_blocks(source(path), size, Reading(encoding=encoding)) == lines


def test_the_byte_order_mark_of_gb18030_is_no_text(tmp_path):
    path = write(tmp_path / "a.txt", "\ufeff中文\n".encode("gb18030"))
    assert whole(path, Reading(encoding="gb18030")) == ["中文"]


def test_a_line_longer_than_many_blocks_belongs_to_the_first(tmp_path):
    path = write(tmp_path / "a.txt", "短\n" + "长" * 1000 + "\n尾\n")
    found = source(path)
    texts = [list(read_block(block, READING)) for block in plan_blocks([found], block_bytes=100)]
    assert [text for block in texts for text in block] == ["短", "长" * 1000, "尾"]
    assert sum(1 for block in texts if block) == 2


@pytest.mark.parametrize("kind", ["gz", "bz2", "xz", "zst"])
def test_parts_of_a_compressed_file_give_each_text_once_in_order(tmp_path, kind):
    lines = [f"第{number}行 " + "字" * random.Random(number).randint(0, 50) for number in range(500)]
    path = write(tmp_path / f"a.txt.{kind}", PACK[kind]("\n".join(lines).encode()))
    assert whole(path) == lines
    for num_parts in (1, 2, 3):
        parts = [
            list(read_part(source(path), READING, part=part, num_parts=num_parts, block_bytes=700))
            for part in range(num_parts)
        ]
        assert sorted(line for part in parts for line in part) == sorted(lines)
        assert all(parts)
        raw = [
            text
            for part in range(num_parts)
            for text in read_raw_part(source(path), READING, part=part, num_parts=num_parts, block_bytes=700)
        ]
        assert Counter(line for text in raw for line in text.split("\n") if line) == Counter(lines)


@pytest.mark.parametrize("kind", ["gz", "bz2", "xz", "zst"])
def test_packs_laid_end_to_end_are_one_text(tmp_path, kind):
    path = write(tmp_path / f"a.txt.{kind}", PACK[kind]("上半".encode()) + PACK[kind]("句\n下一行\n".encode()))
    assert whole(path) == ["上半句", "下一行"]


def test_raw_blocks_are_the_lines_with_plain_line_ends(tmp_path):
    path = write(tmp_path / "a.txt", "甲\r\n\r\n乙\r\n丙\r")
    (block,) = plan_blocks([source(path)], block_bytes=100)
    assert read_raw_block(block, READING) == "甲\n\n乙\n丙"
    packed = source(write(tmp_path / "b.txt.gz", gzip.compress("甲\r\n乙\n".encode())))
    assert read_raw_block(Block(packed, 0, 0, None), READING) == "甲\n乙\n"


# Formats


def rows(count: int = 200) -> list[dict[str, object]]:
    return [
        {"id": number, "text": f"第{number}行\n里有\t两行" if number % 9 == 0 else f"文{number}"}
        for number in range(count)
    ]


def test_json_rows(tmp_path):
    made = [*rows(), {"text": None}, {"text": ""}, {"text": " \n"}, {"text": "\ud83d\ude00 末"}]
    path = write(tmp_path / "a.jsonl", "\r\n\n".join(json.dumps(row) for row in made))
    expected = [row["text"] for row in rows()] + ["😀 末"]
    assert whole(path) == expected
    for size in (1, 17, 300):
        assert by_blocks(source(path), size) == expected


def test_json_fields_by_name(tmp_path):
    path = write(tmp_path / "a.jsonl", '{"title": "标题", "text": "正文"}\n')
    assert whole(path, Reading(field="title")) == ["标题"]


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("blank", ["", "\n \n"])
def test_tables_with_tabs(tmp_path, mark, blank):
    lines = ["id\ttext\tmore", *(f"{number}\t第{number}行\tx" for number in range(50)), "", "50\t\tx"]
    path = write(tmp_path / "a.tsv", mark + (blank + "\r\n".join(lines)).encode())
    expected = [f"第{number}行" for number in range(50)]
    assert whole(path) == expected
    for size in (1, 13, 90):
        assert by_blocks(source(path), size) == expected
        parts = [list(read_part(source(path), READING, part=part, num_parts=2, block_bytes=size)) for part in range(2)]
        assert Counter(parts[0] + parts[1]) == Counter(expected)


def test_csv_cells_may_span_lines(tmp_path):
    path = write(tmp_path / "a.csv", '\ufeffid,text\r\n1,"甲,""乙""\n丙"\r\n\r\n2,丁\r\n3,\r\n')
    assert whole(path) == ['甲,"乙"\n丙', "丁"]


def test_csv_is_shared_out_by_rows(tmp_path):
    texts = [f"第{number}行" for number in range(3500)]
    path = write(tmp_path / "a.csv", "text,id\n" + "".join(f"{text},0\n" for text in texts))
    parts = [list(read_part(source(path), READING, part=part, num_parts=2)) for part in range(2)]
    assert [len(part) for part in parts] == [2000, 1500]
    assert sorted(parts[0] + parts[1]) == sorted(texts)


def parquet(path: Path, columns: dict[str, list[object]], **options: object) -> Path:
    import pyarrow
    from pyarrow.parquet import write_table

    write_table(pyarrow.table(columns), path, **options)
    return path


def test_parquet_columns(tmp_path):
    texts = [f"第{number}行" if number % 7 else None for number in range(2500)]
    path = parquet(tmp_path / "a.parquet", {"text": texts, "id": list(range(2500))}, row_group_size=400)
    expected = [text for text in texts if text]
    assert whole(path) == expected
    assert source(path.rename(tmp_path / "renamed.bin")).format == "parquet"
    found = source(tmp_path / "renamed.bin")
    parts = [list(read_part(found, READING, part=part, num_parts=3)) for part in range(3)]
    assert all(parts)
    assert Counter(text for part in parts for text in part) == Counter(expected)


def test_parquet_that_cannot_be_read(tmp_path, monkeypatch):
    path = parquet(tmp_path / "a.parquet", {"body": ["甲"], "id": [1]})
    with pytest.raises(InputError, match="no column `text`") as error:
        whole(path)
    assert "body, id" in error.value.hint
    with pytest.raises(InputError, match="holds int64, not text"):
        whole(path, Reading(field="id"))
    write(tmp_path / "half.parquet", path.read_bytes()[:-20])
    with pytest.raises(InputError, match="not a whole Parquet file"):
        whole(tmp_path / "half.parquet")
    with pytest.raises(UsageError, match="not from a pipe"):
        list(read_texts(find_sources(["-"], format="parquet")[0], READING))
    hide(monkeypatch, "pyarrow")
    with pytest.raises(MachineError, match="Parquet needs the extra") as error:
        whole(path)
    assert error.value.hint == "pip install 'nlpx-zh[data]'"


def hide(monkeypatch: pytest.MonkeyPatch, *packages: str) -> None:
    real = builtins.__import__

    def without(name: str, *arguments: object, **words: object) -> object:
        if name.split(".")[0] in packages:
            raise ImportError(name)
        return real(name, *arguments, **words)

    monkeypatch.setattr(builtins, "__import__", without)


def test_zstandard_without_its_package_names_the_extra(tmp_path, monkeypatch):
    path = write(tmp_path / "a.txt.zst", zstd.compress(b"x\n"))
    hide(monkeypatch, "compression", "backports")
    with pytest.raises(MachineError, match=r"reading \.zst needs the extra"):
        whole(path)


# stdin, pipes and URLs


def give_stdin(monkeypatch: pytest.MonkeyPatch, data: bytes) -> Source:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
    return find_sources(["-"])[0]


def test_stdin_is_read_and_stays_open(monkeypatch):
    found = give_stdin(monkeypatch, "甲\n乙".encode())
    assert (found.name, found.size, found.repeatable) == ("stdin", None, False)
    assert list(read_texts(found, READING)) == ["甲", "乙"]
    assert not sys.stdin.buffer.closed


def test_stdin_table_has_its_header_in_the_stream(monkeypatch):
    give_stdin(monkeypatch, "id\ttext\n1\t甲\n".encode())
    assert list(read_texts(find_sources(["-"], format="tsv")[0], READING)) == ["甲"]


def test_packed_stdin_is_unpacked(monkeypatch):
    for pack in PACK.values():
        assert list(read_texts(give_stdin(monkeypatch, pack("甲\n乙\n".encode())), READING)) == ["甲", "乙"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_can_be_read_once(tmp_path):
    from threading import Thread

    path = tmp_path / "pipe.txt"
    os.mkfifo(path)
    found = source(path)
    assert (found.size, found.splittable, found.repeatable) == (None, False, False)
    writer = Thread(target=lambda: path.write_text("甲\n乙\n", encoding="utf-8"))
    writer.start()
    assert list(read_texts(found, READING)) == ["甲", "乙"]
    writer.join()


@pytest.fixture
def memory():
    import fsspec

    store = fsspec.filesystem("memory")
    store.rm("/corpus", recursive=True) if store.exists("/corpus") else None
    store.pipe(
        {
            "/corpus/b.txt": "甲甲\n乙\n丙丙丙\n".encode(),
            "/corpus/sub/a.jsonl.gz": gzip.compress('{"text": "丁"}\n'.encode()),
            "/corpus/.hidden.txt": b"x\n",
            "/corpus/photo.png": b"x",
        }
    )
    return store


@pytest.mark.usefixtures("memory")
def test_urls_are_files_folders_and_patterns():
    folder = find_sources(["memory://corpus"])
    assert [found.path.rpartition("corpus/")[2] for found in folder] == ["b.txt", "sub/a.jsonl.gz"]
    assert [found.compression for found in folder] == [None, "gz"]
    assert [text for found in folder for text in read_texts(found, READING)] == ["甲甲", "乙", "丙丙丙", "丁"]
    (found,) = find_sources(["memory://corpus/*.txt"])
    assert found.splittable
    assert by_blocks(found, 4) == ["甲甲", "乙", "丙丙丙"]


@pytest.mark.usefixtures("memory")
def test_urls_that_cannot_be_read(monkeypatch):
    with pytest.raises(InputError, match="no such file"):
        find_sources(["memory://corpus/c.txt"])
    with pytest.raises(UsageError, match="nosuchstore"):
        find_sources(["nosuchstore://bucket/file"])
    hide(monkeypatch, "fsspec")
    with pytest.raises(MachineError, match="needs the extra `data`"):
        find_sources(["memory://corpus/b.txt"])


def test_file_urls_are_local_paths(tmp_path):
    path = write(tmp_path / "名 字.txt", "甲\n")
    (found,) = find_sources([f"file://{pathname2url(str(path))}"])
    assert found.splittable
    assert list(read_texts(found, READING)) == ["甲"]


# What cannot be read


def test_broken_bytes_are_named_by_file_line_and_byte(tmp_path):
    data = "一行\n二行\n".encode() + b"abc\xff\xfe\n" + "末\n".encode()
    path = write(tmp_path / "a.txt", data)
    byte = data.index(b"\xff")
    for size in (1, 5, 14, 17, 1000):
        with pytest.raises(InputError) as error:
            by_blocks(source(path), size)
        assert error.value.message.startswith(f"{path}:3: not UTF-8 at byte {byte} (0xff): abc"), size
    packed = write(tmp_path / "b.txt.gz", gzip.compress(data))
    with pytest.raises(InputError, match=rf"b\.txt\.gz:3: not UTF-8 at byte {byte}"):
        list(read_part(source(packed), READING, part=1, num_parts=2, block_bytes=8))


def test_broken_bytes_behind_a_byte_order_mark_keep_their_place(tmp_path):
    path = write(tmp_path / "a.txt", b"\xef\xbb\xbfab\xff\n")
    with pytest.raises(InputError, match=r"a\.txt:1: not UTF-8 at byte 5 "):
        whole(path)


def test_gb18030_is_suggested_only_where_it_fits(tmp_path):
    with pytest.raises(InputError) as error:
        whole(write(tmp_path / "a.txt", "春风又绿江南岸\n".encode("gb18030")))
    assert "--encoding gb18030" in error.value.hint
    assert "春风又绿江南岸" in error.value.message
    with pytest.raises(InputError) as error:
        whole(write(tmp_path / "b.txt", b"\xff\n"))
    assert "gb18030" not in error.value.hint
    assert "--errors replace" in error.value.hint


def test_replacing_keeps_every_line_for_every_division(tmp_path):
    data = b"a\xff\nb\x81\nc\x00d\n" + "好\n".encode()
    path, reading = write(tmp_path / "a.txt", data), Reading(errors="replace")
    expected = ["a\ufffd", "b\ufffd", "c\ufffdd", "好"]
    assert whole(path, reading) == expected
    assert by_blocks(source(path), 3, reading) == expected
    gb = write(tmp_path / "b.txt", b"\x81\n\x81\x30\n" + "好\n".encode("gb18030"))
    assert whole(gb, Reading(encoding="gb18030", errors="replace")) == ["\ufffd", "\ufffd0", "好"]
    cut = write(tmp_path / "c.txt", b"\x81\x30\n\x81\x30\x81\n" + "好\n".encode("gb18030"))
    wrong = Reading(encoding="gb18030", errors="replace")
    assert by_blocks(source(cut), 1, wrong) == whole(cut, wrong)


def test_nul_and_encodings_without_lines_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"a\.txt:2: holds a NUL character: c"):
        whole(write(tmp_path / "a.txt", b"a\nc\0\n"))
    for encoding in ("cp037", "base64", "rot13"):
        with pytest.raises(UsageError, match="cannot be read line by line"):
            whole(tmp_path / "a.txt", Reading(encoding=encoding))
    with pytest.raises(UsageError, match="unknown encoding `klingon`"):
        whole(tmp_path / "a.txt", Reading(encoding="klingon"))
    with pytest.raises(UsageError, match="unknown policy"):
        whole(tmp_path / "a.txt", Reading(errors="ignore"))


@pytest.mark.parametrize(
    ("row", "message", "hint"),
    [
        ('{"title": "甲", "body": "乙"}', "no field `text`", "title, body"),
        ('{"text": 5}', "field `text` is no text", "--field"),
        ("[1, 2]", "not a JSON object", "jq"),
        ('"text"', "not a JSON object", "jq"),
        ("null", "not a JSON object", "jq"),
        ("plain words", "not JSON", "--input-format"),
        ('{"text": "\\ud83d"}', "lone surrogate", "--errors replace"),
        ('{"text": "\\u0000"}', "NUL", "--errors replace"),
        ('{"text": ' + "[" * 100_000, "nested too deeply", "jq"),
    ],
)
def test_bad_rows_are_named_by_line(tmp_path, row, message, hint):
    path = write(tmp_path / "a.jsonl", f'{{"text": "好"}}\n\n{row}\n')
    for size in (10, 1000):
        with pytest.raises(InputError, match=r"a\.jsonl:3: ") as error:
            by_blocks(source(path), size)
        assert message in error.value.message
        assert hint in error.value.hint


def test_escapes_that_are_no_text_can_be_replaced(tmp_path):
    path = write(tmp_path / "a.jsonl", '{"text": "a\\ud83d\\u0000b"}\n')
    assert whole(path, Reading(errors="replace")) == ["a\ufffd\ufffdb"]


def test_bad_tables_are_named_by_line(tmp_path):
    with pytest.raises(InputError, match=r"a\.tsv:1: no column `text`") as error:
        whole(write(tmp_path / "a.tsv", "id\tbody\n1\tx\n"))
    assert "id, body" in error.value.hint
    path = write(tmp_path / "b.tsv", "id\ttext\n1\t甲\n2\n")
    for size in (1, 8, 100):
        with pytest.raises(InputError, match=r"b\.tsv:3: 1 cell where the header names 2"):
            by_blocks(source(path), size)
    with pytest.raises(InputError, match=r"c\.csv:1: no column `text`"):
        whole(write(tmp_path / "c.csv", "id,body\n"))
    with pytest.raises(InputError, match=r"d\.csv:3: 3 cells"):
        whole(write(tmp_path / "d.csv", "id,text\n1,甲\n2,乙,丙\n"))
    with pytest.raises(InputError, match=r"e\.csv:2: a quote opens a cell that never ends"):  # not the last line
        whole(write(tmp_path / "e.csv", 'id,text\n"1,甲\n2,乙\n3,丙\n'))


@pytest.mark.parametrize("kind", ["gz", "bz2", "xz", "zst"])
def test_a_pack_that_breaks_off_says_how_far_it_was_read(tmp_path, kind):
    chance = random.Random(3)
    text = "".join("".join(chance.choices("天地玄黄宇宙洪荒日月盈昃", k=40)) + "\n" for _ in range(12_000))
    data = PACK[kind](text.encode())
    path = write(tmp_path / f"a.txt.{kind}", data[: len(data) // 2])
    texts = read_texts(source(path), READING)
    with pytest.raises(
        InputError, match=r"compressed data ends in the middle \(truncated\) after line ([\d,]+)"
    ) as error:
        list(texts)
    if kind == "gz":
        reached = int(error.value.message.split("after line ")[1].split(" ")[0].replace(",", ""))
        assert 4_500 < reached < 7_500


def test_a_gzip_member_that_is_damaged_in_the_middle(tmp_path):
    good = gzip.compress("好\n".encode() * 1000)
    damaged = bytearray(gzip.compress(os.urandom(50_000)))
    damaged[20_000:20_050] = bytes(50)
    path = write(tmp_path / "a.txt.gz", good + bytes(damaged))
    with pytest.raises(InputError, match=r"a\.txt\.gz: the compressed data is not valid after line \d") as error:
        list(read_texts(source(path), Reading(errors="replace")))
    assert error.value.exit_code == 3
    with pytest.raises(InputError, match="is not valid after line 0"):
        whole(write(tmp_path / "b.txt.zst", b"no zstandard"))


def test_a_file_that_shrinks_is_not_counted_short(tmp_path):
    path = write(tmp_path / "a.txt", "好\n" * 100)
    blocks = plan_blocks([source(path)], block_bytes=150)
    path.write_bytes("好\n".encode() * 50)
    with pytest.raises(InputError, match="became shorter while it was read"):
        _ = [list(read_block(block, READING)) for block in blocks]


def test_a_line_without_end_is_refused(tmp_path, monkeypatch):
    from nlpx.data.corpus import pieces

    monkeypatch.setattr(pieces, "LONGEST_LINE", 1000)
    path = write(tmp_path / "a.txt", b"x" * 5000)
    with pytest.raises(InputError, match="a line of more than"):
        list(read_part(source(path), READING, block_bytes=100))


def test_nothing_heavy_is_imported(tmp_path):
    import subprocess

    path = write(tmp_path / "a.txt", "好\n")
    code = (
        "import sys; from nlpx.data.corpus.texts import *; s = find_sources([sys.argv[1]]);"
        "print([*read_texts(s[0], Reading())], {'fsspec', 'pyarrow', 'numpy', 'torch', 'backports'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, encoding="utf-8", check=True)
    assert done.stdout.split() == ["['好']", "set()"]


def test_a_web_server_without_ranges_is_read_from_the_start(tmp_path):
    from functools import partial
    from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
    from threading import Thread

    lines = [f"第{number}行" * 10 for number in range(200_000)]  # more than one request would bring
    write(tmp_path / "a.txt", "\n".join(lines))
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        try:
            address = f"http://127.0.0.1:{server.server_port}"
            (found,) = find_sources([f"{address}/a.txt"])
            assert (found.splittable, found.repeatable) == (False, True)
            assert list(read_texts(found, READING)) == lines
            with pytest.raises(InputError, match="no such file"):
                find_sources([f"{address}/b.txt"])
        finally:
            server.shutdown()
