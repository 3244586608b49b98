"""Which model a run starts from: the section `model` of the commands that train. Nothing here needs torch."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, PositiveInt

from nlpx.configuration.section import Section

NEW = "new"  # `model.name`: no checkpoint, random weights


class NewModelConfig(Section):
    """A model with random weights and a vocabulary built from the training texts."""

    vocab_size: PositiveInt = Field(8000, description="at most; characters by frequency")
    position: Literal["learned", "hierarchical", "rotary", "relative", "none"] = "rotary"
    hidden_size: PositiveInt = 256
    num_layers: PositiveInt = 4
    num_attention_heads: PositiveInt = 4
    intermediate_size: PositiveInt = 1024
    hidden_dropout: float = Field(0.1, ge=0, lt=1)
    attention_dropout: float = Field(0.1, ge=0, lt=1)
    choices: dict[str, Any] = Field(default={}, description="further keys of the model's configuration")


class ModelSection(Section):
    """Which model to start from."""

    name: str = Field(default=NEW, description="a checkpoint directory, a hub name, or `new`")
    family: str | None = Field(None, description="of the checkpoint, where it does not say")
    tokenizer: str | None = Field(None, description="its directory, if not the checkpoint's")
    allow_partial: tuple[str, ...] = Field((), description="patterns of parameters the checkpoint may lack")
    choices: dict[str, Any] = Field(default={}, description="changes to the checkpoint's configuration")
    new: NewModelConfig = NewModelConfig()
