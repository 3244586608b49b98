"""Rows from files and pipes: formats, tolerance, and one clear refusal for each kind of damage."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import os
import subprocess
import sys
from pathlib import Path

import pytest

from nlpx.data.rows.reading import RowReport, excerpt, format_of, read_rows
from nlpx.data.rows.writing import OutFormat, RowWriter, out_format_of, write_rows
from nlpx.errors import InputError, UsageError


def write(folder: Path, name: str, content: bytes | str) -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def values(source: Path, **options: object) -> list[dict[str, object]]:
    return [row.values for row in read_rows(source, **options)]  # type: ignore[arg-type]


def refusal(source: Path | str, **options: object) -> InputError:
    with pytest.raises(InputError) as caught:
        list(read_rows(source, **options))  # type: ignore[arg-type]
    return caught.value


def test_json_lines_with_mark_crlf_and_empty_lines(tmp_path: Path) -> None:
    path = write(tmp_path, "a.jsonl", b'\xef\xbb\xbf{"text": "\xe9\x9b\xa8"}\r\n\r\n  \n{"text": "b"}')
    report = RowReport()
    rows = list(read_rows(path, report=report))
    assert [row.values for row in rows] == [{"text": "雨"}, {"text": "b"}]
    assert [row.place for row in rows] == [f"{path}:1", f"{path}:4"]
    assert (report.num_rows, report.num_empty, report.num_skipped) == (2, 2, 0)


def test_line_separators_inside_a_json_string_do_not_split_the_row(tmp_path: Path) -> None:
    path = write(tmp_path, "a.jsonl", '{"text": "一\u2028二\u0085三"}\n')
    assert values(path) == [{"text": "一\u2028二\u0085三"}]


def test_tables_and_plain_lines(tmp_path: Path) -> None:
    tsv = write(tmp_path, "a.tsv", 'source\ttarget\n说"好"\t行\n')
    table = write(tmp_path, "a.csv", 'source,target\n"第一行\n\n第三行","a,b"\n\n末,尾\n')
    lines = write(tmp_path, "a.txt", "一\n二\n")
    assert values(tsv) == [{"source": '说"好"', "target": "行"}]
    rows = list(read_rows(table))
    assert [row.values for row in rows] == [
        {"source": "第一行\n\n第三行", "target": "a,b"},
        {"source": "末", "target": "尾"},
    ]
    assert [row.place for row in rows] == [f"{table}:2", f"{table}:6"]
    assert values(lines) == [{"text": "一"}, {"text": "二"}]


def test_long_csv_cells_are_read(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", "text\n" + "长" * 200_000 + "\n")
    assert len(str(values(path)[0]["text"])) == 200_000


@pytest.mark.parametrize(
    ("suffix", "pack"),
    [(".gz", gzip.compress), (".bz2", bz2.compress), (".xz", lzma.compress), ("", gzip.compress)],
)
def test_packed_files_are_recognised_by_name_or_content(tmp_path: Path, suffix: str, pack: object) -> None:
    path = write(tmp_path, f"a.jsonl{suffix}", pack(b'{"a": 1}\n'))  # type: ignore[operator]
    assert values(path) == [{"a": 1}]


def test_format_follows_the_suffix() -> None:
    assert [format_of(name) for name in ("a.CSV.gz", "a.tsv", "a.json", "a.txt.xz", "a", "-", "a.log")] == [
        "csv",
        "tsv",
        "jsonl",
        "txt",
        None,
        None,
        None,
    ]


def test_missing_file_proposes_near_names(tmp_path: Path) -> None:
    write(tmp_path, "train.jsonl", "{}")
    error = refusal(tmp_path / "trian.jsonl")
    assert "no such file" in error.message
    assert "train.jsonl" in str(error.hint)
    assert "does not exist" in str(refusal(tmp_path / "no" / "a.jsonl").hint)


def test_folder_and_empty_files(tmp_path: Path) -> None:
    assert "is a folder" in refusal(tmp_path).message
    assert "is empty" in refusal(write(tmp_path, "a.jsonl", "")).message
    assert "holds no rows" in refusal(write(tmp_path, "b.jsonl", "\n\n")).message
    assert "holds no rows" in refusal(write(tmp_path, "c.csv", "a,b\n")).message


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ('{"a": 1', "column 8"),
        ("[1, 2]", "array, not an object"),
        ('"text"', "string, not an object"),
        ('{"a": NaN}', "NaN is no JSON value"),
        ('{"a": "\\ud800"}', "lone surrogate"),
        ('{"\\udc00": 1}', "lone surrogate"),
        ('{"a": ["\\u0000"]}', "NUL"),
        ('{"a": "\0"}', "NUL"),
        ("[" * 100_000, "nested too deeply"),
    ],
)
def test_bad_json_names_place_reason_and_row(tmp_path: Path, line: str, expected: str) -> None:
    path = write(tmp_path, "a.jsonl", '{"good": 1}\n' + line + "\n")
    error = refusal(path)
    assert error.message.startswith(f"{path}:2: ")
    assert expected in error.message
    assert excerpt(line) in error.message
    assert error.hint


def test_escaped_pairs_are_no_lone_surrogates(tmp_path: Path) -> None:
    path = write(tmp_path, "a.jsonl", '{"a": "\\ud83d\\ude00"}\n')
    assert values(path) == [{"a": "😀"}]


def test_gb18030_is_named_with_line_and_byte(tmp_path: Path) -> None:
    first = b'{"a": "ok"}\n'
    path = write(tmp_path, "a.jsonl", first + '{"a": "暴雨"}\n'.encode("gb18030"))
    error = refusal(path)
    assert error.message.startswith(f"{path}:2: not UTF-8 at byte {len(first) + 7} (0xb1)")
    assert "暴雨" in error.message
    assert "--encoding gb18030" in str(error.hint)
    assert values(path, encoding="gb18030")[1] == {"a": "暴雨"}


def test_bytes_of_no_known_encoding(tmp_path: Path) -> None:
    error = refusal(write(tmp_path, "a.jsonl", b'{"a": "\xff\xff"}\n'))
    assert "not UTF-8" in error.message
    assert "gb18030" not in str(error.hint)


def test_utf16_and_unknown_encodings(tmp_path: Path) -> None:
    path = write(tmp_path, "a.jsonl", '{"a": 1}'.encode("utf-16"))
    assert values(path) == [{"a": 1}]
    for encoding in ("base64", "no-such-code"):
        with pytest.raises(UsageError):
            read_rows(path, encoding=encoding)


@pytest.mark.parametrize(("suffix", "pack"), [(".gz", gzip.compress), (".bz2", bz2.compress), (".xz", lzma.compress)])
def test_truncated_archives_are_refused_even_when_skipping(tmp_path: Path, suffix: str, pack: object) -> None:
    content = "".join(json.dumps({"number": number**7}) + "\n" for number in range(20_000)).encode()
    packed = pack(content)  # type: ignore[operator]
    path = write(tmp_path, f"a.jsonl{suffix}", packed[: len(packed) // 2])
    assert "truncated" in refusal(path, on_bad_row="skip").message
    assert "not valid" in refusal(write(tmp_path, f"b.jsonl{suffix}", b"plain text, no archive\n")).message


def test_skipping_counts_and_keeps_the_first_messages(tmp_path: Path) -> None:
    path = write(tmp_path, "a.jsonl", b'{"a": 1}\nnot json\n\xff\xff\n[]\n{"a": 2}\n' + b"x\n" * 9)
    report = RowReport()
    assert [row.values for row in read_rows(path, on_bad_row="skip", report=report)] == [{"a": 1}, {"a": 2}]
    assert report.num_skipped == 12
    assert len(report.errors) == 5
    assert report.errors[0].startswith(f"{path}:2: not JSON")


def test_nothing_usable_is_an_error_although_skipping(tmp_path: Path) -> None:
    path = write(tmp_path, "a.jsonl", "x\ny\n")
    error = refusal(path, on_bad_row="skip")
    assert "no usable row" in error.message
    assert f"{path}:1" in error.message


def test_tables_with_wrong_rows(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", "a,b\n1,2,3\n4,5\n")
    assert f"{path}:2: 3 cells where the header names 2" in refusal(path).message
    assert values(path, on_bad_row="skip") == [{"a": "4", "b": "5"}]
    assert "names `a` twice" in refusal(write(tmp_path, "b.tsv", "a\ta\n1\t2\n")).message
    assert values(write(tmp_path, "c.tsv", "a\t\n1\t2\n")) == [{"a": "1"}]  # as pandas writes its index
    assert "names no column" in refusal(write(tmp_path, "e.csv", ",\n1,2\n")).message
    broken_header = write(tmp_path, "d.tsv", b"\xff\xfe\xfd\n1\n2\n")
    assert refusal(broken_header, on_bad_row="skip")


def test_excerpt_is_short_and_printable() -> None:
    assert excerpt("甲" * 61) == "甲" * 60 + "…"
    assert excerpt("a\x1b[31m\ud800\t") == "a\\x1b[31m\\ud800\\t"


READ_ONE = """
import sys
from nlpx.data.rows.reading import read_rows
for row in read_rows("-"):
    print(row.place, row.values, flush=True)
"""


def test_stdin_hands_on_the_first_row_while_the_pipe_is_open() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", READ_ONE],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONUTF8": "1"},
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write('{"a": "甲"}\n'.encode())
        process.stdin.flush()
        # Blocks for ever, rather than failing, if the reader waits for more than one line.
        assert process.stdout.readline().decode() == "stdin:1 {'a': '甲'}\n"
        process.stdin.close()
        assert process.wait() == 0


def test_packed_stdin_is_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    packed = io.BytesIO(gzip.compress(b'{"a": 1}\n'))
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(packed))
    assert values(Path("-")) == [{"a": 1}]


class CountingStream(io.StringIO):
    flushes = 0

    def flush(self) -> None:
        self.flushes += 1


def test_writer_json_lines_round_trip_and_flushing(tmp_path: Path) -> None:
    stream = CountingStream()
    rows = [{"text": "甲\n乙", "score": 0.5}, {"text": "丙", "more": [1, None]}]
    RowWriter(stream, flush=True).write_all(rows)
    assert "甲" in stream.getvalue()
    assert stream.flushes == 2
    assert values(write(tmp_path, "a.jsonl", stream.getvalue())) == rows


def test_writer_tsv_refuses_what_it_cannot_write() -> None:
    stream = io.StringIO()
    RowWriter(stream, format="tsv").write_all([{"text": '说"好"', "label": 1}, {"text": "春", "label": None}])
    assert stream.getvalue() == 'text\tlabel\n说"好"\t1\n春\t\n'
    with pytest.raises(InputError, match="row 1 holds a tab or a line end"):
        RowWriter(io.StringIO(), format="tsv").write({"text": "a\tb"})


@pytest.mark.parametrize("format", ["jsonl", "csv", "tsv", "parquet"])
def test_what_is_written_is_read_again(tmp_path: Path, format: OutFormat) -> None:
    rows = [{"text": f"第{number}行", "label": str(number)} for number in range(1500)]
    path = tmp_path / f"a.{format}"
    write_rows(rows, path, format=out_format_of(path, None))
    assert values(path) == rows
    write_rows(rows, path, format=format, fields=["label"])
    assert values(path) == [{"label": row["label"]} for row in rows]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "gb18030"])
def test_files_for_spreadsheets(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "a.csv"
    write_rows([{"text": "春天😀"}], path, format="csv", encoding=encoding)
    assert path.read_bytes() == "text\n春天😀\n".encode(encoding)
    assert values(path, encoding="gb18030" if encoding == "gb18030" else "utf-8") == [{"text": "春天😀"}]
    with pytest.raises(InputError, match="`😀` cannot be written in gbk"):
        write_rows([{"text": "春天😀"}], path, format="csv", encoding="gbk")


@pytest.mark.parametrize("format", ["csv", "parquet"])
def test_a_table_has_the_columns_of_all_its_first_rows(tmp_path: Path, format: OutFormat) -> None:
    rows = [{"id": "1", "a": "x", "label": "0"}, {"id": "2", "b": "y", "label": "1"}]
    path = tmp_path / f"t.{format}"
    write_rows(rows, path, format=format)
    nothing = "" if format == "csv" else None
    assert [list(row.items()) for row in values(path)] == [
        [("id", "1"), ("a", "x"), ("b", nothing), ("label", "0")],
        [("id", "2"), ("a", nothing), ("b", "y"), ("label", "1")],
    ]
    with pytest.raises(InputError, match="has the field `late`"):
        write_rows([*rows * 600, {"late": "z"}], path, format=format)


def test_parquet_rows_that_change_their_kind_are_refused(tmp_path: Path) -> None:
    rows = [*({"a": number} for number in range(1000)), {"a": "text"}]
    with pytest.raises(InputError, match="do not fit the columns of the first ones"):
        write_rows(rows, tmp_path / "a.parquet", format="parquet")
    assert not (tmp_path / "a.parquet").exists()


def test_writer_csv() -> None:
    stream = CountingStream()
    writer = RowWriter(stream, format="csv", fields=["id", "label"])
    writer.write_all([{"id": 'a"1', "label": 1, "text": "left out"}, {"id": "b,2", "label": None}])
    assert stream.getvalue() == 'id,label\n"a""1",1\n"b,2",\n'
    assert stream.flushes == 0
    first_row_decides = RowWriter(io.StringIO(), format="csv")
    first_row_decides.write({"a": {"b": "丁"}})
    with pytest.raises(InputError, match="the header of the table lacks"):
        first_row_decides.write({"a": 1, "c": 2})
    with pytest.raises(UsageError):
        RowWriter(io.StringIO(), format="xml")  # type: ignore[arg-type]
