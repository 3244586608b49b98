"""The settings of `nlpx chess-lm train`. Presets are checked with them, so nothing here needs torch."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, PositiveInt, model_validator

from nlpx.configuration.section import Plugins, Section, Seed
from nlpx.optim.config import OptimConfig
from nlpx.runs.model_section import ModelSection
from nlpx.train.config import TrainConfig


class Stage(Section):
    """A part of the curriculum: up to this update, only the beginning of each game."""

    until: PositiveInt = Field(description="the last update of the stage")
    plies: PositiveInt = Field(description="of each game that are learned")


class DataConfig(Section):
    """Where the games come from, and what is learned of them."""

    paths: tuple[str, ...] = Field((), description="files of games; - for stdin")
    encoding: str = Field("auto", description="of the files, such as gb18030; auto: by their content")
    tokens: Literal["moves", "characters"] = Field("moves", description="one token a move, or its four characters")
    max_length: PositiveInt = Field(512, ge=9, description="tokens of a game; what follows is left out")
    learn: Literal["all", "winner"] = Field(
        "all", description="moves of both sides, or not those of a side that lost the game"
    )
    results: bool = Field(False, description="begin each game with its result: one can ask for the winner's moves")
    mirror: float = Field(0.5, ge=0, le=1, description="fraction of the games seen with left and right exchanged")
    held_out: float = Field(0.1, gt=0, lt=1, description="fraction of the games held out, by a hash of their moves")
    evaluation_games: PositiveInt = Field(1000, description="of them that an evaluation reads, at most")
    curriculum: tuple[Stage, ...] = Field((), description="short beginnings first: [{until: 500, plies: 30}]")

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        ends = [stage.until for stage in self.curriculum]
        if ends != sorted(set(ends)):
            raise ValueError("the stages of `curriculum` must end one after the other")
        return self


class Config(Section):
    """One training run of a language model of moves."""

    data: DataConfig = DataConfig()
    model: ModelSection = ModelSection()
    train: TrainConfig = TrainConfig()
    optim: OptimConfig = OptimConfig()
    tricks: Annotated[dict[str, Any], Plugins("tricks")] = Field({})
    stored_type: Literal["float32", "bfloat16"] = Field("float32", description="of the weights that are published")
    seed: Seed = 7
    device: str = "auto"
    deterministic: bool = Field(False, description="refuse kernels whose results vary from run to run")
