"""Find the vocabulary of a checkpoint, recognise its kind, and build the tokenizer that belongs to it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from nlpx.errors import InputError, UsageError
from nlpx.first_bytes import refuse_placeholder
from nlpx.tokenizers.base import Tokenizer
from nlpx.tokenizers.user_dictionary import UserWord, read_user_dictionary
from nlpx.tokenizers.vocab import Vocab

UserDictionary = str | Path | Iterable[str | UserWord]

FILES = ("vocab.txt", "tokenizer.json", "tokenizer_config.json", "nlpx_tokenizer.json")
_OPTIONS = ("do_lower_case", "strip_accents", "tokenize_chinese_chars")


def load_tokenizer(
    path_or_name: str | Path, *, kind: str | None = None, user_dictionary: UserDictionary | None = None
) -> Tokenizer:
    """The tokenizer of a directory, a shipped model, a hub name or a vocabulary file.

    A directory holds `vocab.txt` or a WordPiece `tokenizer.json`, and perhaps `tokenizer_config.json` (options)
    and `nlpx_tokenizer.json` (what nlpx saved: kind, segmenter, user words).

    `kind` "char" or "word" overrides what the vocabulary itself tells. `user_dictionary` (a file in jieba's
    format, or its lines) replaces the one saved with a word tokenizer. Raises `InputError` for missing or
    unreadable files and `UsageError` for an unknown kind or a user dictionary over a character vocabulary.
    """
    folder = _locate(path_or_name)
    saved = _read_json(folder / "nlpx_tokenizer.json")
    vocab, options = _read_vocabulary(folder, _vocabulary_file(path_or_name, folder))
    chosen, reason = _choose_kind(vocab, requested=kind, saved=saved.get("kind"))
    if chosen == "word":
        return _word(vocab, {**options, **saved}, user_dictionary, reason)
    if user_dictionary is not None:
        raise UsageError(
            f"a user dictionary has no effect on the character-level vocabulary of {folder}",
            hint="leave it out, or take a word-level checkpoint such as WoBERT",
        )
    return _char(vocab, options, reason)


def _choose_kind(vocab: Vocab, *, requested: str | None, saved: str | None) -> tuple[str, str]:
    """The kind, first as requested, then as saved, then as recognised; and the sentence that says why."""
    recognised, reason = vocab.recognise()
    chosen = requested or saved or recognised
    if chosen not in ("char", "word"):
        raise UsageError(f"unknown tokenizer kind `{chosen}`", hint="choose char or word")
    if chosen != recognised:
        origin = "asked for" if requested else "saved so in nlpx_tokenizer.json"
        reason = f"{chosen} level: {origin} (the vocabulary itself reads as {reason})"
    return chosen, reason


def _char(vocab: Vocab, options: dict[str, Any], reason: str) -> Tokenizer:
    from nlpx.tokenizers.char import CharTokenizer

    return CharTokenizer(vocab, **options, reason=reason)


def _word(vocab: Vocab, saved: dict[str, Any], user_dictionary: UserDictionary | None, reason: str) -> Tokenizer:
    from nlpx.tokenizers.word import WordTokenizer

    entries = [UserWord(*entry) for entry in saved.get("user_dictionary", ())]
    return WordTokenizer(
        vocab,
        do_lower_case=saved.get("do_lower_case", True),
        segmenter=saved.get("segmenter", "rjieba"),
        user_words=entries if user_dictionary is None else read_user_dictionary(user_dictionary),
        reason=reason,
    )


def _locate(path_or_name: str | Path) -> Path:
    path = Path(path_or_name)
    if path.is_dir():
        return path
    if path.is_file():
        return path.parent
    from nlpx.models.checkpoints.hub import looks_like_hub_name, resolve

    if isinstance(path_or_name, Path) or not looks_like_hub_name(path_or_name):
        raise InputError(f"no directory {path}", hint="give a directory that holds vocab.txt, or a hub name")

    return resolve(path_or_name, FILES)


def _vocabulary_file(path_or_name: str | Path, folder: Path) -> Path:
    path = Path(path_or_name)
    return path if path.is_file() and path.suffix == ".txt" else folder / "vocab.txt"


def _read_vocabulary(folder: Path, vocabulary_file: Path) -> tuple[Vocab, dict[str, Any]]:
    """The vocabulary and the normalisation options that go with it."""
    config = _read_json(folder / "tokenizer_config.json")
    options = {key: config[key] for key in _OPTIONS if key in config}
    if vocabulary_file.is_file():
        return Vocab.read(vocabulary_file), options
    if (folder / "tokenizer.json").is_file():
        vocab, written = _from_tokenizer_json(folder / "tokenizer.json")
        return vocab, {**written, **options}
    sentencepiece = sorted(path.name for path in folder.glob("*.model"))
    found = f"it has {', '.join(sentencepiece)}, a SentencePiece model: not supported" if sentencepiece else None
    raise InputError(
        f"no tokenizer in {folder}: neither vocab.txt nor tokenizer.json is there",
        hint=found or "copy the vocab.txt of the released checkpoint into it, or name that checkpoint's directory",
    )


def _from_tokenizer_json(path: Path) -> tuple[Vocab, dict[str, Any]]:
    content = _read_json(path)
    model = content.get("model", {})
    normalizer = content.get("normalizer") or {}
    if model.get("type") != "WordPiece" or normalizer.get("type") != "BertNormalizer":
        raise InputError(
            f"{path} holds a {model.get('type', 'unknown')} model, not BERT's WordPiece",
            hint="only BERT vocabularies can be read; give a directory with the vocab.txt of a BERT",
        )
    added = {token["content"]: token["id"] for token in content.get("added_tokens", ())}
    tokens = {index: token for token, index in {**model["vocab"], **added}.items()}
    size = max(tokens, default=-1) + 1
    options = {
        "do_lower_case": normalizer.get("lowercase", True),
        "strip_accents": normalizer.get("strip_accents"),
        "tokenize_chinese_chars": normalizer.get("handle_chinese_chars", True),
    }
    return Vocab([tokens.get(index, "") for index in range(size)], source=str(path)), options


def _read_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    refuse_placeholder(path)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path} is no JSON: {error}", hint="restore the file from its release") from None
    if not isinstance(content, dict):
        raise InputError(f"{path} is no JSON object", hint="restore the file from its release")
    return content
