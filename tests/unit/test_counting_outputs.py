"""Tables of earlier counts, added up."""

from __future__ import annotations

from collections import Counter

import pytest

from nlpx.counting.outputs import merge_counts
from nlpx.counting.settings import CountSettings
from nlpx.data.corpus.count_tables import write_counts
from nlpx.errors import InputError
from nlpx.messages import Silent


def write(path, entries, format="tsv"):
    with path.open("w", encoding="utf-8", newline="\n") as stream:
        assert write_counts(entries, stream, format=format) == len(entries)
    return str(path)


@pytest.mark.parametrize("table_bytes", [None, 3000])
def test_outputs_add_up_exactly(tmp_path, table_bytes):
    first = [(f"词{index}", 1 + index % 7) for index in range(2500)]
    second = [(f"词{index}", 100) for index in range(2000, 4000)]
    paths = [write(tmp_path / "a.tsv", first), write(tmp_path / "b.jsonl", second, "jsonl")]
    expected = Counter(dict(first)) + Counter(dict(second))
    with merge_counts(paths, CountSettings(table_bytes=table_bytes), Silent()) as counts:
        assert counts.total == expected.total()
        assert counts.distinct == 4000
        ranked = list(counts.ranked())
    assert ranked == sorted(expected.items(), key=lambda item: (-item[1], item[0]))


def test_a_missing_output_is_named(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        merge_counts([str(tmp_path / "none.tsv")], CountSettings(), Silent())


def test_words_with_tabs_and_line_ends_add_up(tmp_path):
    hard = [("a\tb", 3), ("c\nd", 2), ("\\t", 2), ("\\", 1), ("{", 1)]
    paths = [write(tmp_path / "a.tsv", hard), write(tmp_path / "b.jsonl", hard, "jsonl")]
    with merge_counts(paths, CountSettings(), Silent()) as counts:
        assert dict(counts.ranked()) == {word: 2 * number for word, number in hard}


def test_a_broken_output_is_named_by_line(tmp_path):
    (tmp_path / "counts.tsv").write_text("好\t1\n天\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"counts.tsv:2: not a count"):
        merge_counts([str(tmp_path / "counts.tsv")], CountSettings(), Silent())
