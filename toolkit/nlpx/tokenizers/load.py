"""Find the vocabulary of a checkpoint, recognise its kind, and build the tokenizer that belongs to it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from nlpx.errors import InputError, UsageError
from nlpx.tokenizers.added import listed_special, read_added, with_added
from nlpx.tokenizers.base import Tokenizer
from nlpx.tokenizers.files import read_json
from nlpx.tokenizers.user_dictionary import UserWord, read_user_dictionary
from nlpx.tokenizers.vocab import Vocab

UserDictionary = str | Path | Iterable[str | UserWord]

FILES = (
    "*vocab.txt",
    "*tokenizer*.json",
    "*special_tokens_map.json",
    "*added_tokens.json",
    "modules.json",
    "*.model",
    "*config.json",
)
_OPTIONS = ("do_lower_case", "strip_accents", "tokenize_chinese_chars")


def load_tokenizer(
    path_or_name: str | Path, *, kind: str | None = None, user_dictionary: UserDictionary | None = None
) -> Tokenizer:
    """The tokenizer of a directory, a run, a shipped model, a hub name or a vocabulary file.

    A directory holds `vocab.txt` (BERT's), `tokenizer.json` (of any kind) or a sentencepiece model, and perhaps
    `tokenizer_config.json` (options, added tokens), `added_tokens.json` and `nlpx_tokenizer.json` (what nlpx saved:
    kind, segmenter, user words).

    `kind` "char" or "word" overrides what the vocabulary of a BERT itself tells. `user_dictionary` (a file in jieba's
    format, or its lines) replaces the one saved with a word tokenizer. Raises `InputError` for missing or
    unreadable files and `UsageError` for an unknown kind or a user dictionary over a character vocabulary.
    """
    folder = _locate(path_or_name)
    saved = read_json(folder / "nlpx_tokenizer.json")
    is_file = Path(path_or_name).is_file() and Path(path_or_name).suffix == ".txt"
    if not is_file and (kind or saved.get("kind")) not in ("char", "word"):
        other = _not_of_bert(folder, Path(path_or_name))
        if other is not None:
            return _checked(other, kind, user_dictionary)
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
        from nlpx.models.checkpoints.hub.of_run import checkpoint_of
        from nlpx.models.checkpoints.modules import encoder_folder

        return encoder_folder(checkpoint_of(path))
    if path.is_file():
        return path.parent
    from nlpx.models.checkpoints.hub import looks_like_hub_name
    from nlpx.models.checkpoints.resolve import resolve

    if isinstance(path_or_name, Path) or not looks_like_hub_name(path_or_name):
        raise InputError(f"no directory {path}", hint="give a directory that holds vocab.txt, or a hub name")

    return resolve(path_or_name, FILES)


def _vocabulary_file(path_or_name: str | Path, folder: Path) -> Path:
    path = Path(path_or_name)
    return path if path.is_file() and path.suffix == ".txt" else folder / "vocab.txt"


def _not_of_bert(folder: Path, named: Path) -> Tokenizer | None:
    """The tokenizer of a directory whose files say other things than a `vocab.txt` can."""
    from nlpx.tokenizers.general import GeneralTokenizer, is_bert

    if named.suffix != ".model" and (folder / "tokenizer.json").is_file():
        return None if is_bert(read_json(folder / "tokenizer.json")) else GeneralTokenizer.read(folder)
    if (folder / "vocab.txt").is_file() or not any(folder.glob("*.model")):
        return None
    from nlpx.tokenizers.sentencepiece import SentencePieceTokenizer, find

    path = named if named.suffix == ".model" else find(folder)
    return None if path is None else SentencePieceTokenizer.read(path)


def _checked(tokenizer: Tokenizer, kind: str | None, user_dictionary: UserDictionary | None) -> Tokenizer:
    if kind not in (None, tokenizer.kind):
        raise UsageError(f"unknown tokenizer kind `{kind}`", hint="choose char or word")
    if user_dictionary is not None:
        raise UsageError(
            f"a user dictionary has no effect on {tokenizer.vocab.source}",
            hint="leave it out, or take a word-level checkpoint such as WoBERT",
        )
    return tokenizer


def _read_vocabulary(folder: Path, vocabulary_file: Path) -> tuple[Vocab, dict[str, Any]]:
    """The vocabulary of a BERT, with what was added to it, and the normalisation options that go with it."""
    config = read_json(folder / "tokenizer_config.json")
    options = {key: config[key] for key in _OPTIONS if key in config}
    for key, value in options.items():
        if not isinstance(value, bool | None):
            raise InputError(
                f"{folder / 'tokenizer_config.json'}: `{key}` must be true, false or null, not {value!r}",
                hint="restore the file from its release",
            )
    if vocabulary_file.is_file():
        tokens, source = Vocab.read(vocabulary_file).tokens, str(vocabulary_file)
    elif (folder / "tokenizer.json").is_file():
        source = str(folder / "tokenizer.json")
        tokens, written = _from_tokenizer_json(folder / "tokenizer.json")
        options = {**written, **options}
    else:
        raise _nothing_there(folder)
    model = read_json(folder / "tokenizer.json").get("model") or {}
    pieces = frozenset(model.get("vocab") or tokens)
    added = read_added(folder)
    whole = [*listed_special(folder), *added.values()]
    tokens = with_added(tokens, added, source=source)
    marked = [replace(token, is_piece=token.content in pieces) for token in whole]
    return Vocab(tokens, source=source, added=marked), options


def _nothing_there(folder: Path) -> InputError:
    hint = "copy the vocab.txt of the released checkpoint into it, or name that checkpoint's directory"
    if (folder / "vocab.json").is_file():
        hint = (
            "vocab.json and merges.txt do not say how texts are cut: make a tokenizer.json of them once, "
            "AutoTokenizer.from_pretrained(DIR).save_pretrained(DIR)"
        )
    return InputError(f"no tokenizer in {folder}: neither vocab.txt nor tokenizer.json is there", hint=hint)


def _from_tokenizer_json(path: Path) -> tuple[list[str], dict[str, Any]]:
    from nlpx.tokenizers.general import is_bert

    content = read_json(path)
    if not is_bert(content):
        model = (content.get("model") or {}).get("type", "unknown")
        raise InputError(
            f"{path} holds a tokenizer ({model}) that is not BERT's, so it is neither char nor word level",
            hint="leave the kind out: it is read as it is",
        )
    normalizer = content["normalizer"]
    ids = content["model"]["vocab"]
    tokens = [""] * (max(ids.values(), default=-1) + 1)
    for token, index in ids.items():
        tokens[index] = token
    options = {
        "do_lower_case": normalizer.get("lowercase", True),
        "strip_accents": normalizer.get("strip_accents"),
        "tokenize_chinese_chars": normalizer.get("handle_chinese_chars", True),
    }
    return tokens, options
