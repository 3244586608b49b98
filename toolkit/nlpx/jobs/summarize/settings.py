"""The settings of `nlpx summarize train`, kept in the run's `config.yaml`. Nothing here needs torch."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, PositiveFloat, PositiveInt

from nlpx.configuration.section import Section, Seed

Stage = Literal["label", "vectorize", "extract", "build"]
STAGES: tuple[Stage, ...] = ("label", "vectorize", "extract", "build")


class Config(Section):
    """One run of the pipeline; the defaults are those of kexue.fm/archives/8046."""

    data: str = Field("", description="rows with a text and its summary")
    text_field: str = "text"
    summary_field: str = "summary"
    format: Literal["txt", "jsonl", "csv", "tsv", "parquet"] | None = None
    encoding: str = "utf-8"
    model: str = Field("sim-tiny", description="the frozen encoder of clauses")
    pooling: str = "mean"
    last_clauses: PositiveInt = Field(256, description="clauses of a document that are read: the last ones")
    folds: int = Field(15, ge=2, description="extractors, each trained without the documents of its fold")
    epochs: PositiveInt = 20
    batch_size: PositiveInt = Field(64, description="documents of an update")
    learning_rate: PositiveFloat = 1e-3
    choose_at: float = Field(0.3, gt=0, lt=1, description="probability above which a clause counts, to choose an epoch")
    extract_at: float = Field(0.2, gt=0, lt=1, description="the same for extracts: lower, so that less is missed")
    seed: Seed = 7
