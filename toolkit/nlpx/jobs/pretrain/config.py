"""The settings of `nlpx pretrain`. Presets are checked with them, so nothing here needs torch."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, PositiveInt, field_validator

from nlpx.configuration.section import Plugins, Section, Seed
from nlpx.optim.config import OptimConfig
from nlpx.runs.model_section import ModelSection
from nlpx.train.config import TrainConfig


class DataConfig(Section):
    """Where the texts come from, and how they become rows."""

    paths: tuple[str, ...] = Field((), description="files, folders, patterns or URLs; - for stdin")
    field: str = Field("text", description="of rows (jsonl, csv, tsv, parquet): which holds the text")
    format: Literal["txt", "jsonl", "csv", "tsv", "parquet"] | None = Field(
        None, description="of files whose name does not say, and of stdin"
    )
    encoding: str = Field("utf-8", description="of the files, such as gb18030")
    max_length: PositiveInt = Field(128, ge=8, description="tokens of a row, special ones included")
    documents: Literal["keep_apart", "run_on"] = Field(
        "keep_apart",
        description="whether documents in one row see each other: never, or as if they were one text",
    )
    whole_words: bool = Field(True, description="find words with a segmenter, so that they are hidden as a whole")
    held_out: float = Field(0.01, gt=0, lt=1, description="fraction of the documents held out for evaluation")
    evaluation_rows: PositiveInt = Field(1000, description="rows of them that an evaluation reads, at most")
    workers: PositiveInt | None = Field(None, description="processes that tokenize; null: one a core")
    cache: str | None = Field(None, description="folder for the tokenized corpus; null: the user's cache")


class Config(Section):
    """One pretraining run."""

    objectives: Annotated[dict[str, Any], Plugins("objectives")] = Field({"mlm": {}})
    data: DataConfig = DataConfig()
    model: ModelSection = ModelSection()
    train: TrainConfig = TrainConfig()
    optim: OptimConfig = OptimConfig()
    tricks: Annotated[dict[str, Any], Plugins("tricks")] = Field({})
    seed: Seed = 7
    device: str = "auto"
    deterministic: bool = Field(False, description="refuse kernels whose results vary from run to run")

    @field_validator("objectives")
    @classmethod
    def _some_weight(cls, objectives: dict[str, Any]) -> dict[str, Any]:
        if not any(settings.weight for settings in objectives.values()):
            named = f"the weights of {', '.join(objectives)} are all 0" if objectives else "there is no objective"
            raise ValueError(f"{named}: nothing would be learned")
        return objectives
