"""The settings of `nlpx finetune`. Presets are checked with them, so nothing here needs torch."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, NonNegativeInt, PositiveInt

from nlpx.configuration.section import PluginName, Plugins, PluginSettings, Section
from nlpx.optim.config import OptimConfig
from nlpx.train.config import TrainConfig

SAMPLE = "sample"  # `data.path`: what the package ships
NEW = "new"  # `model.name`: no checkpoint, random weights


class DataConfig(Section):
    """Where the rows come from."""

    path: str = Field(default=SAMPLE, description="a folder, a file, - for stdin, or `sample`: what the package ships")
    encoding: str = Field("utf-8", description="of text files, such as gb18030")
    on_bad_row: Literal["fail", "skip"] = "fail"
    max_length: PositiveInt = Field(512, description="tokens of a text or pair; the rest is truncated")


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


class Config(Section):
    """One fine-tuning run."""

    task: Annotated[str, PluginName("tasks")] = "sohu"
    task_options: Annotated[Any, PluginSettings("tasks", named_by="task")] = Field({})
    data: DataConfig = DataConfig()
    model: ModelSection = ModelSection()
    train: TrainConfig = TrainConfig()
    optim: OptimConfig = OptimConfig()
    tricks: Annotated[dict[str, Any], Plugins("tricks")] = Field({})
    seed: NonNegativeInt = 7
    device: str = "auto"
    deterministic: bool = Field(False, description="refuse kernels whose results vary from run to run")
