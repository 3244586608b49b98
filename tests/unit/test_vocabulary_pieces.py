"""Fewer pieces in a sentencepiece file: against the library's own description of its format, and what texts become."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
import sentencepiece

import foreign_tokenizers as foreign
from nlpx.errors import InputError, UsageError
from nlpx.tokenizers.punctuation import restore_punctuation
from nlpx.tokenizers.sentencepiece import SentencePieceTokenizer
from nlpx.tokenizers.vocabulary.pieces import NORMAL, Piece, always_kept, is_bpe, read_pieces, with_pieces
from nlpx.tokenizers.vocabulary.trim import Usage, check_pieces, trim_pieces

LIKE_MT5 = {
    "byte_fallback": True,
    "pad_id": 0,
    "eos_id": 1,
    "unk_id": 2,
    "bos_id": -1,
    "normalization_rule_name": "nmt_nfkc",
}


def mt5(folder: Path, **options: Any) -> SentencePieceTokenizer:
    folder.mkdir(exist_ok=True)
    (folder / "spiece.model").write_bytes(foreign.sentencepiece_model(500, **(LIKE_MT5 | options)))
    (folder / "config.json").write_text(json.dumps({"model_type": "mt5"}))
    return SentencePieceTokenizer.read(folder / "spiece.model")


def test_pieces_are_those_of_the_library(tmp_path: Path) -> None:
    model = mt5(tmp_path, user_defined_symbols=["<extra_id_1>", "<extra_id_0>"]).model
    processor = sentencepiece.SentencePieceProcessor(model_proto=model)
    found = read_pieces(model)
    assert [piece.text for piece in found] == [processor.id_to_piece(index) for index in range(len(processor))]
    assert [piece.score for piece in found] == [processor.get_score(index) for index in range(len(processor))]
    is_byte = [processor.is_byte(index) for index in range(len(processor))]
    assert [piece.type == 6 for piece in found] == is_byte
    assert sum(is_byte) == 256


def test_the_file_is_what_the_librarys_own_description_makes(tmp_path: Path) -> None:
    description = pytest.importorskip("sentencepiece.sentencepiece_model_pb2")
    model = mt5(tmp_path).model
    kept = [index for index in range(len(read_pieces(model))) if index % 3 != 1]
    proto = description.ModelProto.FromString(model)
    pieces = [proto.pieces[index] for index in kept]
    del proto.pieces[:]
    proto.pieces.extend(pieces)
    assert description.ModelProto.FromString(with_pieces(model, kept)) == proto


def test_sentences_with_the_pieces_they_had_are_left_out() -> None:
    """The library would check them: field 4 of the file."""
    piece, tests, own = b"\x0a\x03\x0a\x01a", b"\x22\x02\x0a\x00", b"\xa2\x06\x01x"
    assert with_pieces(piece + tests + piece + own, [1]) == piece + own


def test_special_pieces_sentinels_and_the_lowest_score_stay() -> None:
    pieces = [
        *(Piece("<unk>", 0.0, 2), Piece("<0x00>", 0.0, 6), Piece("▁今", -2.0, NORMAL), Piece("稀", -9.0, NORMAL)),
        *(Piece("▁<extra_id_1>", -8.0, NORMAL), Piece("<extra_id_0>", 0.0, 4), Piece("extra_id_0", -3.0, NORMAL)),
    ]
    assert always_kept(pieces) == {0, 1, 3, 4, 5}


def test_no_text_changes_its_pieces(tmp_path: Path) -> None:
    tokenizer = mt5(tmp_path)
    usage = Usage(tokenizer)
    texts = [*foreign.SENTENCES[:2], "今天𠮷花"]
    usage.add(texts)
    new, kept = trim_pieces(usage, 1, None)
    assert kept == sorted(set(kept))
    assert len(kept) < tokenizer.vocab_size
    assert kept[:259] == list(range(259))  # special pieces and bytes
    assert new.vocab.tokens == [tokenizer.vocab.tokens[index] for index in kept]
    chance = random.Random(0)
    characters = sorted(set("".join(texts)))
    texts += ["".join(chance.choices(characters, k=12)) for _ in range(50)]
    num_compared = 0
    for text in texts:
        before = tokenizer.encode(text).token_ids
        if set(before) <= set(kept):
            after = new.encode(text).token_ids
            assert [kept[index] for index in after] == before
            assert new.decode(after) == tokenizer.decode(before)
            num_compared += 1
    assert num_compared > 10


def test_a_size_takes_the_most_frequent(tmp_path: Path) -> None:
    tokenizer = mt5(tmp_path)
    usage = Usage(tokenizer)
    usage.add(foreign.SENTENCES)
    always = len(always_kept(read_pieces(tokenizer.model)))
    new, kept = trim_pieces(usage, 1, always + 5)
    assert new.vocab_size == len(kept) == always + 5
    chosen = set(kept) - always_kept(read_pieces(tokenizer.model))
    left = [usage.counts[index] for index in range(tokenizer.vocab_size) if index not in kept]
    assert min(usage.counts[index] for index in chosen) >= max(left)
    with pytest.raises(UsageError, match="leaves no room"):
        trim_pieces(usage, 1, always)


def test_added_tokens_move_behind_the_pieces(tmp_path: Path) -> None:
    mt5(tmp_path)
    count = len(read_pieces((tmp_path / "spiece.model").read_bytes()))
    added = {str(count + 1): {"content": "<extra_id_0>"}, str(count): {"content": "<extra_id_1>"}}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"added_tokens_decoder": added}))
    tokenizer = SentencePieceTokenizer.read(tmp_path / "spiece.model")
    usage = Usage(tokenizer)
    usage.add(["今天<extra_id_0>"])
    new, kept = trim_pieces(usage, 1, None)
    assert kept[-2:] == [count, count + 1]
    new.save(tmp_path / "new")
    again = SentencePieceTokenizer.read(tmp_path / "new" / "spiece.model")
    before, after = (one.encode("今天<extra_id_0>").token_ids for one in (tokenizer, again))
    assert [kept[index] for index in after] == before


def test_what_cannot_be_trimmed_is_refused(tmp_path: Path) -> None:
    bpe = mt5(tmp_path / "bpe", model_type="bpe")
    assert is_bpe(bpe.model)
    with pytest.raises(InputError, match="merged from smaller ones"):
        check_pieces(bpe)
    moved = SentencePieceTokenizer.read(foreign.xlm_roberta_file(tmp_path / "xlmr") / "sentencepiece.bpe.model")
    with pytest.raises(InputError, match="xlm-roberta numbers the pieces otherwise"):
        check_pieces(moved)
    for broken in (b"\x0a\x05ab", b"\x0b", b"\xff\xff"):
        with pytest.raises(InputError, match="no sentencepiece model"):
            read_pieces(broken)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("今天天气很好,我们去公园!!", "今天天气很好，我们去公园！！"),
        ("注意:3,000元;10:30开始?", "注意：3,000元；10:30开始？"),
        ("北京(Beijing)是首都。", "北京（Beijing）是首都。"),
        ("见图(a)和f(x)的值", "见图（a）和f(x)的值"),
        ("GDP,增长(约3%)", "GDP，增长（约3%）"),
        ("He said, 你好 (hello).", "He said, 你好 (hello)."),
        ("“好”,他说", "“好”，他说"),
        (":)", ":)"),
        ("好:)", "好：)"),
        ("", ""),
    ],
)
def test_punctuation_becomes_full_width_in_chinese(text: str, expected: str) -> None:
    assert restore_punctuation(text) == expected
    assert restore_punctuation(expected) == expected


def test_what_nfkc_takes_comes_back(tmp_path: Path) -> None:
    tokenizer = mt5(tmp_path)
    for text in foreign.SENTENCES:
        decoded = tokenizer.decode(tokenizer.encode(text).token_ids)
        if not text.isascii() and "，" in text:
            assert decoded != text
        assert restore_punctuation(decoded) == text
