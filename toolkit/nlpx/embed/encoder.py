"""Sentence vectors from any encoder: texts sorted by length, one forward pass, every pooling of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import attrgetter
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from nlpx.data.batches.bucketing import sequential_batches
from nlpx.device import choose
from nlpx.embed.folded import folded
from nlpx.embed.onnx_model import OnnxModel, is_onnx
from nlpx.embed.pooling import POOLINGS, Pooling, States, pool
from nlpx.embed.sentence_transformers import Dense, Step
from nlpx.embed.settings import DEFAULT_LENGTH, DEFAULT_POOLING, choose_settings
from nlpx.embed.whitening import Whitening
from nlpx.errors import InputError, UsageError
from nlpx.models.checkpoints.backbone import Backbone
from nlpx.models.checkpoints.checkpoint import open_checkpoint
from nlpx.models.checkpoints.hub import locate
from nlpx.models.checkpoints.load import load_model
from nlpx.models.checkpoints.modules import encoder_folder
from nlpx.models.encoder import ModelOutput
from nlpx.tokenizers.base import Tokenizer
from nlpx.tokenizers.load import load_tokenizer
from nlpx.train.config import Precision
from nlpx.train.precision import autocast, resolve_precision

Vectors = NDArray[np.float32]

# Padded tokens of one forward pass. On a CPU, what a block passes on should still be in its cache.
BATCH_TOKENS = {"cpu": 2048, "cuda": 65536}


class SentenceEncoder:
    """A model, its tokenizer, and the poolings to compute. Nothing here has gradients or a vocabulary product."""

    def __init__(
        self,
        model: Any,
        tokenizer: Tokenizer,
        *,
        poolings: Sequence[str] = (DEFAULT_POOLING,),
        max_length: int = DEFAULT_LENGTH,
        precision: Precision = "auto",
        device: str = "cpu",
        batch_tokens: int | None = None,
        name: str | Path = "the model",
        whitening: Whitening | None = None,
        steps: Sequence[Step] = (),
        prompt: str = "",
        lower_case: bool = False,
    ) -> None:
        """`model` is what `load_model` gives without a head, or an `OnnxModel`, and becomes the encoder's own.

        `batch_tokens` counts padded tokens of a batch, by default what suits the device; `name` stands in messages;
        `steps` are layers after pooling and `whitening` the linear one after them. `prompt` goes before every text that
        is not blank; `lower_case` lower-cases texts before they are tokenized.

        Raises `UsageError` for an unknown pooling, `InputError` for one that the model cannot have and for a
        tokenizer with more entries than the model.
        """
        self.poolings = tuple(map(_checked, poolings))
        self.whitening = whitening
        self.steps, self.prompt, self.lower_case = tuple(steps), prompt, lower_case
        self.notes: list[str] = []  # what was chosen without being asked for, in sentences
        widths = [len(step.weight) for step in steps if isinstance(step, Dense)]
        width = widths[-1] if widths else model.config.hidden_size
        self.dim: int = width if whitening is None else whitening.dim
        self.pooler = _pooler(model)
        self.is_causal = _is_causal(model)
        self._refuse_what_does_not_fit(name)
        tokenizer.require_rows(model.config.vocab_size, name=name)
        self.device = torch.device(device)
        if isinstance(model, OnnxModel):
            self.precision, self.reason = model.precision, "ONNX Runtime"
        else:
            self.precision, self.reason = resolve_precision(precision, device=self.device)
        self.max_length = min(max_length, _num_positions(model) or max_length)
        self.batch_tokens = batch_tokens or BATCH_TOKENS.get(self.device.type, BATCH_TOKENS["cpu"])
        self.tokenizer = tokenizer
        self.model = _cast(model.eval().to(self.device), self.precision)
        self._num_special = len(tokenizer.encode("").token_ids)

    def _refuse_what_does_not_fit(self, name: str | Path) -> None:
        if "pooler" in self.poolings and self.pooler is None:
            raise InputError(f"{name} has no pooler", hint=f"poolings it has: {', '.join(POOLINGS[:-1])}")
        if self.is_causal and {"cls", "pooler"} & set(self.poolings):
            raise InputError(
                f"{name} reads from left to right: its first token sees no other, so all vectors would be the same",
                hint="poolings that work: last, mean, first-last-avg",
            )

    @classmethod
    def load(
        cls,
        name: str | Path,
        *,
        poolings: Sequence[str] | None = None,
        max_length: int | None = None,
        precision: Precision = "auto",
        device: str = "auto",
        batch_tokens: int | None = None,
        normalize: bool | None = None,
        prompt_name: str | None = None,
    ) -> Self:
        """Load a checkpoint directory, a shipped model or a hub name, without its heads, or a directory with a graph.

        What is None is as a sentence-transformers directory says, else first-last-avg, 128 tokens, lengths as they are
        and no prompt; `notes` tells what it said. `prompt_name` is one of its prompts, an empty name none. Texts are
        truncated to `max_length` tokens, or to the model's positions. A graph runs on the CPU, whatever `device` says.
        Raises what `load_model`, `OnnxModel.load`, `load_tokenizer`, `nlpx.device.choose`, `nlpx.embed.folded.folded`,
        `nlpx.embed.sentence_transformers.read` and the constructor raise.
        """
        for pooling in poolings or ():
            _checked(pooling)
        root = locate(name)
        path = encoder_folder(root)
        chosen = choose_settings(root, poolings, max_length=max_length, normalize=normalize, prompt_name=prompt_name)
        whitening = folded(root, chosen.poolings)
        if is_onnx(path):
            model, device = OnnxModel.load(path, precision=precision), "cpu"
        else:
            model, device = load_model(path), choose(device).device
        if isinstance(model, Backbone) and not any("pooler" in key for key in open_checkpoint(path).names()):
            model.model.pooler = None  # transformers starts one at random where the checkpoint has none
        encoder = cls(
            model,
            load_tokenizer(path if path.exists() else path.parent),  # a TensorFlow bundle is only a prefix
            poolings=chosen.poolings,
            max_length=chosen.max_length,
            precision=precision,
            device=device,
            batch_tokens=batch_tokens,
            name=name,
            whitening=whitening,
            steps=chosen.steps,
            prompt=chosen.prompt,
            lower_case=chosen.lower_case,
        )
        encoder.notes += chosen.notes
        if poolings is None and encoder.is_causal and chosen.poolings != ("last",):
            encoder.notes.append(
                f"{name} reads from left to right, pooling {chosen.poolings[0]}; "
                "--pooling last takes the one token that has seen the whole text"
            )
        if encoder.max_length < chosen.max_length:
            encoder.notes.append(f"texts are truncated to {encoder.max_length} tokens: {name} has no more positions")
        return encoder

    def encode(self, texts: Sequence[str]) -> dict[str, Vectors]:
        """One vector a text, (N, dim) for each pooling, in the order of the texts; all of zeros if it has no token.

        Texts are sorted by length for the time of the call and all their vectors are held at once: give some thousand
        at a time.
        """
        prepared = list(map(self._prepared, texts))
        token_ids = [row.token_ids for row in self.tokenizer.encode_batch(prepared, max_length=self.max_length)]
        rows = [index for index, ids in enumerate(token_ids) if len(ids) > self._num_special]
        lengths = [len(token_ids[row]) for row in rows]
        batches = sequential_batches(lengths, batch_tokens=self.batch_tokens, window=max(1, len(rows)))
        found: list[list[Tensor]] = []
        with torch.inference_mode(), autocast(self.precision, device=self.device):
            found = [self._encode_batch([token_ids[rows[index]] for index in batch]) for batch in batches]
        order = [rows[index] for batch in batches for index in batch]
        return {
            pooling: self._in_order([vectors[number] for vectors in found], order, len(texts))
            for number, pooling in enumerate(self.poolings)
        }

    def _prepared(self, text: str) -> str:
        lowered = text.lower() if self.lower_case else text
        return self.prompt + lowered if text.strip() else text

    def _in_order(self, parts: Sequence[Tensor], order: Sequence[int], num_texts: int) -> Vectors:
        """Vectors in the order of the texts, through the layers after pooling; those of no text stay zeros."""
        vectors = np.zeros((num_texts, self.dim), dtype=np.float32)
        if parts:
            pooled = torch.cat(list(parts)).cpu()  # one copy: an accelerator is waited for only here
            for step in self.steps:
                pooled = step(pooled)
            found = pooled.numpy()
            vectors[order] = found if self.whitening is None else self.whitening.apply(found)
        return vectors

    def _encode_batch(self, token_ids: Sequence[Sequence[int]]) -> list[Tensor]:
        ids, attention_mask = padded(token_ids, self.tokenizer.pad_token_id or 0)
        ids = ids.to(self.device)
        if attention_mask is not None:
            attention_mask = attention_mask.to(self.device)
        # An encoder of transformers has its own mask, and takes no name of one.
        mask = None if isinstance(self.model, Backbone) else "causal" if self.is_causal else "bidirectional"
        output = self.model(ids, attention_mask=attention_mask, mask=mask, return_hidden_states=True)
        pooled = self.pooler(output) if self.pooler is not None and "pooler" in self.poolings else None
        states = States(output.hidden_states[0], output.last_hidden_state, attention_mask, pooled)
        return [pool(states, pooling) for pooling in self.poolings]


def padded(token_ids: Sequence[Sequence[int]], pad_token_id: int) -> tuple[Tensor, Tensor | None]:
    """Rows of ids as (B, T), and the mask (B, T) that is true for real tokens, None if all rows are equally long."""
    lengths = np.array([len(ids) for ids in token_ids])
    longest = int(lengths.max())
    real = np.arange(longest) < lengths[:, None]
    filled = np.full(real.shape, pad_token_id, dtype=np.int64)
    filled[real] = np.concatenate([np.asarray(ids, dtype=np.int64) for ids in token_ids])
    return torch.from_numpy(filled), None if lengths.min() == longest else torch.from_numpy(real)


def _checked(pooling: str) -> Pooling:
    if pooling not in POOLINGS:
        raise UsageError(f"unknown pooling `{pooling}`", hint=f"poolings: {', '.join(POOLINGS)}")
    return pooling


def _cast(model: Any, precision: str) -> Any:
    # What autocast would do to the matrices in every batch anyway. Norms, embeddings and the sums of the blocks stay
    # float32: vectors then differ half as much from those of float32, and nothing is slower.
    if precision == "bfloat16":
        for module in model.modules():
            if isinstance(module, nn.Linear):
                module.to(torch.bfloat16)
    return model


def _is_causal(model: Any) -> bool:
    """Whether every token sees only those before it: our `mask`, or what the attention of transformers says."""
    if isinstance(model, Backbone):
        return any(getattr(module, "is_causal", False) for module in model.model.modules())
    return getattr(model.config, "mask", None) == "causal"


def _pooler(model: Any) -> Callable[[ModelOutput], Any] | None:
    """The linear map of the pooler of ours, of any encoder of transformers, or of a graph, which has applied it."""
    if isinstance(model, OnnxModel):
        return attrgetter("pooled") if model.has_pooler else None
    pooler = getattr(model.model if isinstance(model, Backbone) else model, "pooler", None)
    dense = getattr(pooler, "dense", pooler)
    return (lambda output: dense(output.last_hidden_state[:, 0])) if isinstance(dense, nn.Linear) else None


def _num_positions(model: Any) -> int | None:
    """How many tokens the model has positions for; None: any number."""
    if isinstance(model, OnnxModel):
        return model.num_positions
    if not isinstance(model, Backbone):
        table = model.embeddings.position_embeddings
        return None if table is None else int(table.max_length)
    rows = getattr(model.model.config, "max_position_embeddings", None)
    offsets = [
        module.padding_idx + 1
        for name, module in model.model.named_modules()
        if name.endswith("position_embeddings") and getattr(module, "padding_idx", None) is not None
    ]
    return None if rows is None else int(rows) - max(offsets, default=0)  # RoBERTa counts from behind its padding
