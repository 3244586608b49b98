"""What a Transformer is made of: one name per part. Holds strings and numbers only, so it is checked without torch."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Position = Literal["learned", "hierarchical", "rotary", "relative", "bucketed", "none"]
Activation = Literal["gelu", "gelu_new", "relu", "silu", "tanh", "linear"]
Mask = Literal["bidirectional", "causal", "unilm"]
Head = Literal["lm", "sentence", "discriminator", "classification", "pair"]

LARGEST = 1 << 28  # of any size: 180 times the largest vocabulary, and a product of two counts in 64 bits


class ModelConfig(BaseModel):
    """Every choice of one Transformer. Unknown keys and contradictions are refused with both names.

    Sizes left at 0 are derived: `head_size` = `hidden_size` / `num_attention_heads`, `key_size` = `head_size`,
    `embedding_size` = `hidden_size`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    family: str = Field("bert", description="checkpoint family; a file of nlpx/models/families")
    vocab_size: int = Field(gt=0)
    hidden_size: int = Field(gt=0)
    num_layers: int = Field(gt=0, le=10_000)  # a model is built, without memory, before its weights are looked at
    num_decoder_layers: int = Field(
        0, ge=0, le=10_000, description="layers of a decoder that reads the states of these; 0 = the model has none"
    )
    num_attention_heads: int = Field(gt=0)
    intermediate_size: int = Field(gt=0)
    head_size: int = Field(0, ge=0, description="width of a value vector per head")
    key_size: int = Field(0, ge=0, description="width of a query and key vector per head")
    embedding_size: int = Field(0, ge=0, description="width of the word table; projected to hidden_size if it differs")

    project_embeddings: bool = Field(False, description="map word vectors also where they are as wide as the states")

    position: Position = "learned"
    max_position_embeddings: int = Field(
        512,
        gt=0,
        description="rows of the position table (learned, hierarchical); a statement only for the others",
    )
    hierarchical_alpha: float = Field(
        0.4, gt=0, lt=1, description="weight of the block part of a hierarchical position"
    )
    max_relative_position: int = Field(64, gt=0, description="distances beyond it share one vector (relative)")
    num_position_buckets: int = Field(32, gt=3, description="classes of distances, a number a head each (bucketed)")
    max_bucketed_distance: int = Field(128, gt=0, description="distances from here on share the last bucket (bucketed)")
    type_vocab_size: int = Field(2, ge=0, description="number of segments; 0 = the model has none")
    segments_as_tokens: bool = Field(False, description="segments are token ids, whose word vectors are added")

    hidden_act: Activation = "gelu"
    feed_forward: Literal["dense", "gated"] = "dense"
    norm: Literal["layer", "rms"] = "layer"
    norm_place: Literal["post", "pre", "grover"] = "post"
    norm_scale: bool = Field(True, description="norms learn a scale and, for layer norm, an offset")
    norm_eps: float = Field(1e-12, gt=0)
    embedding_norm: bool = Field(True, description="normalise the summed embeddings")
    use_bias: bool = Field(True, description="linear maps learn an offset")
    share_layers: Literal["none", "all"] = "none"

    attention: Literal["softmax", "performer"] = "softmax"
    performer_features: int = Field(0, ge=0, description="random features a head; 0 = key_size * ln(key_size)")
    performer_redraw_steps: int = Field(1000, ge=0, description="training calls of one draw of them; 0 = for good")
    attention_scale: Literal["sqrt", "entropy_invariant", "none"] = "sqrt"
    entropy_invariant_base: int = Field(512, gt=1, description="keys at which the scale is that of `sqrt`")
    entropy_invariant_floor: int = Field(16, gt=1, description="rows that see fewer keys count as this many")
    residual_scores: Literal["none", "sum", "mean"] = "none"

    condition_size: int = Field(0, ge=0, description="width of the vector that modulates every norm; 0 = none")
    num_conditions: int = Field(0, ge=0, description="rows of the table of such vectors; 0 = the caller gives vectors")
    condition_hidden_size: int = Field(0, ge=0, description="width of a projection before the modulation; 0 = none")
    condition_hidden_act: Activation = "linear"

    hidden_dropout: float = Field(0.1, ge=0, lt=1)
    attention_dropout: float = Field(0.1, ge=0, lt=1)
    feed_forward_dropout: float = Field(0.0, ge=0, lt=1, description="inside the feed-forward, after its activation")
    initializer_range: float = Field(0.02, gt=0)

    special_token_ids: dict[str, int] = Field({}, description="by name (bos, eos, pad, ...); for transformers alone")

    mask: Mask = Field("bidirectional", description="the mask a call gets that names none")
    heads: tuple[Head, ...] = ()
    pooler: Literal["none", "tanh", "linear"] = "none"
    lm_transform: bool = Field(True, description="dense, activation and norm before the vocabulary product")
    lm_bias: bool = Field(True, description="an offset per vocabulary entry")
    lm_scale: Literal["none", "sqrt"] = Field(
        "none", description="states are divided by the root of hidden_size before the vocabulary product (sqrt)"
    )
    tie_word_embeddings: bool = True
    num_labels: int = Field(2, gt=0, description="classes of the heads `classification` and `pair`")
    pair_hidden_size: int = Field(128, gt=0, description="hidden units of the head `pair`")
    classification_pooling: Literal["mean", "first", "pooler"] = "mean"
    classification_transform: Literal["none"] | Activation = Field(
        "none", description="activation of a dense map before the class logits; none: no such map"
    )
    labels: tuple[str, ...] = Field((), description="names of the classes in the order of the logits, where known")

    @property
    def is_encoder_decoder(self) -> bool:
        """Whether a decoder follows that reads the states of the layers."""
        return self.num_decoder_layers > 0

    @property
    def has_classifier(self) -> bool:
        """Whether a head answers with one of `num_labels` classes."""
        return not {"classification", "pair"}.isdisjoint(self.heads)

    @model_validator(mode="before")
    @classmethod
    def _derive_sizes(cls, values: Any) -> Any:
        if not isinstance(values, dict) or "hidden_size" not in values or "num_attention_heads" not in values:
            return values
        hidden_size, num_heads = values["hidden_size"], values["num_attention_heads"]
        if not values.get("head_size"):
            if not isinstance(hidden_size, int) or not isinstance(num_heads, int) or num_heads < 1:
                return values
            if hidden_size % num_heads:
                raise ValueError(
                    f"hidden_size {hidden_size} is not a multiple of num_attention_heads {num_heads}; give head_size"
                )
            values = values | {"head_size": hidden_size // num_heads}
        return values | {
            "key_size": values.get("key_size") or values["head_size"],
            "embedding_size": values.get("embedding_size") or hidden_size,
        }

    @model_validator(mode="after")
    def _refuse_overflow(self) -> Self:
        for name, value in self:
            if isinstance(value, int) and value > LARGEST:
                raise ValueError(f"{name} {value} is above {LARGEST:,}")
        return self

    @model_validator(mode="after")
    def _refuse_contradictions(self) -> Self:
        for wrong, message in (
            (
                self.position == "hierarchical" and self.hierarchical_alpha == 0.5,
                "position `hierarchical` with hierarchical_alpha 0.5 gives (i, j) and (j, i) the same vector",
            ),
            (self.position == "rotary" and self.key_size % 2, "position `rotary` needs an even key_size"),
            (
                self.position == "relative" and self.key_size != self.head_size,
                "position `relative` adds one vector to keys and values: key_size must equal head_size",
            ),
            *self._performer_contradictions(),
            *self._decoder_contradictions(),
            (
                self.position == "bucketed" and self.max_bucketed_distance <= self.num_position_buckets // 2,
                f"max_bucketed_distance {self.max_bucketed_distance} is within the distances that "
                f"{self.num_position_buckets} buckets tell apart one by one",
            ),
            (self.norm == "rms" and self.condition_size and not self.norm_scale, _scale_free("rms", self)),
            (self.num_conditions and not self.condition_size, "num_conditions needs condition_size above 0"),
            (
                self.condition_hidden_size and not self.condition_size,
                "condition_hidden_size needs condition_size above 0",
            ),
            (
                self.segments_as_tokens and self.type_vocab_size,
                f"segments_as_tokens needs type_vocab_size 0, which is {self.type_vocab_size}",
            ),
            (
                self.mask == "unilm" and not self.type_vocab_size,
                "mask `unilm` reads the segments: type_vocab_size 0",
            ),
            (
                "sentence" in self.heads and self.pooler == "none",
                "head `sentence` reads the pooler, which is `none`",
            ),
            (
                self.has_classifier and self.classification_pooling == "pooler" and self.pooler == "none",
                "classification_pooling `pooler` reads the pooler, which is `none`",
            ),
            (
                self.labels and len(self.labels) != self.num_labels,
                f"labels names {len(self.labels)} classes, num_labels is {self.num_labels}",
            ),
        ):
            if wrong:
                raise ValueError(message)
        return self

    def _performer_contradictions(self) -> list[tuple[bool, str]]:
        performer = self.attention == "performer"
        return [
            (
                performer and self.residual_scores != "none",
                f"attention `performer` has no scores that residual_scores `{self.residual_scores}` could add up",
            ),
            (
                performer and self.position == "relative",
                "attention `performer` has no scores that position `relative` could change",
            ),
            (
                performer and self.position == "bucketed",
                "attention `performer` has no scores that position `bucketed` could change",
            ),
            (performer and self.mask == "unilm", "attention `performer` cannot follow mask `unilm`, only causal"),
        ]

    def _decoder_contradictions(self) -> list[tuple[bool, str]]:
        plain: dict[str, Any] = {
            "position": "bucketed",
            "norm_place": "pre",
            "attention": "softmax",
            "attention_scale": "none",
            "residual_scores": "none",
            "share_layers": "none",
            "mask": "bidirectional",
            "condition_size": 0,
            "type_vocab_size": 0,
            "embedding_size": self.hidden_size,
            "heads": ("lm",),
        }
        found = ((key, wanted, getattr(self, key)) for key, wanted in plain.items())
        return [
            (
                self.is_encoder_decoder and chosen != wanted,
                f"a model with num_decoder_layers {self.num_decoder_layers} has {key} {wanted}, not {chosen}",
            )
            for key, wanted, chosen in found
        ]

    def with_choices(self, **choices: Any) -> ModelConfig:
        """The same model with some choices changed; everything is checked again.

        Other classes have no names yet, and a decoder goes with the head it writes through.
        """
        kept = self.model_dump()
        if choices.get("num_labels", self.num_labels) != self.num_labels:
            kept["labels"] = ()
        if "lm" not in choices.get("heads", self.heads):
            choices["num_decoder_layers"] = 0
        return ModelConfig(**(kept | choices))


def _scale_free(norm: str, config: ModelConfig) -> str:
    return f"norm `{norm}` without norm_scale has nothing that condition_size {config.condition_size} could modulate"
