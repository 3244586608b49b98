"""The short way for small files: the engine's counts where it answers, and no answer where a closer look is needed."""

from __future__ import annotations

import gzip

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nlpx.counting import small
from nlpx.counting.engine import count
from nlpx.counting.settings import CountSettings
from nlpx.counting.small import count_small
from nlpx.data.opening.sources import find_sources
from nlpx.errors import InputError
from nlpx.messages import Silent
from quick_jieba import quick_jieba  # noqa: F401 - a fixture of this file

TEXT = "\ufeff春风又绿江南岸，\r\n\r\n他来到了网易杭研大厦 18-24 C:\\dir\n \n𠀀😀 emoji\x0b末行\r"


def write(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(path)


def compare(paths, *, hmm=True):
    found = count_small(paths, hmm=hmm, user_dictionary=None)
    with count(find_sources(paths), CountSettings(hmm=hmm, workers=1), Silent()) as counts:
        assert found is not None
        for top, min_count in ((None, 1), (3, 1), (None, 2)):
            assert list(found.ranked(top, min_count)) == list(counts.ranked(top, min_count))
        for name in ("total", "distinct", "num_texts", "num_bytes", "segmenter"):
            assert getattr(found, name) == getattr(counts, name), name


@pytest.mark.parametrize("hmm", [True, False])
def test_it_counts_as_the_engine(tmp_path, hmm):
    compare([write(tmp_path / "a.txt", TEXT), write(tmp_path / "b", "春风\n")], hmm=hmm)
    compare([write(tmp_path / "empty.txt", "")], hmm=hmm)


@settings(max_examples=15)
@given(st.text(alphabet=st.sampled_from("春风又绿江南岸网易杭研a1.\r\n\t 😀"), max_size=80))
def test_it_counts_any_text_as_the_engine(tmp_path_factory, text):
    compare([write(tmp_path_factory.mktemp("any") / "a.txt", text)])


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("gb.txt", "春风".encode("gb18030")),
        ("nul.txt", b"a\0b"),
        ("wide.txt", "春".encode("utf-16")),
        ("packed.txt", gzip.compress(b"a", mtime=0)),
        ("packed.txt", b"BZh9"),
        ("table", b"PAR1"),
        ("rows.jsonl", b'{"text": "a"}'),
        ("rows.csv", b"text\na\n"),
        ("large.txt", b"a" * (small.LARGEST + 1)),
    ],
)
def test_everything_else_is_left_to_the_engine(tmp_path, name, content):
    plain = write(tmp_path / "plain.txt", "a\n")
    assert count_small([plain, write(tmp_path / name, content)], hmm=True, user_dictionary=None) is None


@pytest.mark.parametrize("path", ["-", "none.txt", ".", "*.txt", "memory://a.txt"])
def test_only_files_are_answered(tmp_path, monkeypatch, path):
    monkeypatch.chdir(tmp_path)
    assert count_small([path], hmm=True, user_dictionary=None) is None


def test_several_files_are_small_together(tmp_path):
    half = write(tmp_path / "a.txt", b"a\n" * (small.LARGEST // 4 + 1))
    assert count_small([half], hmm=True, user_dictionary=None) is not None
    assert count_small([half, half], hmm=True, user_dictionary=None) is None


def test_user_words_count(tmp_path):
    path = write(tmp_path / "a.txt", "春风又绿江南岸\n")
    found = count_small([path], hmm=True, user_dictionary=write(tmp_path / "words.txt", "又绿江南 100000\n"))
    assert found is not None
    assert dict(found.ranked())["又绿江南"] == 1
    with pytest.raises(InputError):
        count_small([path], hmm=True, user_dictionary=str(tmp_path / "none.txt"))
