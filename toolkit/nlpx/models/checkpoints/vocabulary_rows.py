"""A checkpoint over another vocabulary: the rows of word table, decoder and bias follow."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nlpx.errors import InputError
from nlpx.models.checkpoints.load import Described, load_model
from nlpx.models.checkpoints.weights import CompoundToken
from nlpx.models.encoder_decoder import EncoderDecoder
from nlpx.models.transformer import Transformer

STORED = ("heads", "pooler", "classification_pooling", "classification_transform", "mask", "num_decoder_layers")


def with_rows(
    path: Path,
    described: Described,
    *,
    keep_tokens: Sequence[int],
    compound_tokens: Sequence[CompoundToken] = (),
) -> Transformer | EncoderDecoder:
    """The whole stored model, every head included, with row r the old row `keep_tokens[r]`, then the means.

    Word table, the vocabulary product where it is a matrix of its own, and its offset change together; every other
    weight is the stored one, bit for bit. Raises `InputError` for an id beyond the table.
    """
    stored: dict[str, Any] = {name: getattr(described.config, name) for name in STORED}
    model: Transformer | EncoderDecoder = load_model(
        path,
        described.config.family if described.reason != "saved by nlpx" else None,
        keep_tokens=keep_tokens,
        compound_tokens=compound_tokens,
        **stored,
    )
    return model


def check_rows(described: Described, entries: int, vocabulary: str) -> None:
    """Raises `InputError` if a vocabulary has more entries than the model has rows."""
    rows = described.config.vocab_size
    if entries > rows:
        raise InputError(
            f"{vocabulary} has {entries:,} entries, the word table of {described.checkpoint.path} {rows:,} rows",
            hint="take the vocab.txt that was released with these weights",
        )
