"""sentencepiece files (`sentencepiece.bpe.model`, `spiece.model`, `spm.model`), by the sentencepiece library.

The file says how a text is cut and which id a piece has, but neither what goes around a text nor how a model moved the
ids: both follow from the `model_type` beside it. Where there is a tokenizer.json too, it says all of that and is read.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import sentencepiece

from nlpx.errors import InputError, reason_of
from nlpx.first_bytes import refuse_placeholder
from nlpx.io import write_atomically, write_json
from nlpx.tokenizers.added import Added, AddedToken, as_json, read_added, with_added
from nlpx.tokenizers.base import Rows, Tokenizer
from nlpx.tokenizers.encoding import Frame, Span
from nlpx.tokenizers.files import read_json
from nlpx.tokenizers.vocab import Vocab

FILES = ("sentencepiece.bpe.model", "spiece.model", "spm.model", "tokenizer.model")


@dataclass(frozen=True, slots=True)
class Layout:
    """What a model makes of the pieces: `first` are its ids before them, in place of the file's first `dropped`.

    `last` follows the pieces. `start`, `between` and `end` go around texts.
    """

    names: Mapping[str, str]  # pad, unk, cls, sep, mask
    start: tuple[str, ...] = ()
    between: tuple[str, ...] = ()
    end: tuple[str, ...] = ()
    first: tuple[str, ...] = ()
    dropped: int = 0
    last: tuple[str, ...] = ()
    second_segment: int = 0


_ROBERTA = {"pad": "<pad>", "unk": "<unk>", "cls": "<s>", "sep": "</s>", "mask": "<mask>"}
_BERT = {"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"}
_OWN = Layout({"pad": "<pad>", "unk": "<unk>"})
_XLM_ROBERTA = Layout(
    *(_ROBERTA, ("<s>",), ("</s>", "</s>"), ("</s>",)),
    first=("<s>", "<pad>", "</s>", "<unk>"),  # as fairseq has them; the file says <unk>, <s>, </s>
    dropped=3,
    last=("<mask>",),
)
LAYOUTS = {
    "xlm-roberta": _XLM_ROBERTA,
    "xlm-roberta-xl": _XLM_ROBERTA,
    "deberta-v2": Layout(_BERT, ("[CLS]",), ("[SEP]",), ("[SEP]",), second_segment=1),
    **dict.fromkeys(("t5", "mt5", "umt5"), Layout({"pad": "<pad>", "unk": "<unk>"}, (), ("</s>",), ("</s>",))),
    "": _OWN,  # a file without a model: the ids are its own, and nothing goes around a text
}


class SentencePieceTokenizer(Tokenizer):
    """Pieces of sentencepiece, with the ids and the frame of the model beside the file."""

    kind = "subword"

    def __init__(self, model: bytes, *, model_type: str, source: str, added: Added | None = None) -> None:
        """`model` is the content of the file, `model_type` a key of `LAYOUTS`, `added` more tokens by their ids.

        Raises `InputError` for anything that is no sentencepiece model.
        """
        self.model, self.model_type, self.layout = model, model_type, LAYOUTS[model_type]
        self._processor = _processor(model, source)
        self._shift = len(self.layout.first) - self.layout.dropped
        tokens = with_added(self._entries(), added or {}, source=source)
        self.added_tokens = dict(added or {})  # by their ids, pieces of the file that are named again among them
        vocab = Vocab(tokens, source=source, unknown=None, added=self.added_tokens.values())
        meaning = f"ids as {model_type} has them" if model_type else "no model is beside it: its own ids"
        super().__init__(vocab, do_lower_case=False, reason=f"subwords by sentencepiece: {source}, {meaning}")
        found = {name: vocab.ids.get(token) for name, token in self.layout.names.items()}
        self.pad_token_id, self.unk_token_id = found.get("pad"), found.get("unk")
        if self.unk_token_id is None:
            self.unk_token_id = self._processor.unk_id() + self._shift
        self.cls_token_id, self.sep_token_id, self.mask_token_id = (found.get(key) for key in ("cls", "sep", "mask"))
        self.frame = self._framed(vocab)
        whole = {token.content for token in self.added_tokens.values()} | set(self.layout.names.values())
        self._whole = {token: vocab.ids[token] for token in whole if token in vocab.ids}
        self._pattern = re.compile("|".join(map(re.escape, sorted(self._whole, key=len, reverse=True))) or r"(?!)")

    @classmethod
    def read(cls, path: Path) -> SentencePieceTokenizer:
        """The one of a file, with the model type and the added tokens beside it.

        Raises `InputError` for a model type whose ids are not known to follow from the file.
        """
        refuse_placeholder(path)
        folder = path.parent
        config = read_json(folder / "config.json")
        named = config.get("encoder", config).get("model_type", "") if config else ""
        model_type = str(read_json(folder / "nlpx_tokenizer.json").get("model_type", named))
        if model_type not in LAYOUTS:
            known = ", ".join(filter(None, LAYOUTS))
            raise InputError(
                f"{path}: how {model_type} numbers the pieces of this file is not known to nlpx (known: {known})",
                hint="make a tokenizer.json of it once: AutoTokenizer.from_pretrained(DIR).save_pretrained(DIR)",
            )
        return cls(path.read_bytes(), model_type=model_type, source=str(path), added=read_added(folder))

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (self.model, self.model_type, self.vocab.source, self.added_tokens)

    def save(self, directory: str | Path) -> None:
        """Write the file as it came, and beside it what it does not say."""
        folder = Path(directory)
        folder.mkdir(parents=True, exist_ok=True)
        with write_atomically(folder / Path(self.vocab.source).name) as temporary:
            temporary.write_bytes(self.model)
        decoder = {str(index): as_json(token) for index, token in self.added_tokens.items()}
        facts = {"kind": self.kind, "model_type": self.model_type, "added_tokens_decoder": decoder}
        write_json(folder / "nlpx_tokenizer.json", facts)

    def decode(self, ids: Iterable[int], *, skip_special_tokens: bool = True) -> str:
        """Text of `ids`. Raises `InputError` for an id out of range."""
        special = self._special_ids() | self.frame.ids() if skip_special_tokens else frozenset()
        tokens = [self._token(index) for index in map(int, ids) if index not in special]
        text: str = self._processor.decode_pieces(tokens)
        return text

    def _rows(self, texts: Sequence[str], *, return_offsets: bool) -> Rows:
        "".join(texts).encode()  # refuses lone surrogates
        rows = [self._row(text) for text in texts]
        return [ids for ids, _ in rows], [spans for _, spans in rows] if return_offsets else None

    def _row(self, text: str) -> tuple[list[int], list[Span]]:
        pieces: list[tuple[int, Span]] = []
        start = 0
        for match in self._pattern.finditer(text):
            pieces += self._cut(text, start, match.start())
            pieces.append((self._whole[match.group()], match.span()))
            start = match.end()
        pieces += self._cut(text, start, len(text))
        return [index for index, _ in pieces], [span for _, span in pieces]

    def _cut(self, text: str, start: int, end: int) -> list[tuple[int, Span]]:
        if start == end:
            return []
        found = self._processor.encode(text[start:end], return_type="offset_mapping")
        unknown = self._processor.unk_id()
        ids: Iterable[Any] = (self.unk_token_id if index == unknown else index + self._shift for index in found["ids"])
        spans = ((start + first, start + last) for first, last in found["offsets"])
        return list(zip(ids, spans, strict=True))

    def _entries(self) -> list[str]:
        count = self._processor.get_piece_size()
        pieces = [self._processor.id_to_piece(index) for index in range(self.layout.dropped, count)]
        return [*self.layout.first, *pieces, *self.layout.last]

    def _framed(self, vocab: Vocab) -> Frame:
        layout = self.layout
        missing = [token for token in chain(layout.start, layout.between, layout.end) if token not in vocab.ids]
        if missing:
            raise InputError(
                f"{vocab.source} has no {missing[0]}, which {self.model_type} puts around texts",
                hint="take all tokenizer files from the same release of the model",
            )
        start, between, end = (
            tuple(vocab.ids[token] for token in tokens) for tokens in (layout.start, layout.between, layout.end)
        )
        return Frame(start, end, start, between, end, layout.second_segment)


def find(folder: Path) -> Path | None:
    """The sentencepiece file of a directory."""
    return next((folder / name for name in FILES if (folder / name).is_file()), None)


def _processor(model: bytes, source: str) -> Any:
    try:
        return sentencepiece.SentencePieceProcessor(model_proto=model)
    except Exception as error:  # the library raises plain exceptions
        raise InputError(
            f"{source}: no sentencepiece model ({reason_of(error)})", hint="copy or download it again"
        ) from None


def _rebuild(model: bytes, model_type: str, source: str, added: dict[int, AddedToken]) -> SentencePieceTokenizer:
    return SentencePieceTokenizer(model, model_type=model_type, source=source, added=added)
