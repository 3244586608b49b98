"""Tokens added to the vocabulary of a BERT: one token with the id of its row, as transformers has it."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from transformers import BertTokenizer

from nlpx.data.batches.masking import SpecialIds
from nlpx.data.corpus.flatten import Flattener
from nlpx.errors import InputError
from nlpx.tokenizers.load import load_tokenizer
from nlpx.tokenizers.vocab import Vocab
from nlpx.tokenizers.vocabulary.extend import extend, with_vocabulary
from nlpx.tokenizers.vocabulary.trim import Usage, trimmed

ENTRIES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"今天气很好我们去北京看电影e1/abc，。", "##1", "##b", "abc"]
TEXTS = [
    "[E1]北京[/E1]很好",
    "[e1]北京 [/e1]",
    "我[E1]e1[MASK]，[E1]",
    "今[[E1]]天[mask]abc xabc [/E1]",
    "covidabc covid好 我covid",
    "今天 <s> 好<S>",
    "",
]
ADDED = ["[E1]", "[/E1]", "covid", "<s>"]
FIRST = len(ENTRIES)


def write(folder: Path, **files: Any) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "vocab.txt").write_text(Vocab(ENTRIES).text(), encoding="utf-8")
    settings = {"do_lower_case": True, "tokenizer_class": "BertTokenizer"}
    files["tokenizer_config"] = settings | files.get("tokenizer_config", {})
    for name, content in files.items():
        (folder / f"{name}.json").write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
    return folder


def flags(content: str, **changed: bool) -> dict[str, Any]:
    usual = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    return {"content": content, **usual, **changed}


def as_before_version_5(folder: Path) -> Path:
    ids = {token: FIRST + number for number, token in enumerate(ADDED)}
    return write(folder, added_tokens=ids, special_tokens_map={"additional_special_tokens": ADDED[:2]})


def in_the_configuration(folder: Path) -> Path:
    decoder = {str(FIRST + number): flags(token) for number, token in enumerate(ADDED)}
    decoder[str(FIRST + 2)] |= {"normalized": True, "special": False}
    decoder[str(FIRST + 3)] |= {"lstrip": True}
    return write(folder, tokenizer_config={"added_tokens_decoder": decoder})


def whole_words_only(folder: Path) -> Path:
    decoder = {str(FIRST + number): flags(token) for number, token in enumerate(ADDED)}
    decoder[str(FIRST + 2)] |= {"single_word": True, "special": False}
    return write(folder, tokenizer_config={"added_tokens_decoder": decoder})


def in_tokenizer_json(folder: Path) -> Path:
    tokenizer = BertTokenizer.from_pretrained(in_the_configuration(folder))
    tokenizer.save_pretrained(folder)
    assert (folder / "tokenizer.json").is_file()
    (folder / "vocab.txt").unlink()
    return folder


MAKERS = (as_before_version_5, in_the_configuration, whole_words_only, in_tokenizer_json)


@pytest.mark.parametrize("make", MAKERS)
def test_ids_and_offsets_are_those_of_transformers(make: Callable[[Path], Path], tmp_path: Path) -> None:
    folder = make(tmp_path)
    reference, tokenizer = BertTokenizer.from_pretrained(folder), load_tokenizer(folder)
    assert tokenizer.kind == "char"
    assert reference("[E1]")["input_ids"][1] == FIRST
    expected = reference(TEXTS, return_offsets_mapping=True)
    found = tokenizer.encode_batch(TEXTS, return_offsets=True)
    assert [row.token_ids for row in found] == expected["input_ids"]
    assert [row.offsets for row in found] == expected["offset_mapping"]


@pytest.mark.parametrize("make", MAKERS)
def test_what_is_saved_reads_the_same_here_and_in_transformers(make: Callable[[Path], Path], tmp_path: Path) -> None:
    tokenizer = load_tokenizer(make(tmp_path / "source"))
    tokenizer.save(tmp_path / "copy")
    again, theirs = load_tokenizer(tmp_path / "copy"), BertTokenizer.from_pretrained(tmp_path / "copy")
    sent = pickle.loads(pickle.dumps(tokenizer))
    for text in TEXTS:
        ids = tokenizer.encode(text).token_ids
        assert again.encode(text).token_ids == sent.encode(text).token_ids == theirs(text)["input_ids"] == ids, text
    assert (tmp_path / "copy" / "vocab.txt").read_text(encoding="utf-8").split("\n")[FIRST:] == [*ADDED, ""]


def test_rows_without_a_name_and_rows_named_twice_move_no_id(tmp_path: Path) -> None:
    folder = write(tmp_path, added_tokens={"[E1]": FIRST + 5, "[/E1]": FIRST + 6})
    (folder / "vocab.txt").write_text(Vocab([*ENTRIES, "", "天", "", "尾"]).text(), encoding="utf-8")
    tokenizer = load_tokenizer(folder)
    assert tokenizer.encode("[E1]天尾[/E1]").token_ids[1:-1] == [FIRST + 5, FIRST + 1, FIRST + 3, FIRST + 6]


def test_special_tokens_that_are_only_listed_are_whole(tmp_path: Path) -> None:
    folder = write(tmp_path, special_tokens_map={"additional_special_tokens": ["abc", "气很"]})
    (folder / "vocab.txt").write_text(Vocab([*ENTRIES, "气很"]).text(), encoding="utf-8")
    reference, tokenizer = BertTokenizer.from_pretrained(folder), load_tokenizer(folder)
    for text in ("天气很好xabcx", "ABC abc"):
        assert tokenizer.encode(text).token_ids == reference(text)["input_ids"]
    assert tokenizer.tokenize("天气很好") == ["天", "气很", "好"]


def test_a_word_vocabulary_keeps_them_whole_in_any_case(tmp_path: Path) -> None:
    words = [*ENTRIES, "北京", "电影", "天气", "我们"]
    folder = write(tmp_path, added_tokens={"[E1]": len(words), "新词汇": len(words) + 1})
    (folder / "vocab.txt").write_text(Vocab(words).text(), encoding="utf-8")
    tokenizer = load_tokenizer(folder)
    assert tokenizer.kind == "word"
    encoding = tokenizer.encode("我们[E1]北京新词汇看[e1]", return_offsets=True)
    assert [tokenizer.vocab.tokens[index] for index in encoding.token_ids[1:-1]] == [
        *("我们", "[E1]", "北京", "新词汇", "看", "[E1]")
    ]
    assert encoding.offsets is not None
    assert encoding.offsets[2] == (2, 6)
    tokenizer.save(tmp_path / "copy")
    again = load_tokenizer(tmp_path / "copy")
    assert again.encode("我们[E1]新词汇").token_ids == tokenizer.encode("我们[E1]新词汇").token_ids


def test_a_word_vocabulary_heeds_that_a_token_stands_alone(tmp_path: Path) -> None:
    words = [*ENTRIES, "北京", "电影", "天气", "我们"]
    decoder = {str(len(words)): flags("e1", single_word=True)}
    folder = write(tmp_path, tokenizer_config={"added_tokens_decoder": decoder})
    (folder / "vocab.txt").write_text(Vocab(words).text(), encoding="utf-8")
    tokenizer = load_tokenizer(folder)
    alone = tokenizer.encode("北京 e1，e1x").token_ids[1:-1]
    assert alone.count(len(words)) == 1


def test_words_that_were_added_make_no_word_vocabulary(tmp_path: Path) -> None:
    words = ["北京", "电影", "天气", "我们", "中国", "上海"]
    folder = write(tmp_path, added_tokens={word: FIRST + number for number, word in enumerate(words)})
    reference, tokenizer = BertTokenizer.from_pretrained(folder), load_tokenizer(folder)
    assert tokenizer.kind == "char"
    for text in ("我们去北京看电影", "今天天气很好"):
        assert tokenizer.encode(text).token_ids == reference(text)["input_ids"]


def test_pretraining_rows_hold_them_too(tmp_path: Path) -> None:
    tokenizer = load_tokenizer(in_the_configuration(tmp_path))
    text = "今天[E1]北京[/E1]很好。covid我们去看电影。"
    arrays, _ = Flattener(tokenizer, whole_words=True)([text])
    assert arrays.token_ids.tolist() == tokenizer.encode(text).token_ids[1:-1]
    _, before = tokenizer.encode_flat("今[E1]天")  # type: ignore[attr-defined]
    assert np.diff(before).tolist() == [1, 1, 0, 0, 0, 1]
    assert SpecialIds.of(tokenizer).vocab_size == FIRST + len(ADDED)


def test_trimming_and_extending_a_vocabulary_keeps_them(tmp_path: Path) -> None:
    tokenizer = load_tokenizer(in_the_configuration(tmp_path))
    usage = Usage(tokenizer)
    usage.add(["今天"])
    smaller = with_vocabulary(tokenizer, trimmed(tokenizer.vocab, usage.kept()))
    assert smaller.tokenize("[E1]今covid") == ["[E1]", "今", "covid"]
    larger = extend(tokenizer, [("天气", 3)], size=1).tokenizer
    assert larger.tokenize("[E1]天气[/E1]") == ["[E1]", "天气", "[/E1]"]


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"added_tokens": {"[E1]": 6}}, r"row 6 is `天`, and `\[E1\]` was added with the same id"),
        ({"added_tokens": {"[E1]": -3}}, "must have a text and an id"),
        ({"added_tokens": {"[E1]": 10**12}}, "must have a text and an id"),
        ({"added_tokens": {"[E1]": None}}, "must have a text and an id"),
        ({"tokenizer_config": {"added_tokens_decoder": {"30": "x"}}}, "must have a text and an id"),
        ({"tokenizer_config": {"added_tokens_decoder": {"30": {"content": "x", "lstrip": 3}}}}, "`lstrip`"),
        ({"tokenizer_config": {"added_tokens_decoder": [1]}}, "added_tokens_decoder"),
        (
            {"tokenizer_config": {"extra_special_tokens": 3}, "added_tokens": {"[E1]": "x"}},
            "must have a text and an id",
        ),
    ],
)
def test_entries_that_contradict_the_vocabulary_are_refused(files: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=said):
        load_tokenizer(write(tmp_path, **files))
