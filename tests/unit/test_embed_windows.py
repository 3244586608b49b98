"""Texts and windows of `nlpx embed`: each line in its place, nothing mixed up, nothing lost by a kill."""

from __future__ import annotations

import gzip

import numpy as np
import pytest

from nlpx.data.corpus.texts import Reading, find_sources, read_texts
from nlpx.embed import windows as windows_module
from nlpx.embed.windows import Window, WindowFolder, rows_between, windows
from nlpx.errors import ResultError

CONTENT = {
    "a.txt": ("春\n\n  \n秋\r\n\n", ["春", "", "  ", "秋", ""]),
    "no-end.txt": ("春\n\n秋", ["春", "", "秋"]),
    "line-ends.txt": ("\n\n", ["", ""]),
    "marked.txt": ("\ufeff\n春\n", ["", "春"]),
    "only-a-mark.txt": ("\ufeff", []),
    "empty.txt": ("", []),
    # In rows, a line without a row is no row; a row without a text is one.
    "b.jsonl": (
        '{"text": "春"}\n\n{"text": ""}\n{"text": null, "x": "\\u6625"}\n{"text": "秋"}\n',
        ["春", "", "", "秋"],
    ),
    "c.tsv": ("text\tx\n春\t1\n\n\t2\n秋\t3\n", ["春", "", "秋"]),
    "d.csv": ('text,x\n"春\n\n天",1\n,2\n\n秋,3\n', ["春\n\n天", "", "秋"]),
}


@pytest.mark.parametrize(("name", "content"), CONTENT.items(), ids=CONTENT)
@pytest.mark.parametrize("packed", [False, True])
def test_every_line_and_row_keeps_its_place(tmp_path, name, content, packed):
    data, expected = content
    path = tmp_path / (name + ".gz" if packed else name)
    path.write_bytes(gzip.compress(data.encode()) if packed else data.encode())
    source = find_sources([str(path)])[0]
    assert list(read_texts(source, Reading(), keep_empty=True)) == expected
    assert list(read_texts(source, Reading())) == [text for text in expected if text.strip()]


def test_a_column_of_parquet(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    parquet.write_table(pyarrow.table({"text": ["春", None, "", "秋"]}), tmp_path / "e.parquet", row_group_size=3)
    source = find_sources([str(tmp_path / "e.parquet")])[0]
    assert list(read_texts(source, Reading(), keep_empty=True)) == ["春", "", "", "秋"]


def test_lines_on_the_border_of_two_pieces(tmp_path):
    lines = ["", "春", "", "", "秋冬", "", "雨" * 9, ""] * 40
    (tmp_path / "a.txt").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    source = find_sources([str(tmp_path / "a.txt")])[0]
    from nlpx.data.corpus.texts import read_part

    for size in (1, 7, 64):
        assert list(read_part(source, Reading(), block_bytes=size, keep_empty=True)) == lines


def test_windows_are_cut_by_texts_and_by_characters(monkeypatch):
    monkeypatch.setattr(windows_module, "WINDOW_TEXTS", 3)
    monkeypatch.setattr(windows_module, "WINDOW_CHARACTERS", 10)
    texts = ["a", "b", "c", "d" * 4, "e" * 6, "f" * 30, "", "g"]
    cut = list(windows(iter(texts)))
    assert cut == [["a", "b", "c"], ["d" * 4, "e" * 6], ["f" * 30], ["", "g"]]
    assert list(windows([])) == []


def test_windows_are_read_as_a_stream():
    stream = (str(number) for number in range(10**9))
    assert len(next(windows(stream))) == windows_module.WINDOW_TEXTS
    assert int(next(stream)) == windows_module.WINDOW_TEXTS


def test_names_follow_from_texts_and_settings(tmp_path):
    def names(settings, *parts):
        folder = WindowFolder(tmp_path, settings)
        return [folder.add(part).path.name for part in parts]

    same = names(["mean"], ["春", "秋"], ["山"])
    assert names(["mean"], ["春", "秋"], ["山"]) == same
    changed = [
        names(["cls"], ["春", "秋"], ["山"]),
        names(["mean"], ["春", "夏"], ["川"]),
        names(["mean"], ["春秋"], ["山", ""]),
        names(["mean"], ["春\n秋"], ["", "山"]),
    ]
    assert not set(same) & {name for other in changed for name in other}


def test_rows_between(tmp_path):
    folder, rows = WindowFolder(tmp_path, None), np.arange(46, dtype="f4").reshape(23, 2)
    found = [folder.add(["x"] * size) for size in (10, 1, 12)]
    for window in found:
        assert not window.is_done
        window.write(rows[window.first : window.first + window.rows], dtype="float32")
        assert window.is_done
    assert [window.first for window in found] == [0, 10, 11]
    for start in range(23):
        for stop in range(start + 1, 24):
            assert np.array_equal(np.concatenate(list(rows_between(found, start, stop))), rows[start:stop])


def test_vectors_that_are_no_numbers_are_refused(tmp_path):
    window = Window(tmp_path / "a.npy", 100, 3)
    with pytest.raises(ResultError, match="text 103: its vector is not finite in float32") as caught:
        window.write(np.array([[1.0], [2.0], [np.nan]], dtype="f4"), dtype="float32")
    assert caught.value.hint == "are the model's weights sound?"
    with pytest.raises(ResultError, match="text 102: its vector is not finite in float16") as caught:
        window.write(np.array([[1.0], [1e6], [3.0]], dtype="f4"), dtype="float16")
    assert caught.value.hint == "--dtype float32 reaches further"
    assert not window.is_done
    assert list(tmp_path.iterdir()) == []
