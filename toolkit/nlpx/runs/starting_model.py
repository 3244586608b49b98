"""The model a run starts from: with random weights, or a checkpoint with the parts that the run needs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nlpx.errors import InputError, UsageError
from nlpx.models.config import ModelConfig
from nlpx.runs.model_section import NEW, ModelSection

if TYPE_CHECKING:
    from nlpx.messages import Messages
    from nlpx.models.checkpoints.load import Described
    from nlpx.models.load_report import LoadReport
    from nlpx.tokenizers.base import Tokenizer


# Models of transformers whose first position is the one behind the id of the padding: fewer than rows.
_COUNTED_BEHIND_PADDING = frozenset(
    {"roberta", "xlm-roberta", "xlm-roberta-xl", "camembert", "xmod", "longformer", "mpnet"}
)


class StartingModel:
    """What is known of the model before it is built.

    `parts` are the keys of `ModelConfig` that the run needs whatever the model is, such as its heads; `max_length` is
    the longest text in tokens. A checkpoint of another family loads through transformers: `is_ours` is False.
    """

    tokenizer: Tokenizer

    def __init__(self, section: ModelSection, messages: Messages, *, parts: Mapping[str, Any], max_length: int) -> None:
        self.section, self.messages = section, messages
        self.parts, self.max_length = dict(parts), max_length
        self.is_new = section.name == NEW
        self.stored = {} if self.is_new else self._stored_config()
        self.described = None if self.is_new else self._describe()
        self.is_ours = self.is_new or self.described is not None

    def read_tokenizer(self, texts: Callable[[], Iterable[str]]) -> Tokenizer:
        """The tokenizer that was named, the checkpoint's own, or characters by their frequency in `texts`."""
        from nlpx.tokenizers.char import CharTokenizer
        from nlpx.tokenizers.load import load_tokenizer
        from nlpx.tokenizers.vocabulary.from_texts import character_vocabulary

        if self.section.tokenizer is not None or not self.is_new:
            self.tokenizer = load_tokenizer(self.section.tokenizer or self.section.name)
        else:
            self.tokenizer = CharTokenizer(character_vocabulary(texts(), max_size=self.section.new.vocab_size))
        return self.tokenizer

    def check(self, alternatives: Mapping[str, str] | None = None) -> None:
        """Refuse a vocabulary or a length that does not fit the model, and parts that it cannot have.

        `alternatives` names, by the key of a part, the setting of the task that does without it.
        """
        if self.is_ours:
            config = self.config()
            self._check_vocabulary(config.vocab_size)
            self._check_positions(config.position, config.max_position_embeddings)
        else:
            self._check_parts(alternatives or {})
            self._check_vocabulary(self.stored.get("vocab_size", self.tokenizer.vocab_size))
            rows = self.stored.get("max_position_embeddings", self.max_length)
            if self.stored.get("model_type") in _COUNTED_BEHIND_PADDING:
                rows -= self.stored.get("pad_token_id", 1) + 1
            self._check_positions("learned", rows)

    def config(self) -> ModelConfig:
        """The configuration of the model to be built, `parts` included. Raises `UsageError` naming a wrong key."""
        from pydantic import ValidationError

        unknown = sorted({*self.section.choices, *self.section.new.choices} - set(ModelConfig.model_fields))
        if unknown:
            raise UsageError(f"model.choices: unknown key `{unknown[0]}`", hint=_near(unknown[0]))
        try:
            return self._new_config() if self.described is None else self._changed_config(self.described)
        except ValidationError as error:
            details = error.errors(include_url=False)[0]
            message = str(details["msg"]).removeprefix("Value error, ")
            place = ".".join(str(part) for part in details["loc"])
            raise UsageError(f"model: {place + ': ' if place else ''}{message}") from None

    def num_parameters(self) -> int:
        """How many numbers the model has, counted without storage."""
        import torch

        from nlpx.models.checkpoints.load import build

        if not self.is_ours:
            from nlpx.models.checkpoints.backbone import Backbone

            return Backbone.count_parameters(self._path())
        with torch.device("meta"):
            model = build(self.config())
        return sum(parameter.numel() for parameter in model.parameters())

    def build(self, *, allow_partial: Sequence[str] = ()) -> Any:
        """The model, on the CPU; `allow_partial` adds to the user's patterns."""
        from nlpx.models.transformer import Transformer

        if self.is_new:
            self.messages.note("model: new, random weights (a published checkpoint learns far more from few rows)")
            return Transformer(self.config())
        section = self.section
        model = self._load((*section.allow_partial, *allow_partial))
        self._report(model.load_report)
        return model

    def _load(self, patterns: Sequence[str]) -> Any:
        from nlpx.models.checkpoints.load import load_model
        from nlpx.models.checkpoints.weights import MissingTensorsError

        section = self.section
        if not self.is_ours:
            head = next(iter(self.parts["heads"]), None)
            choices = {"num_labels": self.parts["num_labels"]} if head == "classification" else {}
            return load_model(section.name, section.family, head, allow_unexplained=True, **choices)
        choices = self.parts | section.choices
        try:
            return load_model(section.name, section.family, allow_partial=patterns, allow_unexplained=True, **choices)
        except MissingTensorsError as error:
            key = f'--set "model.allow_partial=[{", ".join(error.patterns)}]"'
            raise InputError(error.message, hint=f"{key} starts them at random") from None

    def _new_config(self) -> ModelConfig:
        new = self.section.new.model_dump()
        choices = new.pop("choices")
        values = new | {
            "family": "roformer" if new["position"] == "rotary" else "bert",
            "vocab_size": self.tokenizer.vocab_size,
            "max_position_embeddings": self.max_length,
        }
        return ModelConfig(**(values | self.parts | choices))

    def _changed_config(self, described: Described) -> ModelConfig:
        return described.config.with_choices(**(self.parts | self.section.choices))

    def _report(self, report: LoadReport) -> None:
        self.messages.note(
            f"model: {self.section.name}, family {report.family} ({report.reason}), "
            f"{len(report.used)} parameters loaded, {len(report.new)} new, {len(report.unexpected)} unexpected"
        )
        for name in report.missing:
            self.messages.warn(f"missing, starts at random: {name}")
        for name in report.unexpected:
            self.messages.detail(f"unexpected: {name}")
        for warning in report.warnings:
            self.messages.warn(warning)

    def _check_parts(self, alternatives: Mapping[str, str]) -> None:
        """An encoder of transformers is taken as it is: it has one head of ours, and no other part."""
        name, heads = self.section.name, self.parts["heads"]
        other_heads = [head for head in heads if head != "classification"]
        if other_heads:
            hint = f"--set {alternatives['heads']} does without" if "heads" in alternatives else None
            raise UsageError(f"{name}: a model loaded through transformers has no head `{other_heads[0]}`", hint=hint)
        if self.section.choices:
            key = next(iter(self.section.choices))
            raise UsageError(f"{name}: `{key}` cannot be chosen for a model loaded through transformers")
        defaults = {key: field.default for key, field in ModelConfig.model_fields.items()}
        asked = [
            key for key in self.parts.keys() - {"heads", "num_labels", "labels"} if self.parts[key] != defaults[key]
        ]
        for key in sorted(asked, key=lambda key: key not in alternatives):
            hint = f"--set {alternatives[key]} does without" if key in alternatives else "take another model"
            raise UsageError(f"{name}: a model loaded through transformers has no `{key}` {self.parts[key]}", hint=hint)

    def _check_vocabulary(self, rows: int) -> None:
        name, entries = self.section.name, self.tokenizer.vocab_size
        self.tokenizer.require_rows(rows, name=name)
        if entries < rows and self.tokenizer.kind == "subword":
            # Published so: their word tables are padded to a round number.
            self.messages.detail(f"{name}: the word table has {rows} rows, the tokenizer {entries} entries")
        elif entries < rows:
            self.messages.warn(
                f"{name}: the word table has {rows} rows, the vocabulary {entries} entries: "
                "the rows beyond are never used; is it the checkpoint's own vocab.txt?"
            )

    def _check_positions(self, position: str, rows: int) -> None:
        longest = {"learned": rows, "hierarchical": rows * rows}.get(position)
        if longest is None or self.max_length <= longest:
            return
        hint = f"--set data.max_length={longest} truncates the texts"
        if self.is_ours and position == "learned":
            hint += "\n--set model.choices.position=hierarchical makes more of the positions that are there"
        raise UsageError(
            f"data.max_length {self.max_length} is more than the {longest} positions of {self.section.name}", hint=hint
        )

    def _path(self) -> Path:
        from nlpx.models.checkpoints.resolve import resolve

        return resolve(self.section.name)

    def _stored_config(self) -> dict[str, Any]:
        from nlpx.models.checkpoints.checkpoint import read_config

        path = self._path()
        return read_config(path if path.is_dir() else path.parent)

    def _describe(self) -> Described | None:
        from nlpx.models.checkpoints.load import describe

        return describe(self._path(), self.section.family)


def _near(name: str) -> str:
    from nlpx.configuration.registry import unknown

    return unknown("key", name, ModelConfig.model_fields)[1]
