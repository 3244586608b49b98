"""Between our parameter names and a checkpoint's: families list pairs, this module finds tensors through them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from nlpx.models.checkpoints.checkpoint import Checkpoint

FUSED = "attention.query_key_value"
PARTS = ("attention.query", "attention.key", "attention.value")
ENCODER = "encoder."  # before our names of a Transformer that is one half of a model with a decoder
_LAYER = re.compile(r"(decoder\.)?layers\.(\d+)\.")


@dataclass(frozen=True, slots=True)
class Names:
    """The names of one of our modules (or bare parameters) in checkpoints. `{i}` is the layer, or absent if shared.

    `torch` and `tensorflow` list alternatives; the first torch name is the one written. `transposed`: the torch
    layout stores input by output (GPT-2). `bare_transposed`: so does TensorFlow's under the name as it stands (T5), as
    it always does under `kernel`. `copies`: names that transformers stores the same tensor under as well.
    """

    torch: tuple[str, ...]
    tensorflow: tuple[str, ...] = ()
    transposed: bool = False
    bare_transposed: bool = False
    copies: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Found:
    """One tensor of a checkpoint and how to turn it into ours."""

    name: str
    transposed: bool


class NameMap:
    """A family's names applied to one checkpoint."""

    def __init__(self, table: Mapping[str, Names], checkpoint: Checkpoint, prefix: str) -> None:
        self.table = table
        self.checkpoint = checkpoint
        self.prefix = prefix
        self._existing = set(checkpoint.names())

    def find(self, parameter: str) -> Found | None:
        """Where one of our parameters (`layers.3.attention.query.weight`) is stored, or None."""
        for candidate in self._candidates(parameter):
            if candidate.name in self._existing:
                return candidate
        return None

    def shape(self, parameter: str) -> tuple[int, ...] | None:
        """Shape of the parameter as we would hold it, or None if the checkpoint lacks it."""
        found = self.find(parameter)
        if found is None:
            return None
        shape = self.checkpoint.shape(found.name)
        return shape[::-1] if found.transposed else shape

    def num_layers(self) -> int:
        """How many layers the checkpoint stores on their own."""
        count = 0
        while self.find(f"layers.{count}.{PARTS[0]}.weight") or self.find(f"layers.{count}.{FUSED}.weight"):
            count += 1
        return count

    def _candidates(self, parameter: str) -> list[Found]:
        module, suffix, layer = _split(parameter)
        bare = self.table.get(_with_layer(parameter))
        if bare is not None:
            is_torch = self.checkpoint.layout == "torch"
            transposed = not is_torch and bare.bare_transposed
            return [
                Found(name, transposed)
                for text in (bare.torch if is_torch else bare.tensorflow)
                for name in self._spellings(text.format(i=layer))
            ]
        names = self.table.get(module)
        if names is None:
            return []
        if self.checkpoint.layout == "tensorflow":
            return [
                found
                for text in names.tensorflow
                for found in _tensorflow(text.format(i=layer), suffix, bare_transposed=names.bare_transposed)
            ]
        old = {"weight": "gamma", "bias": "beta"}[suffix]  # files of before 2019
        return [
            Found(f"{name}.{ending}", names.transposed and suffix == "weight")
            for text in names.torch
            for name in self._spellings(text.format(i=layer))
            for ending in (suffix, old)
        ]

    def _spellings(self, name: str) -> list[str]:
        # A bare encoder is often saved without its prefix.
        return [name, name.removeprefix(self.prefix)] if name.startswith(self.prefix) else [name]


class OwnNames(NameMap):
    """A checkpoint that already uses our names. `shared`: the one block it stores serves every layer."""

    def __init__(self, checkpoint: Checkpoint, *, shared: bool = False) -> None:
        super().__init__({}, checkpoint, "")
        self.shared = shared

    def find(self, parameter: str) -> Found | None:
        """The parameter itself, if stored, or the shared block's, or, for an encoder alone, the same of both halves."""
        if self.shared and parameter.startswith("layers."):
            parameter = _with_layer(parameter).format(i=0)
        stored = next((name for name in (parameter, ENCODER + parameter) if name in self._existing), None)
        return None if stored is None else Found(stored, False)


def written_name(table: Mapping[str, Names], parameter: str) -> tuple[str, bool] | None:
    """The torch name to write a parameter under, and whether transposed; None if the family has no such name."""
    module, suffix, layer = _split(parameter)
    if (names := table.get(_with_layer(parameter))) is not None:
        return names.torch[0].format(i=layer), False
    if (names := table.get(module)) is None:
        return None
    return f"{names.torch[0].format(i=layer)}.{suffix}", names.transposed and suffix == "weight"


def _tensorflow(name: str, suffix: str, *, bare_transposed: bool) -> list[Found]:
    if suffix == "weight":
        return [Found(f"{name}/kernel", True), Found(f"{name}/gamma", False), Found(name, bare_transposed)]
    return [Found(f"{name}/bias", False), Found(f"{name}/beta", False)]


def _split(parameter: str) -> tuple[str, str, str]:
    """`layers.3.attention.query.weight` -> (`layers.{i}.attention.query`, `weight`, `3`)."""
    module, _, suffix = _with_layer(parameter).rpartition(".")
    found = _LAYER.match(parameter.removeprefix(ENCODER))
    return module, suffix, found[2] if found else ""


def _with_layer(parameter: str) -> str:
    return _LAYER.sub(r"\1layers.{i}.", parameter.removeprefix(ENCODER), count=1)


def bert_style(prefix: str) -> dict[str, Names]:
    """The names that BERT, RoFormer, NEZHA and ELECTRA share, under `prefix` (`bert`, `roformer`, ...)."""

    def both(torch: str, tensorflow: str | None = None) -> Names:
        path = (tensorflow or torch).replace(".", "/")
        # TensorFlow releases of the derived families keep BERT's prefix.
        return Names((f"{prefix}.{torch}",), tuple(dict.fromkeys((f"{prefix}/{path}", f"bert/{path}"))))

    layer, tf_layer = "encoder.layer.{i}", "encoder.layer_{i}"
    table = {
        "embeddings.word_embeddings": both("embeddings.word_embeddings"),
        "embeddings.token_type_embeddings": both("embeddings.token_type_embeddings"),
        "embeddings.norm": both("embeddings.LayerNorm"),
    }
    for part in ("query", "key", "value"):
        table[f"layers.{{i}}.attention.{part}"] = both(
            f"{layer}.attention.self.{part}", f"{tf_layer}.attention.self.{part}"
        )
    for ours, theirs in (
        ("attention.output", "attention.output.dense"),
        ("attention_norm", "attention.output.LayerNorm"),
        ("feed_forward.input", "intermediate.dense"),
        ("feed_forward.output", "output.dense"),
        ("feed_forward_norm", "output.LayerNorm"),
    ):
        table[f"layers.{{i}}.{ours}"] = both(f"{layer}.{theirs}", f"{tf_layer}.{theirs}")
    return table


def with_prefix_of_bert(table: Mapping[str, Names], prefix: str) -> dict[str, Names]:
    """The same names, with `bert.` as another spelling of the family's prefix."""

    def also(names: Names) -> Names:
        more = tuple("bert." + name.removeprefix(prefix) for name in names.torch if name.startswith(prefix))
        return replace(names, torch=names.torch + more)

    return {ours: also(names) for ours, names in table.items()}


def learned_positions(prefix: str) -> dict[str, Names]:
    """The position table of BERT, ALBERT and ELECTRA."""
    path = "embeddings/position_embeddings"
    return {
        "embeddings.position_embeddings": Names(
            (f"{prefix}.embeddings.position_embeddings",),
            tuple(dict.fromkeys((f"{prefix}/{path}", f"bert/{path}"))),
        )
    }


def masked_language_head() -> dict[str, Names]:
    """BERT's masked-language-model head, shared by RoFormer and NEZHA."""
    torch, tensorflow = "cls.predictions", "cls/predictions"
    return {
        "lm_head.dense": Names((f"{torch}.transform.dense",), (f"{tensorflow}/transform/dense",)),
        "lm_head.norm": Names((f"{torch}.transform.LayerNorm",), (f"{tensorflow}/transform/LayerNorm",)),
        # Where both are stored and differ (an untied decoder), transformers adds the decoder's.
        "lm_head.bias": Names(
            (f"{torch}.decoder.bias", f"{torch}.bias"),
            (f"{tensorflow}/output_bias",),
            copies=(f"{torch}.bias",),
        ),
        "lm_head.decoder": Names((f"{torch}.decoder.weight",)),
    }


def pooler_and_sentence_head(prefix: str) -> dict[str, Names]:
    """Pooler and next-sentence head. TensorFlow stores the latter as (2, hidden) already, so its names are bare."""
    return {
        "pooler.dense": Names(
            (f"{prefix}.pooler.dense",), tuple(dict.fromkeys((f"{prefix}/pooler/dense", "bert/pooler/dense")))
        ),
        "sentence_head.weight": Names(("cls.seq_relationship.weight",), ("cls/seq_relationship/output_weights",)),
        "sentence_head.bias": Names(("cls.seq_relationship.bias",), ("cls/seq_relationship/output_bias",)),
        "classifier.linear": Names(("classifier",)),
    }


def dense_classifier() -> dict[str, Names]:
    """The classification head of RoFormer and ELECTRA: a dense map before the one to the classes."""
    return {
        "classifier.dense": Names(("classifier.dense",)),
        "classifier.linear": Names(("classifier.out_proj",)),
    }
