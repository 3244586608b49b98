"""vocab.txt: ids, special tokens, what the kind is, and files that cannot be used."""

from __future__ import annotations

from pathlib import Path

import pytest

from nlpx.errors import InputError
from nlpx.tokenizers.vocab import Vocab


def read(tmp_path: Path, content: bytes) -> Vocab:
    path = tmp_path / "vocab.txt"
    path.write_bytes(content)
    return Vocab.read(path)


def test_the_id_is_the_line(tmp_path: Path) -> None:
    vocab = read(tmp_path, "好\n[UNK]\n##a\n".encode())
    assert vocab.tokens == ["好", "[UNK]", "##a"]
    assert vocab.ids == {"好": 0, "[UNK]": 1, "##a": 2}


def test_blank_lines_take_ids_but_not_at_the_end(tmp_path: Path) -> None:
    vocab = read(tmp_path, b"a\n\n[UNK]\nb\n\n\n")
    assert vocab.ids["[UNK]"] == 2
    assert vocab.ids["b"] == 3
    assert len(vocab) == 4


def test_of_duplicates_the_last_line_counts_as_in_transformers(tmp_path: Path) -> None:
    from transformers import BertTokenizerFast

    vocab = read(tmp_path, b"[PAD]\na\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\nb\n")
    assert vocab.ids["a"] == 6
    assert BertTokenizerFast.from_pretrained(tmp_path).convert_tokens_to_ids(["a", "b"]) == [6, vocab.ids["b"]]


def test_only_line_feeds_end_a_line_and_other_blanks_are_tokens(tmp_path: Path) -> None:
    assert read(tmp_path, "[UNK]\n\u2028\n\u3000\nx\n".encode()).ids["x"] == 3


@pytest.mark.parametrize("prefix", [b"", b"\xef\xbb\xbf"])
def test_windows_line_ends_and_byte_order_mark(tmp_path: Path, prefix: bytes) -> None:
    assert read(tmp_path, prefix + b"[UNK]\r\na\r\n").tokens == ["[UNK]", "a"]


def test_text_is_what_was_read(tmp_path: Path) -> None:
    content = "[UNK]\n\n汉\n汉\n##字\n".encode()
    assert read(tmp_path, content).text().encode() == content


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"\n\n", "is empty"),
        (b"a\nb\n", r"no \[UNK\] among its 2 entries"),
        ("[UNK]\n好\n".encode("gb18030"), r"vocab\.txt:2 is not UTF-8"),
    ],
)
def test_unusable_files_are_refused_with_the_place(tmp_path: Path, content: bytes, said: str) -> None:
    with pytest.raises(InputError, match=said) as caught:
        read(tmp_path, content)
    assert str(tmp_path / "vocab.txt") in caught.value.message
    assert caught.value.hint


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no vocabulary at"):
        Vocab.read(tmp_path / "vocab.txt")


def test_word_vocabularies_are_recognised_by_their_words() -> None:
    characters = [chr(code) for code in range(0x4E00, 0x4E00 + 94)]
    pieces = ["##" + character for character in characters]
    assert Vocab(["[UNK]", *characters, "北京", "##上海", "ab", "天a", *pieces]).recognise() == (
        "char",
        "character level: 1 of 193 entries are words of two or more Chinese characters",
    )
    words = [first + second for first in characters[:40] for second in characters[:40]]
    assert Vocab(["[UNK]", *characters, *words]).recognise() == (
        "word",
        "word level: 1,600 of 1,695 entries are words of two or more Chinese characters",
    )
