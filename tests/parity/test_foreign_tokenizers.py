"""Tokenizers that are not BERT's, against transformers' AutoTokenizer and against sentencepiece itself."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import sentencepiece
from transformers import AutoTokenizer, XLMRobertaTokenizer

import foreign_tokenizers as foreign
from foreign_tokenizers import TEXTS
from nlpx.errors import InputError, UsageError
from nlpx.tokenizers.load import load_tokenizer

Maker = Callable[[Path], Path]
both = pytest.mark.parametrize("make", foreign.MAKERS)


@both
def test_ids_offsets_and_special_tokens_are_those_of_transformers(make: Maker, tmp_path: Path) -> None:
    folder = make(tmp_path)
    reference, tokenizer = AutoTokenizer.from_pretrained(folder), load_tokenizer(folder)
    expected = reference(TEXTS, return_offsets_mapping=True)
    found = tokenizer.encode_batch(TEXTS, return_offsets=True)
    assert [row.token_ids for row in found] == expected["input_ids"]
    assert [row.offsets for row in found] == expected["offset_mapping"]
    assert tokenizer.kind == "subword"
    assert tokenizer.pad_token_id == reference.pad_token_id
    assert tokenizer.mask_token_id == reference.mask_token_id
    if reference.cls_token_id is not None:
        assert (tokenizer.cls_token_id, tokenizer.sep_token_id) == (reference.cls_token_id, reference.sep_token_id)
    for text in TEXTS:
        ids = tokenizer.encode(text).token_ids
        assert tokenizer.decode(ids) == reference.decode(ids, skip_special_tokens=True)
        inner = reference(text, add_special_tokens=False)["input_ids"]
        assert tokenizer.tokenize(text) == reference.convert_ids_to_tokens(inner)


@both
def test_pairs_are_framed_as_the_file_says(make: Maker, tmp_path: Path) -> None:
    folder = make(tmp_path)
    reference, tokenizer = AutoTokenizer.from_pretrained(folder), load_tokenizer(folder)
    others = TEXTS[::-1]
    expected = reference(TEXTS, others, return_token_type_ids=True)
    found = tokenizer.encode_batch(TEXTS, others)
    assert [row.token_ids for row in found] == expected["input_ids"]
    assert [row.segment_ids for row in found] == expected["token_type_ids"]


@both
def test_too_long_texts_lose_their_end_and_no_special_token(make: Maker, tmp_path: Path) -> None:
    folder = make(tmp_path)
    reference, tokenizer = AutoTokenizer.from_pretrained(folder), load_tokenizer(folder)
    long = TEXTS[1] * 3
    for length in (8, 12):
        expected = reference(long, max_length=length, truncation=True)["input_ids"]
        assert tokenizer.encode(long, max_length=length).token_ids == expected
        pair = tokenizer.encode(long, long, max_length=length)
        whole = tokenizer.encode(long, long).token_ids
        assert len(pair.token_ids) == length
        frame = tokenizer.frame
        assert pair.token_ids[: len(frame.pair_start)] == list(frame.pair_start)
        assert pair.token_ids[length - len(frame.pair_end) :] == list(frame.pair_end)
        num_first = (length - frame.size(is_pair=True)) // 2
        assert pair.token_ids[: len(frame.pair_start) + num_first] == whole[: len(frame.pair_start) + num_first]


@both
def test_what_is_saved_is_read_again_here_and_in_transformers(make: Maker, tmp_path: Path) -> None:
    tokenizer = load_tokenizer(make(tmp_path / "source"))
    (tmp_path / "copy").mkdir()
    tokenizer.save(tmp_path / "copy")
    again, theirs = load_tokenizer(tmp_path / "copy"), AutoTokenizer.from_pretrained(tmp_path / "copy")
    sent = pickle.loads(pickle.dumps(tokenizer))
    for text in TEXTS:
        ids = tokenizer.encode(text).token_ids
        assert again.encode(text).token_ids == sent.encode(text).token_ids == theirs(text)["input_ids"] == ids
    assert again.pad_token_id == tokenizer.pad_token_id


def test_padding_and_segments_of_pairs_without_segments(tmp_path: Path) -> None:
    tokenizer = load_tokenizer(foreign.xlm_roberta(tmp_path))
    batch = tokenizer.encode_batch(["今天", "北京是中国的首都"], ["天气", "天"], pad=True)
    assert batch["attention_mask"].sum(1).tolist() == [
        len(tokenizer.encode(*pair).token_ids) for pair in (("今天", "天气"), ("北京是中国的首都", "天"))
    ]
    assert not batch["segment_ids"].any()
    assert batch["token_ids"][~batch["attention_mask"]].unique().tolist() == [tokenizer.pad_token_id]


def test_lengths_and_padding_of_the_file_itself_do_not_count(tmp_path: Path) -> None:
    folder = foreign.modern_bert(tmp_path)
    content = json.loads((folder / "tokenizer.json").read_text())
    content["truncation"] = {"max_length": 4, "strategy": "LongestFirst", "stride": 0, "direction": "Right"}
    (folder / "tokenizer.json").write_text(json.dumps(content))
    assert len(load_tokenizer(folder).encode("今天天气很好我们去").token_ids) > 4


def test_a_lone_surrogate_is_named_with_its_place(tmp_path: Path) -> None:
    for make in (foreign.modern_bert, foreign.xlm_roberta_file):
        with pytest.raises(InputError, match=r"text 1 holds the lone surrogate U\+D800 at character 1"):
            load_tokenizer(make(tmp_path / make.__name__)).encode_batch(["好", "坏\ud800"])


def test_a_user_dictionary_and_another_kind_are_refused(tmp_path: Path) -> None:
    folder = foreign.modern_bert(tmp_path)
    with pytest.raises(UsageError, match="a user dictionary has no effect"):
        load_tokenizer(folder, user_dictionary=["北京"])
    with pytest.raises(InputError, match="neither char nor word level"):
        load_tokenizer(folder, kind="char")


def test_a_tokenizer_json_that_the_library_cannot_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text('{"version": "1.0", "model": {"type": "BPE"}}')
    with pytest.raises(InputError, match="the tokenizers library cannot read it"):
        load_tokenizer(tmp_path)


def test_a_panic_of_the_library_is_an_input_error(tmp_path: Path) -> None:
    content = json.loads((foreign.xlm_roberta(tmp_path) / "tokenizer.json").read_text())
    assert content["normalizer"]["type"] == "Precompiled"
    content["normalizer"]["precompiled_charsmap"] = "no base64"
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match="the tokenizers library cannot read it: Precompiled"):
        load_tokenizer(tmp_path)


def test_a_sentencepiece_file_has_its_own_ids_where_no_model_is_beside_it(tmp_path: Path) -> None:
    (tmp_path / "spiece.model").write_bytes(foreign.sentencepiece_model())
    reference = sentencepiece.SentencePieceProcessor(model_file=str(tmp_path / "spiece.model"))
    tokenizer = load_tokenizer(tmp_path)
    for text in TEXTS:
        assert tokenizer.encode(text).token_ids == reference.encode(text)
        assert tokenizer.tokenize(text) == [reference.id_to_piece(index) for index in reference.encode(text)]
    assert tokenizer.vocab_size == len(reference)
    assert "its own ids" in tokenizer.reason
    assert load_tokenizer(tmp_path / "spiece.model").encode("今天").token_ids == reference.encode("今天")


def test_under_xlm_roberta_the_ids_are_the_rows_of_its_word_table(tmp_path: Path) -> None:
    folder = foreign.xlm_roberta_file(tmp_path / "source")
    reference, tokenizer = XLMRobertaTokenizer.from_pretrained(folder), load_tokenizer(folder)
    plain = [text.strip() for text in [*TEXTS, "今天<mask>很好"]]
    assert [row.token_ids for row in tokenizer.encode_batch(plain)] == reference(plain)["input_ids"]
    pairs = tokenizer.encode_batch(plain, plain[::-1])
    assert [row.token_ids for row in pairs] == reference(plain, plain[::-1])["input_ids"]
    found, expected = tokenizer.encode("北京<mask>，the", return_offsets=True), ["", "北京", "<mask>", "，", "the", ""]
    assert found.offsets is not None
    spelt = ["北京<mask>，the"[start:end].strip() for start, end in found.offsets]
    assert "".join(spelt) == "".join(expected)
    assert tokenizer.decode(tokenizer.encode("今天 the").token_ids) == "今天 the"
    for name in ("pad", "unk", "cls", "sep", "mask"):
        assert getattr(tokenizer, f"{name}_token_id") == getattr(reference, f"{name}_token_id")
    tokenizer.save(tmp_path / "copy")
    again = load_tokenizer(tmp_path / "copy")
    assert again.encode("今天<mask>").token_ids == tokenizer.encode("今天<mask>").token_ids
    assert pickle.loads(pickle.dumps(again)).encode("今天").token_ids == again.encode("今天").token_ids


def test_added_tokens_of_a_sentencepiece_model(tmp_path: Path) -> None:
    pieces = {"pad_id": 0, "unk_id": 3, "bos_id": 1, "eos_id": 2, "pad_piece": "[PAD]", "unk_piece": "[UNK]"}
    model = foreign.sentencepiece_model(**pieces, bos_piece="[CLS]", eos_piece="[SEP]")
    (tmp_path / "spm.model").write_bytes(model)
    size = len(sentencepiece.SentencePieceProcessor(model_proto=model))
    for name, content in (("config", {"model_type": "deberta-v2"}), ("added_tokens", {"[MASK]": size})):
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    tokenizer = load_tokenizer(tmp_path)
    assert tokenizer.mask_token_id == size
    row = tokenizer.encode("今天[MASK]很好", "天气")
    assert row.token_ids[0] == 1
    assert size in row.token_ids
    assert np.flatnonzero(np.array(row.token_ids) == 2).tolist() == [
        row.segment_ids.index(1) - 1,
        len(row.token_ids) - 1,
    ]


def test_models_that_move_the_ids_in_an_unknown_way_are_refused(tmp_path: Path) -> None:
    folder = foreign.xlm_roberta_file(tmp_path)
    (folder / "config.json").write_text(json.dumps({"model_type": "camembert"}))
    with pytest.raises(InputError, match="how camembert numbers the pieces") as caught:
        load_tokenizer(folder)
    assert "tokenizer.json" in str(caught.value.hint)
    (folder / "sentencepiece.bpe.model").write_bytes(b"nonsense")
    (folder / "config.json").write_text(json.dumps({"model_type": "xlm-roberta"}))
    with pytest.raises(InputError, match="no sentencepiece model"):
        load_tokenizer(folder)
