"""How a source and the text written from it become the rows of a model's call: one place for each kind of model.

`prefix` and `causal` put both into one sequence, [CLS] source [SEP] target [SEP], and differ in who sees whom: the
source in both directions and never the target (UniLM, arXiv 1905.03197), or everything from left to right. Models that
read and write in two stacks are one more `Arrangement`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

from nlpx.errors import UsageError
from nlpx.tokenizers.padding import padded

if TYPE_CHECKING:
    from nlpx.decode.generation.decoders import Decoder
    from nlpx.models.encoder import ModelOutput
    from nlpx.tokenizers.base import Tokenizer

ArrangementName = Literal["prefix", "causal"]


class Written(NamedTuple):
    """A row as ids: the source with what stands around it, and the target with its end token, predicted as well."""

    source: list[int]
    target: list[int]  # empty where there is none
    num_cut: tuple[int, int]  # tokens that the source and the target lost


class Limits(NamedTuple):
    """Tokens of a source and of a target at most, without special tokens."""

    source: int
    target: int


class Arrangement(Protocol):
    """How rows become calls, and how a model of this kind writes."""

    def parts(self) -> dict[str, Any]:
        """Keys of `ModelConfig` beside the head `lm` that the model must have."""
        ...

    def room(self, tokenizer: Tokenizer) -> int:
        """How many special tokens a row has."""
        ...

    def end_ids(self, tokenizer: Tokenizer) -> frozenset[int]:
        """What ends a target. Raises `UsageError` for a tokenizer without such a token."""
        ...

    def encode(
        self, sources: Sequence[str], targets: Sequence[str | None], tokenizer: Tokenizer, limits: Limits
    ) -> list[Written]:
        """Rows as ids, both texts truncated at their ends."""
        ...

    def tensors(self, rows: Sequence[Written], pad_token_id: int) -> dict[str, Any]:
        """What `call` reads, and of N target tokens `lm_positions`, from which each is predicted, and `targets`."""
        ...

    def call(self, model: Any, batch: dict[str, Any], **more: Any) -> ModelOutput:
        """Logits at `lm_positions` (N, V) and states (B, T, D); `more` goes to the model.

        With `inputs_embeds` in the batch these vectors stand in place of the word vectors of its tokens.
        """
        ...

    def decoder(self, model: Any) -> Decoder:
        """What writes with the model."""
        ...


class OneSequence:
    """Source and target in one sequence of a `Transformer`, under the mask `unilm` or `causal`."""

    def __init__(self, mask: Literal["unilm", "causal"]) -> None:
        self.mask = mask

    def parts(self) -> dict[str, Any]:
        """The mask, so that the checkpoint itself says how it writes."""
        return {"mask": self.mask, "pooler": "none"}

    def room(self, tokenizer: Tokenizer) -> int:
        """[CLS], [SEP] and [SEP], or what the tokenizer has in their places."""
        return tokenizer.frame.size(is_pair=True)

    def end_ids(self, tokenizer: Tokenizer) -> frozenset[int]:
        """[SEP], or what the tokenizer puts behind a pair."""
        if not tokenizer.frame.pair_end:
            raise UsageError(
                "the tokenizer puts no token behind a text, so nothing would end a target",
                hint="take a checkpoint with BERT's vocabulary, such as char-tiny",
            )
        return frozenset(tokenizer.frame.pair_end[:1])

    def encode(
        self, sources: Sequence[str], targets: Sequence[str | None], tokenizer: Tokenizer, limits: Limits
    ) -> list[Written]:
        """[CLS] source [SEP] and target [SEP]."""
        frame = tokenizer.frame
        end = list(frame.pair_end[:1])
        plain, written = _plain_ids(sources, tokenizer), _plain_ids([text or "" for text in targets], tokenizer)
        rows = []
        for source, target, text in zip(plain, written, targets, strict=True):
            num_cut = (max(len(source) - limits.source, 0), max(len(target) - limits.target, 0))
            before = [*frame.pair_start, *source[: limits.source], *frame.middle]
            rows.append(Written(before, [] if text is None else target[: limits.target] + end, num_cut))
        return rows

    def tensors(self, rows: Sequence[Written], pad_token_id: int) -> dict[str, Any]:
        """token_ids, segment_ids, attention_mask (B, T); lm_positions, targets (N,)."""
        import numpy as np
        import torch

        starts = [len(row.source) for row in rows]
        arrays = padded([row.source + row.target for row in rows], starts, pad_token_id)
        places = np.flatnonzero(arrays["segment_ids"])  # of the targets, in the flattened B * T
        arrays |= {"lm_positions": places - 1, "targets": arrays["token_ids"].reshape(-1)[places]}
        return {name: torch.from_numpy(array) for name, array in arrays.items()}

    def call(self, model: Any, batch: dict[str, Any], **more: Any) -> ModelOutput:
        """One call of the model under the mask."""
        embeds = batch.get("inputs_embeds")
        output: ModelOutput = model(
            None if embeds is not None else batch["token_ids"],
            batch["segment_ids"] if self.mask == "unilm" else None,
            batch["attention_mask"],
            self.mask,
            inputs_embeds=embeds,
            heads=("lm",),
            lm_positions=batch["lm_positions"],
            **more,
        )
        return output

    def decoder(self, model: Any) -> Decoder:
        """With a cache of keys and values."""
        from nlpx.decode.generation.decoders import CausalDecoder, PrefixDecoder

        return PrefixDecoder(model) if self.mask == "unilm" else CausalDecoder(model)


ARRANGEMENTS: dict[str, Arrangement] = {"prefix": OneSequence("unilm"), "causal": OneSequence("causal")}


def _plain_ids(texts: Sequence[str], tokenizer: Tokenizer) -> list[list[int]]:
    """Ids of each text without the special tokens around it."""
    before, after = len(tokenizer.frame.start), len(tokenizer.frame.end)
    rows = [encoding.token_ids for encoding in tokenizer.encode_batch(texts)]
    return [row[before : len(row) - after] for row in rows]
