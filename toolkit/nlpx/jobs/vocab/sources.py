"""What `nlpx vocab` reads: a base vocabulary or checkpoint, counted words, the texts of a corpus."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nlpx.errors import InputError, UsageError
from nlpx.messages import Messages

if TYPE_CHECKING:
    from nlpx.data.opening.sources import Source
    from nlpx.tokenizers.base import Tokenizer

MAP_FILE = "vocabulary_map.json"
JIEBA = "jieba"  # `--words`: the dictionary of the segmenter
BATCH_TEXTS = 1024  # tokenized together

Counts = list[tuple[str, int]]


@dataclass(frozen=True, slots=True)
class Base:
    """A vocabulary to start from, and the checkpoint whose rows belong to it, if there is one."""

    name: str
    path: Path
    tokenizer: Tokenizer
    described: Any  # `nlpx.models.checkpoints.load.Described`, None for a vocabulary alone


@dataclass(frozen=True, slots=True)
class Corpus:
    """Texts of files, folders, patterns, URLs or stdin, and how they are written."""

    paths: Sequence[str]
    field: str = "text"
    encoding: str = "utf-8"
    format: str | None = None  # of all of them; None: by suffix

    def sources(self) -> list[Source]:
        """The files behind the paths. Raises what `find_sources` raises."""
        from nlpx.data.corpus.texts import find_sources

        return find_sources(self.paths, format=self.format, encoding=self.encoding)

    def _texts(self) -> Iterator[str]:
        """All texts, one after the other, those of rows also where they are empty. Raises `InputError` by line."""
        from nlpx.data.corpus.texts import Reading, read_texts

        reading = Reading(field=self.field, encoding=self.encoding)
        for source in self.sources():
            yield from read_texts(source, reading, keep_empty=source.format != "txt")

    def batches(self, messages: Messages) -> Iterator[list[str]]:
        """Yield the texts in lists, with the count of them on the bar. Raises `InputError` if there is none."""
        stream, count, num_empty = self._texts(), 0, 0
        with messages.progress(None, "reading texts") as progress:
            while read := list(islice(stream, BATCH_TEXTS)):
                batch = [text for text in read if text.strip()]
                num_empty += len(read) - len(batch)
                count += len(batch)
                progress.update(count)
                if batch:
                    yield batch
        _warn_of_empty(num_empty, messages)
        if not count:
            raise InputError(f"{', '.join(self.paths)}: no text in it", hint="empty lines and empty rows are no texts")


def open_base(name: str, *, family: str | None = None, pieces: bool = False) -> Base:
    """A checkpoint directory, file or name, or a vocabulary alone: a `vocab.txt`, or a folder without weights.

    With `pieces` a sentencepiece file will do as well. Raises `InputError` if the model is none of nlpx's families, or
    has fewer rows than the vocabulary entries.
    """
    from nlpx.models.checkpoints.resolve import resolve
    from nlpx.tokenizers.load import load_tokenizer

    path = resolve(name)
    is_checkpoint = _is_checkpoint(path)
    folder = path.parent if is_checkpoint and not path.is_dir() else path
    if pieces and (found := _sentencepiece(folder)) is not None:
        return Base(name, path, found, _describe(path, family) if is_checkpoint else None)
    tokenizer = load_tokenizer(folder)
    tokenizer.require_bert(needed_by="Extending or trimming a vocabulary")
    return Base(name, path, tokenizer, _describe(path, family) if is_checkpoint else None)


def read_counts(path: str) -> Counts:
    """Entries and counts of a table that `nlpx wordfreq` wrote. Raises `InputError` if there is none in it."""
    from nlpx.data.corpus.count_tables import read_counts

    counts = [(entry, count) for entry, count in read_counts(path) if count > 0]
    if not counts:
        raise InputError(f"{path}: no counts in it", hint="`nlpx wordfreq` writes such tables: word, tab, count")
    return counts


def count_corpus(corpus: Corpus, kind: str, messages: Messages) -> Counts:
    """Characters of a corpus, or its words with HMM off, with their counts. Raises `InputError` if there is no text."""
    from nlpx.counting.engine import count
    from nlpx.counting.settings import CountSettings

    settings = CountSettings(unit=kind, hmm=False, field=corpus.field, encoding=corpus.encoding)
    with count(corpus.sources(), settings, messages) as counted:
        counts = list(counted.ranked())
    _warn_of_empty(counted.num_empty, messages)
    if not counts:
        raise InputError(f"{', '.join(corpus.paths)}: no text in it", hint="empty lines and empty rows are no texts")
    return counts


def _warn_of_empty(num_rows: int, messages: Messages) -> None:
    if num_rows:
        messages.warn(f"{num_rows:,} {'row has' if num_rows == 1 else 'rows have'} no text and are left out")


def found_whole(words: Mapping[str, int]) -> dict[str, int]:
    """Those words that a tokenizer's segmenter finds whole: an entry for any other would never be used."""
    from nlpx.tokenizers.segment import build_segmenter

    segment = build_segmenter("rjieba")
    return {word: count for word, count in words.items() if segment(word) == [word]}


def check_unit(path: str, counts: Counts, kind: str, messages: Messages) -> None:
    """Raises `InputError` if a table counts something that a vocabulary of this kind cannot be made of."""
    has_words, has_characters = any(len(entry) > 1 for entry, _ in counts), any(len(entry) == 1 for entry, _ in counts)
    if kind == "word" and not has_words:
        hint = "`nlpx wordfreq --unit word` counts words"
        raise InputError(f"{path}: counts of single characters, not of words", hint=hint)
    if not has_characters:
        hint = "`nlpx wordfreq --unit char` counts characters"
        raise InputError(f"{path}: no single character in it: counts of n-grams?", hint=hint)
    if kind == "char" and has_words:
        messages.note(f"{path} counts words: their characters are counted out of them")


def looks_like_counts(path: str) -> bool:
    """Whether the first line of a file is an entry, a tab and a whole number; never so for stdin."""
    if not Path(path).is_file():
        return False
    with Path(path).open("rb") as stream:
        columns = stream.readline().rstrip(b"\r\n").split(b"\t")
    return len(columns) == 2 and columns[1].isdigit()


def words_of(source: str, *, min_count: int) -> tuple[Counts, str]:
    """Words by descending count, equal ones by code point, of a table or of jieba's dictionary; and what it is.

    Raises `InputError` if the table counts something else than words.
    """
    if source == JIEBA:
        counts, origin = dictionary_words(), f"the dictionary of jieba {jieba_version()}"
    else:
        counts, origin = read_counts(source), source
        if not any(len(word) > 1 for word, _ in counts):
            raise InputError(
                f"{source}: counts of single characters, not of words", hint="`nlpx wordfreq --unit word` counts words"
            )
        if all(len(word.split()) > 1 for word, _ in counts if len(word) > 1):
            raise InputError(f"{source}: counts of n-grams, not of words", hint="`nlpx wordfreq --unit word`")
    ranked = sorted(counts, key=lambda item: (-item[1], item[0]))
    return [(word, count) for word, count in ranked if count >= min_count], origin


def dictionary_words() -> Counts:
    """The words of the segmenter's own dictionary with their frequencies."""
    import logging

    import jieba

    logging.getLogger("jieba").setLevel(logging.WARNING)  # it announces that it reads its dictionary
    engine = jieba.Tokenizer()
    engine.initialize()
    return [(word, frequency) for word, frequency in engine.FREQ.items() if frequency]  # 0: the beginning of a word


def jieba_version() -> str:
    """Of the installed package: another version has other words."""
    from importlib.metadata import version

    return version("jieba")


def check_output(target: Path, *, overwrite: bool) -> None:
    """Raises `UsageError` if `target` may not be written: it exists, or is no vocabulary that could be replaced."""
    if not target.exists() or (target.is_dir() and not any(target.iterdir())):
        return
    if not overwrite:
        raise UsageError(f"{target}: already exists", hint="choose another name, or --overwrite to replace it")
    if target.is_dir() and not any(
        (target / name).is_file() for name in ("vocab.txt", MAP_FILE)
    ):  # a slip of the hand must not cost a home directory
        hint = "choose another directory, or remove it yourself"
        raise UsageError(f"{target}: no vocabulary in it, so --overwrite does not touch it", hint=hint)


def batched(entries: Iterable[str]) -> Iterator[list[str]]:
    """Lists of up to `BATCH_TEXTS` entries."""
    stream = iter(entries)
    while batch := list(islice(stream, BATCH_TEXTS)):
        yield batch


def _sentencepiece(path: Path) -> Tokenizer | None:
    """The tokenizer of a sentencepiece file, also where a tokenizer.json made of it lies beside it."""
    from nlpx.tokenizers.sentencepiece import SentencePieceTokenizer, find

    if path.suffix == ".model":
        return SentencePieceTokenizer.read(path)
    is_bert = (path / "vocab.txt").is_file()
    file = find(path) if path.is_dir() and not is_bert else None
    return None if file is None else SentencePieceTokenizer.read(file)


def _is_checkpoint(path: Path) -> bool:
    from nlpx.models.checkpoints.checkpoint import CONFIG_NAMES

    if path.suffix in (".txt", ".model"):
        return False
    folder = path if path.is_dir() else path.parent
    return any((folder / name).is_file() for name in CONFIG_NAMES)


def _describe(path: Path, family: str | None) -> Any:
    from nlpx.models.checkpoints.load import describe

    described = describe(path, family)
    if described is None:
        hint = "its vocab.txt alone can be extended or trimmed: name that file"
        raise InputError(f"{path}: none of nlpx's families, so its rows cannot follow the vocabulary", hint=hint)
    return described
