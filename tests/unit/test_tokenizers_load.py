"""Finding and refusing tokenizer files, and choosing the kind."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nlpx import load_tokenizer
from nlpx.errors import InputError, UsageError
from nlpx.tokenizers.vocab import Vocab

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
CHARACTERS = [*"北京上海天空大地山川河流风雨雷电"]
WORDS = ["北京", "上海", "天空", "大地", "山川", "河流", "风雨", "雷电"]


def directory(tmp_path: Path, *tokens: str, **files: object) -> Path:
    if tokens:
        (tmp_path / "vocab.txt").write_text(Vocab(tokens).text(), encoding="utf-8")
    for name, content in files.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
    return tmp_path


def test_the_kind_is_read_off_the_vocabulary(tmp_path: Path) -> None:
    assert load_tokenizer(directory(tmp_path, *SPECIAL, *CHARACTERS)).kind == "char"
    tokenizer = load_tokenizer(directory(tmp_path, *SPECIAL, *CHARACTERS, *WORDS))
    assert tokenizer.kind == "word"
    assert tokenizer.reason.startswith("word level: 8 of 29 entries")


def test_the_kind_can_be_overridden_and_is_kept_on_saving(tmp_path: Path) -> None:
    source = directory(tmp_path, *SPECIAL, *CHARACTERS, *WORDS)
    tokenizer = load_tokenizer(source, kind="char")
    assert tokenizer.tokenize("北京") == ["北", "京"]
    assert "asked for" in tokenizer.reason
    tokenizer.save(tmp_path / "copy")
    assert load_tokenizer(tmp_path / "copy").kind == "char"
    with pytest.raises(UsageError, match="unknown tokenizer kind `bpe`"):
        load_tokenizer(source, kind="bpe")


def test_options_come_from_the_configuration(tmp_path: Path) -> None:
    tokens = [*SPECIAL, *CHARACTERS, "A", "a", "é"]
    source = directory(tmp_path, *tokens, tokenizer_config={"do_lower_case": False, "strip_accents": False})
    assert load_tokenizer(source).tokenize("A é") == ["A", "é"]
    (tmp_path / "tokenizer_config.json").unlink()
    assert load_tokenizer(source).tokenize("A") == ["a"]


def test_word_vocabularies_take_their_options_from_the_configuration_too(tmp_path: Path) -> None:
    tokens = [*SPECIAL, *CHARACTERS, *WORDS, "NBA", "nba"]
    source = directory(tmp_path, *tokens, tokenizer_config={"do_lower_case": False, "strip_accents": None})
    assert load_tokenizer(source).tokenize("NBA北京") == ["NBA", "北京"]


def test_a_vocabulary_file_can_be_named_directly(tmp_path: Path) -> None:
    directory(tmp_path, *SPECIAL, *CHARACTERS)
    assert load_tokenizer(tmp_path / "vocab.txt").vocab_size == 21
    (tmp_path / "vocab.txt").rename(tmp_path / "small_vocab.txt")
    assert load_tokenizer(str(tmp_path / "small_vocab.txt")).vocab_size == 21


def test_a_directory_without_tokenizer_names_what_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"neither vocab\.txt nor tokenizer\.json") as caught:
        load_tokenizer(tmp_path)
    assert str(tmp_path) in caught.value.message
    assert caught.value.hint
    (tmp_path / "vocab.json").write_text("{}")
    with pytest.raises(InputError) as caught:
        load_tokenizer(tmp_path)
    assert "make a tokenizer.json of them" in (caught.value.hint or "")


def test_a_missing_directory_is_not_looked_up_on_the_hub(tmp_path: Path) -> None:
    for missing in (tmp_path / "absent", str(tmp_path / "absent"), "./absent", "a/b/c"):
        with pytest.raises(InputError, match="no directory"):
            load_tokenizer(missing)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"model": {"type": "BPE", "vocab": {}}}, "tokenizers library cannot read it"),
        ({"model": 3}, "tokenizers library cannot read it"),
        (
            {"model": {"type": "WordPiece"}, "normalizer": {"type": "BertNormalizer"}, "post_processor": 3},
            "cannot read",
        ),
        ({}, "cannot read it"),
        ([], "no JSON object"),
    ],
)
def test_a_broken_tokenizer_json_is_refused(tmp_path: Path, content: object, said: str) -> None:
    with pytest.raises(InputError, match=said):
        load_tokenizer(directory(tmp_path, tokenizer=content))


def test_broken_json_is_refused_with_the_file(tmp_path: Path) -> None:
    directory(tmp_path, *SPECIAL)
    (tmp_path / "tokenizer_config.json").write_text("{", encoding="utf-8")
    with pytest.raises(InputError, match=r"tokenizer_config\.json is no JSON"):
        load_tokenizer(tmp_path)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"do_lower_case": []}, "`do_lower_case` must be true, false or null"),
        ({"mask_token": "\ud800"}, "is no JSON"),
        ([], "no JSON object"),
    ],
)
def test_settings_of_a_wrong_kind_are_refused(tmp_path: Path, config: object, said: str) -> None:
    with pytest.raises(InputError, match=said):
        load_tokenizer(directory(tmp_path, *SPECIAL, *CHARACTERS, tokenizer_config=config))


def test_a_user_dictionary_needs_words(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no effect on the character-level vocabulary"):
        load_tokenizer(directory(tmp_path, *SPECIAL, *CHARACTERS), user_dictionary=["北京城"])
