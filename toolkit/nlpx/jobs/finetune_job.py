"""The parts of one fine-tuning run: rows, tokenizer, model, training, evaluation, checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from nlpx.errors import InputError, UsageError
from nlpx.jobs.finetune_config import NEW, SAMPLE, Config
from nlpx.models.config import ModelConfig

if TYPE_CHECKING:
    from nlpx.jobs.messages import Messages
    from nlpx.run import RunFolder
    from nlpx.tasks import Evaluation, Examples
    from nlpx.tokenizers.base import Tokenizer
    from nlpx.train.state import Training


class Job:
    """The parts of one run, in the order in which they are needed."""

    def __init__(self, config: Config, messages: Messages, device: Any) -> None:
        from nlpx.registry import load

        self.config, self.messages, self.device = config, messages, device
        self.task = load("tasks", config.task).Task(config.task_options)
        self.splits = self._read()
        self.is_new = config.model.name == NEW
        self.stored = {} if self.is_new else self._stored_config()
        self.described = None if self.is_new else self._describe()
        self.is_ours = self.is_new or self.described is not None
        self.tokenizer = self._tokenizer()
        self.pad = self.tokenizer.pad_token_id or 0

    def check(self) -> None:
        """Refuse what cannot work, before anything is written: vocabulary, positions, parts."""
        if self.is_ours:
            config = self.model_config()
            self._check_vocabulary(config.vocab_size)
            self._check_positions(config.position, config.max_position_embeddings)
        else:
            self._check_backbone()
            self._check_vocabulary(self.stored.get("vocab_size", self.tokenizer.vocab_size))
            self._check_positions("learned", self.stored.get("max_position_embeddings", self.config.data.max_length))

    def train(self, run: RunFolder | None, state: Path | None) -> Evaluation:
        """Build, go on from `state` if there is one, and follow the loop; `run` is None in all processes but one."""
        from nlpx.jobs.training import Follower

        examples = self.encode(self.splits.train)
        self._note_cut(examples.lengths)
        self.dev = self.encode(self.splits.dev)
        self.model = self._model().to(self.device)
        training = self._prepare(examples.lengths)
        if state is not None:
            self._resume(training, run, state)
        follower = Follower(
            training=training,
            config=self.config.train,
            run=run,
            messages=self.messages,
            evaluate=self.evaluate,
            save_model=_save_model,
            publish=self.publish,
        )
        return follower.follow(self.task.objective, lambda rows: self.task.collate(examples, rows, self.pad))

    def encode(self, rows: Any) -> Examples:
        """Rows as ids, cut to the run's `max_length`."""
        examples: Examples = self.task.encode(rows, self.tokenizer, self.config.data.max_length)
        return examples

    def evaluate(self) -> Evaluation:
        """Score the dev rows with the weights the model holds now."""
        from nlpx.jobs.inference import predict_examples

        outputs = predict_examples(self.task, self.model, self.dev, self.pad, self.device, self.config.train.precision)
        self.task.calibrate(self.splits.dev, outputs)
        evaluation: Evaluation = self.task.evaluate(self.splits.dev, outputs)
        return evaluation

    def publish(self, directory: Path) -> None:
        """Weights, tokenizer, and what `nlpx predict` must know of the task."""
        from nlpx.jobs.inference import save_task

        _save_model(self.model, directory)
        self.tokenizer.save(directory)
        save_task(directory, self.config, self.task)

    def model_config(self) -> ModelConfig:
        """The configuration of the model to be built, the task's parts included."""
        from pydantic import ValidationError

        section = self.config.model
        unknown = sorted({*section.choices, *section.new.choices} - set(ModelConfig.model_fields))
        if unknown:
            raise UsageError(f"model.choices: unknown key `{unknown[0]}`", hint=_near(unknown[0]))
        try:
            return self._changed_config() if self.described is not None else self._new_config()
        except ValidationError as error:
            details = error.errors(include_url=False)[0]
            message = str(details["msg"]).removeprefix("Value error, ")
            place = ".".join(str(part) for part in details["loc"])
            raise UsageError(f"model: {place + ': ' if place else ''}{message}") from None

    def num_parameters(self) -> int:
        """How many numbers the model has, counted without storage."""
        import torch

        from nlpx.models.transformer import Transformer

        if not self.is_ours:
            from nlpx.models.backbone import Backbone

            return Backbone.count_parameters(self._path())
        with torch.device("meta"):
            model = Transformer(self.model_config())
        return sum(parameter.numel() for parameter in model.parameters())

    def _read(self) -> Any:
        from nlpx.data.rows import RowReport

        data, report = self.config.data, RowReport()
        splits = self.task.read(
            data_path(self.config), encoding=data.encoding, on_bad_row=data.on_bad_row, report=report
        )
        for note in splits.notes:
            self.messages.note(note)
        if report.num_skipped:
            self.messages.warn(f"{report.num_skipped} bad rows were skipped; the first: {report.errors[0]}")
        return splits

    def _new_config(self) -> ModelConfig:
        new = self.config.model.new.model_dump()
        choices = new.pop("choices")
        values = new | {
            "family": "roformer" if new["position"] == "rotary" else "bert",
            "vocab_size": self.tokenizer.vocab_size,
            "max_position_embeddings": self.config.data.max_length,
        }
        return ModelConfig(**(values | self.task.model_choices() | choices))

    def _changed_config(self) -> ModelConfig:
        parts = self.task.model_choices()
        config: ModelConfig = self.described.config.with_choices(**(parts | self.config.model.choices))  # type: ignore[union-attr]
        return config

    def _prepare(self, lengths: list[int]) -> Training:
        from nlpx.train.collapse import label_entropy
        from nlpx.train.loop import prepare

        config = self.config
        return prepare(
            self.model,
            lengths=lengths,
            config=config.train,
            optim=config.optim,
            tricks=config.tricks,
            seed=config.seed,
            label_entropy=label_entropy(self.task.label_counts(self.splits.train)),
        )

    def _model(self) -> Any:
        from nlpx.models.load import load_model
        from nlpx.models.transformer import Transformer

        if self.is_new:
            self.messages.note("model: new, random weights (a published checkpoint learns far more from few rows)")
            return Transformer(self.model_config())
        section = self.config.model
        parts = self.task.model_choices()
        head = "classification" if "classification" in parts.pop("heads", ()) else None
        choices = parts | section.choices if self.is_ours else {"num_labels": parts["num_labels"]}
        model = load_model(section.name, section.family, head, allow_partial=section.allow_partial, **choices)
        self._report(model.load_report)
        return model

    def _report(self, report: Any) -> None:
        self.messages.note(
            f"model: {self.config.model.name}, family {report.family} ({report.reason}), "
            f"{len(report.used)} parameters loaded, {len(report.new)} new, {len(report.left_over)} tensors left over"
        )
        for name in report.missing:
            self.messages.warn(f"missing, starts at random: {name}")
        for name in report.left_over:
            self.messages.detail(f"left over: {name}")
        for warning in report.warnings:
            self.messages.warn(warning)

    def _check_vocabulary(self, rows: int) -> None:
        name, entries = self.config.model.name, self.tokenizer.vocab_size
        if entries > rows:
            raise InputError(
                f"{name}: the vocabulary has {entries} entries, the model's word table {rows} rows",
                hint="take the vocab.txt that was released with these weights",
            )
        if entries < rows:
            self.messages.warn(
                f"{name}: the word table has {rows} rows, the vocabulary {entries} entries: "
                "the rows beyond are never used; is it the checkpoint's own vocab.txt?"
            )

    def _check_positions(self, position: str, rows: int) -> None:
        longest = {"learned": rows, "hierarchical": rows * rows}.get(position)
        wanted = self.config.data.max_length
        if longest is None or wanted <= longest:
            return
        hint = f"--set data.max_length={longest} cuts the texts"
        if self.is_ours and position == "learned":
            hint += "\n--set model.choices.position=hierarchical makes more of the positions that are there"
        raise UsageError(
            f"data.max_length {wanted} is more than the {longest} positions of {self.config.model.name}", hint=hint
        )

    def _check_backbone(self) -> None:
        parts, name = self.task.model_choices(), self.config.model.name
        if parts.get("condition_size"):
            raise UsageError(
                f"{name}: a model loaded through transformers has no conditional norms",
                hint="--set task_options.conditional=false does without the condition",
            )
        if parts.get("classification_pooling") != "mean" or self.config.model.choices:
            raise UsageError(
                f"{name}: a model loaded through transformers is taken as it is, with mean pooling",
                hint="leave out model.choices and other poolings",
            )

    def _tokenizer(self) -> Tokenizer:
        from nlpx.tokenizers.build import character_vocabulary
        from nlpx.tokenizers.char import CharTokenizer
        from nlpx.tokenizers.load import load_tokenizer

        section = self.config.model
        if section.tokenizer is not None or not self.is_new:
            return load_tokenizer(section.tokenizer or section.name)
        vocab = character_vocabulary(self.task.texts(self.splits.train), max_size=section.new.vocab_size)
        return CharTokenizer(vocab)

    def _path(self) -> Path:
        from nlpx.models.hub import resolve

        return resolve(self.config.model.name)

    def _stored_config(self) -> dict[str, Any]:
        from nlpx.models.checkpoint import read_config

        path = self._path()
        return read_config(path if path.is_dir() else path.parent)

    def _describe(self) -> Any:
        from nlpx.models.load import describe

        return describe(self._path(), self.config.model.family)

    def _note_cut(self, lengths: list[int]) -> None:
        cut = sum(length >= self.config.data.max_length for length in lengths)
        if cut:
            self.messages.note(
                f"{cut} of {len(lengths)} rows reach {self.config.data.max_length} tokens and may be cut"
            )

    def _resume(self, training: Training, run: RunFolder | None, state: Path) -> None:
        from nlpx.train.state import load_weights

        training.load(state, load_model=load_weights)
        if run is not None:
            run.truncate_metrics(training.step)
            self.messages.note(f"resumed {run.path} after step {training.step}")


def data_path(config: Config) -> str:
    """Where the rows are: `sample` stands for what the package ships for the task."""
    from nlpx import bundled

    return str(bundled.path(config.task) / "sample.jsonl") if config.data.path == SAMPLE else config.data.path


def _save_model(model: Any, directory: Path) -> None:
    from nlpx.models.backbone import Backbone
    from nlpx.models.save import save_model

    if isinstance(model, Backbone):
        model.save(directory)
    else:
        save_model(model, directory)


def _near(name: str) -> str:
    from nlpx.registry import unknown

    return unknown("key", name, ModelConfig.model_fields)[1]
