"""Any `tokenizer.json`, by the `tokenizers` library: BPE, Unigram, WordPiece, bytes, with whatever surrounds them.

The file says how a text is cut and which special tokens go around it; nothing of that is decided here.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import tokenizers

from nlpx.errors import InputError, reason_of
from nlpx.io import write_json, write_text
from nlpx.tokenizers.added import Added, as_json, content_of, read_added
from nlpx.tokenizers.base import Rows, Tokenizer
from nlpx.tokenizers.encoding import Frame
from nlpx.tokenizers.files import read_json
from nlpx.tokenizers.vocab import Vocab

FILE = "tokenizer.json"
_CONFIGS = ("special_tokens_map.json", "tokenizer_config.json")  # the second one counts
_USUAL = {"pad": ("<pad>", "[PAD]"), "unk": ("<unk>", "[UNK]"), "mask": ("<mask>", "[MASK]")}
_PROBES = ("a", "的", "1", " ")  # one of them becomes a token under any tokenizer


class GeneralTokenizer(Tokenizer):
    """A tokenizer of the `tokenizers` library behind the interface of ours, with the ids of transformers.

    [CLS] and [SEP] are what the configuration names so, else what the file puts around a text.
    """

    kind = "subword"

    def __init__(self, definition: str, *, config: Mapping[str, Any], source: str, added: Added | None = None) -> None:
        """`definition` is the content of tokenizer.json, `config` that of tokenizer_config.json, `added` more tokens.

        Raises `InputError` if the library cannot read it.
        """
        self._backend = _backend(definition, added or {}, source)
        self.config = dict(config)
        model = type(self._backend.model).__name__
        vocab = Vocab(_tokens(self._backend.get_vocab(with_added_tokens=True)), source=source, unknown=None)
        super().__init__(
            vocab, do_lower_case=False, reason=f"subwords ({model}) by the tokenizers library: {source} says so"
        )
        with _readable(source):
            self.frame = _frame(self._backend, self.config)
        named = {name: self._named(name) for name in ("pad", "unk", "cls", "sep", "mask")}
        self.pad_token_id, self.unk_token_id, self.mask_token_id = named["pad"], named["unk"], named["mask"]
        self.cls_token_id = named["cls"] if named["cls"] is not None else next(iter(self.frame.start), None)
        self.sep_token_id = named["sep"] if named["sep"] is not None else next(reversed(self.frame.end), None)

    @classmethod
    def read(cls, folder: Path) -> GeneralTokenizer:
        """The one of a directory with a tokenizer.json. Raises `InputError` if it cannot be read."""
        config: dict[str, Any] = {}
        for name in _CONFIGS:
            config |= read_json(folder / name)
        path = folder / FILE
        return cls(path.read_text(encoding="utf-8"), config=config, source=str(path), added=read_added(folder))

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (self._backend.to_str(), self.config, self.vocab.source)

    def save(self, directory: str | Path) -> None:
        """Write tokenizer.json and tokenizer_config.json, from which transformers makes it as well."""
        folder = Path(directory)
        write_text(folder / FILE, self._backend.to_str(pretty=True) + "\n")
        write_json(folder / "tokenizer_config.json", self.config)
        # Written even where it follows from the file: an older vocab.txt may lie there.
        write_json(folder / "nlpx_tokenizer.json", {"kind": self.kind})

    def decode(self, ids: Iterable[int], *, skip_special_tokens: bool = True) -> str:
        """Text of `ids`, as the file says it is joined. Raises `InputError` for an id out of range."""
        wanted = list(map(int, ids))
        for index in wanted:
            self._token(index)
        text: str = self._backend.decode(wanted, skip_special_tokens=skip_special_tokens)
        return text

    def _rows(self, texts: Sequence[str], *, return_offsets: bool) -> Rows:
        "".join(texts).encode()  # refuses lone surrogates
        encodings = self._backend.encode_batch(list(texts), add_special_tokens=False)
        ids = [encoding.ids for encoding in encodings]
        return ids, [encoding.offsets for encoding in encodings] if return_offsets else None

    def _named(self, name: str) -> int | None:
        """The id of what the configuration, or else custom, calls the padding token and so on."""
        chosen = content_of(self.config.get(f"{name}_token"))
        names = [chosen] if chosen is not None else _USUAL.get(name, ())
        return next((self.vocab.ids[token] for token in names if token in self.vocab.ids), None)


def is_bert(content: Mapping[str, Any]) -> bool:
    """Whether a tokenizer.json says exactly what the tokenizers of BERT do, so that theirs can be used."""
    parts = [content.get(key) or {} for key in ("model", "normalizer", "pre_tokenizer", "post_processor")]
    if not all(isinstance(part, Mapping) for part in parts):
        return False
    model, normalizer, split, frame = parts
    return bool(
        model.get("type", "WordPiece") == "WordPiece"
        and model.get("unk_token", "[UNK]") == "[UNK]"
        and model.get("continuing_subword_prefix", "##") == "##"
        and normalizer.get("type") == "BertNormalizer"
        and normalizer.get("clean_text", True)
        and split.get("type", "BertPreTokenizer") == "BertPreTokenizer"
        and isinstance(model.get("vocab"), Mapping)
        and _frames_like_bert(frame)
    )


def _frames_like_bert(post_processor: Mapping[str, Any]) -> bool:
    if not post_processor:
        return True
    if post_processor.get("type") == "TemplateProcessing":
        return set(post_processor.get("special_tokens", ())) == {"[CLS]", "[SEP]"}
    named = [post_processor.get(name) for name in ("cls", "sep")]
    return [token[0] if isinstance(token, list) else None for token in named] == ["[CLS]", "[SEP]"]


@contextmanager
def _readable(source: str) -> Iterator[None]:
    """Turns what the library raises, which is of no class of its own or a panic of Rust, into an `InputError`."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit, MemoryError, InputError):
        raise
    except BaseException as error:
        raise InputError(
            f"{source}: the tokenizers library cannot read it: {reason_of(error)}",
            hint="restore the file from its release",
        ) from None


@contextmanager
def _without_reports_of_panics() -> Iterator[None]:
    """A panic of Rust prints a report of its own, past Python's stderr: ours is the sentence that is raised."""
    try:
        kept = os.dup(2)
    except OSError:  # closed: nothing can be printed
        yield
        return
    sys.stderr.flush()
    try:
        with Path(os.devnull).open("wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _backend(definition: str, added: Added, source: str) -> Any:
    with _readable(source), _without_reports_of_panics():
        backend = tokenizers.Tokenizer.from_str(definition)
    # Their own lengths would be in the way of ours.
    backend.no_truncation()
    backend.no_padding()
    known = backend.get_added_tokens_decoder()
    for index, token in sorted(added.items()):
        if index in known:
            continue
        backend.add_tokens([tokenizers.AddedToken(**as_json(token))])
        if backend.token_to_id(token.content) != index:
            raise InputError(
                f"{source}: `{token.content}` was added with the id {index}, and would get "
                f"{backend.token_to_id(token.content)} here",
                hint="take all tokenizer files from the same release of the model",
            )
    return backend


def _tokens(ids: Mapping[str, int]) -> list[str]:
    tokens = [""] * (max(ids.values(), default=-1) + 1)
    for token, index in ids.items():
        tokens[index] = token
    return tokens


def _frame(backend: Any, config: Mapping[str, Any]) -> Frame:
    """What the file puts around texts, seen from what it does to one and to two of them."""
    if backend.post_processor is None:
        return _frame_of_flags(backend, config)
    for probe in _PROBES:
        single = backend.encode(probe)
        pair = backend.encode(probe, probe)
        if 0 in single.sequence_ids and 1 in pair.sequence_ids:
            start, _, end = _parts(single.ids, single.sequence_ids, (0,))
            pair_start, middle, pair_end = _parts(pair.ids, pair.sequence_ids, (0, 1))
            second = pair.type_ids[pair.sequence_ids.index(1)]
            return Frame(start, end, pair_start, middle, pair_end, second)
    return Frame()


def _parts(ids: list[int], owners: list[int | None], order: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
    """Ids before the first text, between the two, and after the last."""
    first = owners.index(0)
    last = len(owners) - owners[::-1].index(order[-1])
    between = tuple(index for index, owner in zip(ids[first:last], owners[first:last], strict=True) if owner is None)
    return tuple(ids[:first]), between, tuple(ids[last:])


def _frame_of_flags(backend: Any, config: Mapping[str, Any]) -> Frame:
    """Without a post-processor, `add_bos_token` and `add_eos_token` of the configuration decide."""
    found = {}
    for name in ("bos", "eos"):
        token = content_of(config.get(f"{name}_token")) if config.get(f"add_{name}_token") else None
        index = None if token is None else backend.token_to_id(token)
        found[name] = () if index is None else (index,)
    start, end = found["bos"], found["eos"]
    return Frame(start, end, start, end + start, end)


def _rebuild(definition: str, config: Mapping[str, Any], source: str) -> GeneralTokenizer:
    return GeneralTokenizer(definition, config=config, source=source)
