"""The character tokenizer: pairs, truncation, offsets, decoding, bad text, workers."""

from __future__ import annotations

import multiprocessing
import pickle
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nlpx.errors import InputError, UsageError
from nlpx.tokenizers.cache import BoundedCache
from nlpx.tokenizers.char import CharTokenizer
from nlpx.tokenizers.load import load_tokenizer
from nlpx.tokenizers.truncate import truncated_lengths
from nlpx.tokenizers.vocab import Vocab

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
TEXT = "今天在北京吃了3个苹果，味道不错！"
WORDS = ["hello", "world", "play", "##ing", "nlp", "cafe", "a", "##b", "it", "s", "2", "##0", "1", "3", "14"]
VOCAB = Vocab(list(dict.fromkeys([*SPECIAL, *TEXT, *"。：“”《》", *"!,.:'\"()-/", *WORDS])))
TOKENIZER = CharTokenizer(VOCAB)


def test_one_text_and_one_pair() -> None:
    single = TOKENIZER.encode("北京Hello")
    assert [VOCAB.tokens[index] for index in single.token_ids] == ["[CLS]", "北", "京", "hello", "[SEP]"]
    assert single.segment_ids == [0] * 5
    assert single.offsets is None
    pair = TOKENIZER.encode("北京", "苹果", return_offsets=True)
    assert [VOCAB.tokens[index] for index in pair.token_ids] == ["[CLS]", *"北京", "[SEP]", *"苹果", "[SEP]"]
    assert pair.segment_ids == [0, 0, 0, 0, 1, 1, 1]
    assert pair.offsets == [(0, 0), (0, 1), (1, 2), (0, 0), (0, 1), (1, 2), (0, 0)]


def test_tokenize_uses_word_pieces_and_unknown() -> None:
    assert TOKENIZER.tokenize("在 PLAYING，zebra 龘") == ["在", "play", "##ing", "，", "[UNK]", "[UNK]"]


def test_special_tokens_in_the_text_are_recognised_as_written() -> None:
    assert TOKENIZER.tokenize("今[MASK]天") == ["今", "[MASK]", "天"]
    assert "[MASK]" not in TOKENIZER.tokenize("今[mask]天")


@pytest.mark.parametrize(
    ("text", "spans"),
    [
        ("Café北", [(0, 4), (4, 5)]),
        ("Cafe\u0301 北", [(0, 4), (6, 7)]),
        ("北\u0301京", [(0, 1), (2, 3)]),
        ("a\u200bb北", [(0, 1), (2, 3), (3, 4)]),
        ("  PLAYing\t北", [(2, 6), (6, 9), (10, 11)]),
    ],
)
def test_offsets_count_characters_of_the_original_text(text: str, spans: list[tuple[int, int]]) -> None:
    offsets = TOKENIZER.encode(text, return_offsets=True).offsets
    assert offsets is not None
    assert offsets[1:-1] == spans


def test_a_batch_is_the_same_as_its_rows_also_across_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [TEXT, "", "hello", "hello", " \n ", "a\nb", TEXT * 3]
    alone = [TOKENIZER.encode(text, return_offsets=True) for text in texts]
    assert TOKENIZER.encode_batch(texts, return_offsets=True) == alone
    monkeypatch.setattr("nlpx.tokenizers.base._BLOCK", 20)
    assert TOKENIZER.encode_batch(texts, return_offsets=True) == alone
    assert TOKENIZER.encode_batch([]) == []


def take_one_by_one(first: int, second: int, limit: int) -> tuple[int, int]:
    while first + second > limit:
        if first >= second:
            first -= 1
        else:
            second -= 1
    return first, second


@given(first=st.integers(0, 60), second=st.integers(0, 60), limit=st.integers(0, 130))
def test_truncation_is_one_token_at_a_time_from_the_longer(first: int, second: int, limit: int) -> None:
    assert truncated_lengths(first, second, limit=limit) == take_one_by_one(first, second, limit)


def test_truncation_keeps_both_separators_and_cuts_offsets_alike() -> None:
    pair = TOKENIZER.encode("今天在北京", "苹果不错", max_length=9, return_offsets=True)
    assert [VOCAB.tokens[i] for i in pair.token_ids] == ["[CLS]", *"今天在", "[SEP]", *"苹果不", "[SEP]"]
    assert pair.segment_ids == [0] * 5 + [1] * 4
    assert pair.offsets == [(0, 0), (0, 1), (1, 2), (2, 3), (0, 0), (0, 1), (1, 2), (2, 3), (0, 0)]
    single = TOKENIZER.encode("今天在北京", max_length=4, return_offsets=True)
    assert [VOCAB.tokens[i] for i in single.token_ids] == ["[CLS]", *"今天", "[SEP]"]
    assert single.offsets == [(0, 0), (0, 1), (1, 2), (0, 0)]
    assert len(TOKENIZER.encode("今天", max_length=2).token_ids) == 2


@pytest.mark.parametrize(("pair", "max_length"), [(None, 1), ("果", 2)])
def test_a_length_without_room_for_the_special_tokens_is_refused(pair: str | None, max_length: int) -> None:
    with pytest.raises(UsageError, match="leaves no room"):
        TOKENIZER.encode("今", pair, max_length=max_length)


def test_pairs_of_another_number_are_refused() -> None:
    with pytest.raises(UsageError, match="2 texts but 1 partners"):
        TOKENIZER.encode_batch(["今", "天"], ["在"])


def test_absent_special_tokens_are_none_and_left_out() -> None:
    tokenizer = CharTokenizer(Vocab(["今", "[UNK]", "[SEP]"]))
    assert (tokenizer.pad_token_id, tokenizer.cls_token_id, tokenizer.mask_token_id) == (None, None, None)
    assert (tokenizer.unk_token_id, tokenizer.sep_token_id) == (1, 2)
    assert tokenizer.encode("今", "今", return_offsets=True).token_ids == [0, 2, 0, 2]


@pytest.mark.parametrize("text", ["北京\ud83d", "\udc00", "hello \udfffworld"])
def test_a_lone_surrogate_is_refused_with_its_place(text: str) -> None:
    position = next(place for place, character in enumerate(text) if "\ud800" <= character <= "\udfff")
    with pytest.raises(InputError, match=rf"text 1 holds the lone surrogate U\+D.* at character {position}\n"):
        TOKENIZER.encode_batch(["好", text])


def test_nul_and_replacement_characters_vanish_on_both_paths() -> None:
    assert TOKENIZER.tokenize("北\x00京\ufffd") == ["北", "京"]
    assert TOKENIZER.tokenize("hel\x00lo\ufffd") == ["hello"]


def test_decoding_chinese_gives_the_normalised_text() -> None:
    assert TOKENIZER.decode(TOKENIZER.encode(TEXT).token_ids) == TEXT
    assert TOKENIZER.decode(TOKENIZER.encode("今 天\t在").token_ids) == "今天在"


@pytest.mark.parametrize(
    "text",
    [
        "hello, world!",
        "playing: it's (a) hello-world. cafe/nlp",
        'a "hello world" nlp',
        "3.14, 20:1",
        "在cafe吃苹果，hello world。",
        "《hello》：“nlp”",
    ],
)
def test_decoding_puts_blanks_where_a_reader_expects_them(text: str) -> None:
    assert TOKENIZER.decode(TOKENIZER.encode(text).token_ids) == text


def test_decoding_special_tokens() -> None:
    ids = TOKENIZER.encode("今").token_ids
    assert TOKENIZER.decode(ids, skip_special_tokens=False) == "[CLS]今[SEP]"
    with pytest.raises(InputError, match="id 999 is outside the vocabulary"):
        TOKENIZER.decode([999])


def ids_of(tokenizer: CharTokenizer) -> list[int]:
    return tokenizer.encode(TEXT + "Café").token_ids


@pytest.mark.parametrize("options", [{}, {"do_lower_case": False, "strip_accents": True}])
def test_a_pickled_tokenizer_is_the_same(options: dict[str, bool]) -> None:
    tokenizer = CharTokenizer(VOCAB, **options)
    copy = pickle.loads(pickle.dumps(tokenizer))
    assert ids_of(copy) == ids_of(tokenizer)
    assert copy.reason == tokenizer.reason


def test_a_spawned_worker_encodes() -> None:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(TOKENIZER.encode, (TEXT,)).token_ids == TOKENIZER.encode(TEXT).token_ids


@pytest.mark.parametrize("options", [{}, {"do_lower_case": False}, {"tokenize_chinese_chars": False}])
@pytest.mark.parametrize("without", [(), ("vocab.txt",), ("tokenizer.json",)])
def test_saving_and_loading(tmp_path: Path, options: dict[str, bool], without: tuple[str, ...]) -> None:
    tokenizer = CharTokenizer(VOCAB, **options)
    tokenizer.save(tmp_path)
    assert (tmp_path / "vocab.txt").read_text(encoding="utf-8") == VOCAB.text()
    for name in without:
        (tmp_path / name).unlink()
    loaded = load_tokenizer(tmp_path)
    assert loaded.vocab.tokens == VOCAB.tokens
    assert ids_of(loaded) == ids_of(tokenizer)  # type: ignore[arg-type]


def test_the_run_cache_is_bounded() -> None:
    calls: list[str] = []
    cache = BoundedCache(lambda key: calls.append(key) or len(key), limit=3)  # type: ignore[func-returns-value]
    assert [cache[key] for key in ("a", "bb", "a", "ccc", "dddd", "a")] == [1, 2, 1, 3, 4, 1]
    assert calls == ["a", "bb", "ccc", "dddd", "a"]
    assert cache["x" * 100] == 100
    assert "x" * 100 not in cache


def test_a_run_that_is_remembered_takes_little_room() -> None:
    """Of the objects that a tokenizer comes to hold: a stream of names and numbers never ends."""

    def held(thing: object, seen: set[int]) -> int:
        if id(thing) in seen or (isinstance(thing, int) and -6 < thing < 257):  # shared by everybody
            return 0
        seen.add(id(thing))
        inner = [*thing.keys(), *thing.values()] if isinstance(thing, dict) else thing
        inside = inner if isinstance(inner, list | tuple) else ()
        return sys.getsizeof(thing) + sum(held(each, seen) for each in inside)

    tokenizer = CharTokenizer(VOCAB)
    count = 1000
    tokenizer.encode_batch([f"run{number:05d}" for number in range(count)])
    caches = [value for value in vars(tokenizer).values() if isinstance(value, BoundedCache)]
    assert sum(map(len, caches)) == count
    assert sum(held(cache, set()) for cache in caches) / count <= 256
