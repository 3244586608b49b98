"""What one training run does and when: length, batches, precision, evaluating, logging, saving."""

from __future__ import annotations

from typing import Any, ClassVar, Literal, Self

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from nlpx.configuration.section import Section

Precision = Literal["auto", "float32", "bfloat16"]
Every = PositiveInt | Literal["epoch"] | None  # a number of updates, the end of each epoch, or never

DEFAULT_EPOCHS = 3  # usual for fine-tuning BERT
DEFAULT_BATCH_TOKENS = 4096  # 32 rows of 128 tokens


class TrainConfig(Section):
    """One run of the training loop; a step is one update of the weights."""

    ALTERNATIVES: ClassVar = (("epochs", "steps"), ("batch_tokens", "batch_size"), ("max_batch_size", "batch_size"))

    epochs: PositiveInt | None = Field(default=None, description="passes over the data; 3 if `steps` is not given")
    steps: PositiveInt | None = Field(default=None, description="updates, instead of `epochs`")
    batch_tokens: PositiveInt | None = Field(
        default=None, description="padded tokens in one batch over all processes; 4096 if `batch_size` is not given"
    )
    batch_size: PositiveInt | None = Field(default=None, description="rows in one batch, instead of `batch_tokens`")
    max_batch_size: PositiveInt | None = Field(
        default=None, description="most rows that `batch_tokens` may put together"
    )
    accumulation: PositiveInt = Field(1, description="batches per update; their gradients add up to one big batch's")
    max_gradient_norm: PositiveFloat | None = Field(1.0, description="gradients are clipped to this norm; null: never")
    precision: Precision = Field(default="auto", description="auto: bfloat16 where the hardware has it, else float32")
    compile: bool = Field(default=False, description="torch.compile the model; rarely pays on a CPU")
    activation_checkpointing: bool = Field(
        default=False, description="compute each block again in the backward pass: less memory, a third more time"
    )
    parallel: Literal["ddp", "fsdp"] = Field(
        default="ddp", description="of several processes, each holds the whole model, or a shard of it (FSDP2)"
    )
    eval_every: Every = Field(default="epoch", description="updates between evaluations, or `epoch`; null: never")
    log_every: PositiveInt = Field(default=10, description="updates between records in the metrics")
    save_every: Every = Field("epoch", description="updates between checkpoints, or `epoch`; null: only at the end")
    tensorboard: bool = Field(default=False, description="write the metrics for TensorBoard too, into the run folder")
    patience: PositiveInt | None = Field(
        default=None, description="stop after so many evaluations without a better score; null: never"
    )
    collapse_window: PositiveInt | None = Field(
        200, description="warn if so many updates after the warm-up the loss is still at chance; null: never"
    )

    @model_validator(mode="before")
    @classmethod
    def _fill(cls, values: Any) -> Any:
        # Only what was not chosen gets a default, so that the resolved settings state one of each pair.
        if isinstance(values, dict):
            if values.get("epochs") is None and values.get("steps") is None:
                values = values | {"epochs": DEFAULT_EPOCHS}
            if values.get("batch_tokens") is None and values.get("batch_size") is None:
                values = values | {"batch_tokens": DEFAULT_BATCH_TOKENS}
        return values

    @model_validator(mode="after")
    def _no_contradiction(self) -> Self:
        for first, second in self.ALTERNATIVES:
            if getattr(self, first) is not None and getattr(self, second) is not None:
                raise ValueError(f"`{first}` and `{second}` contradict each other: set one of them to null")
        if self.patience is not None and self.eval_every is None:
            raise ValueError("`patience` counts evaluations, so `eval_every` must not be null")
        return self
