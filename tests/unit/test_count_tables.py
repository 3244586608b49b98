"""Counts written and read again: nothing is lost, and what is no count is refused by line."""

from __future__ import annotations

import gzip
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nlpx.data.corpus.count_tables import SPECIAL_TOKENS, escape, read_counts, unescape, write_counts
from nlpx.errors import InputError

AWKWARD = [
    "的",
    "\\",
    "\\\\",
    "\\t",
    "a\tb",
    "a\nb",
    "\r",
    "a\\\tb",
    "tail\\",
    "\\n\\",
    "\u2028",
    "\x85",
    '{"word"',
    "𠀀",
    " ",
]


@given(st.text(alphabet=st.sampled_from("\\tnr\t\n\r好")))
def test_escaping_is_undone_exactly(word):
    assert unescape(escape(word)) == word
    assert not set(escape(word)) & set("\t\n\r")


def test_ordinary_words_and_a_lone_backslash_stand_as_they_are():
    assert [escape(word) for word in ("好", "\\", "a\\b", "C:\\dir")] == ["好", "\\", "a\\b", "C:\\dir"]


@pytest.mark.parametrize("format", ["tsv", "jsonl"])
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_what_is_written_is_read(tmp_path, format, pack):
    rows = [(word, 10**20 - number) for number, word in enumerate(AWKWARD)]
    stream = io.StringIO()
    assert write_counts(rows, stream, format=format) == len(rows)
    path = tmp_path / "counts"
    path.write_bytes(pack(stream.getvalue().encode()))
    assert list(read_counts(path)) == rows


def test_large_tables_are_read_over_the_ends_of_pieces(tmp_path):
    rows = [(f"词{number}", number) for number in range(200_000)]
    path = tmp_path / "counts.tsv"
    with path.open("w", encoding="utf-8") as stream:
        write_counts(rows, stream)
    assert list(read_counts(path)) == rows
    path.write_text(path.read_text(encoding="utf-8") + "broken\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"counts\.tsv:200001: not a count: broken"):
        list(read_counts(path))


def test_a_vocabulary_has_special_tokens_first_and_no_token_twice():
    stream = io.StringIO()
    write_counts([("的", 9), ("[MASK]", 8), ("a\tb", 7), ("了", 5)], stream, format="vocab")
    assert stream.getvalue().split("\n") == [*SPECIAL_TOKENS, "的", "了", ""]


def test_the_special_tokens_are_those_of_the_tokenizers():
    from nlpx.tokenizers import vocab

    assert SPECIAL_TOKENS == vocab.SPECIAL_TOKENS


@pytest.mark.parametrize(
    "line",
    ["word", "word\tmany", "\t5", "word\t-1", "word\t1.5", "[1]", '{"word": "a"}', '{"word": 1, "count": 2}',
     '{"word": "a", "count": true}', '{"word": "a", "count": -2}', '{"word": "a"', "word\t²"],
)  # fmt: skip
def test_what_is_no_count_is_refused(tmp_path, line):
    path = tmp_path / "counts.tsv"
    path.write_text(f"好\t3\n{line}\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"counts\.tsv:2: not a count"):
        list(read_counts(path))
