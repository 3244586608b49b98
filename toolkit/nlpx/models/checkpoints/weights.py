"""From named tensors of a checkpoint to the state of a `Transformer`, with a report.

Fuses query, key and value; transposes TensorFlow kernels; keeps, appends or lengthens rows of the tables.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch

import torch
from torch import Tensor

from nlpx.errors import InputError
from nlpx.models.checkpoints.names import ENCODER, FUSED, PARTS, NameMap
from nlpx.models.config import ModelConfig
from nlpx.models.encoder_decoder import EncoderDecoder
from nlpx.models.load_report import LoadReport
from nlpx.models.positions import hierarchical_rows
from nlpx.models.transformer import Transformer

# Buffers and copies that a checkpoint may carry and that are recomputed here.
RECOMPUTED = (
    "*position_ids",
    "*embed_positions.weight",
    "*relative_positions_encoding*",
    "*.attn.bias",
    "*.attn.masked_bias",
    "*predictions.bias",
    *("encoder.embed_tokens.weight", "decoder.embed_tokens.weight"),  # T5's, copies of the one table
    "*EncDecAttention.relative_attention_bias*",  # stored by mistake: nothing ever read it
)
# What has a row for each entry of the vocabulary.
WORD_TABLE = "embeddings.word_embeddings.weight"
VOCABULARY_ROWS = (WORD_TABLE, ENCODER + WORD_TABLE, "lm_head.decoder", "lm_head.bias")
ALIGNMENT = 64  # bytes, of torch's own memory
CompoundToken = Sequence[int] | tuple[Sequence[int], Sequence[float]]


@dataclass(frozen=True, slots=True)
class RowChoices:
    """Rows of the word table (and of what is tied to it): old rows to keep, and new rows as means of kept ones."""

    keep_tokens: Sequence[int] | None = None
    compound_tokens: Sequence[CompoundToken] | None = None

    def num_rows(self, stored: int) -> int:
        """Rows after the change, from the rows stored."""
        kept = stored if self.keep_tokens is None else len(self.keep_tokens)
        return kept + len(self.compound_tokens or ())

    def moved(self, ids: Mapping[str, int]) -> dict[str, int]:
        """Ids by name as they are after the change; those of rows that are not kept are left out."""
        if self.keep_tokens is None:
            return dict(ids)
        new = {old: row for row, old in enumerate(self.keep_tokens)}
        return {name: new[old] for name, old in ids.items() if old in new}

    def apply(self, table: Tensor) -> Tensor:
        """Table (V, ...) -> (V', ...): row r is old row keep_tokens[r], then one (weighted) mean per compound token."""
        if self.keep_tokens is not None:
            self._check(self.keep_tokens, table.shape[0], "keep_tokens")
            table = table[torch.as_tensor(self.keep_tokens)]  # (K, ...)
        if not self.compound_tokens:
            return table
        return torch.cat([table, torch.stack([self._mean(table, token) for token in self.compound_tokens])])

    def _mean(self, table: Tensor, token: CompoundToken) -> Tensor:
        is_weighted = len(token) == 2 and not isinstance(token[0], int)
        ids, weights = token if is_weighted else (token, [1.0] * len(token))
        self._check(ids, table.shape[0], "compound_tokens")  # type: ignore[arg-type]
        rows, scales = table[torch.as_tensor(ids)].double(), torch.as_tensor(weights, dtype=torch.float64)
        mean: Tensor = torch.tensordot(scales, rows, dims=1) / scales.sum()
        return mean.to(table.dtype)

    @staticmethod
    def _check(ids: Sequence[int], rows: int, name: str) -> None:
        beyond = [index for index in ids if not 0 <= index < rows]
        if beyond:
            raise InputError(f"{name}: id {beyond[0]} is outside the table of {rows} rows")


class MissingTensorsError(InputError):
    """Parameters that the checkpoint lacks and that may not start at random; `patterns` name them all."""

    def __init__(self, message: str, patterns: Sequence[str]) -> None:
        options = " ".join(f"--allow-partial {pattern}" for pattern in patterns)
        super().__init__(message, hint=f"{options} starts them at random")
        self.patterns = tuple(patterns)


class Assembler:
    """Fills one model from one checkpoint."""

    def __init__(
        self, model: Transformer | EncoderDecoder, tensors: NameMap, report: LoadReport, rows: RowChoices
    ) -> None:
        self.model = model
        self.config: ModelConfig = model.config
        self.tensors = tensors
        self.report = report
        self.rows = rows
        self.fresh = True
        self._taken: set[str] = set()

    def fill(
        self,
        allow_partial: Sequence[str] = (),
        *,
        check_only: bool = False,
        fresh: bool = True,
        assign: bool = False,
    ) -> None:
        """Load every parameter and buffer; with `fresh`, parts that a checkpoint is given anew may start at random.

        With `assign` the tensors take the place of the model's own.

        Raises `InputError` if one is missing that `allow_partial` (patterns) does not name.
        """
        self.fresh = fresh
        state: dict[str, Tensor] = {}
        for name, parameter in self.model.state_dict().items():
            tensor = self._assemble(name, parameter)
            if tensor is None:
                self._note_absent(name)
                continue
            fitted = self._fit(name, tensor, parameter)
            if not check_only:
                state[name] = fitted
        self._classify_unexpected()
        self._refuse_missing(allow_partial)
        self.model.load_state_dict(state, strict=False, assign=assign)

    def _assemble(self, name: str, parameter: Tensor) -> Tensor | None:
        if self._starts_anew(name, parameter):
            return None
        whole = self._read(name, name)
        if whole is not None or FUSED not in name:
            return whole
        parts = [self._read(name, name.replace(FUSED, part)) for part in PARTS]
        return None if any(part is None for part in parts) else torch.cat([part for part in parts if part is not None])

    def _starts_anew(self, name: str, parameter: Tensor) -> bool:
        """Whether what is stored has other classes, layers or random features: a new one takes its place."""
        if not self.fresh or not _may_be_new(name):
            return False
        if name.startswith("classifier."):
            has_dense = self.tensors.find("classifier.dense.weight") is not None
            if has_dense != (self.config.classification_transform != "none"):
                return True  # what one map learned behind another is of no use alone
        stored = self.tensors.shape(name)
        return stored is not None and stored != tuple(parameter.shape)

    def _read(self, ours: str, wanted: str) -> Tensor | None:
        found = self.tensors.find(wanted)
        if found is None:
            return None
        self.report.used.setdefault(ours, []).append(found.name)
        tensor = self.tensors.checkpoint.read(found.name).to(torch.float32)
        # Layers may be shared there and not here: training moves them apart. What lies in a mapped file need not lie
        # where torch's own memory begins, and products would round otherwise.
        if found.name in self._taken or tensor.data_ptr() % ALIGNMENT:
            tensor = tensor.clone()
        self._taken.add(found.name)
        return tensor.T.contiguous() if found.transposed else tensor

    def _fit(self, name: str, tensor: Tensor, parameter: Tensor) -> Tensor:
        stored = tensor.shape
        if name in VOCABULARY_ROWS:
            tensor = self.rows.apply(tensor)
        elif name == "embeddings.position_embeddings.weight" and stored[0] != parameter.shape[0]:
            tensor = self._place(tensor, parameter.shape[0])
        if tensor.shape != parameter.shape:
            raise InputError(
                f"{self.tensors.checkpoint.path}: {_have_shape(self.report.used[name])} {_shape(stored)}, but the "
                f"configuration asks for {_shape(parameter.shape)} ({name})",
                hint="the configuration and the weights are of different models, or a size in it is wrong",
            )
        if stored != tensor.shape:
            self.report.reshaped[name] = f"{_shape(stored)} -> {_shape(tensor.shape)}"
        return tensor

    def _place(self, table: Tensor, num_rows: int) -> Tensor:
        if num_rows < table.shape[0]:
            return table[:num_rows]
        return hierarchical_rows(table, num_rows, self.config.hierarchical_alpha)

    def _note_absent(self, name: str) -> None:
        is_new = self.fresh and ("condition" in name or _may_be_new(name))
        (self.report.new if is_new else self.report.missing).append(name)

    def _classify_unexpected(self) -> None:
        used = {name for names in self.report.used.values() for name in names}
        for name in self.tensors.checkpoint.names():
            if name in used:
                continue
            recomputed = any(fnmatch(name, pattern) for pattern in RECOMPUTED)
            tied = self.config.tie_word_embeddings and name == self._tied_name()
            (self.report.ignored if recomputed or tied else self.report.unexpected).append(name)

    def _tied_name(self) -> str | None:
        found = self.tensors.find("lm_head.decoder")
        return None if found is None else found.name

    def _refuse_missing(self, allow_partial: Sequence[str]) -> None:
        refused = [name for name in self.report.missing if not any(fnmatch(name, pattern) for pattern in allow_partial)]
        if not refused:
            return
        shown = ", ".join(refused[:4]) + (f" and {len(refused) - 4} more" if len(refused) > 4 else "")
        message = f"{self.tensors.checkpoint.path}: the checkpoint lacks {shown}"
        if not self.fresh:
            raise InputError(message, hint="it is not whole: copy it again, or train again")
        raise MissingTensorsError(message, _patterns(refused))


def decoder_is_tied(tensors: NameMap) -> bool:
    """Whether the vocabulary product uses the word table: no matrix of its own, or an equal one. Never assumed."""
    decoder, table = tensors.find("lm_head.decoder"), tensors.find(WORD_TABLE)
    if decoder is None or table is None:
        return True
    if tensors.checkpoint.shape(decoder.name) != tensors.checkpoint.shape(table.name):
        return False
    return torch.equal(tensors.checkpoint.read(decoder.name), tensors.checkpoint.read(table.name))


def _may_be_new(name: str) -> bool:
    # Added to a checkpoint, not read from it: fresh classifiers, the random features of a performer.
    return name.startswith(("classifier.", "pair_classifier.")) or ".attention.features." in name


def _patterns(names: Sequence[str]) -> list[str]:
    roots = dict.fromkeys(name.split(".")[0] for name in names)
    return [f"'{root}.*'" for root in roots]


def _have_shape(names: Sequence[str]) -> str:
    listed = ", ".join(f"`{name}`" for name in names)
    return f"tensor {listed} has shape" if len(names) == 1 else f"tensors {listed} together have shape"


def _shape(shape: Sequence[int]) -> str:
    return "(" + ", ".join(str(size) for size in shape) + ")"
