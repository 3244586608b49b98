"""A model to sample from: loaded, checked for what sampling needs, and called in one way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nlpx.errors import InputError
from nlpx.train.config import Precision

if TYPE_CHECKING:
    import torch

    from nlpx.data.batches.masking import SpecialIds
    from nlpx.decode.conditionals import Conditionals
    from nlpx.tokenizers.base import Tokenizer

MADE_BY = "`nlpx pretrain --model {} --objective mlm` makes one; char-tiny and word-tiny ship with one"


@dataclass(frozen=True, slots=True)
class SampledModel:
    """Conditionals with the vocabulary they are over, and the most tokens of a text beside [CLS] and [SEP]."""

    conditionals: Conditionals
    tokenizer: Tokenizer
    special: SpecialIds
    vocab_size: int
    longest: int
    device: torch.device
    precision: str


def load(name: str, *, device: str = "auto", precision: Precision = "auto") -> SampledModel:
    """Load a masked language model by directory, shipped or hub name.

    Raises `InputError` for a model without a masked head, with the command that makes one.
    """
    import torch

    from nlpx.data.batches.masking import SpecialIds
    from nlpx.decode.conditionals import conditionals_of
    from nlpx.device import choose
    from nlpx.tokenizers.load import load_tokenizer
    from nlpx.train.precision import resolve_precision

    chosen = torch.device(choose(device).device)
    tokenizer = load_tokenizer(name)
    special = SpecialIds.of(tokenizer)
    model = _with_masked_head(name)
    config, is_ours = _config(model)
    tokenizer.require_rows(config.vocab_size, name=name)
    resolved = resolve_precision(precision, device=chosen)[0] if is_ours else "float32"
    return SampledModel(
        conditionals=conditionals_of(model, device=chosen, precision=resolved),
        tokenizer=tokenizer,
        special=special,
        vocab_size=config.vocab_size,
        longest=_positions(model) - 2,
        device=chosen,
        precision=resolved,
    )


def _with_masked_head(name: str) -> Any:
    from nlpx.models.checkpoints.load import load_model

    hint = MADE_BY.format(name)
    try:
        model = load_model(name, head="mlm")
    except InputError as error:
        if "lm_head" not in error.message and "masked-language-model head" not in error.message:
            raise
        raise InputError(f"{name}: the model has no masked-language-model head to sample from", hint=hint) from None
    if getattr(_config(model)[0], "mask", "bidirectional") == "causal":
        raise InputError(f"{name}: the model reads from left to right and fills no gaps", hint=hint)
    return model


def _config(model: Any) -> tuple[Any, bool]:
    """The configuration, ours or that of transformers, and whether it is ours."""
    from nlpx.models.transformer import Transformer

    is_ours = isinstance(model, Transformer)
    return (model if is_ours else model.model).config, is_ours


def _positions(model: Any) -> int:
    config, is_ours = _config(model)
    table = model.embeddings.position_embeddings if is_ours else None
    return int(config.max_position_embeddings if table is None else table.max_length)
