"""`nlpx vocab`: build, extend, trim and describe vocabularies; rows of a checkpoint follow."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from nlpx.errors import InputError, UsageError
from nlpx.jobs.vocab.sources import (
    JIEBA,
    MAP_FILE,
    Base,
    Corpus,
    Counts,
    batched,
    check_output,
    check_unit,
    count_corpus,
    found_whole,
    jieba_version,
    looks_like_counts,
    open_base,
    read_counts,
    words_of,
)
from nlpx.messages import Messages

if TYPE_CHECKING:
    from nlpx.tokenizers.base import Tokenizer
    from nlpx.tokenizers.vocabulary.build import Built
    from nlpx.tokenizers.vocabulary.extend import Weights
    from nlpx.tokenizers.vocabulary.trim import Usage

Format = Literal["nlpx", "hf"]


def build(
    corpus: Corpus,
    messages: Messages,
    *,
    kind: Literal["char", "word"] = "char",
    size: int = 8000,
    min_count: int = 1,
    coverage: float | None = None,
) -> Built:
    """A new vocabulary from texts, or from one table of counts.

    Words are what the segmenter finds with HMM off; of a table, those it would find. Raises `InputError` for a corpus
    without text or counts of the wrong unit, `UsageError` for a size that leaves no room.
    """
    from nlpx.tokenizers.vocabulary.build import SMALLEST, build_vocabulary, count_characters, count_words

    if size <= SMALLEST:
        hint = f"special tokens, letters and digits take {SMALLEST} entries"
        raise UsageError(f"--size {size} leaves no room for a Chinese character", hint=hint)
    paths = list(corpus.paths)
    is_counted = len(paths) == 1 and looks_like_counts(paths[0])
    counts = read_counts(paths[0]) if is_counted else count_corpus(corpus, kind, messages)
    characters = count_characters(counts)
    words = found_whole(count_words(counts)) if kind == "word" else None
    if is_counted:
        check_unit(paths[0], counts, kind, messages)
    if not characters:
        raise InputError(f"{', '.join(paths)}: nothing but blanks in it")
    share = coverage if coverage is not None else 1.0 if words is None else 0.9995
    return build_vocabulary(characters, words, size=size, min_count=min_count, coverage=share)


def write_built(built: Built, target: Path, *, kind: Literal["char", "word"], overwrite: bool = False) -> None:
    """Write a new vocabulary as one `.txt` file, or as the directory of a tokenizer."""
    from nlpx.io import replace_directory, write_text

    check_output(target, overwrite=overwrite)
    if target.suffix == ".txt":
        write_text(target, built.vocab.text())
        return
    with replace_directory(target) as temporary:
        _tokenizer(built, kind).save(temporary)


def extend(
    name: str,
    target: Path,
    *,
    words: str = JIEBA,
    size: int = 20_000,
    min_count: int = 1,
    weights: Weights = "equal",
    teach: bool = False,
    keep_unused: bool = False,
    add_special: bool = False,
    to: Format = "nlpx",
    family: str | None = None,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Simplify a vocabulary, append words, and write it to the directory `target`, with the checkpoint if it has one.

    Returns what is written to `vocabulary_map.json`, less the ids. Raises `InputError` if no word fits.
    """
    from nlpx.tokenizers.vocabulary import extend as extending

    check_output(target, overwrite=overwrite)
    base = open_base(name, family=family)
    ranked, origin = words_of(words, min_count=min_count) if size else ([], "none")
    found = extending.extend(
        base.tokenizer,
        ranked,
        size=size,
        keep_unused=keep_unused,
        add_special=add_special,
        teach=teach,
        weights=weights,
    )
    if size and not found.words:
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in found.skipped.items())
        raise InputError(f"{origin}: no word to add: {reasons or f'none has {min_count} occurrences'}")
    facts = {
        "kind": found.tokenizer.kind,
        "words": origin,
        "added": len(found.words),
        "skipped": dict(found.skipped),
        "taught": len(found.taught),
        "segmenter": f"rjieba or jieba, as jieba {jieba_version()} with HMM off",
    }
    return _write(base, found.tokenizer, found.keep_tokens, found.compound_tokens, facts, target, to=to)


def trim(
    name: str,
    target: Path,
    messages: Messages,
    *,
    corpus: Corpus | None = None,
    counts: str | None = None,
    min_count: int = 1,
    size: int | None = None,
    to: Format = "nlpx",
    family: str | None = None,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Keep the entries that a corpus or counted words use, and write them to `target` with the rows of a checkpoint.

    With a corpus, `min_count` 1 and no `size` every text of it keeps its tokens. With a `size` only so many entries
    stay, the most frequent. Returns what `extend` returns.
    """
    from nlpx.tokenizers.vocabulary.trim import Usage

    if (corpus is None) == (counts is None):
        raise UsageError("what is used? give --data or --counts, one of them")
    check_output(target, overwrite=overwrite)
    base = open_base(name, family=family, pieces=True)
    trimming = _trimming(base, counts)
    usage = Usage(base.tokenizer)
    origin = counts or ", ".join(corpus.paths if corpus else ())
    if corpus is not None:
        for batch in corpus.batches(messages):
            usage.add(batch)
    else:
        _add_counts(usage, read_counts(counts or ""))
    tokenizer, kept = trimming(usage, min_count, size)
    facts = {"kind": base.tokenizer.kind, "used_by": origin, "added": 0}
    return _write(base, tokenizer, kept, [], facts, target, to=to)


def _trimming(base: Base, counts: str | None) -> Callable[[Usage, int, int | None], tuple[Tokenizer, list[int]]]:
    """How the kind of tokenizer is trimmed; refuses at once, before a corpus is read, what cannot be."""
    from nlpx.tokenizers.sentencepiece import SentencePieceTokenizer
    from nlpx.tokenizers.vocabulary.extend import check_special_tokens
    from nlpx.tokenizers.vocabulary.trim import check_pieces, trim_entries, trim_pieces

    if isinstance(base.tokenizer, SentencePieceTokenizer):
        check_pieces(base.tokenizer)
        if counts is not None:
            raise UsageError("sentencepiece cuts whole texts, so counted words do not tell its pieces: give --data")
        return trim_pieces
    check_special_tokens(base.tokenizer.vocab)
    return trim_entries


def show(name: str, messages: Messages, *, other: str | None = None, corpus: Corpus | None = None) -> dict[str, Any]:
    """Facts about a vocabulary: kinds of entries, what is missing or duplicated, how a corpus is tokenized.

    With `other`, how many entries the two share, and its own facts.
    """
    facts = _facts(name, messages, corpus)
    if other is None:
        return facts
    from nlpx.tokenizers.load import load_tokenizer

    entries = [set(load_tokenizer(one).vocab.ids) - {""} for one in (name, other)]
    first, second = entries
    shared = {"shared": len(first & second), "only_here": len(first - second), "only_there": len(second - first)}
    return facts | {"other": _facts(other, messages, corpus), "compared": shared}


def _facts(name: str, messages: Messages, corpus: Corpus | None) -> dict[str, Any]:
    from nlpx.tokenizers.load import load_tokenizer
    from nlpx.tokenizers.vocab import SPECIAL_TOKENS
    from nlpx.tokenizers.vocabulary.extend import is_redundant, missing_special_tokens
    from nlpx.tokenizers.vocabulary.kinds import duplicates, entries_by_kind

    tokenizer = load_tokenizer(name)
    tokenizer.require_bert(needed_by="The list of kinds of entries")
    vocab = tokenizer.vocab
    facts: dict[str, Any] = {
        "vocabulary": name,
        "kind": tokenizer.kind,
        "reason": tokenizer.reason,
        "size": len(vocab),
        "entries": entries_by_kind(vocab),
        "redundant": sum(is_redundant(token, tokenizer.kind) for token in vocab.ids if token not in SPECIAL_TOKENS),
        "missing_special_tokens": missing_special_tokens(vocab),
        "duplicates": duplicates(vocab),
    }
    return facts if corpus is None else facts | {"corpus": _usage_facts(tokenizer, corpus, messages)}


def _usage_facts(tokenizer: Tokenizer, corpus: Corpus, messages: Messages) -> dict[str, Any]:
    from nlpx.tokenizers.vocabulary.trim import Usage

    usage = Usage(tokenizer)
    for batch in corpus.batches(messages):
        usage.add(batch)
    tokens = max(1, usage.num_tokens)
    return {
        "texts": usage.num_texts,
        "characters": usage.num_characters,
        "tokens": usage.num_tokens,
        "tokens_per_character": usage.num_tokens / max(1, usage.num_characters),
        "coverage": 1 - usage.num_unknown / tokens,
        "unknown": usage.num_unknown,
        "used_entries": int((usage.counts > 0).sum()),
    }


def _write(
    base: Base,
    tokenizer: Tokenizer,
    keep_tokens: Sequence[int],
    compound_tokens: Sequence[Any],
    facts: dict[str, Any],
    target: Path,
    *,
    to: Format,
) -> dict[str, Any]:
    from nlpx.io import replace_directory, write_json

    vocab = tokenizer.vocab
    facts = {"base": base.name, "checkpoint": base.described is not None, **facts}
    facts |= {"old_size": len(base.tokenizer.vocab), "kept": len(keep_tokens), "size": len(vocab)}
    facts["special_tokens"] = {name: getattr(tokenizer, f"{name}_token_id") for name in ("pad", "unk", "cls", "sep")}
    facts["special_tokens"]["mask"] = tokenizer.mask_token_id
    ids = {"keep_tokens": list(keep_tokens), "compound_tokens": list(compound_tokens)}
    with replace_directory(target) as temporary:
        if base.described is not None:
            facts |= _write_model(base, ids, temporary, to)
        tokenizer.save(temporary)
        write_json(temporary / MAP_FILE, facts | ids)
    return {"path": str(target), **facts}


def _write_model(base: Base, ids: dict[str, Any], folder: Path, to: Format) -> dict[str, Any]:
    from nlpx.models.checkpoints.save import export_model, save_model
    from nlpx.models.checkpoints.vocabulary_rows import check_rows, with_rows

    check_rows(base.described, len(base.tokenizer.vocab), base.tokenizer.vocab.source)
    model = with_rows(base.path, base.described, **ids)
    (export_model if to == "hf" else save_model)(model, folder)
    task = (base.path if base.path.is_dir() else base.path.parent) / "task.json"
    if task.is_file():  # a fine-tuned model still predicts
        shutil.copy(task, folder)
    return {
        "family": model.config.family,
        "format": to,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "unexpected": model.load_report.unexpected if model.load_report else [],
    }


def _tokenizer(built: Built, kind: Literal["char", "word"]) -> Tokenizer:
    from nlpx.tokenizers.char import CharTokenizer
    from nlpx.tokenizers.word import WordTokenizer

    return CharTokenizer(built.vocab) if kind == "char" else WordTokenizer(built.vocab)


def _add_counts(usage: Usage, counts: Counts) -> None:
    """Count entries of a table as texts, and those that are continued pieces as the entries they are."""
    ids = usage.tokenizer.vocab.ids
    by_count: dict[int, list[str]] = {}
    for entry, count in counts:
        if entry.startswith("##") and entry in ids:
            usage.add_token(entry, count)
        else:
            by_count.setdefault(count, []).append(entry)
    for count, entries in by_count.items():
        for batch in batched(entries):
            usage.add(batch, count)
