"""How a source and the text written from it become the rows of a model's call: one place for each kind of model.

`prefix` and `causal` put both into one sequence, [CLS] source [SEP] target [SEP], and differ in who sees whom: the
source in both directions and never the target (UniLM, arXiv 1905.03197), or everything from left to right. With
`encoder_decoder` (T5, mT5) one stack reads the source and another writes the target.
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
    from nlpx.models.config import ModelConfig
    from nlpx.models.encoder import Encoder, ModelOutput
    from nlpx.objectives import ObjectiveOutput
    from nlpx.tokenizers.base import Tokenizer

ArrangementName = Literal["prefix", "causal", "encoder_decoder"]

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

    reads_apart: bool  # whether the model has a stack that reads and another that writes

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

    def decoder(self, model: Any, tokenizer: Tokenizer) -> Decoder:
        """What writes with the model."""
        ...


class OneSequence:
    """Source and target in one sequence of a `Transformer`, under the mask `unilm` or `causal`."""

    reads_apart = False

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
        return _encoded(
            sources, targets, tokenizer, limits, around=(frame.pair_start, frame.middle, frame.pair_end[:1])
        )

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

    def decoder(self, model: Any, tokenizer: Tokenizer) -> Decoder:
        """With a cache of keys and values."""
        from nlpx.decode.generation.decoders import CausalDecoder, PrefixDecoder

        kind = PrefixDecoder if self.mask == "unilm" else CausalDecoder
        return kind(model, tokenizer.vocab_size)


class TwoStacks:
    """Source and target of an `EncoderDecoder`, each with its end token; the target begins with the start token."""

    reads_apart = True

    def parts(self) -> dict[str, Any]:
        """None: the checkpoint has them all."""
        return {}

    def room(self, tokenizer: Tokenizer) -> int:
        """The two end tokens, or what the tokenizer has in their places."""
        return 2 * tokenizer.frame.size(is_pair=False)

    def end_ids(self, tokenizer: Tokenizer) -> frozenset[int]:
        """</s>, or what the tokenizer puts behind a text."""
        if not tokenizer.frame.end:
            raise UsageError(
                "the tokenizer puts no token behind a text, so nothing would end a target",
                hint="take all tokenizer files from the same release of the model",
            )
        return frozenset(tokenizer.frame.end[:1])

    def encode(
        self, sources: Sequence[str], targets: Sequence[str | None], tokenizer: Tokenizer, limits: Limits
    ) -> list[Written]:
        """source </s> and target </s>."""
        frame = tokenizer.frame
        return _encoded(sources, targets, tokenizer, limits, around=(frame.start, frame.end, frame.end[:1]))

    def tensors(self, rows: Sequence[Written], pad_token_id: int) -> dict[str, Any]:
        """source_ids, attention_mask (B, S); token_ids (B, T), the targets but for the place of the start token;
        lm_positions, targets (N,).
        """
        import numpy as np
        import torch

        sources = padded([row.source for row in rows], [len(row.source) for row in rows], pad_token_id)
        # What is predicted at a place is read at the next one; the model knows the start token, `call` puts it in.
        read = padded([[pad_token_id, *row.target[:-1]] for row in rows], [0 for _ in rows], pad_token_id)["token_ids"]
        lengths = np.array([len(row.target) for row in rows])[:, None]  # (B, 1)
        arrays = {
            "source_ids": sources["token_ids"],
            "attention_mask": sources["attention_mask"],
            "token_ids": read,
            "lm_positions": np.flatnonzero(np.arange(read.shape[1]) < lengths),
            "targets": np.concatenate([np.array(row.target, dtype=read.dtype) for row in rows]),
        }
        return {name: torch.from_numpy(array) for name, array in arrays.items()}

    def call(self, model: Any, batch: dict[str, Any], **more: Any) -> ModelOutput:
        """One call of both stacks."""
        import torch

        from nlpx.decode.generation.encoder_decoder import start_id

        read = batch["token_ids"].clone()  # (B, T)
        read[:, 0] = start_id(model)
        embeds = batch.get("inputs_embeds")
        if embeds is not None:
            embeds = torch.cat([model.get_input_embeddings()(read[:, :1]), embeds[:, 1:]], dim=1)  # (B, T, D)
        output: ModelOutput = model(
            batch["source_ids"],
            batch["attention_mask"],
            None if embeds is not None else read,
            target_embeds=embeds,
            heads=("lm",),
            lm_positions=batch["lm_positions"],
            **more,
        )
        return output

    def decoder(self, model: Any, tokenizer: Tokenizer) -> Decoder:
        """The source is encoded once, the target grows in a cache."""
        from nlpx.decode.generation.encoder_decoder import EncoderDecoderDecoder

        return EncoderDecoderDecoder(model, tokenizer.vocab_size)


class WritingTask:
    """What all tasks share that teach a model to write: its parts, the call, and the loss of the target tokens."""

    heads = ("lm",)
    outputs = ("logits", "states")
    targets = "tokens"
    loss: str | None = None  # cross entropy, without the logits of all targets where nobody reads them
    alternatives: ClassVar[Mapping[str, str]] = {}
    keep_logits = False  # in training; set where a trick reads them
    hint_for_two_stacks = "take an encoder, such as char-tiny"

    def __init__(self, arrangement: Arrangement) -> None:
        self.arrangement = arrangement

    def model_parts(self) -> dict[str, Any]:
        """The mask."""
        return self.arrangement.parts()

    def check_model(self, config: ModelConfig | None) -> None:
        """Refuse a model of the other kind: with a stack that writes, or without; None is a new one, which has none."""
        has_decoder = config is not None and config.is_encoder_decoder
        if has_decoder and not self.arrangement.reads_apart:
            raise UsageError(
                "the model reads with one stack and writes with another, and does not take both texts in one sequence",
                hint=self.hint_for_two_stacks,
            )
        if self.arrangement.reads_apart and not has_decoder:
            raise UsageError(
                "arrangement `encoder_decoder` needs a model with a stack that writes, such as T5 and mT5",
                hint="--set task_options.arrangement=prefix lets any encoder write",
            )

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


ARRANGEMENTS: dict[str, Arrangement] = {
    "prefix": OneSequence("unilm"),
    "causal": OneSequence("causal"),
    "encoder_decoder": TwoStacks(),
}


def _encoded(
    sources: Sequence[str],
    targets: Sequence[str | None],
    tokenizer: Tokenizer,
    limits: Limits,
    *,
    around: tuple[Sequence[int], Sequence[int], Sequence[int]],
) -> list[Written]:
    """Rows as ids; `around` are the special tokens before a source, behind it, and behind a target."""
    before, behind, end = around
    plain, written = _plain_ids(sources, tokenizer), _plain_ids([text or "" for text in targets], tokenizer)
    rows = []
    for source, target, text in zip(plain, written, targets, strict=True):
        num_cut = (max(len(source) - limits.source, 0), max(len(target) - limits.target, 0))
        framed = [*before, *source[: limits.source], *behind]
        rows.append(Written(framed, [] if text is None else [*target[: limits.target], *end], num_cut))
    return rows


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
