"""How a source and the text written from it become the rows of a model's call: one place for each kind of model.

`prefix` and `causal` put both into one sequence, [CLS] source [SEP] target [SEP], and differ in who sees whom: the
source in both directions and never the target (UniLM, arXiv 1905.03197), or everything from left to right. Models that
read and write in two stacks are one more `Arrangement`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, Protocol

from nlpx.errors import UsageError
from nlpx.tokenizers.padding import padded

if TYPE_CHECKING:
    from torch import Tensor

    from nlpx.data.rows.splits import Splits
    from nlpx.decode.generation.decoders import Decoder
    from nlpx.models.encoder import Encoder, ModelOutput
    from nlpx.objectives import ObjectiveOutput
    from nlpx.tokenizers.base import Tokenizer

ArrangementName = Literal["prefix", "causal"]

LONGEST_SHOWN = 60  # characters of a text in the log


class Written(NamedTuple):
    """A row as ids: the source with what stands around it, and the target with its end token, predicted as well."""

    source: list[int]
    target: list[int]  # empty where there is none
    num_cut: tuple[int, int]  # tokens that the source and the target lost

    @property
    def num_tokens(self) -> int:
        """Of both."""
        return len(self.source) + len(self.target)


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
        """What `call` reads, and of N target tokens `lm_positions`, from which each is predicted, and `targets`.

        `token_ids` (B, T) is the sequence that targets stand in; what predicts one is the place before it.
        """
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


class WritingTask:
    """What all tasks share that teach a model to write: its parts, the call, and the loss of the target tokens."""

    heads = ("lm",)
    outputs = ("logits", "states")
    targets = "tokens"
    loss: str | None = None  # cross entropy, without the logits of all targets where nobody reads them
    alternatives: ClassVar[Mapping[str, str]] = {}
    keep_logits = False  # in training; set where a trick reads them

    def __init__(self, arrangement: Arrangement) -> None:
        self.arrangement = arrangement

    def model_parts(self) -> dict[str, Any]:
        """The mask."""
        return self.arrangement.parts()

    def forward(self, model: Encoder, batch: dict[str, Any]) -> dict[str, Tensor]:
        """`logits` (N, V), from which each of N target tokens is predicted, and `states` (B, T, D)."""
        output = self.arrangement.call(model, batch)
        return {"logits": output.heads["lm"], "states": output.last_hidden_state}

    def objective(self, model: Encoder, batch: dict[str, Any]) -> ObjectiveOutput:
        """Mean negative log-likelihood of the target tokens of the whole batch, in nats."""
        import torch

        from nlpx.objectives import ObjectiveOutput
        from nlpx.objectives._packed import mean_loss

        if model.training and torch.is_grad_enabled() and not self.keep_logits:
            output = self.arrangement.call(model, batch, lm_targets=batch["targets"])
            assert output.lm_loss is not None  # the model has the head: the task says so in `heads`
            return ObjectiveOutput(output.lm_loss / max(batch["num_targets"], 1), {"states": output.last_hidden_state})
        outputs = self.forward(model, batch)
        return ObjectiveOutput(mean_loss(outputs["logits"], batch["targets"]), dict(outputs))

    def state(self) -> dict[str, Any]:
        """Nothing: the configuration says it all."""
        return {}

    def load_state(self, state: dict[str, Any]) -> None:
        """Nothing."""


ARRANGEMENTS: dict[str, Arrangement] = {"prefix": OneSequence("unilm"), "causal": OneSequence("causal")}


def _plain_ids(texts: Sequence[str], tokenizer: Tokenizer) -> list[list[int]]:
    """Ids of each text without the special tokens around it."""
    before, after = len(tokenizer.frame.start), len(tokenizer.frame.end)
    rows = [encoding.token_ids for encoding in tokenizer.encode_batch(texts)]
    return [row[before : len(row) - after] for row in rows]


def thin_out(splits: Splits[Any], limit: int, items: str = "rows") -> None:
    """Leave at most `limit` dev rows, spread evenly, and note it: each evaluation writes a text for every one."""
    from nlpx.data.batches.bucketing import evenly_spaced

    if len(splits.dev) > limit:
        splits.notes.append(f"evaluated on {limit} of {len(splits.dev):,} dev {items}: task_options.evaluation_rows")
        splits.dev = [splits.dev[index] for index in evenly_spaced(len(splits.dev), limit).tolist()]


def shown(text: str) -> str:
    """A text in one line of the log."""
    line = " ".join(text.split())
    return line if len(line) <= LONGEST_SHOWN else line[: LONGEST_SHOWN - 1] + "…"
