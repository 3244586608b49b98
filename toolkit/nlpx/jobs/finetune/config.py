"""The settings of `nlpx finetune`. Presets are checked with them, so nothing here needs torch."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, PositiveInt

from nlpx.configuration.section import PluginName, Plugins, PluginSettings, Section, Seed
from nlpx.optim.config import OptimConfig
from nlpx.runs.model_section import ModelSection
from nlpx.train.config import TrainConfig

SAMPLE = "sample"  # `data.path`: what the package ships


class DataConfig(Section):
    """Where the rows come from."""

    path: str | tuple[str, ...] = Field(
        default=SAMPLE, description="folders, files, URLs, - for stdin, or `sample`: what the package ships"
    )
    dev: tuple[str, ...] = Field((), description="files all of whose rows are dev rows; none: what `path` says")
    test: tuple[str, ...] = Field((), description="files all of whose rows are test rows")
    format: Literal["txt", "jsonl", "csv", "tsv", "parquet"] | None = Field(
        None, description="of the files; null: by suffix, else by the first line"
    )
    encoding: str = Field("utf-8", description="of text files, such as gb18030; auto: told by the characters")
    on_bad_row: Literal["fail", "skip"] = "fail"
    max_length: PositiveInt = Field(512, description="tokens of a text or pair; the rest is truncated")


class Config(Section):
    """One fine-tuning run."""

    task: Annotated[str, PluginName("tasks")] = "sohu"
    task_options: Annotated[Any, PluginSettings("tasks", named_by="task")] = Field({})
    loss: Annotated[str | None, PluginName("losses")] = Field(
        None, description="file name in `nlpx/losses`; null: the task's"
    )
    loss_options: Annotated[Any, PluginSettings("losses", named_by="loss")] = Field(
        {}, description="what only this loss has, such as `smoothing`"
    )
    data: DataConfig = DataConfig()
    model: ModelSection = ModelSection()
    train: TrainConfig = TrainConfig()
    optim: OptimConfig = OptimConfig()
    tricks: Annotated[dict[str, Any], Plugins("tricks")] = Field({})
    baseline: bool | None = Field(
        None, description="compare with the plain ways of the task, such as TF-IDF; null: on the shipped sample only"
    )
    seed: Seed = 7
    device: str = "auto"
    deterministic: bool = Field(False, description="refuse kernels whose results vary from run to run")
