"""`nlpx finetune`: rows -> batches -> model -> training -> run folder. Torch is imported where the work begins."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, NonNegativeInt, PositiveInt

from nlpx.errors import InputError, ResultError, UsageError
from nlpx.models.config import ModelConfig
from nlpx.optim.config import OptimConfig
from nlpx.section import PluginName, Plugins, PluginSettings, Section
from nlpx.train.config import TrainConfig

if TYPE_CHECKING:
    from nlpx.jobs.messages import Messages
    from nlpx.presets import Resolved
    from nlpx.run import RunFolder
    from nlpx.tasks import Evaluation
    from nlpx.tokenizers.base import Tokenizer

SAMPLE = "sample"  # `data.path`: what the package ships
NEW = "new"  # `model.name`: no checkpoint, random weights


class DataConfig(Section):
    """Where the rows come from."""

    path: str = Field(default=SAMPLE, description="a folder, a file, - for stdin, or `sample`: what the package ships")
    encoding: str = Field("utf-8", description="of text files, such as gb18030")
    on_bad_row: Literal["fail", "skip"] = "fail"
    max_length: PositiveInt = Field(512, description="tokens of a text or pair; the rest is cut off")


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


@dataclass(frozen=True, slots=True)
class Plan:
    """What `--dry-run` prints: everything is checked, nothing is written."""

    facts: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Finished:
    """A run that came to its end."""

    run: str
    score: float
    table: list[dict[str, Any]]
    columns: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RunOptions:
    """Where a run writes."""

    out: Path | None = None
    overwrite: bool = False
    resume: str | None = None
    root: Path = Path("runs")
    require: float | None = None


def preset_for(task: str, model: str | None) -> str:
    """The preset of a task: training from nothing and fine-tuning a checkpoint want different rates."""
    return f"finetune/{task}-new" if model in (None, NEW) else f"finetune/{task}"


def finetune(resolved: Resolved, options: RunOptions, messages: Messages) -> Finished | None:
    """Run the job; None in every process of a group but the first.

    Raises `UserError`s with the place and the way out, and `KeyboardInterrupt` once an interrupted run is saved.
    """
    from nlpx.device import choose
    from nlpx.jobs.messages import Silent
    from nlpx.seed import seed_everything
    from nlpx.train import distributed

    config: Config = resolved.config
    device = choose(config.device)
    with distributed.process_group(device=device.device):
        said = messages if distributed.is_main() else Silent()
        said.note(f"device {device.device} ({device.reason}), seed {config.seed}")
        seed_everything(config.seed, deterministic=config.deterministic)
        job = _Job(config, said, _local(device.device))
        run = _open_run(resolved, options, device.device) if distributed.is_main() else None
        if run is None:
            job.train(None, options)
            return None
        with run:
            said.log_to(run.log)
            evaluation = job.train(run, options)
            return _finish(run, job, evaluation, options, said)


def plan(resolved: Resolved, options: RunOptions, messages: Messages) -> Plan:
    """Resolve, read and count everything, build the model without storage; write nothing."""
    import torch

    from nlpx.data.bucketing import BucketedBatches
    from nlpx.models.transformer import Transformer
    from nlpx.run import planned

    config: Config = resolved.config
    job = _Job(config, messages, torch.device("cpu"))
    examples = job.task.encode(job.splits.train, job.tokenizer, config.data.max_length)
    with torch.device("meta"):
        model = Transformer(job.model_config()) if job.is_ours else None
    num_parameters = 0 if model is None else sum(parameter.numel() for parameter in model.parameters())
    limits = {key: getattr(config.train, key) for key in ("batch_tokens", "batch_size", "max_batch_size")}
    batches = BucketedBatches(examples.lengths, seed=config.seed, **limits)
    steps = config.train.steps or batches.num_updates(config.train.epochs or 1, accumulation=config.train.accumulation)
    facts = {
        "run": str(options.out or planned("finetune", name=config.task, seed=config.seed, root=options.root)),
        "rows": {name: len(getattr(job.splits, name)) for name in ("train", "dev", "test")},
        "tokenizer": job.tokenizer.reason,
        "longest_row": max(examples.lengths),
        "parameters": num_parameters,
        "steps": steps,
        # Weights, gradients and two moments in float32; activations grow with the batch and are not counted.
        "memory_of_weights_mib": round(num_parameters * 16 / 2**20),
    }
    return Plan(facts)


class _Job:
    """The parts of one run, in the order in which they are needed."""

    def __init__(self, config: Config, messages: Messages, device: Any) -> None:
        from nlpx.data.rows import RowReport
        from nlpx.registry import load

        self.config, self.messages, self.device = config, messages, device
        self.task = load("tasks", config.task).Task(config.task_options)
        report = RowReport()
        self.splits = self.task.read(
            _data_path(config), encoding=config.data.encoding, on_bad_row=config.data.on_bad_row, report=report
        )
        for note in self.splits.notes:
            messages.note(note)
        if report.num_skipped:
            messages.warn(f"{report.num_skipped} bad rows were skipped; the first: {report.errors[0]}")
        self.is_new = config.model.name == NEW
        self.tokenizer = self._tokenizer()
        self.described = None if self.is_new else self._describe()
        self.is_ours = self.is_new or self.described is not None

    def train(self, run: RunFolder | None, options: RunOptions) -> Evaluation | None:
        """Build, resume if asked, and follow the loop."""
        from nlpx.jobs.training import Follower
        from nlpx.train.collapse import label_entropy
        from nlpx.train.loop import prepare

        config = self.config
        examples = self.task.encode(self.splits.train, self.tokenizer, config.data.max_length)
        self._note_cut(examples.lengths)
        self.dev = self.task.encode(self.splits.dev, self.tokenizer, config.data.max_length)
        self.model = self._model().to(self.device)
        self.pad = self.tokenizer.pad_token_id or 0
        training = prepare(
            self.model,
            lengths=examples.lengths,
            config=config.train,
            optim=config.optim,
            tricks=config.tricks,
            seed=config.seed,
            label_entropy=label_entropy(self.task.label_counts(self.splits.train)),
        )
        if options.resume is not None:
            self._resume(training, run, options)
        follower = Follower(
            training=training,
            config=config.train,
            run=run,
            messages=self.messages,
            evaluate=self.evaluate,
            save_model=_save_model,
            publish=self.publish,
        )
        return follower.follow(self.task.objective, lambda rows: self.task.collate(examples, rows, self.pad))

    def evaluate(self) -> Evaluation:
        """Score the dev rows with the weights the model holds now."""
        from nlpx.jobs.inference import predict_examples

        outputs = predict_examples(self.task, self.model, self.dev, self.pad, self.device, self.config.train.precision)
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

        parts = self.task.model_choices()
        try:
            if self.described is not None:
                return self.described.config.with_choices(**(parts | self.config.model.choices))
            new = self.config.model.new.model_dump()
            choices = new.pop("choices")
            values = new | {
                "family": "roformer" if new["position"] == "rotary" else "bert",
                "vocab_size": self.tokenizer.vocab_size,
                "max_position_embeddings": self.config.data.max_length,
            }
            return ModelConfig(**(values | parts | choices))
        except ValidationError as error:
            details = error.errors(include_url=False)[0]
            message = str(details["msg"]).removeprefix("Value error, ")
            place = ".".join(str(part) for part in details["loc"])
            raise UsageError(f"model: {place + ': ' if place else ''}{message}") from None

    def _model(self) -> Any:
        from nlpx.models.load import load_model
        from nlpx.models.transformer import Transformer

        if self.is_new:
            self.messages.note("model: new, random weights (a published checkpoint learns far more from few rows)")
            return Transformer(self.model_config())
        section = self.config.model
        parts = self.task.model_choices() if self.is_ours else {}
        head = "classification" if "classification" in self.task.model_choices().get("heads", ()) else None
        model = load_model(
            section.name,
            section.family,
            head,
            allow_partial=section.allow_partial,
            **({} if not self.is_ours else {k: v for k, v in parts.items() if k != "heads"} | section.choices),
        )
        self._report(model.load_report)
        self._check_vocabulary(model)
        return model

    def _report(self, report: Any) -> None:
        self.messages.note(
            f"model: {self.config.model.name}, family {report.family} ({report.reason}), "
            f"{len(report.used)} parameters loaded, {len(report.new)} new, {len(report.left_over)} tensors left over"
        )
        for name in report.left_over:
            self.messages.detail(f"left over: {name}")
        for warning in report.warnings:
            if "cannot fill masks" not in warning:
                self.messages.warn(warning)

    def _check_vocabulary(self, model: Any) -> None:
        rows = model.config.vocab_size if self.is_ours else model.model.config.vocab_size
        if self.tokenizer.vocab_size > rows:
            raise InputError(
                f"{self.config.model.name}: the vocabulary has {self.tokenizer.vocab_size} entries, "
                f"the model's word table {rows} rows",
                hint="take the vocab.txt that was released with these weights",
            )
        if self.tokenizer.vocab_size < rows:
            self.messages.warn(
                f"the word table has {rows} rows, the vocabulary {self.tokenizer.vocab_size} entries: "
                "the rows beyond are never used; is it the checkpoint's own vocab.txt?"
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

    def _describe(self) -> Any:
        from nlpx.models.hub import resolve
        from nlpx.models.load import describe

        return describe(resolve(self.config.model.name), self.config.model.family)

    def _note_cut(self, lengths: list[int]) -> None:
        cut = sum(length >= self.config.data.max_length for length in lengths)
        if cut:
            self.messages.note(
                f"{cut} of {len(lengths)} rows reach {self.config.data.max_length} tokens and may be cut"
            )

    def _resume(self, training: Any, run: RunFolder | None, options: RunOptions) -> None:
        from nlpx.run import RunFolder as Folder
        from nlpx.train.state import load_weights

        folder = run or Folder.open(str(options.resume), root=options.root)
        training.load(folder.last_checkpoint, load_model=load_weights)
        if run is not None:
            run.truncate_metrics(training.step)
            self.messages.note(f"resumed {run.path} after step {training.step}")


def _finish(
    run: RunFolder, job: _Job, evaluation: Evaluation | None, options: RunOptions, messages: Messages
) -> Finished:
    from nlpx.report.build import build

    if evaluation is None:
        evaluation = job.evaluate()
        if not run.best_checkpoint.exists():
            from nlpx.io import replace_directory

            with replace_directory(run.best_checkpoint) as temporary:
                job.publish(temporary)
    best = max((record["score"] for record in run.records() if record.get("split") == "dev"), default=evaluation.score)
    run.headline(job.task.headline, best)
    run.finish("finished")
    build(run)
    if options.require is not None and best < options.require:
        raise ResultError(f"score {best:.4f} is below --require {options.require}", hint=f"nlpx runs report {run.path}")
    return Finished(str(run.path), best, evaluation.table, tuple(evaluation.columns))


def _open_run(resolved: Resolved, options: RunOptions, device: str) -> RunFolder:
    from nlpx.run import RunFolder

    if options.resume is not None:
        run = RunFolder.open(options.resume, root=options.root)
        run.reopen()
        return run
    config: Config = resolved.config
    path = _data_path(config)
    inputs = [] if path == "-" else [path]
    return RunFolder.create(
        command="finetune",
        name=config.task,
        config_yaml=resolved.to_yaml(),
        seed=config.seed,
        device=device,
        inputs=inputs,
        chain=resolved.chain,
        root=options.root,
        out=options.out,
        overwrite=options.overwrite,
    )


def _data_path(config: Config) -> str:
    from nlpx import bundled

    return str(bundled.path(config.task) / "sample.jsonl") if config.data.path == SAMPLE else config.data.path


def _save_model(model: Any, directory: Path) -> None:
    from nlpx.models.save import save_model

    save_model(model, directory)


def _local(device: str) -> Any:
    import torch

    from nlpx.train import distributed

    if device.startswith("cuda") and distributed.world_size() > 1:
        return torch.device("cuda", distributed.local_rank())
    return torch.device(device)
