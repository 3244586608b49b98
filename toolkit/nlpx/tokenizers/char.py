"""Character-level BERT tokenization by table look-up, with the ids of transformers' BertTokenizerFast.

BERT sets every Chinese character and every punctuation mark apart from its neighbours, so what such a
character becomes depends on nothing around it, and neither does what stands between two of them. A batch is
therefore encoded in one look-up, code point -> id; only the runs in between (Latin words, numbers, kana,
emoji) go through the `tokenizers` library, which also decided, once for each character, which characters
stand alone.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers
from numpy.typing import NDArray
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors

from nlpx.io import write_json, write_text
from nlpx.tokenizers.added import as_json
from nlpx.tokenizers.base import Rows, Tokenizer
from nlpx.tokenizers.cache import BoundedCache
from nlpx.tokenizers.encoding import Span
from nlpx.tokenizers.vocab import SPECIAL_TOKENS, Vocab

# Marks in the table beside ids: the character separates and vanishes / joins its neighbours / was never met.
_SEPARATOR, _JOINS, _UNSEEN = -1, -2, -3
_NUM_CODE_POINTS = 0x110000  # of Unicode

Array = NDArray[np.integer[Any]]
_ID = np.dtype(np.intc)


class CharTokenizer(Tokenizer):
    """BERT's tokenizer for character vocabularies.

    The options are those of `tokenizer_config.json`: `strip_accents` None means "as `do_lower_case`". Special
    tokens written in a text become the special token, if written exactly so ("[MASK]", not "[mask]"). Where tokens were
    added to the vocabulary, whole texts go through the library: what surrounds such a token decides whether it is one.

    Where bert4keras and transformers differ, transformers counts: special tokens in a text (bert4keras splits them
    up), words of 101 to 200 characters ([UNK] here, pieces there), private-use and unassigned characters (dropped
    here, kept there), U+2B820-U+2B91F (not Chinese here), a final Σ (σ here, ς there).
    """

    kind = "char"

    def __init__(
        self,
        vocab: Vocab,
        *,
        do_lower_case: bool = True,
        strip_accents: bool | None = None,
        tokenize_chinese_chars: bool = True,
        reason: str | None = None,
    ) -> None:
        super().__init__(vocab, do_lower_case=do_lower_case, reason=reason)
        self.strip_accents = strip_accents
        self.tokenize_chinese_chars = tokenize_chinese_chars
        self._specials = [token for token in SPECIAL_TOKENS if token in vocab.ids]
        self._special_pattern = re.compile("|".join(map(re.escape, self._specials)))
        self._backend = self._build_backend()
        self._table: Array = np.full(_NUM_CODE_POINTS, _UNSEEN, dtype=np.int32)
        # Ids as bytes: lists of them, and of spans that few ask for, take three times the memory.
        self._run_ids: BoundedCache[bytes] = BoundedCache(lambda run: array("i", self._encode_run(run).ids).tobytes())
        self._run_spans: BoundedCache[list[Span]] = BoundedCache(lambda run: self._encode_run(run).offsets)

    def __reduce__(self) -> tuple[Any, ...]:
        # The table and the cache are rebuilt on the other side: sending them costs more than filling them.
        options = (self.do_lower_case, self.strip_accents, self.tokenize_chinese_chars, self.reason)
        return _rebuild, (self.vocab, *options)

    def save(self, directory: str | Path) -> None:
        """Write vocab.txt, tokenizer.json and the tokenizer_config.json that plain transformers needs."""
        folder = Path(directory)
        write_text(folder / "vocab.txt", self.vocab.text())
        write_text(folder / "tokenizer.json", self._backend.to_str(pretty=True) + "\n")
        config: dict[str, Any] = {
            "tokenizer_class": "BertTokenizer",
            "do_lower_case": self.do_lower_case,
            "strip_accents": self.strip_accents,
            "tokenize_chinese_chars": self.tokenize_chinese_chars,
        }
        if self.vocab.added:
            config["added_tokens_decoder"] = {
                str(index): as_json(token) for index, token in self.vocab.added_by_id().items()
            }
        write_json(folder / "tokenizer_config.json", config)
        # Written even where it follows from the vocabulary: an older file with other options may lie there.
        write_json(folder / "nlpx_tokenizer.json", {"kind": self.kind})

    def encode_flat(self, text: str) -> tuple[Array, Array]:
        """Ids (N,) of `text` without [CLS] and [SEP], and how many come before each of its C characters (C + 1,).

        The tokens of a run of letters or digits are booked on its first character. For long texts: no object is
        made per token or sentence. Raises `UnicodeEncodeError` for a lone surrogate, like `_rows`.
        """
        if self.vocab.added:
            rows, spans = self._whole_rows([text])
            return np.array(rows[0], dtype=np.int32), _until(spans[0], len(text))
        values, first, runs = self._parts(text)
        ids, _, until = _assemble(values, first, [self._run_ids[run] for run in runs])
        return ids, until

    def _whole_rows(self, texts: Sequence[str]) -> tuple[list[list[int]], list[list[Span]]]:
        "".join(texts).encode()  # refuses lone surrogates
        encodings = self._backend.encode_batch(list(texts), add_special_tokens=False)
        return [encoding.ids for encoding in encodings], [encoding.offsets for encoding in encodings]

    def _rows(self, texts: Sequence[str], *, return_offsets: bool) -> Rows:
        if self.vocab.added:
            found, found_spans = self._whole_rows(texts)
            return found, found_spans if return_offsets else None
        joined = "\n".join(texts)  # a line break stands alone, so rows cannot join
        values, first, runs = self._parts(joined)
        ids, from_table, until = _assemble(values, first, [self._run_ids[run] for run in runs])

        starts = _row_starts(texts)
        begin, end = until[starts[:-1]], until[starts[1:] - 1]
        bounds = list(zip(begin.tolist(), end.tolist(), strict=True))
        flat = ids.tolist()
        rows = [flat[a:b] for a, b in bounds]
        if not return_offsets:
            return rows, None
        spans = _spans(from_table, np.flatnonzero(values >= 0), first, [self._run_spans[run] for run in runs])
        spans -= np.repeat(starts[:-1], end - begin)
        flat_spans = list(zip(spans[0].tolist(), spans[1].tolist(), strict=True))
        return rows, [flat_spans[a:b] for a, b in bounds]

    def _parts(self, joined: str) -> tuple[Array, Array, list[str]]:
        """Table values of all characters, where runs start, and the runs."""
        values = self._look_up(joined)
        first, last = _run_bounds(values == _JOINS)
        return values, first, [joined[a:b] for a, b in zip(first.tolist(), last.tolist(), strict=True)]

    def _look_up(self, joined: str) -> Array:
        """Table values of all characters; special tokens written in the text are marked as runs."""
        points = np.frombuffer(joined.encode("utf-32-le"), dtype=np.uint32)
        values = self._table[points]
        unseen = values == _UNSEEN
        if unseen.any():
            for code in np.unique(points[unseen]).tolist():
                self._table[code] = self._classify(chr(code))
            values = self._table[points]
        for match in self._special_pattern.finditer(joined):
            values[match.start() : match.end()] = _JOINS
        return values

    def _classify(self, character: str) -> int:
        """What the library makes of `character` between two letters, which then holds between any neighbours.

        If the letters stay apart, the character is set apart by blanks (Chinese), by itself (punctuation) or
        is a blank; canonical decomposition never reaches over it, because it begins with a starter.
        """
        normal = self._backend.normalizer.normalize_str(f"a{character}a")
        words = [word for word, _ in self._backend.pre_tokenizer.pre_tokenize_str(normal)]
        if words == ["a", "a"]:
            return _SEPARATOR
        if len(words) != 3 or (words[0], words[2]) != ("a", "a"):
            return _JOINS
        joined: int = self._backend.model.tokenize(words[1])[0].id  # one character, hence one piece
        return joined

    def _encode_run(self, run: str) -> Any:
        return self._backend.encode(run, add_special_tokens=False)

    def _build_backend(self) -> Any:
        added = self.vocab.added_by_id()
        backend = tokenizers.Tokenizer(models.WordPiece(_ids_for_pieces(self.vocab), unk_token="[UNK]"))
        backend.normalizer = normalizers.BertNormalizer(
            clean_text=True,
            handle_chinese_chars=self.tokenize_chinese_chars,
            strip_accents=self.strip_accents,
            lowercase=self.do_lower_case,
        )
        backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        backend.decoder = decoders.WordPiece(prefix="##")
        backend.add_special_tokens(self._specials)
        backend.add_tokens([tokenizers.AddedToken(**as_json(token)) for _, token in sorted(added.items())])
        if self.cls_token_id is not None and self.sep_token_id is not None:
            backend.post_processor = processors.TemplateProcessing(
                single="[CLS]:0 $A:0 [SEP]:0",
                pair="[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1",
                special_tokens=[("[CLS]", self.cls_token_id), ("[SEP]", self.sep_token_id)],
            )
        return backend


def _ids_for_pieces(vocab: Vocab) -> dict[str, int]:
    """The entries that words may be cut into: not those that were only added at the end, which are whole or nothing.

    The library counts what is added from the number of entries, so ids that no entry has are taken by names that no
    text can hold.
    """
    names = {token.content for token in vocab.added if not token.is_piece}
    size = next((index + 1 for index in reversed(range(len(vocab))) if vocab.tokens[index] not in names), 0)
    if size == len(vocab):
        return vocab.ids
    ids = {token: index for token, index in vocab.ids.items() if index < size}
    return ids | {f"\0{index}": index for index in set(range(size)) - set(ids.values())}


def _rebuild(vocab: Vocab, lower: bool, strip: bool | None, chinese: bool, reason: str) -> CharTokenizer:
    return CharTokenizer(vocab, do_lower_case=lower, strip_accents=strip, tokenize_chinese_chars=chinese, reason=reason)


def _run_bounds(joins: NDArray[np.bool_]) -> tuple[Array, Array]:
    """First and one-past-last position of each maximal run of True."""
    edges = np.diff(joins.astype(np.int8), prepend=0, append=0)
    return np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)


def _assemble(values: Array, first: Array, runs: list[bytes]) -> tuple[Array, NDArray[np.bool_], Array]:
    """All N ids, which of them stood in the table, and how many come before each of the C characters (C + 1).

    `runs` are the ids of each run.
    """
    single = values >= 0
    counts = single.astype(np.int32)
    counts[first] = [len(ids) // _ID.itemsize for ids in runs]  # a run's tokens are booked on its first character
    until = np.concatenate(([0], np.cumsum(counts)))
    ids = np.empty(until[-1], dtype=np.int32)
    from_table = np.zeros(until[-1], dtype=bool)
    from_table[until[1:][single] - 1] = True
    ids[from_table] = values[single]
    ids[~from_table] = np.frombuffer(b"".join(runs), dtype=_ID)
    return ids, from_table, until


def _until(spans: Sequence[Span], num_characters: int) -> Array:
    """How many tokens begin before each of the C characters, and before the end (C + 1)."""
    starts = np.fromiter((start for start, _ in spans), dtype=np.int64, count=len(spans))
    counts = np.bincount(starts, minlength=num_characters) if num_characters else np.zeros(0, dtype=np.int64)
    return np.concatenate(([0], np.cumsum(counts)))


def _row_starts(texts: Sequence[str]) -> Array:
    """Where each text starts in the joined string, and where one more would."""
    lengths = np.fromiter(map(len, texts), dtype=np.int64, count=len(texts))
    return np.concatenate(([0], np.cumsum(lengths + 1)))


def _spans(from_table: NDArray[np.bool_], singles: Array, first: Array, runs: list[list[Span]]) -> Array:
    """(2, N) start and end of every token in the joined string; a run's tokens count from the run's first."""
    spans = np.empty((2, len(from_table)), dtype=np.int64)
    spans[:, from_table] = singles, singles + 1
    if runs:
        relative = list(chain.from_iterable(runs))
        shift = np.repeat(first, list(map(len, runs)))
        spans[:, ~from_table] = np.array(relative, dtype=np.int64).reshape(-1, 2).T + shift
    return spans
