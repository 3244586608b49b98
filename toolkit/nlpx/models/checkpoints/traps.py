"""Known problems of published checkpoints, each as one sentence with the remedy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nlpx.models.checkpoints.head_evidence import roformer_pooler
from nlpx.models.config import ModelConfig

if TYPE_CHECKING:
    from nlpx.models.checkpoints.load import Described

SIMBERT_VOCAB_SIZE = 13_685  # of all its releases, and of no other model known


def warnings_for(described: Described, config: ModelConfig) -> list[str]:
    """The sentences that apply to this checkpoint."""
    return [sentence for check in _CHECKS if (sentence := check(described, config))]


def _v2_under_v1(described: Described, config: ModelConfig) -> str | None:
    if config.family != "roformer_v2" or described.checkpoint.config.get("model_type") != "roformer":
        return None
    return "config.json says roformer, the tensors are RoFormerV2 (no biases, no norm scales): loaded as roformer_v2"


def _roberta_that_is_bert(described: Described, config: ModelConfig) -> str | None:
    if config.family != "bert" or "roberta" not in str(described.checkpoint.path).lower():
        return None
    return "the name says RoBERTa, the architecture is BERT: loaded as bert, positions start at 0"


def _simbert_pooler(described: Described, config: ModelConfig) -> str | None:
    if config.family != "bert" or config.pooler != "tanh" or described.config.vocab_size != SIMBERT_VOCAB_SIZE:
        return None
    return f"{SIMBERT_VOCAB_SIZE:,} rows are SimBERT's vocabulary, whose pooler is linear: load with pooler=linear"


def _foreign_head(described: Described, _config: ModelConfig) -> str | None:
    if described.foreign_head is None:
        return None
    return f"{described.foreign_head}: the encoder is taken without it"


def _guessed_pooler(described: Described, config: ModelConfig) -> str | None:
    if config.family != "roformer" or config.pooler != "linear" or described.reason == "saved by nlpx":
        return None
    if roformer_pooler(described.checkpoint.config, described.tensors)[1] is not None:
        return None
    return "nothing says what follows the pooler's map: taken for RoFormer-Sim's, without a tanh; pooler=tanh has one"


def _missing_head(described: Described, config: ModelConfig) -> str | None:
    if described.config.heads or described.foreign_head or described.reason == "saved by nlpx":
        return None
    if config.has_classifier:  # a classifier fills no masks
        return None
    return "no language-model head is stored: this checkpoint embeds and fine-tunes, it cannot fill masks"


def _untied_head(described: Described, _config: ModelConfig) -> str | None:
    if described.config.tie_word_embeddings:
        return None
    return "the vocabulary product has a matrix of its own that differs from the word table: it is loaded untied"


def _free_key_size(_described: Described, config: ModelConfig) -> str | None:
    if config.key_size * config.num_attention_heads == config.hidden_size or config.position == "bucketed":
        return None  # T5's configuration has a key size of its own
    return (
        f"key size {config.key_size} is not hidden / heads = {config.hidden_size / config.num_attention_heads:g}: "
        "transformers cannot hold this model"
    )


_CHECKS = (
    _v2_under_v1,
    _roberta_that_is_bert,
    _simbert_pooler,
    _guessed_pooler,
    _foreign_head,
    _missing_head,
    _untied_head,
    _free_key_size,
)
