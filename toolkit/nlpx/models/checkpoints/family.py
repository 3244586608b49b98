"""Checkpoint families: the contract, recognition, and conversion of configurations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, cast, get_args

from nlpx.configuration.registry import load, names
from nlpx.errors import InputError
from nlpx.models.checkpoints.checkpoint import Checkpoint
from nlpx.models.checkpoints.names import PARTS, NameMap, Names
from nlpx.models.config import Activation, ModelConfig

ACTIVATIONS = {
    "gelu_python": "gelu",
    "gelu_fast": "gelu_new",
    "gelu_pytorch_tanh": "gelu_new",
    "swish": "silu",
}


class Family(Protocol):
    """The contract of a file in `families/`."""

    MODEL_TYPE: str  # `model_type` in a Hugging Face configuration
    PREFIX: str  # what the names of the bare encoder start with
    NAMES: Mapping[str, Names]

    def recognise(self, checkpoint: Checkpoint) -> str | None:
        """Why this checkpoint is of this family, or None."""
        ...

    def read_config(self, raw: Mapping[str, Any], tensors: NameMap) -> dict[str, Any]:
        """The published configuration as values for `ModelConfig`, sizes read off the tensors."""
        ...

    def write_config(self, config: ModelConfig) -> dict[str, Any]:
        """Our configuration for plain transformers. Raises `InputError` naming a feature without a counterpart."""
        ...


SPECIAL_TOKENS = ("bos", "eos", "pad", "unk", "cls", "sep", "mask", "decoder_start")


@dataclass(frozen=True, slots=True)
class Recognised:
    """A family and the reason it was chosen."""

    family: Family
    name: str
    reason: str


# Our size, GPT's key, and the key of TensorFlow releases.
_GPT_SIZES = {
    "vocab_size": ("vocab_size", "vocab_size"),
    "hidden_size": ("n_embd", "hidden_size"),
    "num_layers": ("n_layer", "num_hidden_layers"),
    "num_attention_heads": ("n_head", "num_attention_heads"),
}


def get_family(name: str) -> Family:
    """The family of that name; an unknown one raises `UsageError` with near names."""
    return cast(Family, load("models/families", name))


def recognise(checkpoint: Checkpoint, chosen: str | None = None) -> Recognised | None:
    """The one family the checkpoint can be, or None if it is none of ours.

    Raises `InputError` if more than one fits: the variables of RoFormer and NEZHA bundles can be the same.
    """
    if chosen is not None:
        return Recognised(get_family(chosen), chosen, "chosen by --family")
    found = [
        Recognised(family, name, reason)
        for name in names("models/families")
        if (reason := (family := get_family(name)).recognise(checkpoint))
    ]
    if len(found) > 1:
        candidates = ", ".join(candidate.name for candidate in found)
        raise InputError(
            f"{checkpoint.path}: neither the configuration nor the variables tell whether this is {candidates}",
            hint=" or ".join(f"--family {candidate.name}" for candidate in found),
        )
    return found[0] if found else None


def by_model_type(checkpoint: Checkpoint, *model_types: str) -> str | None:
    """The reason if the configuration carries one of these `model_type`s."""
    model_type = checkpoint.config.get("model_type")
    return f"config.json says model_type {model_type}" if model_type in model_types else None


def has_no_model_type(checkpoint: Checkpoint) -> bool:
    """TensorFlow releases, and PyTorch files converted early, do not name their family."""
    return not checkpoint.config.get("model_type")


def without_position_table(checkpoint: Checkpoint) -> str | None:
    """The reason if the layers have BERT's names, biases too, and no absolute position is stored."""
    names = checkpoint.names()
    layered = any(("/layer_0/" in name or ".layer.0." in name) and name.endswith("bias") for name in names)
    stored = any("position_embeddings" in name for name in names)
    return "BERT's names without a position table" if layered and not stored else None


def bert_style_config(raw: Mapping[str, Any], tensors: NameMap) -> dict[str, Any]:
    """Values shared by the BERT-like families. Key and head sizes are read off the tensors."""
    _require_keys(raw, tensors, "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
    num_heads = raw["num_attention_heads"]
    values = {
        "vocab_size": raw.get("vocab_size") or _rows(tensors, "embeddings.word_embeddings.weight"),
        "hidden_size": raw["hidden_size"],
        "num_layers": raw["num_hidden_layers"],
        "num_attention_heads": num_heads,
        "intermediate_size": raw["intermediate_size"],
        "embedding_size": raw.get("embedding_size") or _columns(tensors, "embeddings.word_embeddings.weight"),
        "key_size": _rows(tensors, f"layers.0.{PARTS[0]}.weight") // num_heads,
        "head_size": _rows(tensors, f"layers.0.{PARTS[2]}.weight") // num_heads,
        "max_position_embeddings": raw.get("max_position_embeddings", 512),
        "type_vocab_size": raw.get("type_vocab_size", _rows(tensors, "embeddings.token_type_embeddings.weight")),
        "hidden_act": known_activation(raw.get("hidden_act", "gelu"), tensors),
        "hidden_dropout": raw.get("hidden_dropout_prob", 0.1),
        "attention_dropout": raw.get("attention_probs_dropout_prob", 0.1),
        "initializer_range": raw.get("initializer_range", 0.02),
        "norm_eps": raw.get("layer_norm_eps", 1e-12),
        "mask": "causal" if raw.get("is_decoder") else "bidirectional",
    }
    if values["embedding_size"] == values["hidden_size"]:
        values["project_embeddings"] = tensors.find("embeddings.project.weight") is not None
    return values | stored_heads(tensors)


def stored_heads(tensors: NameMap) -> dict[str, Any]:
    """Pooler and heads the checkpoint holds, as values for `ModelConfig`."""
    heads = [
        head
        for head, parameter in (
            ("lm", "lm_head.dense.weight"),
            ("sentence", "sentence_head.weight"),
            ("discriminator", "discriminator.dense.weight"),
            ("classification", "classifier.linear.weight"),
        )
        if tensors.find(parameter)
    ]
    values: dict[str, Any] = {
        "heads": heads,
        "pooler": "tanh" if tensors.find("pooler.dense.weight") else "none",
    }
    if values["pooler"] == "none":
        values["heads"] = [head for head in heads if head != "sentence"]
    if "classification" in heads:
        values["num_labels"] = _rows(tensors, "classifier.linear.weight")
        values["labels"] = _labels(tensors.checkpoint.config, values["num_labels"])
        if tensors.find("classifier.dense.weight"):
            values |= {"classification_pooling": "first", "classification_transform": "gelu"}
        else:
            values["classification_pooling"] = "mean" if values["pooler"] == "none" else "pooler"
    return values


def _labels(raw: Mapping[str, Any], count: int) -> list[str]:
    """The names of the classes, if the configuration has as many of them as the head has rows."""
    names = raw.get("id2label")
    if not isinstance(names, Mapping) or set(names) != {str(index) for index in range(count)}:
        return []
    return [str(names[str(index)]) for index in range(count)]


def special_token_ids(raw: Mapping[str, Any]) -> dict[str, int]:
    """The ids that the configuration names: where GPT-2 begins and ends is nowhere else in a checkpoint of its own."""
    found = {name: raw.get(f"{name}_token_id") for name in SPECIAL_TOKENS}
    return {name: index for name, index in found.items() if type(index) is int and index >= 0}


def written_labels(config: ModelConfig) -> dict[str, Any]:
    """The classes as transformers has them: their number, and their names where they are known."""
    if not config.labels:
        return {"num_labels": config.num_labels}
    names = dict(enumerate(config.labels))
    return {
        "id2label": {str(index): name for index, name in names.items()},
        "label2id": {name: index for index, name in names.items()},
    }


def bert_style_export(config: ModelConfig, *, dense_classifier: bool = False, **unsupported: Any) -> dict[str, Any]:
    """The keys the BERT-like configurations of transformers share; refuses what none of them has.

    `dense_classifier`: the family's classifier has a dense map and reads the first token, not the pooler.
    """
    refuse_unless(
        config,
        position=("learned",),
        norm=("layer",),
        norm_place=("post",),
        norm_scale=(True,),
        use_bias=(True,),
        feed_forward=("dense",),
        attention=("softmax",),
        attention_scale=("sqrt",),
        residual_scores=("none",),
        condition_size=(0,),
        embedding_norm=(True,),
        lm_transform=(True,),
        lm_bias=(True,),
        lm_scale=("none",),
        segments_as_tokens=(False,),
        mask=("bidirectional", "causal"),
        **({"pooler": ("none", "tanh"), "project_embeddings": (False,)} | unsupported),
    )
    if "classification" in config.heads:
        refuse_unless(config, **({} if dense_classifier else {"classification_transform": ("none",)}))
        refuse_unless(config, classification_pooling=("first" if dense_classifier else "pooler",))
    if config.key_size != config.head_size or config.head_size * config.num_attention_heads != config.hidden_size:
        raise no_counterpart(
            f"key_size {config.key_size} and head_size {config.head_size} with hidden_size {config.hidden_size} and "
            f"{config.num_attention_heads} heads"
        )
    return {
        "vocab_size": config.vocab_size,
        "hidden_size": config.hidden_size,
        "num_hidden_layers": config.num_layers,
        "num_attention_heads": config.num_attention_heads,
        "intermediate_size": config.intermediate_size,
        "hidden_act": config.hidden_act,
        "hidden_dropout_prob": config.hidden_dropout,
        "attention_probs_dropout_prob": config.attention_dropout,
        "max_position_embeddings": config.max_position_embeddings,
        "type_vocab_size": config.type_vocab_size,
        "initializer_range": config.initializer_range,
        "layer_norm_eps": config.norm_eps,
        "tie_word_embeddings": config.tie_word_embeddings,
        "is_decoder": config.mask == "causal",
    } | written_labels(config)


def refuse_unless(config: ModelConfig, **allowed: tuple[Any, ...]) -> None:
    """Raise `InputError` for the first choice outside what transformers has for this family."""
    for key, values in allowed.items():
        chosen = getattr(config, key)
        if chosen not in values:
            raise no_counterpart(f"{key} `{chosen}`" if isinstance(chosen, str) else f"{key} {chosen}")


def no_counterpart(feature: str) -> InputError:
    """The error for a model that plain transformers cannot hold."""
    return InputError(f"{feature} has no counterpart in transformers", hint="--to nlpx keeps everything")


def known_activation(name: str, tensors: NameMap) -> str:
    """Our name of a published activation; an unknown one raises `InputError`."""
    known = ACTIVATIONS.get(name, name) if isinstance(name, str) else name
    if known not in get_args(Activation):
        raise InputError(f"{tensors.checkpoint.path}: unknown hidden_act `{name}` in the configuration")
    return known


def gpt_sizes(raw: Mapping[str, Any], tensors: NameMap) -> dict[str, int]:
    """Sizes by our names, where GPTs call them `n_*`, and their releases for TensorFlow as BERT does.

    Raises `InputError` naming those that are missing.
    """
    sizes = {ours: raw.get(theirs, raw.get(bert)) for ours, (theirs, bert) in _GPT_SIZES.items()}
    missing = [_GPT_SIZES[key][0] for key, value in sizes.items() if not isinstance(value, int)]
    if missing:
        raise InputError(f"{tensors.checkpoint.path}: the configuration lacks {', '.join(missing)}")
    return cast("dict[str, int]", sizes)


def _require_keys(raw: Mapping[str, Any], tensors: NameMap, *keys: str) -> None:
    missing = [key for key in keys if not isinstance(raw.get(key), int)]
    if missing:
        raise InputError(f"{tensors.checkpoint.path}: the configuration lacks {', '.join(missing)}")
    if raw["num_attention_heads"] < 1 or raw["num_hidden_layers"] < 1:
        raise InputError(f"{tensors.checkpoint.path}: num_attention_heads and num_hidden_layers must be at least 1")


def _rows(tensors: NameMap, parameter: str) -> int:
    shape = tensors.shape(parameter)
    return shape[0] if shape else 0


def _columns(tensors: NameMap, parameter: str) -> int:
    shape = tensors.shape(parameter)
    return shape[1] if shape and len(shape) == 2 else 0
